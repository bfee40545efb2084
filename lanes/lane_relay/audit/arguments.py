"""The words of `lane-relay audit` and `lane-relay trace` on the command line.

A module of its own, so that who asks for something else does not wait for what judges records.
Before it: `__main__`. After it: `commands`.
"""

import argparse
from pathlib import Path

__all__ = ["add_commands"]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Puts `audit verify` and `trace` on the command line."""
    audit = commands.add_parser("audit", help="judge the records of a slot, also without the slot")
    acts = audit.add_subparsers(dest="act", metavar="ACT", required=True)
    verifying = acts.add_parser(
        "verify",
        help="prove that no record was altered or left out, or say where and how",
        description="Exit status: 0 proven, 1 something is wrong, 2 bad input.",
    )
    _add_place(verifying)
    verifying.add_argument(
        "--key",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="public key of the lane, PEM or the base64 of /v1/slot; several after a change of keys",
    )
    verifying.add_argument("--head", type=Path, metavar="FILE", help="a head kept elsewhere: all up to it must be here")
    verifying.add_argument(
        "--from", type=Path, metavar="FILE", dest="since", help="a head kept elsewhere: what is before it may be gone"
    )
    verifying.add_argument("--json", action="store_true", help="one JSON object a journal")
    unsettled = acts.add_parser(
        "unsettled",
        help="list what was accepted and not settled, of a slot whose volume is lost",
        description="Exit status: 0 nothing, 1 something is open, 2 bad input.",
    )
    _add_place(unsettled)
    unsettled.add_argument(
        "--slot", default="", metavar="NAME", help="only this slot's; the others are read all the same"
    )
    unsettled.add_argument("--json", action="store_true", help="one JSON object a message")
    tracing = commands.add_parser(
        "trace",
        help="print one message's whole life, from a folder of records or an archive",
        description="Exit status: 0 found, 1 not found, 2 bad input.",
    )
    tracing.add_argument("id", nargs="?", default="", help="Message-ID, correlation id or spool id")
    tracing.add_argument("--recipient", default="", metavar="ADDRESS", help="only this recipient's; also without an id")
    tracing.add_argument(
        "--recipients-key", type=Path, metavar="FILE", help="the lane's key, where records hold recipients as digests"
    )
    tracing.add_argument(
        "--in", required=True, dest="place", metavar="DIR|s3://BUCKET/PREFIX", help="where records lie"
    )
    _add_access(tracing)
    tracing.add_argument("--json", action="store_true", help="one JSON object a record")


def _add_place(parser: argparse.ArgumentParser) -> None:
    """Where evidence lies."""
    parser.add_argument("place", metavar="DIR|s3://BUCKET/PREFIX", help="a folder of records, or an archive")
    _add_access(parser)


def _add_access(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--endpoint", metavar="URL", help="of a server that speaks S3; default AWS")
    parser.add_argument("--region", default="us-east-1", metavar="NAME", help="default us-east-1")
    parser.add_argument(
        "--credentials", metavar="DIR", help="folder with the files access_key_id and secret_access_key, for s3://"
    )
