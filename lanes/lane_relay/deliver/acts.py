"""What reply rules stop or slow down, until when and why, and the counts that come before; pure.

A rule's `trigger` is counted here, and the lane's protection has its say: what may not be paused is slowed down. Where
its automation is Observe nothing is: what would be is kept beside.
Before it: `judgement`, with verdicts. After it: the ready queue, which holds a site; `judgement`, which puts mail of a
From domain off. Invariants: every act ends by itself, whatever becomes of the wall clock; `dump` has all that are in
force, so that a restart keeps them; acts and counts are bounded in number.
"""

from collections import OrderedDict, deque
from typing import Final

import msgspec
from msgspec import Struct

from lane_api.classes import Protection, TrafficClass
from lane_api.isppolicy import Action, Category, Scope
from lane_relay.records import Verdict

__all__ = ["Act", "Acts", "Weighed", "weigh"]

_MOST_ACTS: Final = 200
_MOST_COUNTS: Final = 4096
_REPLY_CHARS: Final = 200
_CLIMBS_S: Final = 86_400.0
"""So long after its hold a site's back-off is kept, for it climbs back in steps."""
_STOPS: Final = (Action.SUSPEND_SITE, Action.QUARANTINE_IP, Action.SUSPEND_DOMAIN)
_ABOUT_SPAM: Final = (Category.SPAM_RELATED, Category.POLICY_RELATED)
_TENTH: Final = 0.1
_LONGER_S: Final = 1.0
"""By so much an act must last longer than the one in force to be another one."""


class Act(Struct, frozen=True, omit_defaults=True):
    """One thing that is stopped or slowed down; times are Unix seconds."""

    action: Action
    site: str
    """Empty: every site."""
    since: float
    until: float
    rule: str
    """`policy/rule-id` or `default/rule-id`."""
    reply: str = ""
    """The reply that set it off, cut short."""
    domain: str = ""
    """The From domain whose mail waits; empty: all mail."""
    every: float = 0.0
    """Of a From domain that is slowed down: seconds between two of its messages."""
    lasts: float = 0.0
    """Seconds that it was put in force for; 0: not known."""

    @property
    def about(self) -> str:
        """What it is about, in words."""
        where = self.site or "every site"
        return f"mail from {self.domain} to {where}" if self.domain else where


class Weighed(Struct, frozen=True, gc=False):
    """What is to be done about a verdict."""

    action: Action
    scope: Scope
    alert: bool = False
    """A person should know: asked for, or more was asked for than may be done."""
    observed: bool = False
    """It is only said that it would be done."""


def weigh(
    verdict: Verdict,
    protection: Protection,
    traffic_class: TrafficClass,
    *,
    has_standby: bool = False,
    observe: bool = False,
) -> Weighed | None:
    """What a verdict's act comes to under this protection; None: it asks for no more than another try or a bounce."""
    asked = _allowed(verdict, protection, traffic_class, has_standby=has_standby)
    if not observe or asked is None or asked.action is Action.ALERT:
        return asked
    return Weighed(asked.action, asked.scope, alert=True, observed=True)


def _allowed(
    verdict: Verdict, protection: Protection, traffic_class: TrafficClass, *, has_standby: bool
) -> Weighed | None:
    action, scope = verdict.action, verdict.scope
    if action is None or action in (Action.BOUNCE, Action.RETRY):
        return None
    if action is Action.ALERT:
        return Weighed(action, scope, alert=True)
    if protection is Protection.NEVER_PAUSE:
        if action is Action.QUARANTINE_IP and has_standby:
            return Weighed(action, scope, alert=True)
        return Weighed(Action.BACKOFF, scope, alert=action in _STOPS)
    if protection is Protection.CONSERVATIVE and action is Action.BACKOFF and verdict.category in _ABOUT_SPAM:
        return Weighed(Action.SUSPEND_DOMAIN if scope is Scope.DOMAIN else Action.SUSPEND_SITE, scope)
    if traffic_class is TrafficClass.NOTIFICATION and scope is Scope.LANE and action in _STOPS:
        scope = Scope.DOMAIN if action is Action.SUSPEND_DOMAIN else Scope.IP
    return Weighed(action, scope, alert=action is Action.QUARANTINE_IP)


class Acts:
    """The acts of one slot."""

    def __init__(self) -> None:
        self._acts: dict[tuple[str, str, str], Act] = {}
        """By what they are about: (kind, site, domain)."""
        self._counts: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        """When replies of (rule, subject) came, for triggers."""
        self._passed: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Of a site: seconds of pauses, and the end of the last one."""
        self._slowed: dict[str, Act] = {}
        """Back-offs of whole sites, which the sites live by; here they are for the next process alone."""
        self._observed: dict[tuple[str, str, str], Act] = {}
        """What would be in force; not kept over a restart, for it stops nothing."""
        self._turns: dict[tuple[str, str], tuple[float, float]] = {}
        """Of a slowed-down (site, domain): when its next message may go, and the last turn that one waits for."""
        self._with_domains: frozenset[str] = frozenset()
        """Sites, an empty one for all, where mail of some From domain waits."""
        self._quarantined: frozenset[str] = frozenset()
        self.has_domains = False
        """Mail of some From domain waits somewhere."""

    # -- before an act

    def is_due(self, verdict: Verdict, subject: str, now: float, protection: Protection) -> bool:
        """Counts a reply about this subject; True if its act is to be done now, by the `time_of` its site."""
        if verdict.trigger is None or protection is Protection.CONSERVATIVE:
            return True
        count, per = verdict.trigger
        key = (verdict.rule, subject)
        times = self._counts.setdefault(key, deque(maxlen=count))
        self._counts.move_to_end(key)
        times.append(now)
        if len(self._counts) > _MOST_COUNTS:
            self._counts.popitem(last=False)
        if len(times) < count or now - times[0] > per:
            return False
        del self._counts[key]
        return True

    def pass_over(self, site: str, began: float, ended: float) -> None:
        """In this pause the site was not asked: it takes nothing from the time that a trigger has.

        Else who refuses every connection would never reach a trigger that is shorter than the pauses. Monotonic
        seconds; pauses come in the order of their ends, and what two have in common counts once.
        """
        passed, last = self._passed.get(site, (0.0, began))
        if ended > last:
            self._passed[site] = passed + ended - max(began, last), ended
            self._passed.move_to_end(site)
            if len(self._passed) > _MOST_COUNTS:
                self._passed.popitem(last=False)

    def time_of(self, site: str, now: float) -> float:
        """The clock that triggers of a site go by: monotonic seconds less its pauses."""
        return now - self._passed.get(site, (0.0, 0.0))[0]

    # -- acts in force

    def place(self, act: Act) -> bool:
        """Puts an act in force; False: one that lasts as long is."""
        key = _about(act)
        known = self._acts.get(key)
        if known is not None and act.until < known.until + _LONGER_S:
            return False
        since = known.since if known is not None else act.since
        self._acts[key] = msgspec.structs.replace(act, since=since, reply=act.reply[:_REPLY_CHARS])
        if len(self._acts) > _MOST_ACTS:
            del self._acts[min((one for one in self._acts if one != key), key=self._how_soon_spared)]
        self._changed()
        return True

    def _how_soon_spared(self, key: tuple[str, str, str]) -> tuple[bool, float]:
        """What is about one From domain before what stops all mail for a site, and then what ends first."""
        act = self._acts[key]
        return not act.domain, act.until

    def follow(self, now: float) -> bool:
        """The wall clock may have been set back since: none lasts longer from now than it was to; True if one would."""
        long = {key: act for key, act in self._acts.items() if act.lasts and act.until > now + act.lasts + _LONGER_S}
        for key, act in long.items():
            self._acts[key] = msgspec.structs.replace(act, since=min(act.since, now), until=now + act.lasts)
        return bool(long)

    def expire(self, now: float) -> list[Act]:
        """Ends what is over, and gives it."""
        for site in [site for site, act in self._slowed.items() if act.until + _CLIMBS_S <= now]:
            del self._slowed[site]
        over = [key for key, act in self._acts.items() if act.until <= now]
        ended = [self._acts.pop(key) for key in over]
        if ended:
            self._changed()
        return ended

    def slow(self, act: Act, *, goes_on: bool = False) -> bool:
        """A site's back-off, of one that is slowed down already where it `goes_on`; True if what is kept is to be
        written again: most replies make it longer by a little."""
        known = self._slowed.get(act.site)
        if known is not None and act.until < known.until + max(act.lasts * _TENTH, _LONGER_S):
            return False
        since = known.since if known is not None and goes_on else act.since
        self._slowed[act.site] = msgspec.structs.replace(act, since=since, reply=act.reply[:_REPLY_CHARS])
        if len(self._slowed) > _MOST_ACTS:
            del self._slowed[min(self._slowed, key=lambda one: self._slowed[one].until)]
        return True

    def slowed(self, site: str) -> Act | None:
        """The back-off that this site had; its hold may be over, and the climb not."""
        return self._slowed.get(site)

    def about(self, site: str, domain: str) -> list[Act]:
        """Those in force about just this; an empty site is every site, an empty domain all mail."""
        return [act for act in self.listed() if (act.site, act.domain) == (site, domain)]

    def end(self, site: str, domain: str) -> None:
        """Ends those, and a site's back-off with its climb."""
        self._acts = {key: act for key, act in self._acts.items() if key[1:] != (site, domain)}
        if not domain:
            self._slowed.pop(site, None)
        self._changed()

    def observe(self, act: Act) -> bool:
        """An act that is not done; False: its rule's would be in force, so that this reply would not have come, or one
        that lasts as long."""
        now, key = act.since, _about(act)
        self._observed = {one: known for one, known in self._observed.items() if known.since <= now < known.until}
        known = self._observed.get(key)
        if known is not None and (known.rule == act.rule or act.until < known.until + _LONGER_S):
            return False
        self._observed[key] = msgspec.structs.replace(act, reply=act.reply[:_REPLY_CHARS])
        if len(self._observed) > _MOST_ACTS:
            del self._observed[min(self._observed, key=lambda one: self._observed[one].until)]
        return True

    def observed(self, now: float) -> tuple[Act, ...]:
        """What would be in force, the first to end first."""
        found = [act for act in self._observed.values() if act.since <= now < act.until]
        return tuple(sorted(found, key=lambda act: act.until))

    def forget_observed(self) -> None:
        """Acts are done from now on."""
        self._observed = {}

    def _changed(self) -> None:
        self._with_domains = frozenset(act.site for act in self._acts.values() if act.domain)
        self.has_domains = bool(self._with_domains)
        self._quarantined = frozenset(
            act.site for act in self._acts.values() if act.action is Action.QUARANTINE_IP and not act.domain
        )
        about = {(act.site, act.domain) for act in self._acts.values() if act.every}
        self._turns = {key: turns for key, turns in self._turns.items() if key in about}

    def listed(self) -> tuple[Act, ...]:
        """All in force, the first to end first."""
        return tuple(sorted(self._acts.values(), key=lambda act: act.until))

    def of_site(self, site: str) -> tuple[Act, ...]:
        """Those that touch this site's mail."""
        return tuple(act for act in self.listed() if act.site in ("", site))

    def stop_of(self, site: str) -> Act | None:
        """What stops all mail to this site: the last to end."""
        found = [self._acts.get(("stop", one, "")) for one in (site, "")]
        return max((act for act in found if act is not None), key=lambda act: act.until, default=None)

    def quarantined(self) -> frozenset[str]:
        """Sites that refuse this slot's address; an empty one: all."""
        return self._quarantined

    def has_domains_at(self, site: str) -> bool:
        """Mail of some From domain waits at this site."""
        return self.has_domains and (site in self._with_domains or "" in self._with_domains)

    def wait_of(self, site: str, domain: str, now: float, *, takes: bool = True) -> tuple[Act, float] | None:
        """What this From domain's next message to the site waits for, and for how many seconds; None: it may go.

        A message of a domain that is slowed down takes its turn by being asked for, unless `takes` says otherwise; one
        that waits has a turn behind all that wait already.
        """
        for where in (site, ""):
            stop = self._acts.get(("stop", where, domain))
            if stop is not None and stop.until > now:
                return stop, stop.until - now
        for where in (site, ""):
            slow = self._acts.get(("slow", where, domain))
            if slow is not None and slow.until > now:
                may_go, last = self._turns.get((where, domain), (now, now))
                if now < may_go:
                    turn = max(last + slow.every, may_go)
                    if turn >= slow.until:
                        return slow, slow.until - now
                    self._turns[where, domain] = may_go, turn
                    return slow, turn - now
                if takes:
                    self._turns[where, domain] = now + slow.every, max(last, now)
        return None

    # -- over restarts

    def dump(self) -> str:
        """All acts in force as text; empty: none."""
        found = (*self.listed(), *self._slowed.values())
        return msgspec.json.encode(found).decode() if found else ""

    def load(self, text: str, now: float) -> None:
        """Takes what an earlier process left; what is over by now, or no list of acts, is left out."""
        try:
            found = msgspec.json.decode(text, type=list[Act]) if text else []
        except msgspec.MsgspecError:
            return
        for act in found:
            if act.action is Action.BACKOFF and not act.domain:
                if act.until + _CLIMBS_S > now:
                    self.slow(msgspec.structs.replace(act, until=min(act.until, now + act.lasts)))
            elif act.until > now:
                self.place(act)


def _about(act: Act) -> tuple[str, str, str]:
    """(kind, site, domain): one act at a time is about these."""
    return "slow" if act.action is Action.BACKOFF else "stop", act.site, act.domain
