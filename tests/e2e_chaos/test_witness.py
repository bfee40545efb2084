"""What the witnesses read from the machine."""

from pathlib import Path

from e2e.chaos.witness import Witness, local_addresses
from e2e.eventually import eventually

TRIE = """Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 203.0.113.0
        /24 link UNICAST
Local:
     |-- 127.0.0.1
        /32 host LOCAL
     |-- 198.18.1.7
        /32 host LOCAL
        |-- 203.0.113.140
           /32 host LOCAL
        |-- 203.0.113.255
           /32 link BROADCAST
"""


def test_only_the_egress_addresses_that_are_a_namespaces_own_are_seen() -> None:
    assert local_addresses(TRIE) == {"203.0.113.140"}


def test_this_machines_own_namespace_has_none_and_can_be_read() -> None:
    text = Path("/proc/self/net/fib_trie").read_text()

    assert "LOCAL" in text
    assert local_addresses(text) == frozenset()


def test_a_witness_that_fell_asleep_is_known() -> None:
    def look() -> None:
        raise OSError("nothing to see")

    witness = Witness("one", look, every=0.001)
    witness.start()

    eventually(lambda: witness.failed, "it is said", 10)
    assert "nothing to see" in witness.failed
