"""The configuration of a slot whose workload stays as it is: no engine can say now what it is to be.

What its egress stands on (address, source, proof, ports, resolver) is what its own configuration says; all the rest
follows the spec, so that the slot can still be closed, suspended and drained. Pure.
"""

from collections.abc import Sequence

from lane_api.names import SIDECAR_RESOLVER
from lane_api.relayconfig import RelayConfig
from lane_api.relayfeedback import Feedback
from lane_operator.desired.config_secret import file_of, parsed_config
from lane_operator.desired.relayconfig import relay_config
from lane_operator.desired.resolver import RESOLVER_FILE
from lane_operator.egress import EngineClaim
from lane_operator.inputs import Claim, Lane, Manifest, References

__all__ = ["kept_config", "kept_hostname", "kept_resolver"]


def kept_config(lane: Lane, references: References, claim: Claim, others: Sequence[Claim] = ()) -> RelayConfig | None:
    """What the slot's relay is to know; None where there is no configuration of it that could be read.

    `others` are the lane's other slots.
    """
    before = parsed_config(references.configs.get(claim.slot_name))
    engine = None if before is None else _engine(before)
    if before is None or engine is None:
        return None
    made = relay_config(lane, references, claim, engine, others)
    return made.model_copy(update={"egress": before.egress, "slot": before.slot})


def kept_resolver(secret: Manifest | None) -> str | None:
    """The sidecar's configuration as it stands; None where there is no sidecar."""
    return file_of(secret, RESOLVER_FILE)


def kept_hostname(secret: Manifest | None) -> str:
    """The name that the slot says HELO with; empty where its configuration cannot be read."""
    config = parsed_config(secret)
    return "" if config is None else config.slot.hostname


def _engine(config: RelayConfig) -> EngineClaim | None:
    """The engine's part of it, as it was when it was rendered; None for one that a hand has taken apart."""
    intake, health, admin, second = config.intake, config.health, config.admin, config.egress.second
    if intake.smtp is None or intake.smtps is None or health is None or admin is None:
        return None
    return EngineClaim(
        source=None if config.egress.source is None else str(config.egress.source),
        proxy=config.egress.proxy,
        second_source=None if second is None or second.source is None else str(second.source),
        second_proxy=None if second is None else second.proxy,
        listen_host=admin.listen.host,
        ports={
            "smtp": intake.smtp.port,
            "smtps": intake.smtps.port,
            "metrics": health.port,
            "admin": admin.listen.port,
            **({"http": intake.http.port} if intake.http is not None else {}),
            **_feedback_ports(config.feedback),
        },
        resolver=next(iter(config.delivery.resolvers), SIDECAR_RESOLVER),
    )


def _feedback_ports(feedback: Feedback | None) -> dict[str, int]:
    """Ports for what comes back; one without links to unsubscribe has none for them."""
    if feedback is None or feedback.smtp is None:
        return {}
    return {"feedback": feedback.smtp.port, **({"unsubscribe": feedback.http.port} if feedback.http else {})}
