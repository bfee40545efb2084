"""What tests need from Debian: bind9, unbound, Postfix, Prometheus, strace, swaks, Dante, curl, jq; none as a service.

Invariant: after `install` every program is there and no service of it runs because of us.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

# program or file that proves it -> Debian package
PEERS = {
    "named": "bind9",
    "nsupdate": "bind9-dnsutils",
    "rndc": "bind9-utils",
    "unbound": "unbound",
    "postfix": "postfix",
    "nft": "nftables",
}
PROMETHEUS = {"prometheus": "prometheus", "promtool": "prometheus"}  # for the tests of alerts and dashboard
UNBOUND = {"unbound-checkconf": "unbound", "/usr/share/dns/root.key": "dns-root-data"}  # what a slot's resolver has
STRACE = {"strace": "strace"}  # for the spool's test of power loss
SWAKS = {
    "swaks": "swaks",
    "/usr/share/doc/libnet-ssleay-perl": "libnet-ssleay-perl",
}  # for intake: a client that speaks every form of AUTH, TLS and the PROXY protocol
COMPILER = {
    "gcc": "gcc",
    "/usr/include/stdio.h": "libc6-dev",
    "/usr/bin/python3-config": "python3-dev",
}  # for the compiled relay (lanes/compile.py) and the slow disk of the chaos campaign
DANTE = {"danted": "dante-server"}  # for engine Socks5: the proxy that holds slots' addresses
CURL = {"curl": "curl", "jq": "jq", "zstd": "zstd"}  # for the examples of docs
_POLICY = Path("/usr/sbin/policy-rc.d")  # asked by invoke-rc.d; exit status 101 forbids the start
_FORBID = "#!/bin/sh\nexit 101\n"
_SYSTEM_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def missing(programs: dict[str, str] | None = None) -> list[str]:
    """The Debian packages still to be installed."""
    wanted = PEERS if programs is None else programs
    return sorted({package for proof, package in wanted.items() if not _there(proof)})


def _there(proof: str) -> bool:
    return Path(proof).exists() if proof.startswith("/") else shutil.which(proof, path=_SYSTEM_PATH) is not None


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


def main() -> None:
    """Installs all peers that tests, demo and bench talk to, and says which were missing."""
    everything = PEERS | PROMETHEUS | UNBOUND | STRACE | SWAKS | COMPILER | DANTE | CURL
    lacking = missing(everything)
    if not lacking:
        return
    sys.stderr.write(f"installing from Debian: {' '.join(lacking)}\n")
    if os.geteuid() != 0:
        sys.exit(f"run as root once: apt-get install -y --no-install-recommends {' '.join(lacking)}")
    install(everything)


if __name__ == "__main__":
    main()
