"""When the next attempt is due; pure.

Invariant: a delay grows by the factor up to its maximum; jitter spreads it, so that what failed together does not come
back together, and never brings forward what a peer asked to wait for. Before: `settle` counts attempts.
"""

from typing import Final

from lane_api.relayconfig import RelayRetry

__all__ = ["asked_delay", "is_expired", "last_try", "scheduled_delay"]

_WORTH_A_TRY_S: Final = 60.0
_WORTH_A_TRY: Final = 0.1
"""What must be left for a last try to be another one than that which just failed: so many seconds, or so much of a
lifetime that is short."""
_SPREAD: Final = 0.1
"""Share of a delay by which jitter moves it at most."""


def scheduled_delay(retry: RelayRetry, attempts: int, jitter: float) -> float:
    """Seconds to wait after this many attempts; jitter in [0, 1) moves it by up to a tenth either way."""
    delay = retry.first
    for _ in range(attempts - 1):
        delay *= retry.factor
        if delay >= retry.max:
            break
    return min(delay, retry.max) * (1 - _SPREAD + 2 * _SPREAD * jitter)


def asked_delay(seconds: float, jitter: float) -> float:
    """Seconds to wait where a rule or policy says how long: at least those, at most a tenth more."""
    return seconds * (1 + _SPREAD * jitter)


def last_try(received: float, lifetime: float, now: float, due: float) -> float:
    """When to try next: as decided, or once before the message's time ends if that comes first."""
    end, worth = received + lifetime, min(_WORTH_A_TRY_S, _WORTH_A_TRY * lifetime)
    return end - worth / 2 if due > end and end - now > worth else due


def is_expired(received: float, lifetime: float, due: float) -> bool:
    """The next attempt would come after the message's time is over (RFC 5321 section 4.5.4.1: the give-up time)."""
    return due > received + lifetime
