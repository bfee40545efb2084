"""A queue that is given more room: what its claim asks for, what the relay counts on meanwhile, and what is said."""

from typing import Any

import pytest

from lane_api.conditions import Reason
from lane_api.lane_status import SlotRole
from lane_api.relayconfig import RelayConfig
from lane_operator.desired import desired_state, refused_growth
from lane_operator.desired.config_secret import config_secret, parsed_config
from lane_operator.desired.relayconfig import rendered
from lane_operator.inputs import Claim, Desired, Lane, Manifest
from tests.lane_operator import made

GI = 2**30
RESIZE = (
    "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must support resize"
)


def live(asks: str = "10Gi", has: str | None = "10Gi", storage_class: str = "fast", **status: Any) -> Manifest:
    """A claim as the API server has it; `has` None: not bound."""
    bound = {"phase": "Pending"} if has is None else {"phase": "Bound", "capacity": {"storage": has}}
    return {
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "queue-otp-0", "namespace": "mail", "uid": "c1"},
        "spec": {"resources": {"requests": {"storage": asks}}, "storageClassName": storage_class},
        "status": {**bound, **status},
    }


def desired(of: Lane, claim: Claim, volume: Manifest | None, before: RelayConfig | None = None) -> Desired:
    volumes = {} if volume is None else {claim.slot_name: volume}
    configs = {} if before is None else {claim.slot_name: config_secret(claim.slot_name, rendered(before), {}, {})}
    pool = made.pool()
    references = made.references(of, pool, volumes=volumes, configs=configs)
    return desired_state(of, references, made.assignment(claim), made.SETTINGS)


def asked(found: Desired) -> str:
    claim = next(one for one in found.manifests if one["kind"] == "PersistentVolumeClaim")
    return str(claim["spec"]["resources"]["requests"]["storage"])


def config(found: Desired) -> RelayConfig:
    secret = next(one for one in found.manifests if one["metadata"]["name"] == "otp-0-config")
    parsed = parsed_config(secret)
    assert parsed is not None
    return parsed


def with_size(size: str, **more: Any) -> Lane:
    return made.lane(queue={"size": size}, replicas=1, **more)


@pytest.mark.parametrize(
    ("volume", "asks"),
    [(None, "20Gi"), (live(), "20Gi"), (live("20Gi"), "20Gi"), (live(has=None), "10Gi"), (live("50Gi", "50Gi"), "50Gi"),
     (live(has="100Gi"), "10Gi"), (live("10737418240"), "20Gi"), (live("0.5Ti", "0.5Ti"), "0.5Ti")],
    ids=["new", "bound", "asked for already", "not bound yet", "adopted, larger", "its volume has more than it asks",
         "spelled in bytes", "larger, in a spelling that is not ours"],
)  # fmt: skip
def test_a_claim_asks_for_more_where_that_can_be_given_and_never_for_less(volume: Manifest | None, asks: str) -> None:
    assert asked(desired(with_size("20Gi"), made.claim(0), volume)) == asks


def test_the_volume_of_a_slot_that_goes_does_not_grow() -> None:
    going = made.claim(0, role=SlotRole.DRAINING)
    assert asked(desired(with_size("20Gi"), going, live())) == "10Gi"
    deleted = with_size("20Gi", deleting_since="2026-11-23T07:59:00Z")
    found = desired(deleted, made.claim(0), live("20Gi"))
    assert not found.refusals


def test_the_relay_counts_on_what_the_volume_has_and_then_on_what_it_has_become() -> None:
    of = with_size("20Gi")
    meanwhile = config(desired(of, made.claim(0), live("20Gi")))
    afterwards = config(desired(of, made.claim(0), live("20Gi", "20Gi")))
    new = config(desired(of, made.claim(0), None))

    assert meanwhile.spool.max_size + meanwhile.records.max_size <= 10 * GI * 0.95
    assert afterwards.spool.max_size > 17 * GI
    assert new.spool.max_size == afterwards.spool.max_size


def test_records_that_are_there_stay_and_records_to_come_wait_for_their_room() -> None:
    def records(volume: Manifest, size: str, share: str, before: RelayConfig | None) -> tuple[int, int]:
        of = made.lane(queue={"size": size}, audit={"maxSize": share}, replicas=1)
        found = config(desired(of, made.claim(0), volume, before))
        return found.records.max_size, found.spool.max_size

    of = made.lane(queue={"size": "10Gi"}, audit={"maxSize": "8Gi"}, replicas=1)
    full = config(desired(of, made.claim(0), live()))
    assert records(live(), "30Gi", "8Gi", full)[0] == 8 * GI, "nothing of them is given up"
    more, spool = records(live(), "30Gi", "15Gi", config(desired(with_size("10Gi"), made.claim(0), live())))
    assert more == 5 * GI
    assert spool > 4 * GI, "a larger share of a larger volume takes no room from the mail before that is there"
    assert records(live("30Gi", "30Gi"), "30Gi", "15Gi", full)[0] == 15 * GI


@pytest.mark.parametrize(
    ("status", "reason", "words"),
    [({}, Reason.VOLUME_NOT_GROWN, "it has been asked for"),
     ({"conditions": [{"type": "Resizing", "status": "True"}]}, Reason.VOLUME_NOT_GROWN, "driver is at work"),
     ({"conditions": [{"type": "FileSystemResizePending", "status": "True", "message": "waits"}]},
      Reason.FILE_SYSTEM_RESIZE_PENDING, "delete pod otp-0-0"),
     ({"conditions": [{"type": "ControllerResizeError", "status": "True", "message": "no room in pool a"}]},
      Reason.VOLUME_NOT_GROWN, "the storage's driver failed: no room in pool a"),
     ({"allocatedResourceStatuses": {"storage": "NodeResizeInfeasible"}},
      Reason.VOLUME_NOT_GROWN, "the storage's driver failed: NodeResizeInfeasible"),
     ({"conditions": [{"type": "Resizing", "status": "False"}]}, Reason.VOLUME_NOT_GROWN, "it has been asked for")],
)  # fmt: skip
def test_a_volume_that_grows_says_how_far_it_is(status: dict[str, Any], reason: Reason, words: str) -> None:
    found = desired(with_size("20Gi"), made.claim(0), live("20Gi", **status))

    (refusal,) = found.refusals
    assert (refusal.reason, refusal.waiting, refusal.spare) == (reason, Reason.WAITING_FOR_VOLUME, True)
    assert refusal.message.startswith("queue-otp-0 has 10Gi of 20Gi: ")
    assert words in refusal.message
    assert found.volume_sizes == {"otp-0": "10Gi"}
    assert found.complete


def test_a_volume_that_has_grown_or_was_not_asked_to_says_nothing() -> None:
    for volume in (None, live("20Gi", "20Gi"), live(has=None), live("10Gi")):
        assert not desired(with_size("20Gi"), made.claim(0), volume).refusals
    assert desired(with_size("20Gi"), made.claim(0), live(has=None)).volume_sizes == {}


def test_a_class_that_cannot_grow_volumes_is_named_with_the_fix() -> None:
    of = with_size("20Gi")
    refusal = refused_growth(of, live(), RESIZE)
    assert refusal is not None
    assert refusal.spare
    assert "queue-otp-0 stays at 10Gi, and the lane serves as before" in refusal.message
    assert "set allowVolumeExpansion: true on StorageClass fast" in refusal.message
    bare = refused_growth(of, live(storage_class=""), RESIZE)
    assert bare is not None
    assert "this volume has none" in bare.message
    quota = refused_growth(of, live(), "exceeded quota: storage, requested: requests.storage=10Gi")
    assert quota is not None
    assert quota.message.endswith("raise the quota, or the limit, that it names")


def test_another_refusal_of_a_claim_is_not_about_its_growth() -> None:
    assert refused_growth(with_size("10Gi"), live(), "no") is None
    assert refused_growth(with_size("20Gi"), None, "no") is None
    assert refused_growth(with_size("20Gi"), live("20Gi"), "no") is None
