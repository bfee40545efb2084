"""Decides what an ISP refuses: pure state and arithmetic, `now` is an argument.

Invariant: an Enforcer sees only what its ISP's server tells it and is never asked for a figure of evidence;
with `enforce: observe` it answers None to limits, while faults and recipient rules go on.
Before: `policy.Policy`. After: `smtp_session.SmtpSession`, which turns the verdict into bytes.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from fnmatch import fnmatchcase

from e2e.internet.policy import Fault, Policy, Reply, Stage

TOO_MANY_CONNECTIONS = Reply(code=421, text="4.7.0 Too many concurrent SMTP connections from this IP address")
TOO_FAST = Reply(code=421, text="4.7.28 Our system has detected an unusual rate of mail from your IP address")
GREYLISTED = Reply(code=450, text="4.7.1 Greylisted, please try again later")


class Enforcer:
    """The memory behind one ISP's refusals: who is connected, who sent when, who was greylisted."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._connected: Counter[str] = Counter()
        self._accepted: defaultdict[str, deque[float]] = defaultdict(deque)
        self._first_tried: dict[tuple[str, str, str], float] = {}
        self._tries: Counter[tuple[str, str]] = Counter()
        self._reached: Counter[Stage] = Counter()
        self._struck: Counter[Stage] = Counter()

    def change(self, policy: Policy) -> None:
        """Another policy from now on; what is known of clients stays, faults count anew."""
        self.policy = policy
        self._reached.clear()
        self._struck.clear()

    def connected(self, source_ip: str) -> Reply | None:
        """Counts a new connection in; the reply that refuses it, or None."""
        self._connected[source_ip] += 1
        limit = self.policy.max_connections_per_ip
        if self.policy.enforce == "observe" or limit is None or self._connected[source_ip] <= limit:
            return None
        return TOO_MANY_CONNECTIONS

    def disconnected(self, source_ip: str) -> None:
        """Counts a connection out."""
        self._connected[source_ip] -= 1

    def takes_domain(self, domain: str) -> bool:
        """True if mail for this domain (lower case) is this ISP's to take."""
        patterns = self.policy.domains
        return not patterns or any(fnmatchcase(domain, pattern) for pattern in patterns)

    def recipient(self, source_ip: str, sender: str, recipient: str, now: float) -> Reply | None:
        """The reply that refuses this recipient, or None: recipient rules first, then greylisting."""
        for rule in self.policy.recipients:
            if rule.matches(recipient):
                self._tries[rule.match, recipient] += 1
                if rule.times is None or self._tries[rule.match, recipient] <= rule.times:
                    return rule.reply
        greylist = self.policy.greylist
        if greylist is None:
            return None
        first = self._first_tried.setdefault((source_ip, sender, recipient), now)
        return GREYLISTED if now - first < greylist.delay_s or now == first else None

    def message(self, source_ip: str, now: float) -> Reply | None:
        """Counts a message that has arrived whole; the reply that refuses it for its rate, or None.

        As large ISPs do, a refused message does not use up the window.
        """
        rate = self.policy.message_rate
        if rate is None or self.policy.enforce == "observe":
            return None
        window = self._accepted[source_ip]
        while window and window[0] <= now - rate.seconds:
            window.popleft()
        if len(window) >= rate.messages:
            return TOO_FAST
        window.append(now)
        return None

    def fault(self, stage: Stage) -> Fault | None:
        """The fault that strikes at this stage now, or None."""
        fault = self.policy.faults.get(stage)
        if fault is None:
            return None
        self._reached[stage] += 1
        if self._reached[stage] % fault.every or (fault.times is not None and self._struck[stage] >= fault.times):
            return None
        self._struck[stage] += 1
        return fault
