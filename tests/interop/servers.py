"""Mail servers of other projects: each keeps what comes for in.test, and hands other mail to a relay.

Mail for tls.test goes to the relay that asks for AUTH, over STARTTLS with its certificate checked; mail for plain.test
to the one that trusts loopback, in the clear. Each is one process tree in a folder of its own, ended by its own id.
"""

import shutil
import smtplib
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from e2e.internet import postfix
from e2e.internet.place import HostPlace
from tests.interop.room import USERS, Room, peers_of_npm
from tests.interop.shapes import crlf
from tests.lane_relay.running import PASSWORD, USER, eventually
from tests.ports import free_port


@dataclass(frozen=True)
class Surroundings:
    """What a server needs to know."""

    folder: Path
    """Its own; servers' unprivileged users reach it."""
    certificate: Path
    key: Path
    authority: Path
    guarded: int
    """Port of the relay that asks for AUTH."""
    trusting: int
    """Port of the relay that trusts loopback."""


class Server:
    """What all have in common."""

    name = ""
    cannot_receive: Mapping[str, str] = MappingProxyType({})
    """Shape -> why it cannot be sent to this server."""
    cannot_submit: Mapping[str, str] = MappingProxyType({})
    """Shape -> why this server cannot hand it on."""

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self.folder = around.folder / self.name
        self.folder.mkdir()
        self.kept = self.folder / "mail"
        self.kept.mkdir()
        self.port = free_port()
        self.process: subprocess.Popen[Any] | None = None
        self.start()
        try:
            eventually(self._greets, f"{self.name} greets")
        except AssertionError as error:
            self.stop()
            raise RuntimeError(f"{error}: {self.log()[-2000:]}") from None

    def start(self) -> None:
        """Starts it; it need not listen yet."""
        raise AssertionError(self.name)

    def _greets(self) -> bool:
        with suppress(OSError, smtplib.SMTPException), smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
            return client.noop()[0] == 250
        return False

    def messages(self) -> Iterator[bytes]:
        """What it has kept, with CRLF line ends."""
        for path in self.kept.rglob("*"):
            if path.is_file() and path.parent.name != "tmp" and not path.name.startswith("."):
                yield crlf(path.read_bytes())

    def serves_tls(self) -> bool:
        """Whether OpenSSL's own client gets through a handshake and a command with it."""
        asking = ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-starttls", "smtp", "-quiet"]
        done = subprocess.run(asking, input=b"QUIT\r\n", capture_output=True, check=False, timeout=60)
        return b"221" in done.stdout

    def log(self) -> str:
        """What it said."""
        said = [path.read_text(errors="replace") for path in self.folder.glob("*log*") if path.is_file()]
        return "\n".join(said)

    def stop(self) -> None:
        """Ends it."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Postfix(Server):
    """Debian's, as installed by `make peers`; OpenSSL."""

    name = "Postfix"

    def start(self) -> None:
        around = self.around
        guarded, trusting = f"[127.0.0.1]:{around.guarded}", f"[127.0.0.1]:{around.trusting}"
        main = {
            "myhostname": "postfix.test",
            "mynetworks": "127.0.0.0/8",
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            "virtual_mailbox_domains": "in.test",
            "virtual_mailbox_base": str(self.kept),
            "virtual_mailbox_maps": "static:all/",
            "virtual_uid_maps": f"static:{postfix.MAILBOX_OWNER}",
            "virtual_gid_maps": f"static:{postfix.MAILBOX_OWNER}",
            "virtual_mailbox_limit": "0",
            "transport_maps": f"inline:{{ {{tls.test = smtp:{guarded}}}, {{plain.test = smtp:{trusting}}} }}",
            "smtpd_tls_security_level": "may",
            "smtpd_tls_chain_files": f"{around.key}, {around.certificate}",
            "smtp_tls_policy_maps": f"inline:{{ {{{guarded} = secure match=127.0.0.1}}, {{{trusting} = none}} }}",
            "smtp_tls_CAfile": str(around.authority),
            "smtp_sasl_auth_enable": "yes",
            "smtp_sasl_password_maps": f"inline:{{ {{{guarded} = {USER}:{PASSWORD}}} }}",
            "smtp_sasl_tls_security_options": "noanonymous",
            "smtpd_client_connection_rate_limit": "0",
        }
        config = postfix.PostfixConfig("interop", self.folder, "127.0.0.1", self.port, main)
        self._instance = postfix.Postfix(HostPlace(self.folder / "out"), config)
        self._instance.up()

    def log(self) -> str:
        return self._instance.log()

    def stop(self) -> None:
        self._instance.down()


_EXIM = """\
primary_hostname = exim.test
spool_directory = {folder}/spool
log_file_path = {folder}/%slog
exim_user = Debian-exim
exim_group = Debian-exim
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
tls_advertise_hosts = *
tls_certificate = {certificate}
tls_privatekey = {key}
smtputf8_advertise_hosts = *
dsn_advertise_hosts = *
message_size_limit = 50M
keep_environment =
acl_smtp_rcpt = all
begin acl
all:
  accept
begin routers
kept:
  driver = accept
  domains = in.test
  transport = kept
guarded:
  driver = manualroute
  domains = tls.test
  route_list = * 127.0.0.1::{guarded}
  self = send
  transport = guarded
trusting:
  driver = manualroute
  domains = plain.test
  route_list = * 127.0.0.1::{trusting}
  self = send
  transport = trusting
begin transports
kept:
  driver = appendfile
  directory = {kept}
  maildir_format
  user = Debian-exim
guarded:
  driver = smtp
  hosts_require_tls = *
  hosts_require_auth = *
  tls_verify_hosts = *
  tls_verify_certificates = {authority}
  tls_verify_cert_hostnames =
trusting:
  driver = smtp
  hosts_avoid_tls = *
begin retry
* * F,1m,1s
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  client_send = ^{user}^{password}
"""


class Exim(Server):
    """Debian's light build: GnuTLS, CHUNKING and PIPELINING in both roles."""

    name = "Exim"

    def start(self) -> None:
        around, owner = self.around, USERS["Debian-exim"]
        config = _EXIM.format(
            folder=self.folder, kept=self.kept, port=self.port, user=USER, password=PASSWORD,
            certificate=around.certificate, key=around.key, authority=around.authority, guarded=around.guarded,
            trusting=around.trusting,
        )  # fmt: skip
        for path in (self.folder, self.kept):
            shutil.chown(path, owner, owner)
        room = Room(self.folder, {"/etc/exim4/exim4.conf": config})
        self.process = room.start("/usr/sbin/exim4", "-bdf", "-q1m")


_OPENSMTPD = """\
pki peer cert "{certificate}"
pki peer key "{key}"
table secrets {{ lane = "{user}:{password}" }}
smtp max-message-size "50M"
listen on 127.0.0.1 port {port} tls pki peer hostname opensmtpd.test
action kept maildir "{kept}" virtual {{ "@" = nobody }}
action guarded relay host smtp+tls://lane@127.0.0.1:{guarded} auth <secrets>
action trusting relay host smtp+notls://127.0.0.1:{trusting}
match from any for domain "in.test" action kept
match from any for domain "tls.test" action guarded
match from any for domain "plain.test" action trusting
"""


class OpenSmtpd(Server):
    """Debian's portable build."""

    name = "OpenSMTPD"
    cannot_receive = MappingProxyType({"utf8": "it offers no SMTPUTF8"})
    cannot_submit = cannot_receive

    def start(self) -> None:
        around = self.around
        shutil.chown(self.kept, "nobody", "nogroup")
        key = self.folder / "key.pem"  # it wants a key that nobody else reads
        key.write_bytes(around.key.read_bytes())
        key.chmod(0o600)
        config = _OPENSMTPD.format(
            certificate=around.certificate, key=key, port=self.port, kept=self.kept, user=USER, password=PASSWORD,
            guarded=around.guarded, trusting=around.trusting,
        )  # fmt: skip
        room = Room(self.folder, {"/etc/smtpd.conf": config})
        self.process = room.start("/usr/sbin/smtpd", "-d")


_HARAKA_CONNECTIONS = """\
[main]
smtputf8=true
[headers]
max_lines=1000
max_received=100
[max]
bytes=52428800
line_length=512
data_line_length=1000
[message]
helo=hello
close=bye
[uuid]
banner_chars=6
deny_chars=0
"""


class Haraka(Server):
    """npm's, with a plugin that keeps mail."""

    name = "Haraka"
    cannot_submit = MappingProxyType({"utf8": "queue/smtp_forward never asks for SMTPUTF8"})

    def start(self) -> None:
        around, peers = self.around, peers_of_npm()
        login = f"enable_tls=true\nauth_type=plain\nauth_user={USER}\nauth_pass={PASSWORD}\n"
        files = {
            "config/smtp.ini": f"listen=127.0.0.1:{self.port}\n",
            "config/me": "haraka.test\n",
            "config/plugins": "tls\nkeep\nqueue/smtp_forward\n",
            "config/log.ini": "level=info\n",
            "config/databytes": "52428800\n",
            "config/tls.ini": f"key={around.key}\ncert={around.certificate}\n",
            "config/smtp_forward.ini": "".join(
                f"[{domain}]\nhost=127.0.0.1\nport={port}\n{more}"
                for domain, port, more in (
                    ("tls.test", around.guarded, login),
                    ("plain.test", around.trusting, "enable_tls=false\n"),
                )
            ) + "[tls]\nrejectUnauthorized=true\n",
            "config/connection.ini": _HARAKA_CONNECTIONS,
            "package.json": "{}",
        }  # fmt: skip
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content)
        (self.folder / "plugins").mkdir()
        shutil.copy(Path(__file__).parent / "npm" / "keep.js", self.folder / "plugins" / "keep.js")
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                ["node", str(peers / "node_modules" / "Haraka" / "bin" / "haraka"), "-c", str(self.folder)],
                stdout=log, stderr=log,
                env={"PATH": "/usr/local/bin:/usr/bin:/bin", "KEEP": str(self.kept),
                     "NODE_EXTRA_CA_CERTS": str(around.authority), "HOME": str(self.folder)},
            )  # fmt: skip


SERVERS: tuple[type[Server], ...] = (Postfix, Exim, OpenSmtpd, Haraka)
