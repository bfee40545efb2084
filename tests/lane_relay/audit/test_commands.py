"""`lane-relay audit` as a person runs it: words, exit status, and what is said to bad input."""

import json
from pathlib import Path

import pytest

from lane_relay.audit.chain import head_name
from lane_relay.audit.segment import segment_name
from tests.lane_relay.audit.making import OTHER_KEY, command, public_pem, sealed_folder

SECOND = 6
"""First number of the second segment."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 sealed records in 4 segments, nothing wrong."""
    sealed_folder(tmp_path)
    return tmp_path


def test_the_command_says_it_in_words_and_by_its_exit_status(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept = tmp_path_factory.mktemp("kept")
    (kept / "lane.pub").write_bytes(public_pem())
    (kept / "other.pub").write_bytes(public_pem(OTHER_KEY))
    (kept / "head.json").write_bytes((folder / head_name(5)).read_bytes())

    sound = command("audit", "verify", folder, "--key", kept / "lane.pub", "--head", kept / "head.json")
    assert (sound.returncode, sound.stderr) == (0, "")
    assert "proven records 1 to 20: nothing was altered or left out" in sound.stdout

    foreign = command("audit", "verify", folder, "--key", kept / "other.pub")
    assert foreign.returncode == 1
    assert "ForeignKey: head-0000000001.json" in foreign.stdout

    path = folder / segment_name(SECOND)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    wrong = command("audit", "verify", folder, "--key", kept / "lane.pub", "--json")
    assert wrong.returncode == 1
    said = json.loads(wrong.stdout)
    assert said["findings"] == [
        {"kind": "LineRemoved", "place": segment_name(SECOND), "sentence": "record 7 is missing"}
    ]


def test_a_kept_head_of_what_was_removed_as_a_whole_is_a_finding_and_a_wrong_place_is_bad_input(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    kept, other = tmp_path_factory.mktemp("kept"), tmp_path_factory.mktemp("other")
    (kept / "head.json").write_bytes((folder / head_name(5)).read_bytes())
    for head in folder.glob("head-*"):
        head.unlink()

    gone = command("audit", "verify", folder, "--head", kept / "head.json")
    assert gone.returncode == 1
    assert "HeadRemoved: journal " in gone.stdout
    assert "none of its entries is here, and entry 5 of it was kept" in gone.stdout

    empty = command("audit", "verify", other, "--head", kept / "head.json")
    assert (empty.returncode, "is not in" in empty.stderr) == (2, True)


def test_without_a_key_the_journals_own_is_taken_and_that_is_said(folder: Path) -> None:
    done = command("audit", "verify", folder)
    assert done.returncode == 0
    assert "only what the journal itself names: give --key to be sure" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere"], "name the folder of a slot's records"),
        (["."], "holds no records"),
        ([".", "--key", "/nowhere.pub"], "give the lane's Ed25519 public key"),
        ([".", "--head", "/nowhere.json"], "give a head as /v1/slot or the archive has it"),
    ],
)
def test_bad_input_is_answered_with_the_fix(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = command("audit", "verify", *[str(tmp_path) if one == "." else one for one in arguments])
    assert done.returncode == 2
    assert words in done.stderr
