"""Faults of the network itself, as nftables rules in a place: blocked ports, a silent address, 1:1 NAT.

Invariant: all rules stand in one table of ours; `clear` removes them and nothing else. Each `Faults` call replaces the
whole table, so what is in force is what `rules` says.
Before: tests, `internet`. After: the kernel of the place's namespace.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from e2e.internet.place import Place

TABLE = "lanewright_faults"


@dataclass(frozen=True)
class Block:
    """TCP from one source address to one port: `reject` answers with RST, `drop` with nothing."""

    source_ip: str
    port: int = 25
    how: Literal["reject", "drop"] = "drop"


@dataclass(frozen=True)
class Nat:
    """A 1:1 translation in front of an address elsewhere: programs in this place see `inside` as `outside`.

    The packet counts of `wire` are taken before it and so name `inside`.
    """

    inside: str
    outside: str


@dataclass
class Rules:
    """Everything in force."""

    silent: set[str] = field(default_factory=set)  # addresses here that answer to nobody
    blocks: set[Block] = field(default_factory=set)
    nats: set[Nat] = field(default_factory=set)


def ruleset(rules: Rules) -> str:
    """The nftables text that replaces our table."""
    dropped = [f"ip daddr {address} drop" for address in sorted(rules.silent)]
    for block in sorted(rules.blocks, key=str):
        verdict = "drop" if block.how == "drop" else "reject with tcp reset"
        dropped.append(f"ip saddr {block.source_ip} tcp dport {block.port} {verdict}")
    translated = [f"ip saddr {nat.inside} snat to {nat.outside}" for nat in sorted(rules.nats, key=str)]
    filters = "\n".join(f"    {rule}" for rule in dropped)
    nats = "\n".join(f"    {rule}" for rule in translated)
    return f"""table ip {TABLE}
delete table ip {TABLE}
table ip {TABLE} {{
  chain arriving {{
    type filter hook input priority 0; policy accept;
{filters}
  }}
  chain passing {{
    type filter hook forward priority 0; policy accept;
{filters}
  }}
  chain translated {{
    type nat hook input priority 100; policy accept;
{nats}
  }}
}}
"""


class Faults:
    """The faults of one place."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.rules = Rules()

    def silence(self, address: str) -> None:
        """Packets to this address of the place vanish."""
        self.rules.silent.add(address)
        self._apply()

    def unsilence(self, address: str) -> None:
        """The address answers again."""
        self.rules.silent.discard(address)
        self._apply()

    def block(self, block: Block) -> None:
        """Blocks a port for one source address."""
        self.rules.blocks.add(block)
        self._apply()

    def unblock(self, block: Block) -> None:
        """Opens it again."""
        self.rules.blocks.discard(block)
        self._apply()

    def translate(self, nat: Nat) -> None:
        """Puts 1:1 NAT in front of an address; only for connections that begin from now on."""
        self.rules.nats.add(nat)
        self._apply()

    def untranslate(self, nat: Nat) -> None:
        """Takes it away."""
        self.rules.nats.discard(nat)
        self._apply()

    def clear(self) -> None:
        """Removes our table."""
        self.rules = Rules()
        self._place.run(["nft", "-f", "-"], stdin=f"table ip {TABLE}\ndelete table ip {TABLE}\n")

    def _apply(self) -> None:
        self._place.run(["nft", "-f", "-"], stdin=ruleset(self.rules))
