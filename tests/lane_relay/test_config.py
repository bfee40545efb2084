"""The configuration in force: what is refused and with which words, and which of file and push wins."""

import asyncio
import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lane_api.packing import packed
from lane_api.relayconfig import RelayConfig, SigningDomain
from lane_relay.config import ConfigSource, dump, parse
from lane_relay.errors import ConfigError

BASE = """
generation: {generation}
serial: {serial}
lane: {{name: otp}}
slot: {{name: otp-0, hostname: out1.example.com}}
spool: {{path: /var/spool/x}}
records: {{path: /var/spool/x/records}}
delivery: {{connections: {connections}}}
"""


def text(generation: int = 1, connections: int = 10, extra: str = "", serial: int = 0) -> str:
    return BASE.format(generation=generation, connections=connections, serial=serial) + extra


@pytest.fixture
def mounted(tmp_path: Path) -> Path:
    """A directory as the kubelet mounts it: relay.yaml -> ..data/relay.yaml -> ..1/relay.yaml."""
    (tmp_path / "..1").mkdir()
    (tmp_path / "..1" / "relay.yaml").write_text(text())
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "relay.yaml").symlink_to("..data/relay.yaml")
    return tmp_path / "relay.yaml"


def swap(mounted: Path, name: str, content: str) -> None:
    """A new version, swapped in as the kubelet does."""
    folder = mounted.parent
    (folder / name).mkdir()
    (folder / name / "relay.yaml").write_text(content)
    (folder / "..new").symlink_to(name)
    (folder / "..new").replace(folder / "..data")


async def next_config(source: ConfigSource) -> RelayConfig:
    """The next configuration that takes force."""
    came: asyncio.Future[RelayConfig] = asyncio.get_running_loop().create_future()
    source.on_change = came.set_result
    watching = asyncio.create_task(source.watch())
    try:
        return await asyncio.wait_for(came, 60)
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def test_a_change_of_the_mounted_directory_takes_force_without_a_restart(mounted: Path) -> None:
    source = ConfigSource(mounted)
    swap(mounted, "..2", text(2, connections=3))
    assert (await next_config(source)).delivery.connections == 3


def test_a_refused_file_leaves_the_last_good_one_in_force_and_says_why(mounted: Path) -> None:
    source = ConfigSource(mounted)
    swap(mounted, "..2", text(2, extra="intake: {maxRecipient: 5}"))
    source.reread()
    assert (source.current.generation, source.refusals) == (1, 1)
    assert "intake.maxRecipient: unknown field" in source.refused
    swap(mounted, "..3", text(3))
    source.reread()
    assert (source.current.generation, source.refused) == (3, "")


def test_a_pushed_newer_generation_wins_until_the_file_catches_up(mounted: Path) -> None:
    source = ConfigSource(mounted)
    source.push(text(5, connections=7))
    swap(mounted, "..2", text(4, connections=6))
    source.reread()
    assert source.current.delivery.connections == 7
    swap(mounted, "..3", text(5, connections=8))
    source.reread()
    assert source.current.delivery.connections == 8


def test_a_file_rolled_back_by_hand_takes_force(mounted: Path) -> None:
    source = ConfigSource(mounted)
    swap(mounted, "..2", text(0, connections=2))
    source.reread()
    assert source.current.generation == 0


def test_a_pushed_older_generation_is_refused(mounted: Path) -> None:
    source = ConfigSource(mounted)
    source.push(text(5))
    with pytest.raises(ConfigError, match="generation: 4 is older than 5"):
        source.push(text(4))
    assert source.current.generation == 5


def test_an_older_file_of_the_same_generation_that_comes_late_is_passed_over(mounted: Path) -> None:
    source = ConfigSource(mounted)
    source.push(text(serial=7, connections=7))
    swap(mounted, "..2", text(serial=6, connections=6))
    source.reread()
    assert (source.current.serial, source.current.delivery.connections) == (7, 7)
    swap(mounted, "..3", text(serial=8, connections=8))
    source.reread()
    assert (source.current.serial, source.current.delivery.connections) == (8, 8)


def test_an_older_file_is_passed_over_though_nothing_was_pushed(mounted: Path) -> None:
    source = ConfigSource(mounted)
    swap(mounted, "..2", text(serial=7, connections=7))
    source.reread()
    for name, late in (("..3", text(serial=6)), ("..4", text(generation=9))):
        swap(mounted, name, late)
        source.reread()
    assert (source.current.serial, source.current.delivery.connections) == (7, 7)


def test_a_file_that_catches_up_with_what_was_pushed_changes_nothing(mounted: Path) -> None:
    source = ConfigSource(mounted)
    source.push(text(serial=7, connections=7))
    changes: list[RelayConfig] = []
    source.on_change = changes.append
    swap(mounted, "..2", text(serial=7, connections=7))
    source.reread()
    source.push(text(serial=7, connections=7))
    assert (changes, source.current.serial, source.refused) == ([], 7, "")


def test_a_higher_serial_counts_also_under_a_lower_generation_as_of_a_lane_made_anew(mounted: Path) -> None:
    source = ConfigSource(mounted)
    source.push(text(5, serial=7))
    source.push(text(1, serial=8))
    assert (source.current.generation, source.current.serial) == (1, 8)


@pytest.mark.parametrize("stale", [text(serial=6), text(generation=9)], ids=["lower", "none"])
def test_a_pushed_older_serial_is_refused_and_does_not_speak_ill_of_the_newer_one(mounted: Path, stale: str) -> None:
    source = ConfigSource(mounted)
    source.push(text(serial=7))
    with pytest.raises(ConfigError, match=r"serial: [06] is older than 7, which is in force: push a newer one"):
        source.push(stale)
    assert (source.current.serial, source.refused, source.refusals) == (7, "", 0)


def test_without_a_serial_on_either_side_the_file_counts_whenever_it_changes(mounted: Path) -> None:
    source = ConfigSource(mounted)
    source.push(text(connections=7))
    swap(mounted, "..2", text(connections=6))
    source.reread()
    assert source.current.delivery.connections == 6


def test_what_only_a_stage_can_judge_is_asked_before_it_takes_force(mounted: Path) -> None:
    def check(config: RelayConfig) -> None:
        if config.delivery.connections > 20:
            raise ConfigError("delivery.connections: too many: write at most 20")

    source = ConfigSource(mounted, check)
    with pytest.raises(ConfigError, match="too many"):
        source.push(text(2, connections=21))
    assert source.current.generation == 1


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("path: /var/spool/x}", "path: /other}", "spool.path"),
        ("name: otp}", "name: bulk}", "lane.name"),
        ("port: 587", "port: 588", "intake.smtp"),
        ("port: 465", "port: 466", "intake.smtps"),
        ("certificate: /a", "certificate: /c", "admin.tls"),
        ("tokenFile: /t", "tokenFile: /u", "admin.tokenFile"),
        ("port: 8443", "port: 8444", "admin.listen"),
    ],
)
def test_a_change_that_needs_a_new_process_is_refused_by_name(mounted: Path, old: str, new: str, field: str) -> None:
    served = """
intake: {smtp: {port: 587}, smtps: {port: 465}}
admin: {listen: {port: 8443}, tls: {certificate: /a, key: /b}, tokenFile: /t}
"""
    mounted.write_text(text(extra=served))
    source = ConfigSource(mounted)
    with pytest.raises(ConfigError, match=f"{field}: cannot change while the relay runs"):
        source.push(text(2, extra=served).replace(old, new))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[", "not YAML"),
        ("5", "begin with `lane:`"),
        ("schemaVersion: 2", "schemaVersion: this relay reads version 1"),
        ("lane: {name: a}", "slot: is required: set it; spool: is required: set it"),
        (
            text(extra="slo: 5s"),
            "slo: unknown field: take it out or correct it, or use an image that knows it; known here: activeBytes",
        ),
        (text().replace("connections: 10", "lifetime: 3 days"), "write numbers with units (ms, s, m, h), such as 30s"),
        (text().replace("connections: 10", "policies: [{name: a, mx: 5}]"), "delivery.policies[0].mx: must be a list"),
        (
            "lane: {name: a}\nslot: app-0\n",
            "slot: must have fields of its own, of hostname, name, role (it is 'app-0')",
        ),
        (
            text().replace("connections: 10", "retry: 5"),
            "delivery.retry: must have fields of its own, of factor, first",
        ),
        (text().replace("connections: 10", "policies: [{name: a}, {name: a}]"), "a stands there twice: keep one"),
        (
            text(extra="domains: [{name: a.example, mode: Off}, {name: a.example, mode: Off}]"),
            "domains: a.example stands there twice",
        ),
        (text().replace("out1.example.com", "öut.example"), "slot.hostname: must be a host name such as"),
        (text().replace("out1.example.com", "out1..example"), "slot.hostname: must be a host name such as"),
        (text().replace("out1.example.com", "a." * 127), "slot.hostname: must be a host name such as"),
        (text(extra="domains: [{name: a.example}]"), "domains[0]: signing needs selector and keyFile; write mode: Off"),
        (
            text(extra="domains: [{name: a.example, keyFile: /k, verifyRecord: false}]"),
            "domains[0]: signing needs a selector",
        ),
        (text(extra="domains: [{name: ä.example, mode: Off}]"), "domains: 'ä.example' is no domain: write it as A"),
        (
            text(extra="domains: [{name: a.example, selector: sélecteur, keyFile: /k}]"),
            "domains[a.example].selector: 'sélecteur' cannot stand in DNS",
        ),
        (
            text().replace("connections: 10", "routes: [{domains: ['*'], host: h.example, authDir: /a}]"),
            "a route with authDir needs tls: Required or Implicit",
        ),
    ],
    ids=range(19),
)
def test_a_refused_text_names_the_field_and_the_fix(content: str, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(content)
    assert words in str(refused.value)


HUGE = "9" * 5000


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (text(extra="sloLatency: 2024-02-30"), "not YAML: '2024-02-30' is not what it looks like"),
        (text(extra=f"activeBytes: {HUGE}"), "is not what it looks like"),
        (text(extra=f"activeBytes: 0x{HUGE}"), "activeBytes: "),
        (text(extra=f"activeBytes: '{HUGE}'"), "is too large"),
        (text(extra=f"sloLatency: {HUGE}h"), "sloLatency: must be between"),
        (text(extra="sloLatency: !!bool maybe"), "'maybe' is not what it looks like"),
        (text(extra="sloLatency: !!timestamp x"), "'x' is not what it looks like"),
        (text(extra="sloLatency: !!int ''"), "'' is not what it looks like"),
        (text(extra="sloLatency: \ud800"), "not YAML: "),
        (f"schemaVersion: 0x{HUGE}", "schemaVersion: this relay reads version 1"),
        ("[" * 200_000, "nested deeper than"),
        ("- " * 200_000, "nested deeper than"),
        (text(extra="domains: &again [*again]"), "domains[0]: "),
        (text(extra="sloLatency: .nan"), "sloLatency: must be between"),
        (text(extra="sloLatency: .inf"), "sloLatency: must be between"),
        (text(extra="sloLatency: 0s"), "sloLatency: must be more than 0"),
        (text().replace("connections: 10", "lifetime: -5"), "delivery.lifetime: must be between"),
        (text().replace("connections: 10", "retry: {first: 0}"), "delivery.retry.first: must be more than 0"),
        (text().replace("connections: 10", "retry: {factor: .nan}"), "delivery.retry.factor: "),
        (
            text().replace("connections: 10", "policies: [{name: a, backoff: {for: .nan}}]"),
            "delivery.policies[0].backoff.for: must be between",
        ),
        (
            text().replace("connections: 10", f"policies: [{{name: a, messageRate: {'9' * 400}/s}}]"),
            "delivery.policies[0].messageRate: must be between",
        ),
        (text(extra="activeBytes: 1"), "activeBytes: must be at least intake.maxMessageSize (25Mi): raise it"),
        (text(extra="intake: {maxMessageSize: 0}"), "intake.maxMessageSize: must be more than 0"),
        (
            text(extra="intake: {maxRecipients: 0}"),
            "intake.maxRecipients: Input should be greater than or equal to 1 (it is 0)",
        ),
        (text(generation=2**63), "generation: must be between"),
    ],
    ids=range(25),
)
def test_a_number_that_none_can_work_with_is_refused_by_name(mounted: Path, content: str, words: str) -> None:
    """Whatever else came out of reading it would end a relay that runs."""
    with pytest.raises(ConfigError) as refused:
        parse(content)
    assert words in str(refused.value)
    assert "active_bytes" not in str(refused.value)  # a default that other fields make has no fault of its own
    assert len(str(refused.value)) < 500


def test_a_date_that_there_is_not_leaves_the_last_good_configuration_in_force(mounted: Path) -> None:
    source = ConfigSource(mounted)
    swap(mounted, "..2", text(2, extra="sloLatency: 2024-02-30"))
    source.reread()
    assert (source.current.generation, source.refusals) == (1, 1)
    assert "2024-02-30" in source.refused


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=8), some, max_size=3),
    max_leaves=5,
)
SECTIONS = ["lane", "slot", "intake", "spool", "records", "egress", "delivery", "domains", "admin", "generation"]


@given(st.sampled_from(SECTIONS), ANYTHING)
def test_whatever_stands_in_a_section_it_is_taken_or_refused(section: str, value: object) -> None:
    tree = yaml.safe_load(text()) | {section: value}
    with contextlib.suppress(ConfigError):
        parse(yaml.safe_dump(tree))


@pytest.mark.parametrize("hostname", ["otp-0.otp-slots.mail.svc", "localhost", "xn--bcher-kva.example", "A1.example"])
def test_a_slot_is_called_whatever_is_a_host_name(hostname: str) -> None:
    assert parse(text().replace("out1.example.com", hostname)).slot.hostname == hostname


def test_a_domain_whose_key_is_yet_to_come_is_listed_so_that_its_mail_waits() -> None:
    """The operator names the file, and gives the selector once there is a key."""
    assert parse(text(extra="domains: [{name: a.example, keyFile: /k}]")).domains[0].mode == "Sign"
    assert parse(text(extra="domains: [{name: a.example, keyFile: /k, selector: '20260101'}]"))


def test_memory_for_bodies_holds_a_message_of_the_largest_size_where_nobody_says_how_much() -> None:
    config = parse(text(extra="intake: {maxMessageSize: 100Mi}"))
    assert config.active_bytes == 100 * 2**20
    assert parse(text()).active_bytes == 64 * 2**20


def test_the_printed_effective_values_read_back_as_the_same_configuration() -> None:
    config = parse(text(extra="egress: {address: 192.0.2.1}\nactiveBytes: 32Mi\nsloLatency: 60s"))
    assert parse(dump(config)) == config
    assert "lifetime: 4h" in dump(config)


def test_a_missing_file_is_an_error_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        ConfigSource(tmp_path / "relay.yaml")


async def test_a_file_that_vanishes_for_a_while_changes_nothing(mounted: Path) -> None:
    source = ConfigSource(mounted)
    (mounted.parent / "..data").unlink()
    watching = asyncio.create_task(source.watch())
    swap(mounted, "..2", text(2))
    came = await next_config(source)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert (came.generation, source.refusals) == (2, 0)


def test_a_signing_domain_is_known_by_one_spelling() -> None:
    """Else its key is read under one name and its selector watched under another: its mail would be held for ever."""
    assert SigningDomain(name="Brand.Example", mode="Off").name == "brand.example"


@pytest.mark.parametrize(
    "delivery",
    ["{mode: Redirect}", "{redirectTo: a@x.example}", "{mode: Discard, redirectTo: a@x.example}",
     "{mode: Redirect, redirectTo: nobody}", "{mode: Redirect, redirectTo: 'a@x.example,b@x.example'}"],
)  # fmt: skip
def test_a_redirection_names_one_address_and_nothing_else_does(delivery: str) -> None:
    head = BASE.format(generation=1, serial=0, connections=1).rpartition("delivery:")[0]
    with pytest.raises(ConfigError, match="redirectTo"):
        parse(f"{head}delivery: {delivery}\n")


def test_a_lane_is_redirected_or_discards() -> None:
    head = BASE.format(generation=1, serial=0, connections=1).rpartition("delivery:")[0]
    redirected = parse(f"{head}delivery: {{mode: Redirect, redirectTo: a@x.example}}\n").delivery

    assert (redirected.mode, redirected.redirect_to) == ("Redirect", "a@x.example")
    assert parse(f"{head}delivery: {{mode: Discard}}\n").delivery.mode == "Discard"


def test_a_compressed_file_is_read_as_what_was_compressed(tmp_path: Path) -> None:
    file = tmp_path / "relay.yaml.gz"
    file.write_bytes(packed(text(3)))
    source = ConfigSource(file)
    assert source.current.generation == 3
    file.write_bytes(packed(text(4)))
    source.reread()
    assert source.current.generation == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"lane: {}", "no gzip file"),
        (packed(text(4))[:-4], "no whole gzip file"),
        (packed(text(4)) + b"x", "no whole gzip file"),
        (packed("#" * (4 * 2**20 + 1)), "more than 4194304 octets"),
    ],
)
def test_a_compressed_file_that_is_none_leaves_the_last_good_one_in_force(
    tmp_path: Path, content: bytes, said: str
) -> None:
    file = tmp_path / "relay.yaml.gz"
    file.write_bytes(packed(text(3)))
    source = ConfigSource(file)
    file.write_bytes(content)
    source.reread()
    assert (source.current.generation, source.refusals) == (3, 1)
    assert said in source.refused
