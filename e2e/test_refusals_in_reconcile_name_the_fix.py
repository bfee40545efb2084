"""What only reconcile can refuse is a condition of the one object that asks for it, with a message that names the fix.

Every bad lane, pool and policy stands in one namespace at one time, beside a lane that is sound; then each is mended
by what its message says. Neither the operator nor the sound lane may notice.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from e2e.cluster import Cluster
from e2e.eventually import eventually
from e2e.installation import (
    LIVE_DOMAIN,
    Installation,
    Manifest,
    Stock,
    installed,
    lane,
    network,
    pool,
    reflector_secret,
)
from e2e.internet.internet import Internet
from e2e.outbound import isp_policy

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

SOUND = "news@sound.example.com"
ENGINELESS, ONLY, ANOTHER, COLD = (f"203.0.113.{last}" for last in (190, 191, 192, 193))
RATE = "421 4.7.28 unusual rate of mail"
MESSAGES = 12  # so many would share connections if nothing forbade it


@dataclass(frozen=True)
class Refused:
    """A lane that is refused: in which words, and what mends it."""

    lane: str
    condition: str
    reason: str
    says: tuple[str, ...]
    """The object that is wrong, and the fix."""
    objects: tuple[Manifest, ...]
    mended: tuple[Manifest, ...]
    anew: bool = False
    """The lane is deleted and made again: what is wrong cannot change."""


@pytest.fixture
def elsewhere(cluster: Cluster, internet: Internet, stock: Stock) -> Iterator[str]:
    """Another namespace, for a pool of a platform team's; it goes after the lanes that draw from it."""
    with installed(cluster, internet, stock.take()) as there:
        yield there.namespace


def _closed(space: str, elsewhere: str) -> Refused:
    return Refused(
        "outsider",
        "Stalled",
        "PoolClosed",
        (f"IPPool {elsewhere}/closed is closed to namespace {space}", "add it to the pool's allowedNamespaces.names"),
        (pool("closed", elsewhere), lane("outsider", space, poolRef={"name": "closed", "namespace": elsewhere})),
        (pool("closed", elsewhere, allowedNamespaces={"names": [space]}),),
    )


def _mismatched(space: str) -> Refused:
    return Refused(
        "mismatched",
        "Stalled",
        "ClassMismatch",
        (f"IPPool {space}/trans is for Transactional and this lane is Bulk", "name a pool of the lane's class"),
        (pool("trans", space, classes=["Transactional"]), lane("mismatched", space, pool="trans")),
        (lane("mismatched", space),),
        anew=True,
    )


def _exhausted(space: str) -> Refused:
    return Refused(
        "wide",
        "Stalled",
        "PoolExhausted",
        (f"IPPool {space}/small has 1 addresses: 1 assigned", "1 of 2 slots have none", "add addresses to the pool"),
        (pool("small", space, ONLY), lane("wide", space, pool="small", replicas=2)),
        (pool("small", space, ONLY, ANOTHER),),
    )


def _engineless(space: str) -> Refused:
    template = network(space)
    template["metadata"]["name"] = "later"
    unheard = pool("later", space, ENGINELESS)
    unheard["spec"]["engineConfig"]["network"] = f"{space}/later"
    return Refused(
        "engineless",
        "Reconciling",
        "WaitingForEngine",
        (f"NetworkAttachmentDefinition {space}/later does not exist", "create it, or correct engineConfig.network"),
        (unheard, lane("engineless", space, pool="later")),
        (template,),
    )


def _keyless(space: str) -> Refused:
    domain = {"name": "keyless.example.com", "dkim": {"secretName": "given", "selector": "s1"}}
    return Refused(
        "keyless",
        "Stalled",
        "SecretKeyMissing",
        (
            f"Secret given in namespace {space} (domains[keyless.example.com].dkim.secretName)",
            "has neither private.key nor tls.key: add one",
        ),
        (_secret(space, {"key": "at another entry"}), lane("keyless", space, domains=[domain])),
        (_secret(space, {"private.key": _private_key()}),),
    )


def _cold(space: str) -> Refused:
    apart = "cold.example.net"  # another organization than that of every other lane here
    own = lane("cold", space, pool="cold", trafficClass="Cold", domains=[{"name": apart}])
    own["spec"]["submission"]["senders"] = [f"@{apart}"]
    taken = "offers.sound.example.com"
    sharing = lane("cold", space, pool="cold", trafficClass="Cold", domains=[{"name": taken}])
    sharing["spec"]["submission"]["senders"] = [f"@{taken}"]
    return Refused(
        "cold",
        "Stalled",
        "DomainShared",
        (
            "Cold mail from offers.sound.example.com",
            f"would spoil the reputation of lane {space}/",  # one of those here, which are all of one organization
            "since ISPs judge all of example.com together",
            "give it a domain of its own",
        ),
        (pool("cold", space, COLD, classes=["Cold"]), sharing),
        (own,),
    )


def _secret(space: str, entries: dict[str, str]) -> Manifest:
    metadata = {"name": "given", "namespace": space}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": entries}


def _private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem.decode()


def _policy(space: str, *, dead: bool) -> Manifest:
    """One good rule, one that it shadows, one that misses its example; or all of them good."""
    patterns = {"rate": "^421", "shadowed": "rate of mail" if dead else "^450", "misses": "^550" if dead else "^451"}
    examples = {"rate": RATE, "shadowed": RATE if dead else "450 4.2.1 later", "misses": "451 4.7.1 try again"}
    rules = [
        {"id": name, "pattern": pattern, "category": "rate-limited", "action": "Retry", "examples": [examples[name]]}
        for name, pattern in patterns.items()
    ]
    return isp_policy("ruled", space, [f"*.{LIVE_DOMAIN}"], messagesPerConnection=1, responses=rules)


@pytest.mark.long("tests/lane_operator/desired/test_desired_state.py")
def test_each_refusal_is_one_lanes_condition_and_goes_once_its_message_is_followed(
    elsewhere: str, installation: Installation
) -> None:
    here, space = installation, installation.namespace
    here.apply(network(space), reflector_secret(here.internet, space), pool("pool", space), lane("sound", space))
    here.wait_ready("sound")
    before, ready = here.operator_restarts(), here.condition("sound", "Ready")
    cases = (
        _closed(space, elsewhere),
        _mismatched(space),
        _exhausted(space),
        _engineless(space),
        _keyless(space),
        _cold(space),
    )

    here.apply(*(one for case in cases for one in case.objects))
    for case in cases:
        message = _said(here, case)
        assert [part for part in case.says if part not in message] == [], message
    assert not here.condition("sound", "Stalled")
    assert not here.condition("sound", "Reconciling")

    for case in cases:
        if case.anew:
            here.cluster.kubectl("delete", "sendinglane", case.lane, "-n", space, "--timeout=60s")
    here.apply(*(one for case in cases for one in case.mended))
    here.wait_ready(*(case.lane for case in cases))

    left = [case.lane for case in cases if here.condition(case.lane, "Stalled")]
    assert left == []
    assert here.condition("sound", "Ready") == ready, here.told("sound")
    assert here.operator_restarts() == before


def _said(here: Installation, case: Refused) -> str:
    """The message of the condition, once it has the reason."""

    def look() -> str:
        found = here.condition(case.lane, case.condition)
        assert found.get("reason") == case.reason, found
        return str(found["message"])

    return eventually(look, f"{case.condition} of {case.lane} is {case.reason}")


def test_a_dead_rule_is_its_policys_condition_and_the_rest_of_the_policy_works(installation: Installation) -> None:
    here, space = installation, installation.namespace
    here.apply(pool("pool", space), lane("sound", space), _policy(space, dead=True))
    here.wait_ready("sound")
    before, ready = here.operator_restarts(), here.condition("sound", "Ready")
    already = len(here.received(SOUND))

    message = str(eventually(lambda: _verdict(here, "False", "DeadRule"), "the policy says that it has dead rules"))
    assert "rule shadowed: shadowed, since the earlier rule rate matches its example" in message
    assert "rule misses: the pattern misses its own example" in message
    assert "correct or remove the rule" in message
    here.send("sound-0-0", SOUND, f"user@{LIVE_DOMAIN}", MESSAGES)
    eventually(lambda: len(here.received(SOUND)) == already + MESSAGES, "the lane sends")
    connections = {one.connection for one in here.received(SOUND)[already:]}
    assert len(connections) == MESSAGES, "the policy's messagesPerConnection: 1 is kept"

    here.apply(_policy(space, dead=False))
    assert "no other policy" in eventually(lambda: _verdict(here, "True", "Accepted"), "the policy is valid")
    stalled = {one["type"] for one in here.get("isppolicy", "ruled")["status"]["conditions"]} & {"Stalled"}
    assert not stalled
    assert here.condition("sound", "Ready") == ready, here.told("sound")
    assert here.operator_restarts() == before


def _verdict(here: Installation, status: str, reason: str) -> str:
    """The message of the policy's Valid, once it has this status and reason."""
    conditions = here.get("isppolicy", "ruled").get("status", {}).get("conditions", ())
    found = {one["type"]: one for one in conditions}["Valid"]
    assert (found["status"], found["reason"]) == (status, reason), found
    return str(found["message"])
