"""`lane-relay`: runs the relay, a reflector, or looks at what is there. The only exit of the process.

Invariants: secrets are named by file, never given as arguments or in the environment; what a command does not need is
not imported for it (the relay's stages alone take a second of CPU).
Before it: a person, Kubernetes or systemd. After it: `commands`, or `audit.commands`.
"""

import argparse
import gc
import resource
import sys
from pathlib import Path
from typing import Final

from lane_api import __version__
from lane_api.names import REFLECTOR_PORT
from lane_relay.audit.arguments import add_commands
from lane_relay.errors import ConfigError, RelayError

__all__ = ["main"]

EXIT_BAD_INPUT: Final = 2  # as argparse ends for a wrong argument
FOR_PEOPLE: Final = ("audit", "check", "trace")
"""Commands that a person runs: their trouble is a sentence; what runs on as a service has it in its log."""


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
    if given.command is None and given.config is None:
        parser.error("give --config FILE to run the relay, or one of the commands: audit, check, reflect, trace")
    from lane_relay.logs import last_word, set_up

    set_up()
    _raise_descriptor_limit()
    try:
        sys.exit(_run(given))
    except ConfigError as refused:
        trouble, reason = "configuration refused", str(refused)
    except RelayError as failed:
        trouble, reason = "not done", str(failed)
    except (OSError, ValueError) as failed:
        trouble, reason = "cannot start", str(failed)
    if given.command in FOR_PEOPLE:
        print(f"{parser.prog}: {reason}", file=sys.stderr)
    else:
        last_word(trouble, reason)
    sys.exit(EXIT_BAD_INPUT)


def _run(given: argparse.Namespace) -> int:
    """Does it; the status to exit with."""
    match given.command:
        case "check":
            from lane_relay.commands.check import run_check

            return run_check(given.file)
        case "audit":
            from lane_relay.audit.commands import run_audit

            return run_audit(given)
        case "trace":
            from lane_relay.audit.commands import run_trace

            return run_trace(given)
        case "reflect":
            from lane_relay.commands.reflector import run_reflector

            return run_reflector(given.listen, given.key_file)
    gc.disable()  # what is imported stays: looking for garbage among it is a tenth of the start
    from lane_relay.commands.relay import run_relay

    gc.enable()
    return run_relay(given.config)


def _raise_descriptor_limit() -> None:
    """As many descriptors as we may have: container runtimes set the soft limit to 1024, for select(2)'s sake."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
