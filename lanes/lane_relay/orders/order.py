"""Orders: what is to be done with which mail, by whose will, why, and until when. Values; pure.

Invariants: an order has one selector; who gave it, why and when it ends is always said; what bounces or drops acts on
messages that were there when it was given, never on later ones. Before: `/v1/actions`. After: `book`.
"""

from enum import StrEnum
from typing import Annotated, Any, Final, Self

from msgspec import Struct
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from lane_api.quantities import Duration
from lane_relay.smtp.address import normalise_domain

__all__ = ["FINAL", "NULL_SENDER", "WITH_SIBLING", "By", "Order", "OrderRequest", "Selector", "Verb"]

_LONGEST_S: Final = 30 * 86400.0
_DAY_S: Final = 86400.0
NULL_SENDER: Final = "<>"
"""As people write it; entries have an empty sender domain."""


class Verb(StrEnum):
    """What is to be done."""

    SUSPEND = "suspend"
    """Not attempted while it stands; its lifetime goes on and may end it."""
    HOLD = "hold"
    """Nothing becomes of it while it stands; its lifetime counts again afterwards."""
    BOUNCE = "bounce"
    """Given up, with a report to its sender."""
    DROP = "drop"
    """Given up without one."""
    REQUEUE = "requeue"
    """What waits for its next attempt is due now."""
    RESUME = "resume"
    """Ends the suspensions of the same selector; by `all`, those of all mail."""
    RELEASE = "release"
    """Ends the holds of the same selector."""
    TAKE_BACK = "take-back"
    """What is in doubt with a sibling that is gone for good is ours to send again, perhaps twice."""
    FORGET = "forget"
    """What a sibling that is gone for good may still ask about is forgotten: this slot may be drained without it."""


WITH_SIBLING: Final = (Verb.TAKE_BACK, Verb.FORGET)
"""Of these no mail here is chosen, but a sibling; they are done at once."""
FINAL: Final = (Verb.BOUNCE, Verb.DROP)
"""Of these nothing comes back."""


class By(StrEnum):
    """What mail is chosen by."""

    QUEUE = "queue"
    """The recipients' domain."""
    SITE = "site"
    """The bucket of limits that it goes to, as `/v1/sites` names it."""
    POLICY = "policy"
    """The ISPPolicy of that site."""
    CAMPAIGN = "campaign"
    SENDER = "sender"
    """The envelope sender: an address, a domain, or `<>`, which the relay's own reports have."""
    SIBLING = "sibling"
    """Another slot of the lane, by its name: for `take-back` and `forget` alone."""
    MESSAGE = "message"
    """Its id, 24 hexadecimal digits."""
    ALL = "all"


class Selector(Struct, frozen=True):
    """One way to choose mail; `value` as entries have it."""

    by: By
    value: str = ""


class Order(Struct, kw_only=True):
    """One order that stands; kept in the spool as JSON. Fields are only ever added, with defaults."""

    id: str
    verb: Verb
    selector: Selector
    owner: str
    reason: str
    created: float
    """Unix time, seconds."""
    expires: float
    """Unix time, seconds; 0: it stands until it is revoked."""
    before: str = ""
    """It is about messages with lower ids, in 24 hexadecimal digits; empty: about all."""
    swept: bool = False
    """All that waited when it was given has been looked at."""
    entries: int = 0
    """How many it has acted upon; a message for recipients in several domains counts once for each."""

    @property
    def key(self) -> str:
        """What its mail is held under."""
        return f"order {self.id}"

    @property
    def by_site(self) -> bool:
        """It names a site; that of mail which a policy is for has the policy's name."""
        return self.selector.by in (By.SITE, By.POLICY)

    @property
    def words(self) -> str:
        """What is ordered, by whom and why, such as `suspend site gmail of jane (they ask)`."""
        about = f"{self.selector.by} {self.selector.value}".rstrip()
        return f"{self.verb} {about} of {self.owner} ({self.reason})"


_Text = Annotated[str, Field(min_length=1, max_length=500)]
_Value = Annotated[str, Field(min_length=1, max_length=320)]


class OrderRequest(BaseModel):
    """An order as it is given; exactly one of the selectors stands in it."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    action: Verb
    owner: _Text
    """Who gives it."""
    reason: _Text
    expires_in: Annotated[Duration, Field(gt=0, le=_LONGEST_S)] = _DAY_S
    """It ends by itself after so long; at most 30 days."""
    queue: _Value | None = None
    site: _Value | None = None
    policy: _Value | None = None
    campaign: _Value | None = None
    sender: _Value | None = None
    sibling: _Value | None = None
    message: _Value | None = None
    all: bool = False

    @model_validator(mode="after")
    def _chooses_once(self) -> Self:
        given: list[Any] = [by for by in By if getattr(self, by)]
        if len(given) != 1:
            raise ValueError(f"choose mail by exactly one of {', '.join(By)}")
        if self.action is Verb.REQUEUE and given[0] in (By.SITE, By.POLICY):
            raise ValueError("requeue chooses by queue, campaign, sender, message or all: what waits has no site yet")
        if (self.action in WITH_SIBLING) != (given[0] is By.SIBLING):
            raise ValueError(
                "take-back and forget choose by sibling, the name of a slot that is gone, and nothing else does"
            )
        chosen = self.selector
        if self.action is Verb.REQUEUE and "@" in chosen.value[1:]:
            raise ValueError("requeue chooses senders by their domain: write sender: example.com")
        return self

    @property
    def selector(self) -> Selector:
        """What it chooses, in the spelling of entries; raises ValueError."""
        by = next(by for by in By if getattr(self, by))
        if by is By.ALL:
            return Selector(by)
        value: str = getattr(self, by)
        if by is By.QUEUE:
            return Selector(by, _domain(value))
        if by is By.SENDER and value == NULL_SENDER:
            return Selector(by, value)
        if by is By.SENDER:
            local, _, domain = value.rpartition("@")
            return Selector(by, f"{local}@{_domain(domain)}")
        if by is By.MESSAGE:
            if len(value) != 24 or set(value) - set("0123456789abcdef"):
                raise ValueError("message: give its id, 24 hexadecimal digits, as records and logs show it")
            return Selector(by, value)
        return Selector(by, value)


def _domain(text: str) -> str:
    domain = normalise_domain(text)
    if not domain:
        raise ValueError(f"{text!r:.80} is no domain")
    return domain
