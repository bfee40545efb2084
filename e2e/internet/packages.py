"""The peers from Debian: bind9, unbound and Postfix, installed without starting any system service.

Invariant: after `install` every program is there and no service of it runs because of us.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# program that proves it -> Debian package
PEERS = {
    "named": "bind9",
    "nsupdate": "bind9-dnsutils",
    "rndc": "bind9-utils",
    "unbound": "unbound",
    "postfix": "postfix",
    "nft": "nftables",
}
_POLICY = Path("/usr/sbin/policy-rc.d")  # asked by invoke-rc.d; exit status 101 forbids the start
_FORBID = "#!/bin/sh\nexit 101\n"
_SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def missing(programs: dict[str, str] | None = None) -> list[str]:
    """The Debian packages still to be installed."""
    wanted = PEERS if programs is None else programs
    return sorted({package for program, package in wanted.items() if not shutil.which(program, path=_SYSTEM_PATH)})


def install(programs: dict[str, str] | None = None) -> list[str]:
    """Installs what is missing, as root; returns it. Raises CalledProcessError with apt's words."""
    packages = missing(programs)
    if not packages:
        return []
    ours = not _POLICY.exists()
    if ours:
        _POLICY.write_text(_FORBID)
        _POLICY.chmod(0o755)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        for command in (["update", "-q"], ["install", "-y", "-q", "--no-install-recommends", *packages]):
            subprocess.run(["apt-get", *command], check=True, env=environment, capture_output=True, text=True)
    finally:
        if ours:
            _POLICY.unlink()
    return packages
