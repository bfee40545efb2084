"""The internet's DNS as running programs: bind9 answers for everything, unbound resolves for nodes and pods.

Invariant: both run from configuration folders of their own and never touch the system's services; a record published
is visible through the resolver when `publish` returns.
Before: `zones`. After: `internet`, and tests that want the two on loopback.
"""

from __future__ import annotations

import base64
import secrets
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from e2e.internet.addresses import REVERSE_ZONES, SERVFAIL_DOMAIN
from e2e.internet.place import Place
from e2e.internet.zones import DYNAMIC, TLDS, TTL_S, zone_files

KEY_NAME = "lanewright-tests"
_ANSWERS_WITHIN_S = 15.0
_TXT_PIECE = 255  # octets in one character-string (RFC 1035 section 3.3)


@dataclass(frozen=True)
class DnsConfig:
    """Where the two listen."""

    folder: Path
    nameserver: str
    resolver: str
    nameserver_port: int = 53
    resolver_port: int = 53
    max_ttl_s: int = TTL_S
    control: Path | None = None  # unbound's Unix socket, where the folder's path is too long for one

    @property
    def control_socket(self) -> Path:
        """Where unbound is controlled."""
        return self.control or self.folder / "unbound.ctl"


class DnsError(RuntimeError):
    """A DNS program did not start or refused a change."""


def _file_of(zone: str) -> str:
    return f"{zone if zone != '.' else 'root'}.zone"


def named_conf(config: DnsConfig) -> str:
    """bind9's configuration: authoritative only, with one zone that has no file and so answers SERVFAIL."""
    zones = []
    for zone in zone_files():
        update = f"allow-update {{ key {KEY_NAME}; }};" if zone in DYNAMIC else ""
        zones.append(f'zone "{zone}" {{ type primary; file "{_file_of(zone)}"; {update} }};')
    zones.append(f'zone "{SERVFAIL_DOMAIN}" {{ type primary; file "not-there.zone"; }};')
    return f"""include "{config.folder}/update.key";
options {{
  directory "{config.folder}";
  pid-file "{config.folder}/named.pid";
  session-keyfile "{config.folder}/session.key";
  managed-keys-directory "{config.folder}";
  listen-on port {config.nameserver_port} {{ {config.nameserver}; }};
  listen-on-v6 {{ none; }};
  recursion no;
  allow-query {{ any; }};
  notify no;
  dnssec-validation no;
  empty-zones-enable no;
  minimal-responses yes;
  tcp-clients 1000;
}};
controls {{ }};
{chr(10).join(zones)}
"""


def unbound_conf(config: DnsConfig) -> str:
    """unbound's configuration: iterates from our root; the ranges and names it would answer itself are opened."""
    opened = [*REVERSE_ZONES, "example"]
    nodefault = "\n".join(f'  local-zone: "{zone}." nodefault' for zone in opened)
    return f"""server:
  directory: "{config.folder}"
  chroot: ""
  username: ""
  pidfile: "{config.folder}/unbound.pid"
  use-syslog: no
  logfile: ""
  interface: {config.resolver}@{config.resolver_port}
  access-control: 0.0.0.0/0 allow
  do-ip6: no
  do-not-query-localhost: no
  module-config: "iterator"
  num-threads: 1
  msg-cache-size: 64m
  rrset-cache-size: 128m
  cache-max-ttl: {config.max_ttl_s}
  cache-max-negative-ttl: 5
  outgoing-range: 4096
  num-queries-per-thread: 2048
  so-reuseport: no
{nodefault}
remote-control:
  control-enable: yes
  control-interface: "{config.control_socket}"
  control-use-cert: no
stub-zone:
  name: "."
  stub-addr: {config.nameserver}@{config.nameserver_port}
  stub-prime: no
"""


def txt_rdata(value: str) -> str:
    """A TXT record's data in presentation form, cut into strings of at most 255 octets."""
    octets = value.encode()
    pieces = [octets[start : start + _TXT_PIECE] for start in range(0, len(octets), _TXT_PIECE)] or [b""]
    quoted = (piece.decode("latin-1").replace("\\", "\\\\").replace('"', '\\"') for piece in pieces)
    return " ".join(f'"{piece}"' for piece in quoted)


class Dns:
    """bind9 and unbound in one place."""

    def __init__(self, place: Place, config: DnsConfig) -> None:
        self._place = place
        self.config = config

    def up(self, cpu_weight: int = 100) -> None:
        """Writes both configurations and starts both; raises DnsError if one does not answer in time."""
        folder = self.config.folder
        folder.mkdir(parents=True, exist_ok=True)
        for zone, content in zone_files().items():
            (folder / _file_of(zone)).write_text(content)
            (folder / f"{_file_of(zone)}.jnl").unlink(missing_ok=True)  # the changes of an older internet
        self._write_key()
        (folder / "named.conf").write_text(named_conf(self.config))
        (folder / "unbound.conf").write_text(unbound_conf(self.config))
        self._place.spawn("named", ["named", "-g", "-n", "1", "-c", str(folder / "named.conf")], cpu_weight=cpu_weight)
        self._place.spawn("unbound", ["unbound", "-d", "-p", "-c", str(folder / "unbound.conf")], cpu_weight=cpu_weight)
        self._wait(self.config.nameserver, self.config.nameserver_port)
        self._wait(self.config.resolver, self.config.resolver_port)

    def down(self) -> None:
        """Ends both."""
        self._place.end("unbound")
        self._place.end("named")

    def query(self, name: str, kind: str = "A", *, direct: bool = False, timeout_s: int = 5) -> list[str]:
        """The short answer of the resolver, or with `direct` of the authoritative server; asked from the place."""
        server, port = self._server(direct)
        done = self._place.run(self._dig(server, port, name, kind, f"+time={timeout_s}", "+short"), check=False)
        return done.stdout.split("\n")[:-1]

    def status(self, name: str, kind: str = "A", *, direct: bool = False) -> str:
        """The response code, such as NOERROR or SERVFAIL; an empty string if nobody answers."""
        server, port = self._server(direct)
        done = self._place.run(self._dig(server, port, name, kind, "+time=2", "+noall", "+comments"), check=False)
        return done.stdout.partition("status: ")[2].partition(",")[0]

    def publish_txt(self, name: str, value: str, ttl_s: int = 5) -> None:
        """Makes `value` the only TXT record at `name`, in a zone that takes updates; raises DnsError."""
        self._update(name, [f"update delete {name}. TXT", f"update add {name}. {ttl_s} TXT {txt_rdata(value)}"])

    def withdraw_txt(self, name: str) -> None:
        """Removes the TXT records at `name`."""
        self._update(name, [f"update delete {name}. TXT"])

    def publish_host(self, hostname: str, ip: str, ttl_s: int = 5) -> None:
        """Makes `hostname` and the egress address `ip` point to each other; raises DnsError."""
        self.publish_address(hostname, ip, ttl_s)
        self.publish_reverse(ip, hostname, ttl_s)

    def publish_reverse(self, ip: str, hostname: str, ttl_s: int = 5) -> None:
        """Makes `hostname` the only name of the egress address `ip`, whatever that name leads to; raises DnsError."""
        reverse = ip_address(ip).reverse_pointer
        self._update(reverse, [f"update delete {reverse}. PTR", f"update add {reverse}. {ttl_s} PTR {hostname}."])

    def withdraw_reverse(self, ip: str) -> None:
        """Leaves the egress address `ip` without a name."""
        reverse = ip_address(ip).reverse_pointer
        self._update(reverse, [f"update delete {reverse}. PTR"])

    def publish_address(self, name: str, ip: str, ttl_s: int = 5) -> None:
        """Makes `ip` the only address of `name`, in a zone that takes updates; raises DnsError."""
        self._update(name, [f"update delete {name}. A", f"update add {name}. {ttl_s} A {ip}"])

    def withdraw_address(self, name: str) -> None:
        """Leaves `name` without an address."""
        self._update(name, [f"update delete {name}. A"])

    def flush(self) -> None:
        """Empties the resolver's cache."""
        self._place.run([*self._control(), "flush_zone", "."])

    def _control(self) -> list[str]:
        return ["unbound-control", "-c", str(self.config.folder / "unbound.conf")]

    def _server(self, direct: bool) -> tuple[str, int]:
        if direct:
            return self.config.nameserver, self.config.nameserver_port
        return self.config.resolver, self.config.resolver_port

    def _dig(self, server: str, port: int, name: str, kind: str, *options: str) -> list[str]:
        return ["dig", f"@{server}", "-p", str(port), "+tries=1", *options, name, kind]

    def _update(self, name: str, changes: list[str]) -> None:
        commands = [f"server {self.config.nameserver} {self.config.nameserver_port}", *changes, "send", ""]
        done = self._place.run(
            ["nsupdate", "-k", str(self.config.folder / "update.key")], check=False, stdin="\n".join(commands)
        )
        if done.returncode != 0:
            raise DnsError(f"no update of {name}: {done.stderr.strip() or done.stdout.strip()}")
        self._place.run([*self._control(), "flush_zone", name])

    def _write_key(self) -> None:
        secret = base64.b64encode(secrets.token_bytes(32)).decode()
        file = self.config.folder / "update.key"
        file.touch(mode=0o600)
        file.write_text(f'key "{KEY_NAME}" {{ algorithm hmac-sha256; secret "{secret}"; }};\n')

    def _wait(self, server: str, port: int) -> None:
        deadline = time.monotonic() + _ANSWERS_WITHIN_S
        probe = self._dig(server, port, TLDS[0], "SOA", "+time=1", "+short")
        while not (done := self._place.run(probe, check=False)).stdout.startswith("ns1."):
            if time.monotonic() > deadline:
                raise DnsError(
                    f"no answer from {server}:{port} ({done.stdout.strip()}); see the logs named.log and unbound.log"
                )
            time.sleep(0.05)
