"""What is said of DKIM keys: the one that signs, the next and the one before, and whose turn it is; pure.

DKIMRotation only tells: the key that signs goes on signing, whatever becomes of the next one. It stands on lanes whose
keys are rotated, True while a rotation is under way; each of its reasons is an Event, since each is news to whoever
looks after DNS.
"""

import datetime as dt
from collections.abc import Callable

from lane_api.conditions import ConditionType, Reason
from lane_api.lane_status import DkimStatus, Ed25519Status, KeyPhase, KeyStatus
from lane_operator.inputs import DkimKey, KeyTurn
from lane_operator.status.book import Book, stamp
from lane_operator.status.view import View

__all__ = ["dkim_status", "put_rotation"]


def dkim_status(view: View, domain: str, mode: str) -> DkimStatus:
    """The keys of one From domain."""
    key = view.references.dkim.get(domain)
    if mode == "Off" or key is None:
        return DkimStatus(mode=mode)
    turn = key.turn
    return DkimStatus(
        mode=mode,
        selector=key.selector,
        record_name=_record_name(key.selector, domain),
        record=key.public_record,
        published=view.published(domain) is True,
        secret_name=key.secret_name,
        ed25519=_ed25519(key, domain, published=view.second_published(domain)),
        phase=turn.phase if turn is not None else None,
        until=stamp(turn.ends) if turn is not None and turn.ends is not None else None,
        next=_next(view, domain, turn.following) if turn is not None else None,
        previous=_previous(domain, turn.before) if turn is not None else None,
        retired=_record_name(turn.retired, domain) if turn is not None and turn.retired else "",
    )


def put_rotation(book: Book, view: View) -> None:
    """The verdict on DKIMRotation; of several domains the reason is that of the one that is least far."""
    turns = {
        domain.name: key.turn
        for domain in view.lane.spec.domains
        if (key := view.references.dkim.get(domain.name)) is not None and key.turn is not None
    }
    if not turns:
        return
    for reason, is_so, words, under_way in _SAID:
        if any(is_so(turn) for turn in turns.values()):
            message = "; ".join(words(view, name, turn) for name, turn in turns.items() if is_so(turn))
            book.put(ConditionType.DKIM_ROTATION, under_way, reason, message)
            return


def _publish(view: View, domain: str, turn: KeyTurn) -> str:
    key = turn.following
    if key is None:
        return ""
    texts = [f'TXT {_record_name(one.selector, domain)} = "{one.public_record}"' for one in (key, key.second) if one]
    seen = view.next_seen(domain, key.selector)
    lacks = next((one.message for one in seen if not one.published and one.message), "no slot has looked for it yet")
    way = "external-dns is to publish" if _is_external(view, domain) else "publish"
    return (
        f"{domain} has a next key, {way} {' and '.join(texts)}; until every slot finds the first of them in DNS the "
        f"present key signs ({lacks})"
    )


def _propagates(_view: View, domain: str, turn: KeyTurn) -> str:
    selector = turn.following.selector if turn.following is not None else ""
    return f"DNS answers the next key of {domain}, {selector}, which signs from {_when(turn.ends)} on"


def _retires(_view: View, domain: str, turn: KeyTurn) -> str:
    before = _record_name(turn.before.selector, domain) if turn.before is not None else ""
    return (
        f"{domain} signs with its next key; leave TXT {before} in DNS until {_when(turn.ends)}, since mail that it "
        "signed is under way"
    )


def _retired(view: View, domain: str, turn: KeyTurn) -> str:
    name = _record_name(turn.retired, domain)
    beside = _record_name(f"{turn.retired}-ed25519", domain)
    if _is_external(view, domain):
        return f"the key of TXT {name} is forgotten, and external-dns takes its records out of DNS"
    return f"the key of TXT {name} is forgotten: take that out of DNS, and {beside} where there is one"


def _stable(_view: View, domain: str, turn: KeyTurn) -> str:
    if turn.ends is None:
        return f"no next key of {domain} is asked for, or nobody knows how old the present one is"
    return f"the next key of {domain} is made at {_when(turn.ends)}"


_Said = tuple[Reason, Callable[[KeyTurn], bool], Callable[[View, str, KeyTurn], str], bool]
_SAID: tuple[_Said, ...] = (
    (Reason.NEXT_KEY_UNPUBLISHED, lambda turn: turn.phase is KeyPhase.PUBLISHING, _publish, True),
    (Reason.NEXT_KEY_PROPAGATES, lambda turn: turn.phase is KeyPhase.PROPAGATING, _propagates, True),
    (Reason.OLD_KEY_RETIRES, lambda turn: turn.phase is KeyPhase.RETIRING, _retires, True),
    (Reason.OLD_KEY_RETIRED, lambda turn: bool(turn.retired), _retired, False),
    (Reason.KEYS_STABLE, lambda turn: not turn.retired, _stable, False),
)


def _next(view: View, domain: str, key: DkimKey | None) -> KeyStatus | None:
    if key is None:
        return None
    seen = view.next_seen(domain, key.selector)
    return KeyStatus(
        selector=key.selector,
        record_name=_record_name(key.selector, domain),
        record=key.public_record,
        published=bool(seen) and all(one.published for one in seen),
        ed25519=_ed25519(key, domain, published=bool(seen) and all(one.ed25519 for one in seen)),
    )


def _previous(domain: str, key: DkimKey | None) -> KeyStatus | None:
    """Nobody asks DNS for it any more."""
    if key is None:
        return None
    name = _record_name(key.selector, domain)
    second = _ed25519(key, domain, published=False)
    return KeyStatus(selector=key.selector, record_name=name, record=key.public_record, ed25519=second)


def _ed25519(key: DkimKey, domain: str, *, published: bool) -> Ed25519Status | None:
    if key.second is None:
        return None
    return Ed25519Status(
        record_name=_record_name(key.second.selector, domain), record=key.second.public_record, published=published
    )


def _is_external(view: View, domain: str) -> bool:
    return any(one.name == domain and one.dns.provider == "ExternalDNS" for one in view.lane.spec.domains)


def _record_name(selector: str, domain: str) -> str:
    return f"{selector}._domainkey.{domain}"


def _when(time: dt.datetime | None) -> str:
    return stamp(time) if time is not None else "a time that nobody has set"
