"""What a reply rule stops is ended by a person: on record first, and only what the request names."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lane_api.isppolicy import Action
from lane_relay.api import acts
from lane_relay.deliver.acts import Act, Acts
from lane_relay.errors import SpoolError
from tests.lane_relay.api.test_server import Client, RecordedSlot, served

BY = "owner=jane&reason=delisted"


class Records:
    """The records of a slot, and the acts that were in force when each was kept."""

    def __init__(self, acts: Acts) -> None:
        self.kept: list[tuple[str, str, str, int]] = []
        self.has_failed = False
        self._acts = acts

    async def keep(self, said: str, owner: str, reason: str) -> None:
        if self.has_failed:
            raise SpoolError("the volume is gone")
        self.kept.append((said, owner, reason, len(self._acts.listed())))


class Judge:
    """Acts in force, without sites."""

    def __init__(self) -> None:
        self.acts = Acts()
        for site, domain, action in (
            ("gmail", "", Action.SUSPEND_SITE),
            ("gmail", "brand.example", Action.SUSPEND_DOMAIN),
            ("", "", Action.QUARANTINE_IP),
        ):
            self.acts.place(Act(action, site, 0.0, 3600.0, "gmail/r", "550 no 17", domain))

    def acts_about(self, site: str, domain: str) -> list[Act]:
        return self.acts.about(site, domain)

    def end(self, site: str, domain: str) -> list[Act]:
        ended = self.acts_about(site, domain)
        self.acts.end(site, domain)
        return ended

    @property
    def left(self) -> list[tuple[str, str]]:
        return sorted((act.site, act.domain) for act in self.acts.listed())


@pytest.fixture
def judge() -> Judge:
    return Judge()


@pytest.fixture
def records(judge: Judge) -> Records:
    return Records(judge.acts)


@pytest.fixture
async def client(tmp_path: Path, judge: Judge, records: Records) -> AsyncIterator[Client]:
    async with served(tmp_path, RecordedSlot(), acts.operations(judge, records.keep)) as made:
        yield made


async def test_what_is_named_is_ended_after_it_is_on_record_and_nothing_else(
    client: Client, judge: Judge, records: Records
) -> None:
    status, said = await client.ask("DELETE", f"/v1/acts?site=gmail&{BY}")

    assert status == 200
    assert [(one["action"], one["site"], one["sample"]) for one in said["acts"]] == [
        ("SuspendSite", "gmail", "550 no <N>")
    ]
    assert records.kept == [("ended SuspendSite of gmail by gmail/r", "jane", "delisted", 3)]
    assert judge.left == [("", ""), ("gmail", "brand.example")]

    assert (await client.ask("DELETE", f"/v1/acts?site=gmail&domain=BRAND.example&{BY}"))[0] == 200
    assert judge.left == [("", "")]
    assert (await client.ask("DELETE", f"/v1/acts?site=*&{BY}"))[0] == 200
    assert judge.left == []


@pytest.mark.parametrize(
    ("query", "status", "fix"),
    [
        (f"site=yahoo&{BY}", 404, "GET /v1/slot lists all"),
        (f"site=*&domain=brand.example&{BY}", 404, "nothing stops or slows mail from brand.example to *"),
        (f"site=gmail&domain=a..b&{BY}", 422, "is none; say which"),
        (f"domain=brand.example&{BY}", 422, "say which, who ends it and why"),
        ("site=gmail&owner=jane", 422, "reason"),
        (f"site=gmail&rule=gmail/r&{BY}", 422, "there are site, domain, owner, reason"),
    ],
)
async def test_what_cannot_be_ended_is_refused_with_the_fix(
    client: Client, judge: Judge, records: Records, query: str, status: int, fix: str
) -> None:
    found, said = await client.ask("DELETE", f"/v1/acts?{query}")
    assert (found, len(judge.left), records.kept) == (status, 3, [])
    assert fix in said["error"]


async def test_what_cannot_be_put_on_record_is_not_ended(client: Client, judge: Judge, records: Records) -> None:
    records.has_failed = True
    status, said = await client.ask("DELETE", f"/v1/acts?site=gmail&{BY}")
    assert (status, len(judge.left)) == (503, 3)
    assert "the volume is gone" in said["error"]
