"""Reply rules as text: how a reply is spelled for matching, and whether a policy's rules can do what they say.

Pure; the regular-expression engine (RE2, so that no pattern can take for ever) is handed in by whoever has it.
Used by the relay, which keeps a policy's last good rules, and by the operator, which says what is wrong with new ones.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from lane_api.isppolicy import Action, ResponseRule, Stage

__all__ = [
    "Compile",
    "Pattern",
    "check_rules",
    "end_of_codes",
    "matching_text",
    "overlap",
    "sound_rules",
    "without_echo",
]

_HEAD = re.compile(r"^[2-5][0-9][0-9][ -](?:[245]\.[0-9]{1,3}\.[0-9]{1,3}(?=\s|$))?")
_ADDRESS = re.compile(
    r'"(?:[^"\\]|\\.){0,64}"@[^\s<>@:;,()\[\]"]+|(?<=<)[^<>@]*@[^<>]*(?=>)'
    r'|(?P<word>[^\s<>@"]+)(?P<domain>@[^\s<>@:;,()\[\]"]+)?'
)
"""Addresses, and words that are none: a word is gone through once, whatever its length. Sought in each place of it
anew, an `@` that never comes takes the square of the time, and a peer chooses its words while all mail waits."""
_ANYBODY = "x@x"
_LEAST_LOCAL = 3
_CODE = re.compile(r"^[2-5][0-9][0-9][ -]")
_ENHANCED = re.compile(r"^[245]\.[0-9]{1,3}\.[0-9]{1,3}(?=\s|$)")


class Pattern(Protocol):
    """A compiled pattern."""

    def search(self, text: str) -> object | None:
        """A match anywhere in the text, or None."""


Compile = Callable[[str], Pattern]
"""`re2.compile`; raises ValueError or an error of its own for what is no pattern."""


def matching_text(code: int, lines: Sequence[str]) -> str:
    """The reply as rules see it: code, separator and text of each line, joined by a space, repeated codes dropped.

    `550-5.7.1 Blocked`, `550 5.7.1 see http://x` becomes `550-5.7.1 Blocked see http://x`.
    """
    if not lines:
        return f"{code} "
    first = lines[0]
    if len(lines) == 1:
        return f"{code} {first}"
    enhanced = _ENHANCED.match(first)
    if enhanced is None:
        return f"{code}-{' '.join(lines)}"
    repeated = enhanced[0]
    rest = [line[len(repeated) :].lstrip() if line.startswith(repeated) else line for line in lines[1:]]
    return f"{code}-{' '.join([first, *rest])}"


def end_of_codes(text: str) -> int:
    """Where the words of a reply begin, behind its code and enhanced code, which are never an echo."""
    head = _HEAD.match(text)
    return head.end() if head is not None else 0


def without_echo(text: str, locals_: Sequence[str] = ()) -> str:
    """The text of a reply as rules are matched with it: each address in it reads `x@x`.

    A peer repeats the address that it refuses, which whoever handed it in has chosen: `throttled@example.com` must not
    slow down a site, nor `S3150@example.com` stop our address. `locals_` are the local parts of those the reply may be
    about, for peers that leave the domain out; one of letters alone stays, since it may as well be the peer's own word.
    """
    if "@" in text:
        text = _ADDRESS.sub(_masked, text)
    wanted = [
        re.escape(local) for local in locals_ if len(local) >= _LEAST_LOCAL and not local.isalpha() and local in text
    ]
    if not wanted:
        return text
    start = end_of_codes(text)
    return text[:start] + re.sub(rf"(?<![A-Za-z0-9])(?:{'|'.join(wanted)})(?![A-Za-z0-9])", "x", text[start:])


def _masked(found: re.Match[str]) -> str:
    return found[0] if found["word"] and not found["domain"] else _ANYBODY


def overlap(one: Stage, other: Stage) -> bool:
    """True if a reply can come at both."""
    return one is other or Stage.ANY in (one, other)


def check_rules(rules: Sequence[ResponseRule], compile_pattern: Compile) -> list[str]:
    """What is wrong with a policy's rules, one sentence each; empty: they can be used.

    Wrong are patterns that do not compile, rules that miss one of their examples, examples that are no reply, rules
    that an earlier one shadows (it matches one of their examples at an overlapping stage), ids used twice, an action
    whose scope or trigger it cannot have.
    """
    return [f"rule {rule.id}: {problem}" for rule, problems in _checked(rules, compile_pattern) for problem in problems]


def sound_rules(rules: Sequence[ResponseRule], compile_pattern: Compile) -> tuple[ResponseRule, ...]:
    """The rules that stand on their own where a bad one is left out, in their order.

    Behind a rule that is left out nothing bounces: what that one was to catch must not be lost to a broader one.
    """
    kept: list[ResponseRule] = []
    is_behind = False
    for rule, problems in _checked(rules, compile_pattern, beside_sound_ones=True):
        if problems:
            is_behind = True
        elif is_behind and rule.action is Action.BOUNCE:
            kept.append(rule.model_copy(update={"action": Action.RETRY}))
        else:
            kept.append(rule)
    return tuple(kept)


def _checked(
    rules: Sequence[ResponseRule], compile_pattern: Compile, *, beside_sound_ones: bool = False
) -> Iterator[tuple[ResponseRule, list[str]]]:
    """Each rule, and what is wrong with it beside those before it, or those of them with which nothing is."""
    earlier: list[tuple[ResponseRule, Pattern]] = []
    ids: set[str] = set()
    for rule in rules:
        problems = ["the id is used twice"] if rule.id in ids else []
        ids.add(rule.id)
        if mismatch := rule.mismatch():
            problems.append(mismatch)
        try:
            pattern = compile_pattern(rule.pattern)
        except Exception as error:  # noqa: BLE001 -- the engine is the caller's, and so are its exceptions
            yield rule, [*problems, f"the pattern is no RE2 expression: {error}"]
            continue
        problems += _check_examples(rule, pattern, earlier)
        yield rule, problems
        if not (problems and beside_sound_ones):
            earlier.append((rule, pattern))


def _check_examples(rule: ResponseRule, pattern: Pattern, earlier: Sequence[tuple[ResponseRule, Pattern]]) -> list[str]:
    problems: list[str] = []
    for example in rule.examples:
        if _CODE.match(example) is None:
            problems.append(f"the example {example!r} does not begin with a reply code")
            continue
        text = without_echo(example)
        if pattern.search(text) is None:
            as_read = f" (which reads {text!r}, for addresses are masked)" if text != example else ""
            problems.append(f"the pattern misses its own example {example!r}{as_read}")
            continue
        problems += [
            f"shadowed, since the earlier rule {first.id} matches its example {example!r}"
            for first, first_pattern in earlier
            if overlap(first.stage, rule.stage) and first_pattern.search(text) is not None
        ]
    return problems
