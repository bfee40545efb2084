"""The judge of a power loss: recovers what it may leave of a traced disk, and says which promise was not kept."""

from typing import Any

from lane_api.relayconfig import Records as RecordsConfig
from lane_relay.account.journal import Journal
from lane_relay.spool.recovery import recover
from lane_relay.spool.segments import identity
from tests.lane_relay.spool.disk import Image, SimulatedDisk
from tests.lane_relay.spool.making import CLOCK, RECORDS, SPOOL, journal_lines


class Judge:
    """Knows what must hold at a point of the trace."""

    def __init__(self, disk: SimulatedDisk) -> None:
        self._marks = [(at, mark) for at, mark in disk.marks() if isinstance(mark, tuple)]

    def asked(self) -> frozenset[int]:
        """Every id that was ever promised."""
        return frozenset(mark[1] for _, mark in self._marks if mark[0] == "stored")

    def complaint(
        self, happened: int, live: set[int], journal: list[dict[str, object]], flag: str, known: set[int]
    ) -> str:
        """What is wrong with a recovered state after so much of the trace; empty if nothing is."""
        before: list[tuple[str, Any]] = [mark for at, mark in self._marks if at < happened]
        stored = [one[1] for one in before if one[0] == "stored"]
        settling = {one[1] for one in before if one[0] == "settling"}
        flushed = max((at for at, one in enumerate(before) if one[0] == "flushed"), default=-1)
        gone = {one[1] for one in before[: flushed + 1] if one[0] == "settling"}
        lost = [one for one in stored if one not in live and one not in settling]
        if lost:
            return f"lost {lost}"
        if live & gone:
            return f"came back {live & gone}"
        forgotten = [one for one in _stored_while_kept(before) if one not in known]
        if forgotten:
            return f"forgotten {forgotten}"
        return self._journal(journal, stored, gone) or self._flag(before, flushed, flag)

    def _journal(self, journal: list[dict[str, object]], stored: list[int], gone: set[int]) -> str:
        numbers = [line["seq"] for line in journal]
        if numbers != list(range(1, len(numbers) + 1)):
            return f"journal is numbered {numbers}"
        receptions = [line["id"] for line in journal if line["type"] == "Reception"]
        deliveries = [line["id"] for line in journal if line["type"] == "Delivery"]
        for message_id in stored:
            if receptions.count(f"{message_id:024x}") != 1:
                return f"{receptions.count(f'{message_id:024x}')} receptions of {message_id}"
        for message_id in gone:
            if f"{message_id:024x}" not in deliveries:
                return f"no delivery of {message_id}"
        return ""

    def _flag(self, before: list[tuple[str, Any]], flushed: int, flag: str) -> str:
        durable = before[flushed][1] if flushed >= 0 else ""
        later = {one[1] for one in before[flushed + 1 :] if one[0] == "flagging"}
        return "" if flag == durable or flag in later else f"flag is {flag!r}, not {durable!r}"


def _stored_while_kept(before: list[tuple[str, Any]]) -> list[int]:
    """Ids that were promised since somebody asked that nothing leaves the log."""
    since = next((at for at, one in enumerate(before) if one[0] == "kept"), len(before))
    return [one[1] for one in before[since:] if one[0] == "stored"]


def _recovered(
    image: Image, asked: frozenset[int]
) -> tuple[set[int], list[dict[str, object]], str, list[str], set[int]]:
    disk = SimulatedDisk(image)
    journal = Journal.open(RecordsConfig(path=str(RECORDS)), CLOCK, disk)
    spool_id = identity(disk, SPOOL, "00" * 16).spool_id
    found = recover(disk, SPOOL, bytes.fromhex(spool_id), journal, asked)
    live = {entry.id for entry in found.entries()}
    damage = [str(one) for one in found.damage]
    return live, journal_lines(disk), found.flags.get("intake", ""), damage, found.stored


def complaints(disk: SimulatedDisk, *, random_images: int, every_byte: bool = False, stop: bool = False) -> list[str]:
    """What is wrong with any state that a power loss at any point of the trace may leave; with `stop`, the first."""
    judge = Judge(disk)
    found = []
    seen: set[int] = set()
    for happened, image in disk.crash_images(random_images, seed=7, every_byte=every_byte):
        state = hash((happened, tuple(sorted(image.items()))))
        if state in seen:
            continue
        seen.add(state)
        try:
            live, journal, flag, damage, known = _recovered(image, judge.asked())
        except Exception as error:  # noqa: BLE001  # the judge's edge: any way to fail is a complaint
            complaint = f"recovery failed: {error!r}"
        else:
            complaint = judge.complaint(happened, live, journal, flag, known)
            if not complaint and damage:
                complaint = f"taken for damage: {damage}"
        if complaint:
            found.append(f"after {happened}: {complaint}")
            if stop:
                break
    assert stop or len(seen) > 100
    return found
