"""The configuration in force: one file, watched, read into a frozen RelayConfig; also pushed through `/v1`.

A file whose name ends in .gz is read as what was compressed. A new text takes force at once if it is valid; otherwise
the last good one stays, and `refused` says why. What has a lower serial than what is in force is passed over, for a
mounted directory lags by a minute. Where nobody numbers the contents, a pushed configuration of a newer generation wins
until the file catches up.
Invariant: `current` was valid and accepted by every check; listeners never see another.
Before it: the operator or a person. After it: `pipeline`, which hands it to the stages.
"""

import asyncio
import re
import reprlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import structlog
import yaml
from pydantic import BaseModel, ValidationError
from pydantic.alias_generators import to_camel

from lane_api.names import NEEDS_RESTART_TEXT, UNKNOWN_FIELD_TEXT
from lane_api.packing import unpacked
from lane_api.quantities import Rate, format_size
from lane_api.relayconfig import SCHEMA_VERSION, RelayConfig
from lane_relay.errors import ConfigError
from lane_relay.smtp.address import normalise_domain

__all__ = ["ConfigSource", "dump", "parse", "read"]

POLL_S: Final = 0.5  # a mounted change is in force within 1 s; one stat() costs microseconds
SIZE_LIMIT: Final = 4 * 2**20  # Kubernetes keeps at most 1 MiB in a Secret or ConfigMap; the rest is room by hand
DEPTH_LIMIT: Final = 50  # a RelayConfig has 7; libyaml's reader recurses in C and dies of some 20,000
LONGEST_S: Final = 100 * 365.25 * 86400.0  # a time that far ahead can still be written as a date
LARGEST: Final = 2**63 - 1  # what Kubernetes, file systems and JSON readers take
POSITIVE: Final = (
    "intake.max_message_size",
    "spool.max_size",
    "records.max_size",
    "records.retention",
    "egress.proof.every",
    "delivery.lifetime",
    "delivery.retry.first",
    "delivery.retry.max",
    "slo_latency",
)
"""Where nothing at all would mean: never, or without a pause."""
NEEDS_RESTART: Final = (
    "lane.namespace",
    "lane.name",
    "slot.name",
    "spool.path",
    "records.path",
    "intake.smtp",
    "intake.smtps",
    "intake.http.host",
    "intake.http.port",
    "intake.http.plain",
    "health",
    "feedback.smtp",
    "feedback.http",
    "feedback.key_file",
    "suppression.path",
    "suppression.key_file",
    "admin.listen",
    "admin.tls",
    "admin.token_file",
    "handover.ca_file",
)
"""What a running process cannot change: identity, where its data lies, and its sockets with what they are opened with.

Certificates and tokens may change under their names."""

_SELECTOR = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
_log = structlog.get_logger("config")
_Stamp = tuple[int, int, int, int]


def parse(text: str) -> RelayConfig:
    """The configuration that a YAML text describes; raises ConfigError that names the field and the fix."""
    tree = _tree(text)
    if not isinstance(tree, dict):
        raise ConfigError("the file holds no fields: begin with `lane:`, `slot:`, `spool:` and `records:`")
    if tree.get("schemaVersion", SCHEMA_VERSION) != SCHEMA_VERSION:
        found = _shown(tree["schemaVersion"])
        raise ConfigError(
            f"schemaVersion: this relay reads version {SCHEMA_VERSION}, the file is of {found}: "
            "use the relay's image of that release"
        )
    try:
        config = RelayConfig.model_validate(tree)
    except ValidationError as failed:
        raise ConfigError(_explain(failed)) from None
    except OverflowError:  # no ValueError, so pydantic lets it through
        raise ConfigError("a size or duration of the file is too large to compute with: write a smaller one") from None
    _check_names(config)
    _check_numbers(config)
    return config


def read(file: Path) -> RelayConfig:
    """The configuration in a file, of a name in .gz compressed; raises ConfigError."""
    try:
        content = file.read_bytes()
        text = unpacked(content) if file.suffix == ".gz" else content.decode()
    except (OSError, ValueError) as failed:
        raise ConfigError(f"{file} cannot be read: {failed}") from None
    return parse(text)


def _tree(text: str) -> Any:
    """What a YAML text holds; raises ConfigError."""
    if len(text) > SIZE_LIMIT:
        raise ConfigError(f"the file has {len(text)} characters; at most {SIZE_LIMIT} are read")
    try:
        too_deep = _is_too_deep(text)
        tree = None if too_deep else yaml.load(text, Loader=_Loader)  # noqa: S506 -- a safe loader
    except (yaml.YAMLError, UnicodeError) as failed:
        raise ConfigError(f"not YAML: {' '.join(str(failed).split())}") from None
    if too_deep:
        raise ConfigError(f"the file is nested deeper than {DEPTH_LIMIT} levels: no field of ours is")
    return tree


def _is_too_deep(text: str) -> bool:
    """Found out from the stream of events, which needs no recursion and a seventh of the time of loading."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEPTH_LIMIT:
                return True
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
    return False


def _construct_scalar(loader: Any, node: yaml.ScalarNode) -> Any:
    """A date, number or truth value, as the library reads it; what it stumbles over has a place in the file."""
    try:
        return yaml.SafeLoader.yaml_constructors[node.tag](loader, node)
    except (ValueError, LookupError, AttributeError) as failed:
        problem = f"{_shown(node.value)} is not what it looks like ({failed}): correct it or put it in quotes"
        raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from None


_Loader: Any = type("_Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
"""libyaml where it is there: a file with many reply rules holds up the loop for a tenth of the time."""
for _kind in ("bool", "int", "float", "timestamp"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _construct_scalar)


def dump(config: RelayConfig) -> str:
    """The configuration as YAML with every default written out; `parse` reads it back."""
    return yaml.safe_dump(config.model_dump(mode="json", by_alias=True, exclude_none=True), sort_keys=False)


def _explain(failed: ValidationError) -> str:
    """Each wrong field with what is wrong and what to do, joined by semicolons."""
    # A default that is made of other fields has nothing to say where those are wrong.
    errors = [error for error in failed.errors(include_url=False) if error["type"] != "default_factory_not_called"]
    return "; ".join(f"{_field(error['loc'])}: {_fix(error)}" for error in errors)


def _field(location: tuple[int | str, ...]) -> str:
    """A location as people write it: `delivery.policies[2].connections`."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
    return text.removeprefix(".")


def _fix(error: Any) -> str:
    """What is wrong with one field, with the fix where pydantic's own words do not give it."""
    match error["type"]:
        case "extra_forbidden":
            known = ", ".join(_known_beside(error["loc"]))
            return (
                f"{UNKNOWN_FIELD_TEXT}: take it out or correct it, or use an image that knows it; known here: {known}"
            )
        case "missing":
            return "is required: set it"
        case "model_type" | "model_attributes_type":
            known = ", ".join(_known_beside((*error["loc"], "")))
            return f"must have fields of its own, of {known} (it is {_shown(error['input'])})"
        case "tuple_type":
            return f"must be a list (it is {_shown(error['input'])})"
        case _:
            return f"{error['msg'].removeprefix('Value error, '):.400} (it is {_shown(error['input'])})"


def _shown(value: Any) -> str:
    """A value of the file, cut short; a number may have more digits than Python writes, a list be a million in one."""
    try:
        return reprlib.repr(value)
    except ValueError:
        return "a number of thousands of digits"


def _known_beside(location: tuple[int | str, ...]) -> list[str]:
    """The field names that the model at this place has."""
    model: Any = RelayConfig
    for part in location[:-1]:
        if isinstance(part, str):
            model = next((_model_in(f.annotation) for n, f in model.model_fields.items() if part in (n, f.alias)), None)
        if model is None:
            return []
    return sorted(field.alias or name for name, field in model.model_fields.items())


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside `X`, `X | None` or `tuple[X, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_model_in, getattr(annotation, "__args__", ()))), None)


def _check_names(config: RelayConfig) -> None:
    """Refuses two policies, domains or routes for one thing, and names that cannot be signed with."""
    for field, names in (
        ("delivery.policies", [policy.name for policy in config.delivery.policies]),
        ("delivery.routes", [domain for route in config.delivery.routes for domain in route.domains]),
        ("domains", [domain.name for domain in config.domains]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"{field}: {', '.join(twice)} stands there twice: keep one")
    for domain in config.domains:
        if not (domain.name.isascii() and normalise_domain(domain.name)):
            raise ConfigError(f"domains: {domain.name!r:.80} is no domain: write it as A-labels (xn--...)")
        if domain.selector and not _SELECTOR.fullmatch(domain.selector):
            raise ConfigError(
                f"domains[{domain.name}].selector: {domain.selector!r:.80} cannot stand in DNS: correct it"
            )


def _check_numbers(config: RelayConfig) -> None:
    """Refuses numbers that no clock, file system or metric can take, and memory that does not hold one message."""
    for field, value in _numbers(config):
        most, said = (LONGEST_S, "100 years") if isinstance(value, float) else (LARGEST, str(LARGEST))
        if not 0 <= value <= most:  # true of nan as well
            raise ConfigError(f"{field}: must be between 0 and {said} (it is {_shown(value)})")
    for path in POSITIVE:
        if _value(config, path) == 0:
            raise ConfigError(f"{_written(path)}: must be more than 0")
    if config.handover is not None and config.admin is None:
        raise ConfigError("handover: needs admin, whose port and certificate it uses: add admin, or remove handover")
    largest = config.intake.max_message_size
    if config.active_bytes < largest:
        fix = "raise it, or lower that"
        raise ConfigError(f"activeBytes: must be at least intake.maxMessageSize ({format_size(largest)}): {fix}")


def _numbers(value: Any, field: str = "") -> Iterator[tuple[str, int | float]]:
    """Every number of a model with its field as people write it: durations are floats, all others int."""
    match value:
        case bool():
            return
        case int() | float():
            yield field, value
        case Rate():
            yield field, value.count
        case tuple():
            for index, one in enumerate(value):
                yield from _numbers(one, f"{field}[{index}]")
        case BaseModel():
            for name, described in type(value).model_fields.items():
                yield from _numbers(getattr(value, name), f"{field}.{described.alias or name}".removeprefix("."))


def _written(path: str) -> str:
    """A path of our names as people write it: `delivery.retry.first`."""
    return ".".join(to_camel(name) for name in path.split("."))


def _check_change(old: RelayConfig, new: RelayConfig) -> None:
    """Refuses a change that needs a new process, naming the field."""
    for field in NEEDS_RESTART:
        if _value(old, field) != _value(new, field):
            raise ConfigError(f"{_written(field)}: {NEEDS_RESTART_TEXT}: restart it with the new file")


def _value(config: RelayConfig, field: str) -> Any:
    """The value of a dotted field; None where a part of the path is absent."""
    value: Any = config
    for part in field.split("."):
        value = getattr(value, part, None)
    return value


class _StaleError(ConfigError):
    """A configuration that a newer one has overtaken."""


class ConfigSource:
    """Holds the configuration in force and watches where it comes from."""

    def __init__(self, path: Path, check: Callable[[RelayConfig], None] = lambda _config: None) -> None:
        """Reads the file once; `check` raises ConfigError for what only the stages can judge. Raises ConfigError."""
        self._path = path
        self._check = check
        self._stamp = self._look()
        self.current = read(path)
        check(self.current)
        self._pushed: int | None = None
        """Generation of the newest configuration that came through `/v1`, until the file catches up; for files without
        serials."""
        self.refused = ""
        """Why the newest text is not in force, or empty."""
        self.refusals = 0
        self.on_change: Callable[[RelayConfig], None] = lambda _config: None
        """Called on the loop with each new configuration in force."""

    def push(self, text: str) -> RelayConfig:
        """Puts a configuration in force that came through `/v1`; raises ConfigError if it is refused."""
        config = self._offer(lambda: self._newer(parse(text), self.current.generation))
        self._pushed = config.generation
        return config

    def reread(self) -> None:
        """Reads the file again, as SIGHUP asks; a bad file leaves the last good one in force."""
        self._stamp = self._look()
        try:
            self._offer(lambda: self._newer(read(self._path), self._pushed))
            self._pushed = None
        except _StaleError as stale:
            _log.info("the file is older than what is in force", path=str(self._path), reason=str(stale))
        except ConfigError as refused:
            _log.error("configuration refused, the last good one stays", path=str(self._path), reason=str(refused))

    async def watch(self) -> None:
        """Looks for a changed file for ever; the mounted `..data` link's swap shows as another inode."""
        while True:
            await asyncio.sleep(POLL_S)
            stamp = self._look()
            if stamp is not None and stamp != self._stamp:
                self.reread()

    def _look(self) -> _Stamp | None:
        """What changes when the file does; None while there is none, as for an instant during a swap."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size

    def _newer(self, config: RelayConfig, generation: int | None) -> RelayConfig:
        """The configuration, unless it is older than what is in force; raises _StaleError.

        `generation` is the least one where neither has a serial; None: whatever comes counts.
        """
        least: int | None = self.current.serial
        field, given = "serial", config.serial
        if not given and not least:
            field, given, least = "generation", config.generation, generation
        if least is not None and given < least:
            raise _StaleError(f"{field}: {given} is older than {least}, which is in force: push a newer one")
        return config

    def _offer(self, read: Callable[[], RelayConfig]) -> RelayConfig:
        """Puts what `read` gives in force, or notes why not and raises ConfigError."""
        try:
            config = read()
            _check_change(self.current, config)
            self._check(config)
        except _StaleError:
            raise  # it says nothing of the newest text
        except ConfigError as refused:
            self.refused = str(refused)
            self.refusals += 1
            raise
        self.refused = ""
        if config != self.current:
            self.current = config
            _log.info("configuration in force", generation=config.generation, serial=config.serial)
            self.on_change(config)
        return config
