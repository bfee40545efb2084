"""Postfix as a peer: a plain ISP, the one shared relay of the demo, and the tuned relay of the bench.

Invariant: every instance has its own configuration, queue, data and log in a folder that daemons without privileges
can reach; the system's own Postfix is never touched; what is configured is shown in full by `shown`.
Before: `packages`. After: `internet`, `bench`, `maildir` (what the plain ISP received).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from e2e.internet.addresses import MailProvider, MxSet
from e2e.internet.place import Place
from e2e.internet.tls_identity import write_identity

RESERVED_RANGES = "127.0.0.0/8 192.0.2.0/24 198.51.100.0/24 203.0.113.0/24 198.18.0.0/15"  # RFC 5737, RFC 2544
MAILBOX_OWNER = 65534  # nobody: owns what the plain ISP has received
_STARTED_WITHIN_S = 60.0
_UNPRIVILEGED = "postfix"

# Every daemon that the instances below need; no chroot, because the folder is made for this instance alone.
_MASTER = """\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsproxy unix - - n - 0 tlsproxy
postlog unix-dgram n - n - 1 postlogd
"""


@dataclass(frozen=True)
class PostfixConfig:
    """One instance."""

    name: str
    folder: Path  # world-readable on the way down: daemons run as the user postfix
    ip: str
    port: int
    main: Mapping[str, str]
    transports: Mapping[str, int] = field(default_factory=dict)  # outgoing transport -> most processes
    files: Mapping[str, str] = field(default_factory=dict)  # tables beside main.cf
    resolver: str = ""  # empty: the machine's
    more_ips: tuple[str, ...] = ()  # it answers there as well
    sessions: int = 200  # most client connections served at once

    @property
    def etc(self) -> Path:
        """Its configuration folder."""
        return self.folder / "etc"


def main_cf(config: PostfixConfig) -> str:
    """main.cf of an instance."""
    values = {
        "compatibility_level": "3.6",
        "queue_directory": f"{config.folder}/queue",
        "data_directory": f"{config.folder}/data",
        "maillog_file": f"{config.folder}/log/mail.log",
        "maillog_file_prefixes": str(config.folder),
        "inet_interfaces": " ".join((config.ip, *config.more_ips)),
        "inet_protocols": "ipv4",
        "mydestination": "",
        "alias_maps": "",
        "alias_database": "",
        "local_recipient_maps": "",
        "biff": "no",
    } | dict(config.main)
    return "".join(f"{name} = {value}\n" for name, value in values.items())


def master_cf(config: PostfixConfig) -> str:
    """master.cf of an instance: one process per open connection bounds each transport."""
    listeners = "".join(
        f"{ip}:{config.port} inet n - n - {config.sessions} smtpd\n" for ip in (config.ip, *config.more_ips)
    )
    return (
        listeners + _MASTER + "".join(f"{name} unix - - n - {most} smtp\n" for name, most in config.transports.items())
    )


def plain_isp(folder: Path, provider: MailProvider, ip: str, resolver: str, *, port: int = 25) -> PostfixConfig:
    """An ISP at `ip` that takes all mail for its provider's domains into one maildir (see `maildir`).

    At port 25 it answers at all of its provider's addresses, which the place must have.
    """
    hostname = provider.hosts[0][0]
    certificate, key = write_identity(folder / "tls", [name for name, _ in provider.hosts])
    main = {
        "myhostname": hostname,
        "mynetworks": "127.0.0.1/32",
        "smtpd_relay_restrictions": "reject_unauth_destination",
        "virtual_mailbox_domains": f"regexp:{folder}/etc/domains",
        "virtual_mailbox_base": f"{folder}/mail",
        "virtual_mailbox_maps": "static:all/",
        "virtual_uid_maps": f"static:{MAILBOX_OWNER}",
        "virtual_gid_maps": f"static:{MAILBOX_OWNER}",
        "virtual_mailbox_limit": "0",
        "smtpd_tls_security_level": "may",
        "smtpd_tls_chain_files": f"{key}, {certificate}",
        "smtpd_client_connection_count_limit": "0",
    }
    domains = f"/^{_domains_pattern(*provider.mx_sets)}$/ here\n"
    more = tuple(address for _, address in provider.hosts if address != ip) if port == 25 else ()
    return PostfixConfig(
        provider.name, folder, ip, port, main, files={"domains": domains}, resolver=resolver, more_ips=more
    )


def shared_relay(
    folder: Path,
    ip: str,
    resolver: str,
    limits: Mapping[MailProvider, int],
    *,
    port: int = 25,
    tls: str = "may",
    main: Mapping[str, str] | None = None,
) -> PostfixConfig:
    """One tuned Postfix through which everything goes, from one address, with `limits` connections to each ISP.

    Each MX set has a transport of its own whose process limit bounds its connections, the way experienced
    administrators do it: recipient domains alone would each get their own limit. An ISP with several sets has its
    limit divided among them, because a set's idle connections in the cache count at the ISP while the other's work.
    """
    transports, table = _transports(limits)
    own: dict[str, str] = {}
    for name, most in transports.items():
        own[f"{name}_destination_concurrency_limit"] = str(most)
        own[f"{name}_initial_destination_concurrency"] = str(most)
    values = {
        "myhostname": "shared.example.net",
        "mynetworks": RESERVED_RANGES,
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "transport_maps": f"regexp:{folder}/etc/transport",
        "smtp_bind_address": ip,
        "smtp_tls_security_level": tls,
        "smtp_tls_connection_reuse": "yes",
        "smtp_connection_cache_destinations": "static:all",
        "smtp_connection_cache_reuse_limit": "1000",
        **_TUNED,
        **own,
        **(main or {}),
    }
    return PostfixConfig("shared", folder, ip, port, values, transports, files={"transport": table}, resolver=resolver)


# research: the settings that made Postfix fastest on the reference machine; logging and fsync stay as they are
_TUNED = {
    "default_process_limit": "200",
    "in_flow_delay": "0",
    "smtpd_peername_lookup": "no",
    "smtpd_client_connection_count_limit": "0",
    "smtpd_client_connection_rate_limit": "0",
    "anvil_rate_time_unit": "1s",
}


def tuned_relay(folder: Path, ip: str, port: int, sink: tuple[str, int]) -> PostfixConfig:
    """The bench's peer: everything goes to one sink, 100 connections, kept open."""
    host, sink_port = sink
    values = {
        "myhostname": "bench.example.net",
        "mynetworks": RESERVED_RANGES,
        "smtpd_relay_restrictions": "permit_mynetworks, reject",
        "relayhost": f"[{host}]:{sink_port}",
        "default_destination_concurrency_limit": "100",
        "initial_destination_concurrency": "50",
        "smtp_connection_cache_destinations": f"[{host}]:{sink_port}",
        "smtp_connection_cache_reuse_limit": "100000",
        "smtp_tls_security_level": "none",
        "smtpd_tls_security_level": "none",
        **_TUNED,
    }
    return PostfixConfig("tuned", folder, ip, port, values)


def _transports(limits: Mapping[MailProvider, int]) -> tuple[dict[str, int], str]:
    """(transport -> most processes, the transport table) for connections to each ISP."""
    transports, table = {}, ""
    for provider, most in limits.items():
        for number, mx_set in enumerate(provider.mx_sets):
            name = f"to-{provider.name}" + (f"-{number + 1}" if len(provider.mx_sets) > 1 else "")
            transports[name] = max(1, most // len(provider.mx_sets))
            table += f"/@{_domains_pattern(mx_set)}$/ {name}:\n"
    return transports, table


def _domains_pattern(*mx_sets: MxSet) -> str:
    """A regular expression for all mail domains of these MX sets."""
    bulk = [rf"([^.@]+\.)?{_literal(mx_set.bulk)}" for mx_set in mx_sets]
    own = [_literal(domain) for mx_set in mx_sets for domain in mx_set.domains]
    return f"({'|'.join([*own, *bulk])})"


def _literal(domain: str) -> str:
    return domain.replace(".", r"\.")  # POSIX expressions know no escaped hyphen, which re.escape would make


class PostfixError(RuntimeError):
    """An instance did not start."""


class Postfix:
    """One instance in one place."""

    def __init__(self, place: Place, config: PostfixConfig) -> None:
        self._place = place
        self.config = config

    @property
    def _program(self) -> str:
        return f"postfix-{self.config.name}"

    def up(self, cpu_weight: int = 100) -> None:
        """Writes the configuration, starts it and waits for its banner; raises PostfixError with its log's end."""
        config = self.config
        for folder, mode in ((config.etc, 0o755), (config.folder / "log", 0o755), (config.folder / "queue", 0o755)):
            folder.mkdir(parents=True, exist_ok=True, mode=mode)
        mail = config.folder / "mail"
        mail.mkdir(exist_ok=True)
        self._place.run(["chown", f"{MAILBOX_OWNER}:{MAILBOX_OWNER}", str(mail)])
        data = config.folder / "data"
        data.mkdir(exist_ok=True)
        self._place.run(["chown", _UNPRIVILEGED, str(data)])
        (config.etc / "main.cf").write_text(main_cf(config))
        (config.etc / "master.cf").write_text(master_cf(config))
        for name, content in config.files.items():
            (config.etc / name).write_text(content)
        self._place.run(["postfix", "-c", str(config.etc), "check"])  # makes the queue's folders
        self._place.spawn(self._program, self._command(), cpu_weight=cpu_weight)
        self._wait()

    def _command(self) -> list[str]:
        etc = str(self.config.etc)
        daemons = self._place.run(["postconf", "-c", etc, "-hx", "daemon_directory"]).stdout.strip()
        # master itself, because `postfix start-fg` stays in front of it and passes no signal on
        start = [f"{daemons}/master", "-c", etc, "-s"]
        if not self.config.resolver:
            return start
        resolv_conf = self.config.etc / "resolv.conf"
        resolv_conf.write_text(f"nameserver {self.config.resolver}\n")
        # a mount namespace of its own: the machine's /etc/resolv.conf stays what it is
        script = 'mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
        return ["unshare", "--mount", "sh", "-c", script, "sh", str(resolv_conf), *start]

    def down(self) -> None:
        """Ends it; the queue stays in its folder."""
        self._place.end(self._program)

    def queued(self) -> int:
        """Messages in its queue."""
        queue = self.config.folder / "queue"
        names = ("maildrop", "incoming", "active", "deferred", "hold")
        return sum(1 for name in names for file in (queue / name).rglob("*") if file.is_file())

    def flush(self) -> None:
        """Tries everything deferred at once."""
        self._place.run(["postqueue", "-c", str(self.config.etc), "-f"])

    def purge(self) -> None:
        """Removes everything queued."""
        self._place.run(["postsuper", "-c", str(self.config.etc), "-d", "ALL"])

    def shown(self) -> str:
        """Its configuration as Postfix itself reads it: every value that is no default, and the services."""
        return "".join(self._place.run(["postconf", "-c", str(self.config.etc), what]).stdout for what in ("-n", "-M"))

    def log(self) -> str:
        """Its whole log."""
        file = self.config.folder / "log" / "mail.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def _wait(self) -> None:
        deadline = time.monotonic() + _STARTED_WITHIN_S
        script = (
            "import socket,sys\n"
            "with socket.create_connection((sys.argv[1],int(sys.argv[2])),2) as s: sys.exit(s.recv(3)!=b'220')"
        )
        probe = ["python3", "-c", script, self.config.ip, str(self.config.port)]
        while self._place.run(probe, check=False).returncode != 0:
            if time.monotonic() > deadline or self._place.find(self._program) is None:
                raise PostfixError(f"{self._program} does not greet at {self.config.ip}:\n{self.log()[-2000:]}")
            time.sleep(0.1)
