"""Which kinds the operator leaves alone, since the chart's values give it no rights to them."""

from lane_operator.handlers import watched_kinds, withheld_kinds
from lane_operator.kube import SECRET
from lane_operator.settings import Settings


def test_each_value_of_the_chart_withholds_its_kinds_and_none_of_those_is_watched() -> None:
    none = Settings(
        "r", "u", engines=("ClusterDefault",), monitoring=False, certificates=False, dns_endpoints=False, nodes=False,
        volumes=False,
    )  # fmt: skip

    assert {name.partition(".")[0] for name in withheld_kinds(none)} == {
        "NetworkAttachmentDefinition", "CiliumEgressGatewayPolicy", "CiliumNetworkPolicy", "PodMonitor",
        "PrometheusRule", "Certificate", "DNSEndpoint", "Node", "PersistentVolume",
    }  # fmt: skip
    assert not {kind.qualified for kind in watched_kinds(none)} & withheld_kinds(none)


def test_what_is_given_is_watched_but_secrets_which_have_streams_of_their_own() -> None:
    every = Settings("r", "u", engines=("HostNetwork", "Multus", "Cilium"))

    assert withheld_kinds(every) == frozenset()
    assert SECRET not in watched_kinds(every)
