"""Makes sessions: which source, TLS and credentials a connection to this destination has.

Before it: configuration, routes, and what earlier connections have shown of a host's TLS. After it: `session`.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from msgspec import Struct

from lane_api.isppolicy import Category, Stage
from lane_api.relayconfig import Egress, RelayConfig, SecondAddress
from lane_relay.deliver.owner import Owner
from lane_relay.deliver.ready_queue import Destination, Target
from lane_relay.deliver.resumption import Resumption
from lane_relay.deliver.session import Session
from lane_relay.deliver.session_settings import ReturnPaths, SessionSettings, Timeouts
from lane_relay.deliver.tls import TlsContexts, TlsMode, plan_tls
from lane_relay.deliver.trouble import Trouble
from lane_relay.records import Reply, Route, TlsFailure
from lane_relay.socks.tunnel import Door, door_of

__all__ = ["SessionMaker"]

_PLAIN_S: Final = 600.0
"""So long a host whose TLS failed is spoken to in plain text, where TLS is opportunistic."""
_NEVER: Final = (0.0, TlsFailure.NONE)


class SessionMaker:
    """Numbers sessions, too."""

    def __init__(
        self, config: RelayConfig, contexts: TlsContexts, timeouts: Timeouts, return_paths: ReturnPaths | None = None,
        leads_to: Callable[[str], bool] = lambda _address: True,
    ) -> None:  # fmt: skip
        """`leads_to(address)`: our own address of its family is proved."""
        self._leads_to = leads_to
        self._contexts = contexts
        self._timeouts = timeouts
        self._return_paths = return_paths
        self._plain: dict[str, tuple[float, TlsFailure]] = {}
        """Address -> until when it is spoken to in plain text, and what its TLS failed with."""
        self.resumption = Resumption()
        self.made = 0
        self.apply(config)

    def apply(self, config: RelayConfig) -> None:
        """Another configuration, for the sessions made from now on."""
        self._hostname = config.slot.hostname
        mode = config.delivery.outbound_tls
        self._outbound_tls = "Required" if mode in ("MTASTS", "DANE") else mode  # what they ask beyond, routes demand
        egress = config.egress
        self._first, self._second = _way_of(egress), None if egress.second is None else _way_of(egress.second)
        self._second_is_v6 = egress.second is not None and egress.second.address.version == 6
        self.way = self._first.text if self._second is None else f"{self._first.text}, {self._second.text}"
        """What connections leave by, to be compared."""

    def make(
        self, owner: Owner, destination: Destination, target: Target, now: float
    ) -> tuple[Session, Trouble | None]:
        """A session that has not begun to connect, and why it cannot, if so."""
        mode = TlsMode(destination.route.tls or self._outbound_tls)
        credentials, trouble = _read_credentials(destination.route)
        plan = plan_tls(mode, bool(destination.route.tls), target.demand)
        same_for = plan.same_for(target.host, target.address, destination.route.port)
        way = self._first
        if self._second is not None and (":" in target.address) is self._second_is_v6:
            way = self._second
        if trouble is None and not self._leads_to(target.address):
            trouble = _unproved(target)
        settings = SessionSettings(
            self._hostname, way.source, plan, credentials, self._contexts, self._timeouts,
            self.resumption, same_for, self.resumption.find(same_for, now), self._return_paths, way.door, self.way,
        )  # fmt: skip
        self.made += 1
        until, failure = self._plain.get(target.address, _NEVER)
        gave_up = failure if until > now and plan.mode is TlsMode.OPPORTUNISTIC else TlsFailure.NONE
        return Session(owner, destination, target, settings, self.made, gave_up), trouble

    def learn(self, session: Session, trouble: Trouble, now: float) -> None:
        """TLS has failed, and the same address is tried again: without the session that was offered, else in plain."""
        if session.offered:
            self.resumption.give_up(session.same_for, now)
        else:
            failure = trouble.tls.failure if trouble.tls is not None else TlsFailure.VALIDATION
            self._plain[session.target.address] = now + _PLAIN_S, failure

    def forget(self, now: float) -> None:
        """Drops what is no longer true."""
        self._plain = {address: known for address, known in self._plain.items() if known[0] > now}


class _Way(Struct, frozen=True):
    """By what connections of one family leave."""

    source: str
    """What they bind; empty: nothing."""
    door: Door | None

    @property
    def text(self) -> str:
        """To be compared."""
        return self.source if self.door is None else self.door.way


def _way_of(egress: Egress | SecondAddress) -> _Way:
    return _Way("" if egress.source is None else str(egress.source), door_of(egress))


def _unproved(target: Target) -> Trouble:
    """The host's other addresses, of the family that is proved, have their turn."""
    family = "IPv6" if ":" in target.address else "IPv4"
    text = f"4.4.0 {target.host}[{target.address}] is not connected to: our own {family} address is not proved"
    return Trouble(Stage.CONNECT, Reply(451, (text,)), Category.NO_ANSWER_FROM_HOST)


def _read_credentials(route: Route) -> tuple[tuple[str, str] | None, Trouble | None]:
    """Read for each connection, so that a changed Secret is used without a restart."""
    if not route.auth_dir:
        return None, None
    folder = Path(route.auth_dir)
    try:
        return ((folder / "username").read_text().strip(), (folder / "password").read_text().strip()), None
    except (OSError, UnicodeDecodeError):
        text = f"4.7.8 no credentials for {route.hops[0].host}: {route.auth_dir} has no readable username and password"
        return None, Trouble(Stage.CONNECT, Reply(454, (text,)), Category.BAD_CONFIGURATION, ours=True)
