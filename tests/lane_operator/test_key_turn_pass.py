"""Keys are turned by whole passes of operators that come and go: receivers find in DNS what slots sign with."""

import datetime as dt
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from lane_api.names import DNS_ENDPOINT_KIND, DRAIN_FINALIZER
from lane_api.selector import SelectorFinding
from lane_operator.errors import KubeError
from lane_operator.inputs import Key, SlotObservation
from lane_operator.kube import Kube
from lane_operator.observe import Observer
from lane_operator.reconcile import World, reconcile_lane
from lane_operator.seen import NextKeySeen
from tests.lane_operator.made import KINDS, NOW, lane, pool, seen
from tests.lane_operator.small_api import SmallApi, small_api
from tests.lane_operator.test_broken_objects import world
from tests.lane_operator.test_lane_pass import LANE, LANES, POOLS, config

DOMAIN = "notify.example.com"
SECRET = f"/api/v1/namespaces/mail/secrets/otp-dkim-{DOMAIN}"
CONFIG = "/api/v1/namespaces/mail/secrets/otp-0-config"
ENDPOINT = "/apis/externaldns.k8s.io/v1alpha1/namespaces/mail/dnsendpoints/otp"
DKIM = {"rotateEvery": "240h", "propagation": "48h", "retire": "72h"}
DAYS = 30


class Slot(Observer):
    """Visits none: what a slot with this configuration would say, where DNS has these records."""

    def __init__(self, api: SmallApi, dns: set[str]) -> None:
        super().__init__(lambda _: None)
        self._api, self._dns = api, dns

    def seen(self, lane: Key, slot: str) -> SlotObservation | None:
        """As it stands now."""
        if CONFIG not in self._api.objects:
            return None
        (domain,) = config(self._api)["domains"]
        following = domain["next"]
        found: dict[str, Any] = {
            "domains_published": {DOMAIN: domain["selector"] in self._dns},
            "domains_selectors": {DOMAIN: domain["selector"]},
        }
        if following is not None:
            is_there = following["selector"] in self._dns
            finding = SelectorFinding.PUBLISHED if is_there else SelectorFinding.ABSENT
            found["domains_next"] = {DOMAIN: NextKeySeen(following["selector"], is_there, finding)}
        return seen(0, process="p1/0", **found)


def operator(kube: Kube, api: SmallApi, dns: set[str], day: int) -> World:
    """One that has just started: it has listed what is there, and remembers nothing."""
    here = world(kube, hours=24 * day)
    here.served, here.kinds, here.observer = frozenset({"mail"}), KINDS | {DNS_ENDPOINT_KIND}, Slot(api, dns)
    here.settings = replace(here.settings, served_namespaces=("mail",))
    for body in api.objects.values():
        if "kind" in body:
            here.cache.put(body["kind"], body)
    pod = {"namespace": "mail", "name": "otp-0-0", "uid": "p1", "resourceVersion": "50"}
    pod["labels"] = {"lanewright.dev/lane": "otp", "lanewright.dev/slot": "otp-0"}  # type: ignore[assignment]
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    here.cache.put("Pod", {"kind": "Pod", "metadata": pod, "spec": {"containers": []}, "status": ready})
    return here


def begin(api: SmallApi) -> None:
    """The lane and its pool."""
    domains = [{"name": DOMAIN, "dkim": DKIM, "dns": {"provider": "ExternalDNS"}}]
    of = lane(poolRef={"name": "shared"}, replicas=1, domains=domains).spec
    for kind, path, spec, name in (
        ("SendingLane", LANES, of, "otp"),
        ("IPPool", POOLS, pool("ClusterDefault").spec, "shared"),
    ):
        metadata = {"namespace": "mail", "name": name, "generation": 3, "uid": f"turned-{kind}"}
        given = spec.model_dump(mode="json", by_alias=True, exclude_none=True)
        body = {"apiVersion": "lanewright.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": given}
        if kind == "SendingLane":
            metadata["finalizers"] = [DRAIN_FINALIZER]
        api.put(path, body)


def endpoint(api: SmallApi) -> set[str]:
    """Selectors in the DNSEndpoint."""
    rows = api.objects[ENDPOINT]["spec"]["endpoints"]
    return {row["dnsName"].partition("._domainkey.")[0] for row in rows}


@pytest.mark.parametrize(
    "lost", ["", SECRET, CONFIG, ENDPOINT, LANES, f"{LANES}/status"], ids=lambda it: it[-24:] or "-"
)
async def test_whichever_write_is_lost_a_slot_signs_with_what_dns_has_and_the_key_before_stays_long_enough(
    lost: str,
) -> None:
    async with small_api() as (api, kube):
        begin(api)
        dns: set[str] = set()
        signed: dict[str, int] = {}
        """Selector -> the last day on which it signed."""
        for day in range(DAYS):
            if lost:  # this operator dies at that write; the next one has not heard of it
                api.fails["PATCH", lost] = (503, {"message": "gone"})
                with suppress(KubeError):
                    await reconcile_lane(operator(kube, api, dns, day), LANE)
                api.fails.clear()
            await reconcile_lane(operator(kube, api, dns, day), LANE)
            api.objects[SECRET]["metadata"].setdefault("creationTimestamp", f"{NOW:%Y-%m-%dT%H:%M:%SZ}")

            selector = config(api)["domains"][0]["selector"]
            if day:
                assert selector in dns, "no key signs that DNS does not answer"
            signed[selector] = day
            for one, last in signed.items():
                assert one in endpoint(api) or day - last >= 3, "the record of a key before stays for its time"
            dns.clear()
            dns |= endpoint(api)  # external-dns comes round once a day

        assert len(signed) == 3, signed
        turned = sorted(signed.values())[:-1]
        assert turned[1] - turned[0] >= 12, "each key signs as long as asked, and until the next one is known"


async def test_a_lane_is_looked_at_when_the_time_of_a_phase_is_over() -> None:
    async with small_api() as (api, kube):
        begin(api)
        await reconcile_lane(operator(kube, api, set(), 0), LANE)
        api.objects[SECRET]["metadata"]["creationTimestamp"] = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"
        dns = endpoint(api)
        await reconcile_lane(operator(kube, api, dns, 9), LANE)
        again = await reconcile_lane(operator(kube, api, dns, 9), LANE)
        assert again is not None
        assert again <= dt.timedelta(days=1).total_seconds()
