"""What the operator renders for a slot's resolver is what unbound reads."""

import os
import subprocess
from pathlib import Path

import pytest

from e2e.internet import packages
from lane_api.pod import Resolver
from lane_operator.desired.resolver import unbound_config

FORWARDERS = ("192.0.2.53", "192.0.2.54:5300", "2001:db8::53", "[2001:db8::54]:5300")


def check(text: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    packages.install(packages.UNBOUND)
    file = folder / "unbound.conf"
    file.write_text(text)
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    return subprocess.run(
        ["unbound-checkconf", str(file)], capture_output=True, text=True, check=False, env={**os.environ, "PATH": path}
    )


@pytest.mark.parametrize("forwarders", [(), FORWARDERS], ids=["validating", "forwarding"])
def test_unbound_accepts_the_resolvers_configuration(forwarders: tuple[str, ...], tmp_path: Path) -> None:
    done = check(unbound_config(Resolver(forward_to=forwarders), "127.0.0.1:5353"), tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_configuration_would_be_noticed(tmp_path: Path) -> None:
    assert check(unbound_config(Resolver(), "127.0.0.1:5353").replace("prefetch", "prefech"), tmp_path).returncode != 0
