"""Faults made on purpose on the very rig, at the end: each zero must be found to be none, or it says nothing.

Each is done to the cluster or on the wire, not to the evidence. Before: `rig`. After: `judge`, `__main__`.
"""

import asyncio
import smtplib
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from e2e.chaos.judge import MOST_REQUESTS, Figure, Verdict, judge
from e2e.chaos.rig import BULK, CODES, FOREIGN, PASSING, POOLS, Rig
from e2e.cluster.addresses import CONTROL
from e2e.eventually import eventually
from e2e.internet import addresses
from e2e.internet.records import Message
from e2e.release import OPERATOR_NAMESPACE, RELEASE
from lane_api.names import QUEUE_FINALIZER

__all__ = ["seeded"]

MESSAGES: Final = 10
_STORM: Final = """
import http.client, ssl, sys
trust = ssl.create_default_context(cafile=sys.argv[1])
door = http.client.HTTPSConnection(sys.argv[2], 443, context=trust)
for _ in range(int(sys.argv[3])):
    door.request("GET", "/livez")
    door.getresponse().read()
"""


def seeded(rig: Rig) -> list[Figure]:
    """What is found of each fault; every one of them must be found."""
    rig.cluster.kubectl("annotate", "configmap", FOREIGN, "-n", rig.here.namespace, "touched=yes")
    patch = '{"data":{"a":"c"}}'
    rig.cluster.kubectl("patch", "configmap", FOREIGN, "-n", rig.here.namespace, "--type=merge", "-p", patch)
    _an_address_in_two_slots(rig)
    _a_message_by_another_way(rig)
    _a_volume_let_go_with_mail(rig)
    _a_storm(rig)
    found = judge(rig.evidence())
    values: dict[str, Callable[[Verdict], float]] = {
        "lost_seeded": lambda one: len(one.lost),
        "wrong_ip_seeded": lambda one: len(one.wrong_ip),
        "twice_unexplained_seeded": lambda one: len(one.unexplained),
        "volumes_deleted_with_mail_seeded": lambda one: len(one.volumes_deleted_with_mail),
        "address_in_two_slots_seeded": lambda one: len(one.address_in_two_slots),
        "foreign_touched_seeded": lambda one: len(one.foreign_touched),
        "requests_most_10s_seeded": lambda one: one.most_requests,
    }
    asked = {"lost_seeded": float(MESSAGES), "requests_most_10s_seeded": MOST_REQUESTS + 1.0}
    return [Figure(name, value(found), "found", asked.get(name, 1.0), "higher") for name, value in values.items()]


def _an_address_in_two_slots(rig: Rig) -> None:
    """A slot's network namespace gets the address of another's, for as long as it is looked at twice."""
    pid = rig.cluster.container_pid(rig.here.namespace, f"{BULK}-1-0", "relay")
    for what in ("add", "del"):
        space = ["nsenter", f"--net=/proc/{pid}/ns/net"]
        subprocess.run([*space, "ip", "addr", what, f"{POOLS[CODES][0]}/32", "dev", "lo"], check=True)
        looks = len(rig.addresses.sightings)
        eventually(lambda before=looks: len(rig.addresses.sightings) > before + 3, "it is looked at", 20)  # type: ignore[misc] # bound at definition


class _FromThere(smtplib.SMTP):
    """SMTP over a socket that was made in another place."""

    def __init__(self, rig: Rig, host: str) -> None:
        self._rig = rig
        super().__init__(host, 25, local_hostname="seeded.example.com", timeout=20)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        made = self._rig.cluster.place("net").socket()
        made.settimeout(timeout)
        made.bind((addresses.CLIENT, 0))
        made.connect((host, port))
        return made


def _a_message_by_another_way(rig: Rig) -> None:
    """A message that has arrived comes once more, from an address of nobody's."""
    copy = next(one for one in rig.records() if isinstance(one, Message) and one.isp == addresses.GMAIL.name)
    head = f"From: <{copy.sender}>\r\nTo: <{copy.recipients[0]}>\r\nMessage-ID: {copy.message_id}\r\n"
    with _FromThere(rig, addresses.GMAIL.hosts[0][1]) as smtp:
        smtp.sendmail(copy.sender, list(copy.recipients), f"{head}Subject: again\r\n\r\nagain\r\n")


def _a_volume_let_go_with_mail(rig: Rig) -> None:
    """Mail waits in a lane that is suspended; with no operator there, a hand takes the guard off its volume."""
    here, space = rig.here, rig.here.namespace
    here.apply(rig.manifest(PASSING, 1, suspend=True))
    here.wait_ready(PASSING)

    async def send() -> Any:
        load = await rig.internet.load(rig.load(f"{PASSING}-seeded", PASSING, 20.0, MESSAGES))
        rig.add_load(load)
        return await load.done(60.0)

    asyncio.run(send())
    guards = here.get("pvc", f"queue-{PASSING}-0")["metadata"].get("finalizers", ())
    assert QUEUE_FINALIZER in guards, f"the claim has mail and only these finalizers: {guards}"
    rig.cluster.kubectl("scale", "deployment", RELEASE, "-n", OPERATOR_NAMESPACE, "--replicas=0")
    eventually(lambda: not rig.operators(), "no operator is left", 60)
    before = len(rig.volumes.released)
    forced = ("--type=merge", "-p", '{"metadata":{"finalizers":["kubernetes.io/pvc-protection"]}}')
    rig.cluster.kubectl("patch", "pvc", f"queue-{PASSING}-0", "-n", space, *forced)
    eventually(lambda: rig.all_look() and len(rig.volumes.released) > before, "it is looked at", 30)


def _a_storm(rig: Rig) -> None:
    """One client asks as fast as it is answered."""
    authority = str(rig.cluster.layout.pki / "ca.crt")
    argv = [sys.executable, "-c", _STORM, authority, CONTROL, str(2 * MOST_REQUESTS)]
    since = time.monotonic()
    rig.cluster.place("ctl").run(argv, timeout=120)
    print(f"  a storm of {2 * MOST_REQUESTS} requests took {time.monotonic() - since:.1f} s", flush=True)
