"""Whether a site is believed when it says that mailboxes do not exist. Pure.

An ISP whose own directory fails says so of every user (Gmail, for hours, on 2020-12-15); each word would lock one of
them out for `hardBounces`. So a site is not believed while its share of such answers in the last five minutes is proved
to be far above its usual one; its words are then `held-back` on the list: they stop nothing, and wait for a person, or
for the site to say the same again of the address, when it is believed or a day later, for a real list of bad addresses
looks the same. Usual is what the site said over some weeks, with a week's half-life; an episode is no part of it,
unless it lasts longer than a day. Few messages prove nothing, and one with many recipients is one.
Before it: `office` tells of what was delivered and what was not. After it: words for the suppression list. Invariants:
`now` is an argument; what is kept is bounded; a delivery costs one look into a dict.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from lane_relay.proportion import at_least

__all__ = ["AGAIN_S", "LEAST", "HoldingBack"]

AGAIN_S: Final = 24 * 3600.0
"""Who is told to be unknown again so long after is believed to be, whatever the site's share is then."""
LEAST: Final = 20
"""Messages with a bad mailbox in the window, without which nothing is held back."""
_WINDOW: Final = 5
"""Minutes."""
_CALM_S: Final = 15 * 60.0
"""A site is believed again when its share was no longer too high for so long."""
_FLOOR: Final = 0.1
"""A share that is proved to be no more than this holds nothing back."""
_ODDS: Final = 4.0
"""Times the usual odds: of a site that usually has 2 % it is 8 %, of one that has 30 % it is 63 %."""
_PRIOR: Final = (2.0, 100.0)
"""What counts as usual of a site that nothing is known of: bad, of tried."""
_HALF_LIFE_S: Final = 7 * 24 * 3600.0
_LONGEST_S: Final = 24 * 3600.0
_MOST_SITES: Final = 4096
_MOST_KEPT: Final = 200
_MOST_RECENT: Final = 10_000


class _Kept(Struct):
    sites: dict[str, tuple[float, float, float, float, float]]
    """By site: usual tried, usual bad, as of when; since when and until when it is not believed."""


class _Minute:
    __slots__ = ("bad", "messages", "number", "tried")

    def __init__(self, number: int) -> None:
        self.number, self.tried, self.bad = number, 0, 0
        self.messages: set[int] = set()


class _Site:
    __slots__ = ("minutes", "recent", "since", "until", "usual_at", "usual_bad", "usual_tried")

    def __init__(self, kept: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)) -> None:
        self.usual_tried, self.usual_bad, self.usual_at, self.since, self.until = kept
        self.minutes: deque[_Minute] = deque((_Minute(0),))
        self.recent: deque[tuple[float, bytes]] = deque(maxlen=_MOST_RECENT)
        """Words that were believed: (when, digest)."""

    def learn(self, minute: _Minute) -> None:
        """A minute is over and out of the window: it is what is usual, unless it was of an episode."""
        at = minute.number * 60.0
        if not minute.tried or (self.since - _WINDOW * 60.0 <= at < self.until and at - self.since < _LONGEST_S):
            return
        left = 0.5 ** (max(0.0, at - self.usual_at) / _HALF_LIFE_S)
        self.usual_tried, self.usual_bad = self.usual_tried * left + minute.tried, self.usual_bad * left + minute.bad
        self.usual_at = at

    @property
    def too_high(self) -> float:
        """The share above which it is not believed."""
        usual = (self.usual_bad + _PRIOR[0]) / (self.usual_tried + _PRIOR[1])
        odds = _ODDS * usual / max(1e-9, 1.0 - usual)
        return max(_FLOOR, odds / (1.0 + odds))


class HoldingBack:
    """What each site said of mailboxes lately, in one slot."""

    def __init__(self, kept: str = "") -> None:
        """`kept`: what `dump` gave in an earlier life."""
        self._sites: dict[str, _Site] = {}
        self.is_changed = False
        try:
            found = msgspec.json.decode(kept, type=_Kept) if kept else _Kept({})
        except msgspec.MsgspecError:
            found = _Kept({})
        for site, values in found.sites.items():
            self._sites[site] = _Site(values)

    def dump(self) -> str:
        """What is usual of the sites with most mail, and which are not believed."""
        self.is_changed = False
        most = sorted(self._sites.items(), key=lambda one: (one[1].until, one[1].usual_tried), reverse=True)
        rows = {
            name: (round(one.usual_tried, 1), round(one.usual_bad, 1), one.usual_at, one.since, one.until)
            for name, one in most[:_MOST_KEPT]
            if one.usual_tried or one.until
        }
        return msgspec.json.encode(_Kept(rows)).decode()

    def delivered(self, site: str, count: int, now: float) -> None:
        """The site took mail for so many mailboxes."""
        self._minute(site, now).tried += count

    def unknown(self, site: str, message_id: int, digests: Iterable[bytes], now: float) -> list[bytes]:
        """The site does not know these mailboxes; the words of the minutes before that are not to be believed now."""
        minute = self._minute(site, now)
        found = list(digests)
        minute.tried += len(found)
        minute.bad += len(found)
        if len(minute.messages) < LEAST:  # more need not be told apart, each time again
            minute.messages.add(message_id)
        one = self._sites[site]
        was_held = one.until > now
        if self._is_too_much(one):
            one.since, one.until = one.since if was_held else now, now + _CALM_S
            self.is_changed = True
        if one.until <= now:
            one.recent.extend((now, digest) for digest in found)
            return []
        before = [] if was_held else [digest for at, digest in one.recent if at > now - _WINDOW * 60.0]
        one.recent.clear()
        return before

    def is_held(self, site: str, now: float) -> bool:
        """The site is not believed."""
        one = self._sites.get(site)
        return one is not None and one.until > now

    def held(self, now: float) -> tuple[str, ...]:
        """The sites that are not believed."""
        return tuple(site for site, one in self._sites.items() if one.until > now)

    def _is_too_much(self, one: _Site) -> bool:
        if len(set[int]().union(*(minute.messages for minute in one.minutes))) < LEAST:
            return False
        bad, tried = sum(minute.bad for minute in one.minutes), sum(minute.tried for minute in one.minutes)
        return at_least(bad, tried) > one.too_high

    def _minute(self, site: str, now: float) -> _Minute:
        one, number = self._sites.get(site), int(now // 60)
        if one is not None and one.minutes[-1].number == number:
            return one.minutes[-1]
        if one is None:
            one = _Site()
        else:
            del self._sites[site]  # the last is the one that was heard of last
        self._sites[site] = one
        if len(self._sites) > _MOST_SITES:
            del self._sites[next(iter(self._sites))]
        minute = _Minute(number)
        one.minutes.append(minute)
        while one.minutes[0].number <= number - _WINDOW or one.minutes[0].number > number:  # or the clock stepped back
            one.learn(one.minutes.popleft())
            self.is_changed = True
        return minute
