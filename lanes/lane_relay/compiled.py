"""The modules of a message's path that may run compiled to C (by mypyc), and whether this process runs them so.

The same source serves both forms: `lanes/compile.py` puts an extension beside each of these modules in a copy of the
tree, which Python then prefers; where it could not, the `.py` runs, and only slower. Chosen by what a profile of the
loop's thread shows (`bench/NOTES.md`), with what inherits from them. A module that is named here
- awaits nothing inside `try` or `with`: compiled, such code kept an exception that it had handled (mypy 2.4.1);
- has no class with keywords but records over `Record` or `TrackedRecord`: compiled, the keywords are not heard, and
  what holds is what the base says;
- has no generator expression but as a call's argument: compiled, it is a list, made whole at once;
- is not inherited from by a class that is not compiled.
A test holds them to that. Left out on purpose: `spool.entries` and `records`, since integers that pass through compiled
code are not shared any more, which a queued message's size is; the spool's log, for what it awaits.
Before it: nothing. After it: `commands.relay`, `slot` and `lanes/compile.py`, which reads this file alone.
"""

from collections.abc import Callable
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import find_spec
from typing import Final

__all__ = ["MODULES", "form"]

_OF: Final = {
    "accept": ("connection", "message", "policy", "senders", "session"),
    "account": ("counters", "records", "screen", "settle", "settler"),
    "deliver": (
        *("body_budget", "dispatcher", "judgement", "limits", "lookahead", "outcomes", "pacing", "portions"),
        *("ready_queue", "session", "signer"),
    ),
    "feedback": ("session",),
    "mail": ("author", "dkim", "headers"),
    "smtp": (
        *("address", "chunks", "client", "command", "conduct", "content", "data", "errors"),
        *("extensions", "input_buffer", "reply", "sasl", "server", "server_transaction"),
        "transaction",
    ),
    "spool": ("bodies", "index"),
}
MODULES: Final = (
    *(f"lane_relay.{package}.{name}" for package, names in _OF.items() for name in names),
    *("lane_relay.backlog", "lane_relay.path", "lane_relay.turns"),
)


def form(find: Callable[[str], ModuleSpec | None] = find_spec) -> str:
    """`compiled` if all of MODULES are, `pure` if none is; `mixed` is a build that went wrong."""
    specs = [find(name) for name in MODULES]
    count = sum(spec is not None and isinstance(spec.loader, ExtensionFileLoader) for spec in specs)
    return {0: "pure", len(MODULES): "compiled"}.get(count, "mixed")
