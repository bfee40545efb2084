"""Stories of a lane's children beside its slots: volumes that grow, certificates that others issue."""

from collections.abc import Iterator
from typing import Any

from lane_api.conditions import Reason
from lane_operator.inputs import Refusal
from tests.gitops.stories import ADDRESSES, LaneStory, Story
from tests.gitops.truth import Truth
from tests.lane_operator import made

__all__ = ["OF_CHILDREN"]

AS_ASKED, COMING, STUCK = Truth.AS_ASKED, Truth.COMING, Truth.STUCK
MINUTE = 60.0
_CERTIFICATE = "Certificate.cert-manager.io"


def _served(title: str, **spec: Any) -> LaneStory:
    """With one slot that has come to serve; that it has is not told again."""
    story = LaneStory(title, made.pool(addresses=ADDRESSES[:1]), replicas=1, **spec)
    story.step("it serves", AS_ASKED, *story.slots(1))
    story.moments.clear()
    return story


def _volume(asks: str, has: str, **status: Any) -> dict[str, Any]:
    claim = {
        "metadata": {"name": "queue-otp-0", "uid": "c1"},
        "spec": {"resources": {"requests": {"storage": asks}}, "storageClassName": "fast"},
        "status": {"phase": "Bound", "capacity": {"storage": has}, **status},
    }
    return {"volumes": {"otp-0": claim}}


def lanes_whose_volumes_grow() -> Iterator[Story]:
    """queue.size is raised, and storage is quick, slow, or unable to."""
    story = _served("a queue is given more room")
    story.references = _volume("10Gi", "10Gi")
    story.changed(queue={"size": "20Gi"})
    story.references = _volume("20Gi", "10Gi", conditions=[{"type": "Resizing", "status": "True"}])
    story.step("its volume grows", COMING, *story.slots(1), after=1)
    story.references = _volume("20Gi", "10Gi", conditions=[{"type": "FileSystemResizePending", "status": "True"}])
    story.step("its file system is to grow", COMING, *story.slots(1), after=MINUTE)
    story.references = _volume("20Gi", "20Gi")
    story.step("it has grown", AS_ASKED, *story.slots(1), after=MINUTE)
    yield story

    story = _served("a driver that grows nothing")
    story.changed(queue={"size": "20Gi"})
    failed = [{"type": "ControllerResizeError", "status": "True", "message": "no room"}]
    story.references = _volume("20Gi", "10Gi", conditions=failed)
    story.step("it tries again", COMING, *story.slots(1), after=1)
    story.step("for 5 minutes", STUCK, *story.slots(1), after=5 * MINUTE)
    story.references = _volume("20Gi", "20Gi")
    story.step("somebody has made room", AS_ASKED, *story.slots(1), after=MINUTE)
    yield story

    story = _served("a class that cannot grow volumes")
    story.changed(queue={"size": "20Gi"})
    story.references = _volume("10Gi", "10Gi")
    reason = Reason.VOLUME_CANNOT_GROW
    story.refusals = (Refusal(reason, "queue-otp-0 stays at 10Gi", waiting=reason, spare=True),)
    story.step("the class may be changed in the same sync", COMING, *story.slots(1), after=1)
    story.step("it is not", STUCK, *story.slots(1), after=MINUTE)
    story.refusals, story.references = (), _volume("20Gi", "20Gi")
    story.step("it is now", AS_ASKED, *story.slots(1), after=MINUTE)
    yield story


def lanes_whose_certificate_others_issue() -> Iterator[Story]:
    """An issuer that takes its time, one that is not there, and a cluster without cert-manager."""
    tls = {"senders": ["@notify.example.com"], "tls": {"issuerRef": {"name": "ca"}}}
    for title, kinds in (("an issuer is slow", made.KINDS | {_CERTIFICATE}), ("no cert-manager", made.KINDS)):
        story = LaneStory(title, made.pool(addresses=ADDRESSES[:1]), replicas=1, submission=tls)
        secrets = {**made.references(story.lane, story.pool).secrets, "otp-tls": None}
        story.references = {"kinds": kinds, "secrets": secrets}
        story.step("nothing is issued yet", COMING)
        story.step("for 4 minutes", COMING, after=4 * MINUTE)
        story.step("for 5 minutes", STUCK, after=MINUTE)
        story.references = {"kinds": made.KINDS | {_CERTIFICATE}}
        story.step("it is issued", COMING, *story.slots(1, pod_ready=False, reachable=False), after=1)
        story.step("slots serve", AS_ASKED, *story.slots(1), after=MINUTE)
        yield story


def lanes_whose_records_others_publish() -> Iterator[Story]:
    """external-dns is asked for the records, and DNS alone says whether they are there."""
    story = _served("records that external-dns is to publish, which nobody runs")
    story.changed(domains=[{"name": "notify.example.com", "dns": {"provider": "ExternalDNS"}}])
    story.step("DNS answers the key all the same", AS_ASKED, *story.slots(1), after=1)
    absent = {"domains_published": {"notify.example.com": False}}
    story.step("it is taken out of DNS", COMING, *story.slots(1, **absent), after=MINUTE)
    story.step("for an hour", STUCK, *story.slots(1, **absent), after=60 * MINUTE)
    yield story


OF_CHILDREN = (lanes_whose_volumes_grow, lanes_whose_certificate_others_issue, lanes_whose_records_others_publish)
