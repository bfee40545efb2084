"""The proof walks through the proxy that mail walks through, over a real one (Dante)."""

from pathlib import Path
from typing import Any

import pytest

from lane_api.relayconfig import Egress
from lane_relay.egress.proof import ProofState
from tests.lane_relay.egress.test_prober import key_file, quick_gate, reflector, running
from tests.lane_relay.socks.dante import BLOCKED_PORT, LEAVES_FROM, running_dante
from tests.ports import free_port

__all__ = ["key_file"]


def behind(key: Path, proxy: int, reflector_port: int, address: str = LEAVES_FROM, **more: Any) -> Egress:
    reflectors = [f"tcp://127.0.0.1:{reflector_port}"]
    return Egress.model_validate(
        {
            "address": address,
            "proxy": {"host": "127.0.0.1", "port": proxy, **more},
            "proof": {"reflectors": reflectors, "keyFile": str(key)},
        }
    )


async def test_a_slot_is_proved_by_what_a_reflector_sees_of_its_proxy(key_file: Path, tmp_path: Path) -> None:
    async with running_dante(tmp_path) as proxy, reflector() as port:
        gate = quick_gate(behind(key_file, proxy, port))
        async with running(gate) as until:
            status = await until(ProofState.PROVED)
            assert status.seen == LEAVES_FROM
            assert gate.may_send()
            gate.apply(behind(key_file, free_port(), port))  # another proxy is another claim
            assert not gate.may_send()
            await until("was not asked, since the proxy that holds the address cannot be used")


@pytest.mark.parametrize(
    ("bound", "text"),
    [
        ("203.0.113.9", f"says that it left from {LEAVES_FROM}, not 203.0.113.9"),
        (LEAVES_FROM, f"saw {LEAVES_FROM}, not 203.0.113.9"),
    ],
    ids=["by-the-proxys-word", "by-the-reflectors"],
)
async def test_another_address_keeps_the_gate_shut(key_file: Path, tmp_path: Path, bound: str, text: str) -> None:
    async with running_dante(tmp_path) as proxy, reflector() as port:
        gate = quick_gate(behind(key_file, proxy, port, "203.0.113.9", bound=bound))
        async with running(gate) as until:
            message = (await until(ProofState.MISMATCH)).message
    assert text in message
    assert "leaves from another address" in message
    assert not gate.may_send()


async def test_a_refusing_reflector_and_a_refusing_proxy_are_told_apart(key_file: Path, tmp_path: Path) -> None:
    async with running_dante(tmp_path) as proxy:
        for port, text in ((free_port(), "refused the connection"), (BLOCKED_PORT, "rules do not allow it")):
            gate = quick_gate(behind(key_file, proxy, port))
            async with running(gate) as until:
                await until(text)
            assert gate.status.state is ProofState.UNPROVED
