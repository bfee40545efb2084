"""How docs/quickstart shows what arrived and makes an ISP say no, run by a shell as it stands there."""

import asyncio
import json
import os
import re
from pathlib import Path

import pytest

from e2e.internet import packages
from e2e.internet.control_client import ControlError, IspControl
from e2e.internet.policy import Policy, Reply, Stage
from tests.e2e_internet.isps import Client, running_isps

PAGE = Path(__file__).parents[2] / "docs" / "quickstart" / "README.md"
FUNCTIONS, LOOKS, CHANGES = re.findall(r"<!-- a test runs this -->\n```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
NAME = "gmail-like"


async def run(script: str, folder: Path) -> str:
    process = await asyncio.create_subprocess_exec(
        "bash", "-c", f"set -e -o pipefail\n{FUNCTIONS}\n{script}", cwd=folder,
        env={**os.environ, "SOCKET": str(folder / "control")},
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


async def test_what_arrived_and_what_was_refused_is_seen(tmp_path: Path) -> None:
    packages.install(packages.CURL)
    async with running_isps(tmp_path, **{NAME: Policy(round_trip_s=0)}) as (control, at):
        client = await (await Client.connect(at[NAME])).greeted()
        assert await client.send(message_id="<x@a.test>") == [250, 250, 354, 250]
        await client.close()
        await control.change_policy(NAME, unavailable=Reply(code=421, text="4.7.0 no"))
        refused = await Client.connect(at[NAME])
        assert (await refused.reply())[0] == 421
        await refused.close()
        message, refusal, senders = [
            json.loads(await run(command, tmp_path)) for command in LOOKS.splitlines() if command
        ]

    assert message["message_id"] == "<x@a.test>"
    assert message["source_ip"] == "127.0.0.41"
    assert (refusal["code"], refusal["text"]) == (421, "4.7.0 no")
    assert list(senders.values()) == [1]


async def test_each_example_changes_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    packages.install(packages.CURL)
    before = Policy(round_trip_s=0, domains=("gmail-like.example",))
    kept, *changes, back = CHANGES.splitlines()
    async with running_isps(tmp_path, **{NAME: before}) as (control, _):
        await run(kept, tmp_path)
        wanted = before
        for change in changes:
            (fields,) = re.findall(r"'(\{.*\})'", change)
            wanted = Policy.model_validate(wanted.model_dump(mode="json") | json.loads(fields))
            await run(change, tmp_path)
            assert await control.policy(NAME) == wanted
        assert wanted.faults[Stage.RCPT].action == "drop"
        await run(back, tmp_path)
        assert await control.policy(NAME) == before


async def test_a_wrong_policy_is_answered_with_the_field(tmp_path: Path) -> None:
    async with running_isps(tmp_path, **{NAME: Policy()}) as (_, _at), IspControl(tmp_path / "control") as control:
        with pytest.raises(ControlError, match=r"greylist\.delay: Extra inputs .*policy\.py") as wrong:
            await control._ask("PUT", f"/isps/{NAME}/policy", '{"greylist": {"delay": 5, "delay_s": 1}}')
        assert "pydantic.dev" not in str(wrong.value)
