"""A lane's certificate where another program issues it: cert-manager's Certificate, and what is said until it is there.

Pure. The Secret is cert-manager's own: it makes it, renews it and leaves it behind when the Certificate goes.
"""

from lane_api.conditions import Reason
from lane_operator.inputs import Lane, Manifest, References, Refusal

__all__ = ["CERTIFICATE_KIND", "certificate", "not_issued"]

CERTIFICATE_KIND = "Certificate.cert-manager.io"


def certificate(lane: Lane) -> Manifest | None:
    """The Certificate; None where no issuer is named."""
    asked = lane.spec.submission.tls
    if asked.issuer_ref is None:
        return None
    return {
        "apiVersion": "cert-manager.io/v1",
        "kind": "Certificate",
        "metadata": {"name": lane.name},
        "spec": {
            "secretName": lane.tls_secret,
            "dnsNames": list(asked.dns_names or _names(lane)),
            # a new key with each renewal; P-256 is what every mail client of the last ten years takes
            "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            "usages": ["digital signature", "server auth"],
            "issuerRef": asked.issuer_ref.model_dump(mode="json"),
        },
    }


def not_issued(lane: Lane, references: References) -> Refusal:
    """Why the Secret is not there yet, in the words of who is to make it."""
    said = _issuing(lane, references)
    message = f"Secret {lane.tls_secret} in namespace {lane.namespace} is not there yet, and slots wait for it: {said}"
    return Refusal(Reason.CERTIFICATE_NOT_ISSUED, message, waiting=Reason.WAITING_FOR_CERTIFICATE)


def _issuing(lane: Lane, references: References) -> str:
    """How far the Certificate has come."""
    if CERTIFICATE_KIND not in references.kinds:
        return (
            f"the cluster does not serve {CERTIFICATE_KIND}: install cert-manager, or set submission.tls.secretName in "
            "place of issuerRef"
        )
    live = references.certificate
    conditions = ((live or {}).get("status") or {}).get("conditions") or ()
    words = [f"{one['type']}={one['status']} {one.get('message', '')}".strip() for one in conditions]
    told = "; ".join(words) or "cert-manager has not said anything of it"
    return f"Certificate {lane.name} says {told}" if live is not None else f"Certificate {lane.name} is being made"


def _names(lane: Lane) -> tuple[str, ...]:
    """What clients in the cluster call the Service; the domain is the one that clusters have unless told otherwise."""
    service = f"{lane.name}.{lane.namespace}"
    return (f"{service}.svc", f"{service}.svc.cluster.local", service)
