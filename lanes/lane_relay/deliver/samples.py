"""Replies that no rule of a policy was for, counted and kept as samples for the review of what an ISP says.

Numbers, addresses, hosts and ids are masked, so that replies of one meaning are one sample, and none names a recipient.
Before it: `judgement`. After it: `/v1/replies` and `/metrics`. Invariant: bounded, in number a site and in all; the
sample that was not seen for longest goes first.
"""

import re
from collections import Counter, OrderedDict
from functools import lru_cache
from typing import Final

import re2
from msgspec import Struct

from lane_api.isppolicy import Stage
from lane_api.responses import end_of_codes, matching_text
from lane_relay.guard import contain
from lane_relay.records import Reply, Verdict

__all__ = ["ReplySample", "ReplySamples", "Suggestion", "masked", "masked_text", "suggestion", "without_name"]

_MOST: Final = 500
_MOST_OF_SITE: Final = 20
_MOST_A_SECOND: Final = 200
"""Replies looked at closely: at some 50 us each, a storm of refusals costs no more than a hundredth of a core."""
_CHARS: Final = 300
_PATTERN_CHARS: Final = 300
_PARTS: Final = re.compile(
    r"(?P<address><[^<>\s]*@[^<>]*>|[^\s<>@]+@[^\s<>@]+)"
    r"|(?P<url>https?://[^\s\]>)]+)"
    r"|(?P<ip>\b\d{1,3}(?:\.\d{1,3}){3}\b|\b[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}\b)"
    r"|(?P<host>\b(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}\b)"
    r"|(?P<id>[A-Za-z0-9_/+=.-]*\d[A-Za-z0-9_/+=.-]*)"
)
_LEAST_NAME: Final = 3
_MASKS: Final = {"address": "<ADDRESS>", "url": "<URL>", "ip": "<IP>", "host": "<HOST>", "id": "<N>"}
_EXAMPLES: Final = {
    "<ADDRESS>": "<user@example.com>",
    "<URL>": "https://example.com/",
    "<IP>": "192.0.2.1",
    "<HOST>": "mx.example.com",
    "<N>": "0",
}


class Suggestion(Struct, frozen=True):
    """A rule to begin with; a person gives it its meaning."""

    id: str
    stage: Stage
    pattern: str
    category: str
    action: str
    scope: str
    examples: tuple[str, ...]


class ReplySample(Struct, gc=False):
    """Replies of one site that read the same once masked; times are Unix seconds."""

    site: str
    policy: str
    stage: Stage
    text: str
    verdict: Verdict
    first_seen: float
    last_seen: float
    count: int = 1


def masked(code: int, lines: tuple[str, ...], about: str = "") -> str:
    """The reply as rules see it, without what differs from one message, address or host to the next.

    `about` is the recipient that it answers: peers name it without its domain, too, which no pattern tells from a word.
    """
    text = matching_text(code, lines)
    start = end_of_codes(text)
    rest = _without_parts(text[start : start + _CHARS])
    return text[:start] + _without_name(rest, about, "<ADDRESS>")


def without_name(reply: Reply, about: str) -> Reply:
    """The reply without the name of the recipient that it answers, where it stands there without its domain."""
    return Reply(reply.code, tuple([_without_name(line, about, "<>") for line in reply.lines]))


def _without_name(text: str, about: str, mask: str) -> str:
    local = about.rpartition("@")[0]
    if len(local) < _LEAST_NAME or local.lower() not in text.lower():
        return text
    name = rf"(?<![A-Za-z0-9<]){re.escape(local)}(?![A-Za-z0-9])"
    return re.sub(name, mask, text, flags=re.IGNORECASE)


@lru_cache(maxsize=512)
def masked_text(text: str) -> str:
    """The same of a reply that is text already, or of what is told in the place of one.

    Kept, since acts in force are told at every visit of the operator.
    """
    start = end_of_codes(text)
    return text[:start] + _without_parts(text[start : start + _CHARS])


def _without_parts(text: str) -> str:
    return _PARTS.sub(lambda found: _MASKS[found.lastgroup or "id"], text)


def suggestion(sample: ReplySample) -> Suggestion | None:
    """A rule for the sample, which matches its own example; None: nothing is left of it to match by."""
    text = sample.text[:_PATTERN_CHARS]
    words = re.split(r"<(?:ADDRESS|URL|IP|HOST|N)>", text)
    if not re.search(r"[A-Za-z]{3}", " ".join(words)[4:]):
        return None
    pattern = r"\S+".join(re2.escape(word) for word in words)
    pattern = "^" + pattern[:3] + "[- ]" + pattern[3:].removeprefix("\\").removeprefix("-").removeprefix(" ")
    example = re.sub("<(?:ADDRESS|URL|IP|HOST|N)>", lambda found: _EXAMPLES[found[0]], text)
    if re2.search(pattern, example) is None:
        return None
    name = "-".join(re.findall(r"[a-z]{3,}", " ".join(words).lower())[:4])[:40] or "reply"
    verdict = sample.verdict
    return Suggestion(
        f"{name}-{text[:3]}", sample.stage, pattern, verdict.category, verdict.action or "", verdict.scope, (example,)
    )


class ReplySamples:
    """The samples of one slot since it started."""

    def __init__(self) -> None:
        self._samples: OrderedDict[tuple[str, Stage, str], ReplySample] = OrderedDict()
        self._of_site: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        """Replies by policy; an empty name: of sites without one."""
        self.dropped = 0
        """Samples that had to make room."""
        self.skipped = 0
        """Replies that are in `counts` alone, since so many came in one second."""
        self._second = 0.0
        self._looked_at = 0

    def note(
        self, site: str, policy: str, stage: Stage, reply: Reply, verdict: Verdict, now: float, about: str = ""
    ) -> None:
        """Counts a reply that only a default rule was for; `about`: the recipient that it answers, if it is of one."""
        self.counts[policy] += 1
        if not 0.0 <= now - self._second < 1.0:
            self._second, self._looked_at = now, 0
        if self._looked_at >= _MOST_A_SECOND:
            self.skipped += 1
            return
        self._looked_at += 1
        try:
            text = masked(reply.code, reply.lines, about)
        except Exception as error:  # noqa: BLE001 -- whoever is mailed chooses the words, and a sample is worth no lane
            contain("samples", error, site=site)
            return
        key = (site, stage, text)
        known = self._samples.get(key)
        if known is not None:
            known.count += 1
            known.last_seen = now
            self._samples.move_to_end(key)
            return
        if self._of_site[site] >= _MOST_OF_SITE:
            self._drop(next(one for one in self._samples if one[0] == site))
        elif len(self._samples) >= _MOST:
            self._drop(next(iter(self._samples)))
        self._samples[key] = ReplySample(site, policy, stage, text, verdict, now, now)
        self._of_site[site] += 1

    def _drop(self, key: tuple[str, Stage, str]) -> None:
        del self._samples[key]
        self.dropped += 1
        self._of_site[key[0]] -= 1
        if not self._of_site[key[0]]:
            del self._of_site[key[0]]

    def listed(self) -> tuple[ReplySample, ...]:
        """All samples, the most frequent first."""
        return tuple(sorted(self._samples.values(), key=lambda one: -one.count))
