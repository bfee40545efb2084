"""What needs a part of a pod reaches a slot with that part, all else at once."""

import base64
import copy
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import yaml

from lane_api.ippool import PoolAddress
from lane_api.names import DNS_ENDPOINT_KIND
from lane_api.packing import unpacked
from lane_api.relayconfig import RelayConfig
from lane_operator.desired import desired_state
from lane_operator.desired.reached import forwarders
from lane_operator.inputs import Assignment, Desired, Lane, Manifest, Pool, References
from tests.lane_operator import made

SLOTS = ("otp-0", "otp-1", "otp-2")
NETWORK = "NetworkAttachmentDefinition"


def signed(selector: str) -> dict[str, Any]:
    return {
        "domains": [{"name": "notify.example.com", "dkim": {"secretName": f"key-{selector}", "selector": selector}}]
    }


def routed(*secrets: str) -> dict[str, Any]:
    return {
        "routes": [
            {"domains": [f"{number}.example", "*"], "host": f"{secret}.example", "port": 587, "authSecret": secret}
            for number, secret in enumerate(secrets)
        ]
    }


class Cluster:
    """A lane's slots as they stand: what was applied last, and the pods that were made of it."""

    def __init__(self, engine: str = "Multus") -> None:
        self.engine = engine
        self.pool = made.pool(engine)
        self.template = made.TEMPLATE
        self.address: dict[str, Any] = {}
        self.live: dict[tuple[str, str], Manifest] = {}
        self.pods: dict[str, Manifest] = {}
        self.secrets_missing = False

    def references(self, lane: Lane) -> References:
        of = {
            kind: {name: one for (a, name), one in self.live.items() if a == kind} for kind in ("StatefulSet", NETWORK)
        }
        networks: dict[str, dict[str, Manifest]] = {}
        for name, one in of[NETWORK].items():
            networks.setdefault(one["metadata"]["labels"]["lanewright.dev/slot"], {})[name] = one
        found = made.references(
            lane,
            self.pool,
            multus_network=self.template,
            kinds=made.KINDS | {DNS_ENDPOINT_KIND},
            dns_endpoint=self.live.get(("DNSEndpoint", "otp")),
            workloads=of["StatefulSet"],
            pods=self.pods,
            networks=networks,
            configs={
                slot: self.live["Secret", f"{slot}-config"]
                for slot in SLOTS
                if ("Secret", f"{slot}-config") in self.live
            },
        )
        return replace(found, secrets=dict.fromkeys(found.secrets)) if self.secrets_missing else found

    def assignment(self) -> Assignment:
        claims = []
        for index in range(3):
            claim = made.claim(index, self.engine)
            if claim.address is not None and self.address:
                given = claim.address.model_dump(by_alias=True, exclude_none=True) | self.address
                claim = replace(claim, address=PoolAddress.model_validate(given))
            claims.append(claim)
        return made.assignment(*claims)

    def wanted(self, lane: Lane) -> Desired:
        return desired_state(lane, self.references(lane), self.assignment(), made.SETTINGS)

    def apply(self, lane: Lane, restarts: Iterable[str] = ()) -> Desired:
        """One pass: all is applied but the workloads of slots that do not restart now."""
        found = self.wanted(lane)
        for one in found.manifests:
            key = (one["kind"], one["metadata"]["name"])
            if key[0] != "StatefulSet" or key not in self.live or key[1] in restarts:
                self.live[key] = copy.deepcopy(one)
        return found

    def restart(self, *slots: str) -> None:
        """The workloads' controller has made these pods anew."""
        for slot in slots:
            self.pods[slot] = copy.deepcopy(self.live["StatefulSet", slot]["spec"]["template"])

    def run(self, **spec: Any) -> "Cluster":
        """A lane that runs as this spec says."""
        self.apply(lane(**spec))
        self.restart(*SLOTS)
        return self

    def config(self, slot: str) -> RelayConfig:
        text = unpacked(base64.b64decode(self.live["Secret", f"{slot}-config"]["data"]["relay.yaml.gz"]))
        return RelayConfig.model_validate(yaml.safe_load(text))


def lane(**spec: Any) -> Lane:
    return made.lane(replicas=3, **spec)


def test_a_lane_whose_pods_are_as_they_are_to_be_is_configured_as_if_it_were_new() -> None:
    spec = {**signed("a"), **routed("r"), "resolver": {"mode": "Sidecar"}}
    here = Cluster().run(**spec)
    configs = {slot: here.config(slot) for slot in SLOTS}

    here.apply(lane(**spec))

    assert {slot: here.config(slot) for slot in SLOTS} == configs


def test_a_key_of_another_selector_signs_in_each_slot_once_its_pod_has_it() -> None:
    here = Cluster().run(**signed("a"))
    new = lane(**signed("b"), suspend=True)

    here.apply(new)
    assert [here.config(slot).domains[0].selector for slot in SLOTS] == ["a", "a", "a"]
    assert {here.config(slot).delivery.state for slot in SLOTS} == {"Suspended"}

    here.apply(new, restarts=["otp-0"])
    here.apply(new)
    assert here.config("otp-0").domains[0].selector == "a", "its pod is of the template before"

    here.restart("otp-0")
    here.apply(new)
    assert [here.config(slot).domains[0].selector for slot in SLOTS] == ["b", "a", "a"]


def test_the_record_of_a_key_stays_published_until_no_slot_signs_with_it() -> None:
    def published(selector: str) -> Lane:
        (domain,) = signed(selector)["domains"]
        return lane(domains=[{**domain, "dns": {"provider": "ExternalDNS"}}])

    def records(found: Desired) -> set[str]:
        (endpoint,) = [one for one in found.manifests if one["kind"] == "DNSEndpoint"]
        return {row["dnsName"].partition(".")[0] for row in endpoint["spec"]["endpoints"]}

    here = Cluster()
    here.apply(published("a"))
    here.restart(*SLOTS)
    assert records(here.apply(published("b"), restarts=SLOTS)) == {"a", "b"}
    here.restart(*SLOTS[:2])
    assert records(here.apply(published("b"))) == {"a", "b"}
    here.restart(SLOTS[2])
    assert records(here.apply(published("b"))) == {"b"}


def test_the_next_pod_finds_what_it_needs_as_soon_as_the_one_before_ends() -> None:
    here = Cluster().run(**signed("a"))
    new = lane(**signed("b"))
    here.apply(new, restarts=["otp-0"])
    del here.pods["otp-0"]

    here.apply(new)

    assert [here.config(slot).domains[0].selector for slot in SLOTS] == ["b", "a", "a"]


def test_a_change_that_is_taken_back_ends_where_it_began() -> None:
    here = Cluster().run(**signed("a"))
    here.apply(lane(**signed("b")), restarts=["otp-0"])
    here.restart("otp-0")
    here.apply(lane(**signed("b")))

    here.apply(lane(**signed("a")), restarts=["otp-0"])
    assert [here.config(slot).domains[0].selector for slot in SLOTS] == ["b", "a", "a"]
    here.restart("otp-0")
    here.apply(lane(**signed("a")))
    assert [here.config(slot).domains[0].selector for slot in SLOTS] == ["a", "a", "a"]


def test_a_domain_that_comes_new_is_named_at_once_so_that_its_mail_waits_and_never_goes_bare() -> None:
    here = Cluster().run(**signed("a"))
    both = [*signed("a")["domains"], {"name": "new.example", "dkim": {"secretName": "key-n", "selector": "n"}}]

    here.apply(lane(domains=both))

    assert [(one.name, one.selector) for one in here.config("otp-1").domains] == [
        ("notify.example.com", "a"),
        ("new.example", "n"),
    ]


@pytest.mark.parametrize(("before", "after"), [("Off", "Off"), ("Sign", "Off")])
def test_signing_is_switched_off_at_once(before: str, after: str) -> None:
    here = Cluster().run(domains=[{"name": "notify.example.com", "dkim": {"mode": before}}])
    here.apply(lane(domains=[{"name": "notify.example.com", "dkim": {"mode": after}}]))
    assert here.config("otp-0").domains[0].mode == after


def test_signing_is_switched_on_with_the_key() -> None:
    here = Cluster().run(domains=[{"name": "notify.example.com", "dkim": {"mode": "Off"}}])
    new = lane(domains=[{"name": "notify.example.com"}])

    here.apply(new, restarts=["otp-0"])
    assert here.config("otp-0").domains[0].mode == "Off"
    here.restart("otp-0")
    here.apply(new)
    assert [here.config(slot).domains[0].mode for slot in SLOTS] == ["Sign", "Off", "Off"]


def test_a_sidecar_is_asked_once_it_is_there_and_its_word_believed_no_sooner() -> None:
    here = Cluster().run(resolver={"mode": "Addresses", "addresses": ["192.0.2.53:5300"]})
    new = lane(resolver={"mode": "Sidecar"})

    found = here.apply(new, restarts=["otp-0"])

    assert {here.config(slot).delivery.resolvers for slot in SLOTS} == {("192.0.2.53:5300",)}
    assert not any(here.config(slot).delivery.trust_ad for slot in SLOTS)
    policy = next(one for one in found.manifests if one["kind"] == "NetworkPolicy")
    assert "5300" in json.dumps(policy), "slots ask it until their turn"
    here.restart("otp-0")
    here.apply(new)
    assert here.config("otp-0").delivery.resolvers == ("127.0.0.1:5353",)
    assert here.config("otp-0").delivery.trust_ad
    assert here.config("otp-1").delivery.resolvers == ("192.0.2.53:5300",)


def test_a_sidecar_that_goes_is_asked_no_more_before_it_does() -> None:
    here = Cluster().run(resolver={"mode": "Sidecar"})
    here.apply(lane(resolver={"mode": "Cluster"}))
    assert {here.config(slot).delivery.resolvers for slot in SLOTS} == {()}


def test_a_forwarder_s_word_is_believed_by_slots_whose_sidecar_validates_it() -> None:
    here = Cluster().run(resolver={"mode": "Sidecar", "forwardTo": ["192.0.2.53"]})
    new = lane(resolver={"mode": "Sidecar", "forwardTo": ["192.0.2.53"], "trustAD": True})

    here.apply(new, restarts=["otp-2"])
    assert not any(here.config(slot).delivery.trust_ad for slot in SLOTS)
    here.restart("otp-2")
    here.apply(new)
    assert [here.config(slot).delivery.trust_ad for slot in SLOTS] == [False, False, True]


def opened(found: Desired) -> str:
    """The lane's NetworkPolicy, as text."""
    return json.dumps(next(one for one in found.manifests if one["kind"] == "NetworkPolicy"))


def test_whom_a_sidecar_asks_stays_open_to_it_until_it_asks_another() -> None:
    here = Cluster().run(resolver={"mode": "Sidecar", "forwardTo": ["192.0.2.53:5300", "[2001:db8::53]:5302"]})
    new = lane(resolver={"mode": "Sidecar", "forwardTo": ["192.0.2.54:5301"]})

    here.apply(new)
    found = here.apply(new, restarts=SLOTS[:2])

    data = here.live["Secret", "otp-0-config"]["data"]
    assert b"192.0.2.54@5301" in base64.b64decode(data["unbound.conf"]), "the next one may begin at any time"
    for asked in ("192.0.2.53/32", "5300", "2001:db8::53/128", "5302", "192.0.2.54/32", "5301"):
        assert f"{asked}" in opened(found)
    here.restart(*SLOTS)
    here.live["StatefulSet", "otp-2"]["spec"]["template"] = here.pods["otp-2"] = copy.deepcopy(here.pods["otp-1"])
    found = here.apply(new)
    assert "5300" not in opened(found)
    assert set(here.live["Secret", "otp-0-config"]["data"]) == {"relay.yaml.gz", "unbound.conf"}


def test_a_sidecar_that_goes_may_ask_until_it_does() -> None:
    here = Cluster().run(resolver={"mode": "Sidecar", "forwardTo": ["192.0.2.53:5300"]})
    assert "5300" in opened(here.apply(lane(resolver={"mode": "Cluster"})))
    assert "5300" in opened(here.apply(lane(resolver={"mode": "Cluster"}))), "from then on, too"


@pytest.mark.parametrize("written", ["1.2.3@5300", "::1::@5300", "192.0.2.53@99999", "192.0.2.53@0x10"])
def test_what_a_hand_writes_into_a_sidecars_configuration_opens_nothing(written: str) -> None:
    assert not list(forwarders(f"    forward-addr: {written}\n"))


def test_routes_go_another_way_with_the_password_for_it_and_at_once_without() -> None:
    here = Cluster().run(**routed("x", "y"))
    plain = {"domains": ["plain.example"], "host": "plain.example"}
    new = lane(routes=[plain, *routed("x", "z")["routes"]])

    here.apply(new, restarts=["otp-1"])

    found = [(one.host, one.domains, one.auth_dir) for one in here.config("otp-0").delivery.routes]
    assert found == [
        ("plain.example", ("plain.example",), None),
        ("x.example", ("0.example", "*"), "/etc/lanewright/routes/x"),
        ("y.example", ("1.example",), "/etc/lanewright/routes/y"),
    ]
    here.restart("otp-1")
    here.apply(new)
    assert [one.host for one in here.config("otp-1").delivery.routes] == ["plain.example", "x.example", "z.example"]
    assert [one.host for one in here.config("otp-2").delivery.routes] == ["plain.example", "x.example", "y.example"]


def audited(bucket: str, secret: str, url: str, key: str | None) -> Lane:
    s3 = {"bucket": bucket, "secretName": secret, "region": "eu-central-1"}
    return lane(audit={"archive": {"s3": s3}, "webhook": {"url": url} | ({"secretName": key} if key else {})})


def sinks(here: Cluster, slot: str) -> tuple[str, str]:
    """The bucket and the webhook of its records."""
    records = here.config(slot).records
    assert records.archive is not None
    assert records.archive.s3 is not None
    assert records.webhook is not None
    return records.archive.s3.bucket, records.webhook.url


def test_records_go_elsewhere_with_what_that_asks_for() -> None:
    here = Cluster()
    here.apply(audited("old", "s-old", "https://old.example", None))
    here.restart(*SLOTS)

    here.apply(audited("new", "s-old", "https://new.example", None))
    assert sinks(here, "otp-0") == ("new", "https://new.example"), "needs nothing new"

    newest = audited("newest", "s-new", "https://newest.example", "k")
    here.apply(newest, restarts=["otp-0"])
    assert sinks(here, "otp-0") == ("new", "https://new.example")

    here.restart("otp-0")
    here.apply(newest)
    assert sinks(here, "otp-0") == ("newest", "https://newest.example")
    assert sinks(here, "otp-1") == ("new", "https://new.example")


def socks(secret: str | None, port: int) -> Pool:
    proxy = {"address": "192.0.2.80", "port": port} | ({"secretName": secret} if secret else {})
    rows = [made.address(index, "Socks5").model_dump(by_alias=True, exclude_none=True) for index in range(3)]
    return made.pool("Socks5", addresses=[row | {"proxy": proxy} for row in rows])


def test_a_proxy_that_asks_for_a_password_is_used_once_the_pod_has_it() -> None:
    here = Cluster("Socks5")
    here.pool, here.address = socks(None, 1080), {"proxy": {"address": "192.0.2.80", "port": 1080}}
    here.run()
    here.pool, here.address = socks("s", 1081), {"proxy": {"address": "192.0.2.80", "port": 1081, "secretName": "s"}}

    here.apply(lane(), restarts=["otp-0"])

    proxies = [here.config(slot).egress.proxy for slot in SLOTS]
    assert [(one.port, one.auth_dir) for one in proxies if one] == [(1080, None)] * 3
    here.restart("otp-0")
    here.apply(lane())
    proxies = [here.config(slot).egress.proxy for slot in SLOTS]
    assert [one.port for one in proxies if one] == [1081, 1080, 1080]


def test_while_a_secret_is_missing_the_slots_stay_with_what_they_have() -> None:
    here = Cluster().run(**signed("a"))
    here.secrets_missing = True

    found = here.apply(lane(**signed("b"), suspend=True))

    assert not [one for one in found.manifests if one["kind"] == "StatefulSet"]
    assert {here.config(slot).domains[0].selector for slot in SLOTS} == {"a"}
    assert {here.config(slot).delivery.state for slot in SLOTS} == {"Suspended"}


def test_a_slot_whose_pool_is_gone_stays_with_what_it_has() -> None:
    here = Cluster().run(**signed("a"), resolver={"mode": "Cluster"})
    new = lane(**signed("b"), suspend=True, resolver={"mode": "Sidecar"})
    claims = tuple(replace(one, found=True) for one in here.assignment().claims)

    found = desired_state(new, replace(here.references(new), pool=None), Assignment(claims), made.SETTINGS)

    secret = next(one for one in found.manifests if one["metadata"]["name"] == "otp-1-config")
    here.live["Secret", "otp-1-config"] = secret
    assert here.config("otp-1").domains[0].selector == "a"
    assert here.config("otp-1").delivery.resolvers == ()
    assert here.config("otp-1").delivery.state == "Suspended"


@pytest.mark.parametrize("data", [{}, {"relay.yaml.gz": "eA=="}])
def test_where_the_configuration_that_stands_cannot_be_read_it_is_as_it_is_to_be(data: dict[str, str]) -> None:
    here = Cluster().run(**signed("a"))
    here.live["Secret", "otp-0-config"]["data"] = data

    here.apply(lane(**signed("b")))

    assert [here.config(slot).domains[0].selector for slot in SLOTS] == ["b", "a", "a"]


def test_a_slot_that_comes_new_is_configured_for_the_pod_that_it_gets() -> None:
    here = Cluster().run(**signed("a"))
    for key in [key for key in here.live if key[1].startswith("otp-2")]:
        del here.live[key]
    del here.pods["otp-2"]

    here.apply(lane(**signed("b")))

    assert [here.config(slot).domains[0].selector for slot in SLOTS] == ["a", "a", "b"]


def test_a_pod_that_others_have_mounted_something_into_is_as_it_was_made() -> None:
    here = Cluster().run(**signed("a"))
    spec = here.pods["otp-0"]["spec"]
    spec["volumes"].append({"name": "theirs", "secret": {"secretName": "theirs"}})
    spec["containers"][0]["volumeMounts"].append({"name": "theirs", "mountPath": "/theirs"})
    spec["containers"][0]["volumeMounts"].append({"name": "gone", "mountPath": "/gone"})

    here.apply(lane(**signed("a"), suspend=True))

    assert here.config("otp-0").domains[0].selector == "a"
    assert here.config("otp-0").delivery.state == "Suspended"
