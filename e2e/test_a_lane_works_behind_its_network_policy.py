"""A lane whose NetworkPolicy is in force does all that it does without: nothing that it needs is refused, others are.

The policy is put into force by `fence`, in the pods' own network namespaces, since the tests' network enforces none.
Engine ClusterDefault, where mail too leaves by the interface that a policy holds for.
"""

import asyncio
import json

import pytest

from e2e.eventually import eventually
from e2e.fence import Fence
from e2e.installation import DEAD_DOMAIN, LIVE_DOMAIN, Installation, lane, pool

pytestmark = pytest.mark.cluster

LANE = "behind"
SENDER = f"news@{LANE}.example.com"
CLIENTS = {"cidrs": ["198.18.0.0/15"], "namespaces": {"matchLabels": {"mail": "yes"}}}  # the tests' pods
SUBMISSION, ADMIN = 5587, 9591
NOBODY_LISTENS = 7001
_DIAL = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), 3).close()
except OSError as error:
    print(type(error).__name__)
"""


def _reaches(here: Installation, address: str, port: int) -> bool:
    """Whether somebody on the internet gets a connection."""

    async def dial() -> bool:
        try:
            _, writer = await asyncio.wait_for(here.cluster.place("net").open_connection(address, port), 3)
        except OSError:
            return False
        writer.close()
        return True

    return asyncio.run(dial())


def _dials(here: Installation, address: str, port: int) -> str:
    """What a slot sees that dials: an error's name, empty for a connection."""
    exec_ = ("exec", "-i", f"{LANE}-0-0", "-n", here.namespace, "-c", "relay", "--")
    return here.cluster.kubectl(*exec_, "python3", "-c", _DIAL, address, str(port)).strip()


def test_mail_configuration_and_hand_over_go_on_and_strangers_do_not_come_in(installation: Installation) -> None:
    here = installation
    clients = {"senders": [f"@{LANE}.example.com"], "clients": CLIENTS}
    here.apply(pool("pool", here.namespace), lane(LANE, here.namespace, replicas=2, submission=clients))
    here.wait_ready(LANE)
    pods = [f"{LANE}-{index}-0" for index in (0, 1)]
    address = here.get("pod", pods[0])["status"]["podIP"]
    resolver = "198.51.100.2"
    assert _reaches(here, address, SUBMISSION)
    assert _dials(here, resolver, NOBODY_LISTENS) == "ConnectionRefusedError"

    fences = [Fence(here.cluster, here.namespace, pod) for pod in pods]
    for fence in fences:
        fence.put_up(here.get("networkpolicy", LANE))

    here.send(pods[0], SENDER, f"user@{LIVE_DOMAIN}", 3)
    here.send(pods[1], SENDER, f"user@{DEAD_DOMAIN}", 2)
    eventually(lambda: len(here.received(SENDER)) == 3, "mail is delivered", within=60)
    limit = {"spec": {"limits": {"connectionsPerIP": 7}}}
    here.cluster.kubectl("patch", "sendinglane", LANE, "-n", here.namespace, "--type=merge", "-p", json.dumps(limit))

    def in_force() -> bool:
        found = here.condition(LANE, "ConfigInForce")
        wanted = here.get("sendinglane", LANE)["metadata"]["generation"]
        return (found["status"], found["observedGeneration"]) == ("True", wanted)

    eventually(in_force, "the operator's push arrives in both slots", within=30)
    assert all(fence.refused()["egress"] == 0 for fence in fences), [fence.refused() for fence in fences]
    here.cluster.kubectl("scale", "sendinglane", LANE, "-n", here.namespace, "--replicas=1")
    eventually(lambda: not here.is_there("statefulset", f"{LANE}-1"), "its mail is with the other slot", within=90)
    eventually(lambda: here.get("sendinglane", LANE)["status"]["slots"][0]["queued"] == 2, "which says so", within=60)
    assert fences[0].refused() == {"ingress": 0, "egress": 0}

    assert not _reaches(here, address, SUBMISSION)
    assert not _reaches(here, address, ADMIN)
    assert _dials(here, resolver, NOBODY_LISTENS) == "TimeoutError"
    refused = fences[0].refused()
    assert refused["ingress"] > 0
    assert refused["egress"] > 0
