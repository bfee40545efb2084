"""Which Secrets a lane's pods mount, and what is said while one is missing; names only, never content."""

from collections.abc import Iterator
from dataclasses import dataclass

from lane_api.conditions import Reason
from lane_api.ippool import Engine
from lane_operator.desired.certificate import not_issued
from lane_operator.desired.routes import route_secrets
from lane_operator.inputs import Lane, Pool, References, Refusal

__all__ = [
    "BOUNCE_KEY",
    "NAMESPACE_KEY",
    "audit_secret",
    "feedback_secret",
    "missing_secrets",
    "proof_secret",
    "proxy_secret",
    "secret_needs",
    "users_secret",
]


BOUNCE_KEY = "webhook.key"
"""Signs bounces that are posted to a webhook; their receiver checks with it."""
NAMESPACE_KEY = "namespace.key"
"""The key of suppressions that lanes of one namespace share, in each lane's own Secret."""


@dataclass(frozen=True, slots=True)
class _Need:
    """One Secret in the lane's namespace, and the entries without which it is of no use."""

    name: str
    path: str
    """The field of the spec that names it."""
    keys: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    copied_from: str = ""
    """The Secret that a person makes, and who names it, where this one is the operator's copy of it."""


def secret_needs(lane: Lane, pool: Pool | None) -> tuple[str, ...]:
    """Names of the Secrets that the lane's pods mount, ours and users', each once."""
    return tuple(dict.fromkeys(need.name for need in _needs(lane, pool)))


def users_secret(lane: Lane) -> str:
    """The Secret with one entry a user."""
    return lane.spec.submission.auth.secret_name or f"{lane.name}-users"


def audit_secret(lane: Lane) -> str:
    """The Secret with the keys of the lane's records; it outlives the lane, as what they signed does."""
    return f"{lane.name}-audit"


def feedback_secret(lane: Lane) -> str:
    """The Secret of the keys of return paths and suppressions; it outlives the lane, as the list does."""
    return f"{lane.name}-feedback"


def proof_secret(lane: Lane, pool: Pool | None) -> str | None:
    """The lane's copy of the key that the pool shares with its reflectors; None where there is nothing to prove."""
    if pool is None or pool.spec.engine is Engine.CLUSTER_DEFAULT:
        return None
    return f"{lane.name}-proof"


def proxy_secret(lane: Lane, pool: Pool | None) -> str | None:
    """The lane's copy of what its pool's proxies ask for, entries by slot; None where no proxy asks for anything."""
    return f"{lane.name}-proxy" if pool is not None and _proxies_secrets(pool) else None


def _proxies_secrets(pool: Pool) -> list[str]:
    """What proxies ask for, also those of addresses that the spec lists no more and a slot still holds."""
    listed, held = pool.spec.addresses, pool.status.addresses
    seconds = (one.second.proxy for one in listed if one.second is not None)
    proxies = [*(one.proxy for one in listed), *seconds, *(one.proxy for one in held)]
    return sorted({one.secret_name for one in proxies if one is not None and one.secret_name})


def missing_secrets(lane: Lane, references: References) -> tuple[Refusal, ...]:
    """What is absent may still come; a Secret without its entry needs a person."""
    needs = (
        need for need in _needs(lane, references.pool) if need.name in references.secrets
    )  # the rest is not asked for
    found = (_missing(need, lane, references) for need in needs)
    return (*(refusal for refusal in found if refusal is not None), *_unusable_keys(lane, references))


def _unusable_keys(lane: Lane, references: References) -> Iterator[Refusal]:
    """Given keys that are there, and from which no record could be made."""
    for domain in lane.spec.domains:
        facts = references.secrets.get(domain.dkim.secret_name or "")
        if domain.dkim.mode == "Off" or facts is None or domain.name in references.dkim:
            continue
        if facts.keys & {"private.key", "tls.key"}:
            message = (
                f"Secret {facts.name} holds no RSA private key in PEM without a password, so mail of {domain.name} "
                "waits unsigned: replace the key"
            )
            yield _keyless(message)


def _missing(need: _Need, lane: Lane, references: References) -> Refusal | None:
    facts = references.secrets.get(need.name)
    where = f"Secret {need.name} in namespace {lane.namespace} ({need.path})"
    if facts is None and lane.spec.submission.tls.issuer_ref is not None and need.name == lane.tls_secret:
        return not_issued(lane, references)
    if facts is None and need.copied_from:
        entries = ", ".join(need.keys) or "username, password"
        message = (
            f"{need.copied_from} does not exist or has no entry {entries}: create it; "
            f"its copy {need.name} beside the lane is the operator's to make"
        )
        return Refusal(Reason.SECRET_NOT_FOUND, message, waiting=Reason.WAITING_FOR_SECRET)
    if facts is None:
        return Refusal(Reason.SECRET_NOT_FOUND, f"{where} does not exist: create it", waiting=Reason.WAITING_FOR_SECRET)
    absent = [key for key in need.keys if key not in facts.keys]
    if absent:
        return _keyless(f"{where} has no entry {', '.join(absent)}: add it")
    if need.any_of and not facts.keys & set(need.any_of):
        return _keyless(f"{where} has neither {' nor '.join(need.any_of)}: add one")
    return None


def _keyless(message: str) -> Refusal:
    return Refusal(Reason.SECRET_KEY_MISSING, message, waiting=Reason.SECRET_KEY_MISSING)


def _needs(lane: Lane, pool: Pool | None) -> Iterator[_Need]:
    spec = lane.spec
    yield _Need(users_secret(lane), "submission.auth.secretName")
    if certificate := lane.tls_secret:
        path = "submission.tls.secretName" if spec.submission.tls.secret_name else "submission.tls.issuerRef"
        yield _Need(certificate, path, ("tls.crt", "tls.key"))
    for domain in spec.domains:
        if domain.dkim.mode == "Sign" and domain.dkim.secret_name:
            path = f"domains[{domain.name}].dkim.secretName"
            yield _Need(domain.dkim.secret_name, path, any_of=("private.key", "tls.key"))
    for name, field in route_secrets(lane):
        yield _Need(name, field, ("username", "password"))
    yield _Need(audit_secret(lane), "the keys of the lane's records, which the operator makes")
    if spec.feedback is not None:
        yield _Need(feedback_secret(lane), "the keys of the lane's feedback, which the operator makes")
    archive, webhook = spec.audit.archive, spec.audit.webhook
    if archive is not None and archive.s3 is not None:
        yield _Need(archive.s3.secret_name, "audit.archive.s3.secretName", ("access_key_id", "secret_access_key"))
    if webhook is not None and webhook.secret_name:
        yield _Need(webhook.secret_name, "audit.webhook.secretName", any_of=("key", "authorization"))
    proof = proof_secret(lane, pool)
    if proof is not None and pool is not None:
        field = f"IPPool {pool.name}, verification.secretName"
        source = f"Secret {pool.spec.verification.secret_name} in namespace {pool.namespace} ({field})"
        yield _Need(proof, field, ("key",), copied_from=source)
    proxy = proxy_secret(lane, pool)
    if proxy is not None and pool is not None:
        field = f"IPPool {pool.name}, addresses[].proxy.secretName"
        source = f"Secret {' or '.join(_proxies_secrets(pool))} in namespace {pool.namespace} ({field})"
        yield _Need(proxy, field, copied_from=source)
