"""Children that other programs act on, where the lane asks for them: a Certificate, a DNSEndpoint; pure.

Left out and named where the cluster does not serve their kind; made as soon as it does.
"""

from collections.abc import Collection

from lane_api.names import DNS_ENDPOINT_KIND
from lane_operator.desired.certificate import CERTIFICATE_KIND, certificate
from lane_operator.desired.dns_endpoint import dns_endpoint
from lane_operator.desired.stamp import child
from lane_operator.inputs import Lane, Manifest, References

__all__ = ["children_of_others"]


def children_of_others(
    lane: Lane, references: References, signing: Collection[str] = ()
) -> tuple[tuple[Manifest, ...], tuple[str, ...]]:
    """The manifests, labelled, and the kinds that the cluster does not serve; `signing` as `dns_endpoint`'s."""
    made, absent = [], []
    for kind, manifest, owned in (
        (CERTIFICATE_KIND, certificate(lane), True),
        (DNS_ENDPOINT_KIND, dns_endpoint(lane, references, signing), False),
    ):
        if manifest is None:
            continue
        if kind in references.kinds:
            made.append(child(lane, manifest, owned=owned))
        else:
            absent.append(kind)
    return tuple(made), tuple(absent)
