"""Sets of senders as users write them: `@domain` for all of a domain, `local@domain` for one."""

from collections.abc import Iterable

from lane_relay.smtp.address import normalise_domain

__all__ = ["SenderSet"]


class SenderSet:
    """Who is in it is known by the address in lower case and its domain in A-labels."""

    __slots__ = ("_addresses", "_domains", "holds_all")

    def __init__(self, entries: Iterable[str]) -> None:
        """Without an entry it holds everybody."""
        parts = [entry.rpartition("@") for entry in entries]
        self.holds_all = not parts
        self._domains = frozenset(normalise_domain(domain) for local, _, domain in parts if not local)
        self._addresses = frozenset(
            f"{local.lower()}@{normalise_domain(domain)}" for local, _, domain in parts if local
        )

    def holds(self, address: str, domain: str) -> bool:
        """This address, of this domain, is in it."""
        return self.holds_all or domain in self._domains or address.lower() in self._addresses
