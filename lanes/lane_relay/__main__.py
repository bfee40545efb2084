"""`lane-relay`: runs the relay, a reflector, or checks a configuration. The only exit of the process.

Invariant: secrets are named by file, never given as arguments or in the environment.
Before it: a person, Kubernetes or systemd. After it: `pipeline`, or `egress.reflect`.
"""

import argparse
import asyncio
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import structlog
import uvloop

from lane_api import __version__
from lane_api.names import REFLECTOR_PORT
from lane_relay import logs
from lane_relay.audit.commands import add_commands, run_audit, run_trace
from lane_relay.audit.stores import UnavailableError
from lane_relay.clock import SYSTEM_CLOCK
from lane_relay.config import ConfigSource, dump, parse
from lane_relay.egress import reflect
from lane_relay.egress.wire import parse_key
from lane_relay.errors import ConfigError, RelayError
from lane_relay.guard import StageFailed
from lane_relay.pipeline import Pipeline, check, rule_problems

__all__ = ["main"]

EXIT_TROUBLE: Final = 1
EXIT_BAD_INPUT: Final = 2  # as argparse ends for a wrong argument
REFLECTOR_GRACE_S: Final = 5.0

_log = structlog.get_logger("lane-relay")


def _parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="lane-relay",
        description="Outbound mail relay of one slot: keeps what it accepts on disk, sends it from its own address "
        "within each ISP's limits, and accounts for every attempt.",
        epilog="SIGTERM: no new intake, finish what is in flight, exit 0. SIGHUP: read the configuration again. "
        "A second SIGTERM: exit at once; what was accepted is on disk.",
    )
    parser.add_argument("--version", action="version", version=f"lane-relay {__version__}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="run the relay with this relay.yaml")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    checking = commands.add_parser(
        "check", help="say what is wrong with a configuration, or print it with every default"
    )
    checking.add_argument("--config", type=Path, required=True, metavar="FILE", dest="file")
    reflector = commands.add_parser(
        "reflect", help="tell relays which address they are seen with; runs outside their network"
    )
    reflector.add_argument(
        "--listen",
        default=f"[::]:{REFLECTOR_PORT}",
        metavar="ADDRESS:PORT",
        help=f"default [::]:{REFLECTOR_PORT}, both families; on port {REFLECTOR_PORT} the proof walks mail's own path",
    )
    reflector.add_argument(
        "--key-file", type=Path, required=True, metavar="FILE", help="at least 16 octets, shared with the relays"
    )
    add_commands(commands)
    return parser


def main() -> None:
    """Runs what the command line asks for and exits with its status."""
    parser = _parser()
    given = parser.parse_args()
    logs.set_up()
    _raise_descriptor_limit()
    try:
        match given.command:
            case "check":
                sys.exit(_check(given.file))
            case "audit":
                sys.exit(run_audit(given))
            case "trace":
                sys.exit(run_trace(given))
            case "reflect":
                sys.exit(uvloop.run(_reflect(*_address(given.listen), parse_key(given.key_file.read_bytes()))))
        if given.config is None:
            parser.error("give --config FILE to run the relay, or one of the commands: audit, check, reflect, trace")
        sys.exit(uvloop.run(_relay(given.config)))
    except ConfigError as refused:
        _log.critical("configuration refused", reason=str(refused))
        sys.exit(EXIT_BAD_INPUT)
    except UnavailableError as failed:
        _log.critical("the archive cannot be read", reason=str(failed))
        sys.exit(EXIT_BAD_INPUT)
    except (OSError, ValueError) as failed:
        _log.critical("cannot start", reason=str(failed))
        sys.exit(EXIT_BAD_INPUT)


def _check(path: Path) -> int:
    """Prints the effective configuration, or why it would be refused."""
    try:
        config = parse(path.read_text(encoding="utf-8"))
        check(config)
        problems = rule_problems(config)
    except (ConfigError, OSError, UnicodeDecodeError) as refused:
        problems = [str(refused)]
    if problems:
        print("\n".join(f"{path}: {problem}" for problem in problems), file=sys.stderr)
        return EXIT_BAD_INPUT
    print(dump(config), end="")
    return 0


def _address(text: str) -> tuple[str, int]:
    """Host and port of `ADDRESS:PORT` or `[ADDRESS]:PORT`; raises ValueError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"--listen {text!r}: write ADDRESS:PORT, such as 0.0.0.0:25 or [::]:25")
    return host.removeprefix("[").removesuffix("]"), int(port)


async def _reflect(host: str, port: int, key: bytes) -> int:
    """Reflects until SIGTERM or SIGINT, then lets open answers go out."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    shared = reflect.Reflector(key, SYSTEM_CLOCK.now)
    server = await reflect.serve(host, port, shared)
    _log.info("reflecting", address=host, port=server.sockets[0].getsockname()[1])
    await stop.wait()
    server.close()
    await shared.drain(REFLECTOR_GRACE_S)
    _log.info("stopped", answered=shared.answered)
    return 0


def _raise_descriptor_limit() -> None:
    """As many descriptors as we may have: container runtimes set the soft limit to 1024, for select(2)'s sake."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _relay(path: Path) -> int:
    """Runs the relay until it is told to stop; a failure of any of its tasks ends it with the reason."""
    pipeline = Pipeline(ConfigSource(path, check), SYSTEM_CLOCK)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, pipeline.stop)
    loop.add_signal_handler(signal.SIGHUP, pipeline.reread)
    status = 0
    try:
        await pipeline.run()
    except* (RelayError, StageFailed, OSError) as failed:
        for reason in _leaves(failed):
            _log.critical("stopped by a failure", reason=str(reason), kind=type(reason).__name__)
        status = EXIT_TROUBLE
    return status


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    """The exceptions inside groups of groups."""
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one


if __name__ == "__main__":
    main()
