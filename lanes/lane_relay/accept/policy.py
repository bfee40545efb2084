"""Who may send what: pure answers from the configuration, each refusal with a text that names the fix.

Before it: `smtp.server` asks about senders and recipients, `accept.session` about content. Invariant: the same
configuration and the same message give the same answer; nothing here knows a socket or the time.
"""

from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

from lane_api.classes import TrafficClass
from lane_api.relayconfig import RelayConfig
from lane_relay.accept.senders import SenderSet
from lane_relay.mail.author import Author, NoAuthor
from lane_relay.mail.headers import Header
from lane_relay.records import Reply
from lane_relay.smtp.address import Mailbox, normalise_domain

__all__ = ["AUTH_REQUIRED", "CLOSED", "IsSuppressed", "Policy", "client_address", "network_of"]

_MAX_HOPS: Final = 50
"""Received fields before a loop is assumed; RFC 5321 section 6.3 asks for 100 at most, Postfix takes 50."""

CLOSED: Final = Reply(
    421, ("4.3.2 This slot takes no new mail: it is drained, or its lane is deleted; try the lane's Service again",)
)
"""Whether another slot of the lane takes mail is not known here."""
AUTH_REQUIRED: Final = Reply(
    530, ("5.7.0 Authenticate first, or submit from a network named in submission.clients.cidrs",)
)


def client_address(text: str) -> IPv4Address | IPv6Address:
    """A peer's address; IPv4 that came in through an IPv6 socket is IPv4, and scopes are dropped."""
    address = ip_address(text.partition("%")[0])
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def network_of(client: str) -> str:
    """What one client has: an IPv4 address, or a /64 (RFC 6177 section 2: sites get no less)."""
    address = client_address(client) if client else None
    return str(IPv6Network((int(address) >> 64 << 64, 64))) if address is not None and address.version == 6 else client


IsSuppressed = Callable[[str, TrafficClass], str]
"""Why mail of this class must not go to this recipient, or empty."""


class Policy:
    """The intake rules of one configuration."""

    __slots__ = (
        "_class", "_domains", "_is_suppressed", "_lane", "_neighbours", "_networks", "_proxies", "_senders", "_users",
        "campaign_field", "campaign_tag", "correlation_field", "is_open", "redirect_to",
    )  # fmt: skip

    def __init__(self, config: RelayConfig, is_suppressed: IsSuppressed | None = None) -> None:
        """`is_suppressed`: why a recipient is not mailed; absent: everybody may be."""
        self._is_suppressed = is_suppressed
        self._class = config.lane.traffic_class
        self.is_open = config.intake.state == "Open"
        """Intake takes mail."""
        self.correlation_field = config.intake.correlation_field
        self.campaign_field = config.intake.campaign_field
        self.campaign_tag = config.intake.campaign_tag
        self.redirect_to = config.delivery.redirect_to
        """Where all mail goes instead of its recipients; empty: to them."""
        self._lane = f"{config.lane.namespace}/{config.lane.name}"
        self._networks: tuple[IPv4Network | IPv6Network, ...] = config.intake.clients
        self._proxies: tuple[IPv4Network | IPv6Network, ...] = config.intake.proxies
        self._domains = frozenset(filter(None, (normalise_domain(domain.name) for domain in config.domains)))
        intake = config.intake
        self._senders = SenderSet(intake.senders)
        self._users = {user.name: SenderSet(user.senders) for user in intake.users if user.senders}
        """Users who may not use all of the lane's."""
        self._neighbours = [(one.lane, SenderSet(one.senders)) for one in intake.neighbours if one.senders]

    def is_trusted(self, address: IPv4Address | IPv6Address) -> bool:
        """This client may submit without AUTH."""
        return any(address in network for network in self._networks)

    def counted_as(self, client: str) -> str:
        """Whom limits take a client for. The lane's own are told apart by address: pods of one node share a /64."""
        if ":" not in client or self.is_trusted(client_address(client)):
            return client
        return network_of(client)

    def is_proxy(self, address: IPv4Address | IPv6Address) -> bool:
        """This peer speaks for others, and must say for whom."""
        return any(address in network for network in self._proxies) if self._proxies else False

    def judge_sender(self, sender: Mailbox | None, *, may_submit: bool, user: str = "") -> Reply | None:
        """May this client open a transaction with this envelope sender; the null sender belongs to every lane."""
        if not self.is_open:
            return CLOSED
        if not may_submit:
            return AUTH_REQUIRED
        return self._judge_owner("envelope sender", str(sender), sender.domain, user) if sender is not None else None

    def judge_recipient(self, recipient: Mailbox) -> Reply | None:
        """May mail go to this recipient; a name without a dot is nobody's mail domain but could be a host of ours."""
        if "." not in recipient.domain:
            return Reply(550, (f"5.1.2 {recipient.domain} is not a fully qualified domain",))
        why = self._is_suppressed(str(recipient), self._class) if self._is_suppressed is not None else ""
        if why:
            fix = "leave it out, or take it off the list with DELETE /v1/suppressions if its owner asks for mail"
            return Reply(550, (f"5.7.1 {recipient} is suppressed ({why}): {fix}",))
        return None

    def judge_content(self, header: Header, *, smtp_utf8: bool, user: str = "") -> Reply | None:
        """May this message be sent, by this user, under its header From."""
        if header.begins_folded:
            return Reply(550, ("5.6.0 The message begins with a continuation line instead of a header field",))
        if header.stray_line:
            fix = "a field has no blank before its colon, and an empty line ends the header"
            return Reply(550, (f"5.6.0 The header has a line that is no field: {header.stray_line!a}; {fix}",))
        if header.eight_bit and not smtp_utf8:
            text = "5.6.7 The header is not ASCII: encode it (RFC 2047) or send MAIL with SMTPUTF8"
            return Reply(550, (text,))
        if header.hops > _MAX_HOPS:
            return Reply(554, (f"5.4.6 Mail loop: {header.hops} Received fields",))
        if header.repeated:
            fix = "keep one (RFC 5322 section 3.6)"
            return Reply(550, (f"5.6.0 The message has more than one {header.repeated} field: {fix}",))
        problem = header.malformed or header.lane.problem
        if problem:
            return Reply(550, (f"5.6.0 {problem[:1].upper()}{problem[1:]}",))
        author = header.author
        if isinstance(author, NoAuthor):
            return Reply(550, (f"5.6.0 {author.reason[:1].upper()}{author.reason[1:]}",))
        return self._judge_author(author, user)

    def _judge_author(self, author: Author, user: str) -> Reply | None:
        foreign = self._judge_owner("header From", author.address, author.domain, user)
        if foreign is not None:
            return foreign
        if author.domain not in self._domains:
            fix = f"add {author.domain} to the domains of lane {self._lane}, with a DKIM key or with dkim.mode Off"
            return Reply(550, (f"5.7.1 Nothing leaves unsigned: {fix}",))
        return None

    def _judge_owner(self, what: str, address: str, domain: str, user: str) -> Reply | None:
        """Is it the lane's, and this user's."""
        if not self._senders.holds(address, domain):
            return Reply(550, (f"5.7.1 The {what} {address} {self._elsewhere(address, domain)}",))
        rights = self._users.get(user)
        if rights is None or rights.holds(address, domain):
            return None
        fix = f'add "@{domain}" to the senders of that user in submission.auth.users of lane {self._lane}'
        return Reply(550, (f"5.7.1 The {what} {address} is not one of user {user}: {fix}",))

    def _elsewhere(self, address: str, domain: str) -> str:
        """What to do about a sender that is not the lane's; whoever hears it may submit here."""
        for lane, senders in self._neighbours:
            if senders.holds(address, domain):
                return f"belongs to lane {lane}, not to {self._lane}: submit it there"
        return f'is not one of lane {self._lane}: add "@{domain}" to its submission.senders'
