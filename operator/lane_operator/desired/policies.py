"""ISPPolicies as one lane's relay applies them: in order of precedence, with the lane's own values laid over.

Precedence of one value: the lane's `isps`, then each policy of that name in order (the lane's namespace before the
operator's, higher priority first), then the class. Policies of one name are one site: where several bear it, their
matches are joined and the first one's rules come first.
"""

from collections.abc import Iterable
from typing import Final

from lane_api.conditions import Reason
from lane_api.isppolicy import ISPPolicySpec, ResponseRule
from lane_api.outbound import Backoff, IspOverride, Limits
from lane_api.quantities import format_duration
from lane_api.relayconfig import Origin, Origins, SitePolicy
from lane_api.sendinglane import SendingLaneSpec
from lane_operator.inputs import Policy, Refusal

__all__ = ["site_policies", "unknown_isps"]

_SINGLE: Final = {
    "connections_per_ip": "connectionsPerIP",
    "messages_per_connection": "messagesPerConnection",
    "connect_rate": "connectRate",
    "message_rate": "messageRate",
    "messages_per_day": "messagesPerDay",
    "recipients_per_message": "recipientsPerMessage",
    "retry_after": "retryAfter",
}
"""Values that are laid over each other one by one, and their names in the resources."""


def site_policies(spec: SendingLaneSpec, policies: Iterable[Policy]) -> tuple[SitePolicy, ...]:
    """One entry a policy name, in order of precedence."""
    by_name: dict[str, list[Policy]] = {}
    for policy in policies:
        by_name.setdefault(policy.name, []).append(policy)
    overrides = {override.name: override for override in spec.isps}
    return tuple(
        _site(name, found, overrides.get(name) or IspOverride(name=name), spec.limits)
        for name, found in by_name.items()
    )


def unknown_isps(spec: SendingLaneSpec, policies: Iterable[Policy]) -> tuple[Refusal, ...]:
    """Entries of `isps` that lie over nothing."""
    names = {policy.name for policy in policies}
    return tuple(
        Refusal(
            Reason.POLICY_NOT_FOUND,
            f"isps names {override.name}, and no ISPPolicy of that name is for this lane: create it in the lane's "
            "namespace or the operator's, or remove the entry",
            waiting=Reason.WAITING_FOR_POLICY,
            spare=True,
        )
        for override in spec.isps
        if override.name not in names
    )


def _site(name: str, policies: list[Policy], override: IspOverride, limits: Limits) -> SitePolicy:
    specs = [policy.spec for policy in policies]
    layers: list[IspOverride | ISPPolicySpec] = [override, *specs]

    def first(field: str) -> object | None:
        return next((value for layer in layers if (value := getattr(layer, field)) is not None), None)

    given = {
        "connections": first("connections_per_ip") or limits.connections_per_ip,
        "messages_per_connection": first("messages_per_connection"),
        "connect_rate": first("connect_rate"),
        "message_rate": first("message_rate"),
        "messages_per_day": first("messages_per_day"),
        "recipients_per_message": first("recipients_per_message"),
        "retry_after": first("retry_after"),
    }
    return SitePolicy.model_validate(
        {
            "name": name,
            "mx": tuple(dict.fromkeys(mx for spec in specs for mx in spec.match.mx)),
            "domains": tuple(dict.fromkeys(domain for spec in specs for domain in spec.match.domains)),
            "backoff": _backoff(override, specs),
            "responses": _responses(specs),
            "reporters": tuple(dict.fromkeys(one for spec in specs for one in spec.reporters)),
            "origins": _origins(policies, override, limits),
            **{field: value for field, value in given.items() if value is not None},
        }
    )


def _origins(policies: list[Policy], override: IspOverride, limits: Limits) -> tuple[Origins, ...]:
    """Of each value that somebody gives, everybody who does, in order of precedence."""
    layers: list[tuple[str, IspOverride | ISPPolicySpec]] = [("isps", override)]
    layers += [(f"ISPPolicy {policy.namespace}/{policy.name}", policy.spec) for policy in policies]
    found = []
    for field, shown in _SINGLE.items():
        given = [(source, getattr(layer, field)) for source, layer in layers]
        if field == "connections_per_ip":
            is_given = "connections_per_ip" in limits.model_fields_set
            given.append(("limits" if is_given else "limits (the default)", limits.connections_per_ip))
        said = tuple(Origin(source=source, value=_shown(value)) for source, value in given if value is not None)
        if said:
            found.append(Origins(field=shown, given=said))
    whole = [(source, layer.backoff) for source, layer in layers if _says_backoff(layer)]
    if whole:  # one is in force as a whole, and what it lies over is long
        found.append(Origins(field="backoff", given=(Origin(source=whole[0][0], value=""),)))
    return tuple(found)


def _says_backoff(layer: IspOverride | ISPPolicySpec) -> bool:
    return layer.backoff is not None and "backoff" in layer.model_fields_set


def _shown(value: object) -> str:
    """As users write it: durations are the only values with a fraction."""
    return format_duration(value) if isinstance(value, float) else str(value)


def _backoff(override: IspOverride, specs: list[ISPPolicySpec]) -> Backoff:
    """The first that says anything; a policy that leaves it out has the default, which must not hide another's."""
    if override.backoff is not None:
        return override.backoff
    return next((spec.backoff for spec in specs if _says_backoff(spec)), Backoff())


def _responses(specs: list[ISPPolicySpec]) -> tuple[ResponseRule, ...]:
    rules: dict[str, ResponseRule] = {}
    for spec in specs:
        for rule in spec.responses:
            rules.setdefault(rule.id, rule)
    return tuple(rules.values())
