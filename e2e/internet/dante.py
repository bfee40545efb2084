"""A real SOCKS5 proxy (Dante): its configuration, its users, and the command that runs it.

Dante takes its users from the machine's passwd and shadow, so it runs in a mount namespace of its own with ours over
them; nothing of the machine changes.
Before: a folder and addresses that an interface has. After: a place that spawns the command, or a test on loopback.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

USER: Final = "otp"
PASSWORD: Final = "a secret word"
_DIGEST: Final = "$6$lanewright$ElVHv.pn9gAxNjPjqI7Eo1Az4IDpvR1CXJ6dVuPeu9KyfzEJOSHEMwEdxspSvJtURfFDwwHV.em9E6GgEAOuQ."
"""Of PASSWORD, as shadow(5) has it (SHA-512)."""
BLOCKED_PORT: Final = 9
"""Of targets; no rule lets anything through to it."""

_CONF = """logoutput: stdout
internal: {listen} port = {port}
external: {external}
user.privileged: root
user.unprivileged: root
clientmethod: none
socksmethod: {method}
client pass {{
  from: 0.0.0.0/0 to: 0.0.0.0/0
}}
socks block {{
  from: 0.0.0.0/0 to: 0.0.0.0/0 port = {blocked}
}}
socks pass {{
  from: 0.0.0.0/0 to: 0.0.0.0/0
  protocol: tcp
  command: connect
}}
"""
_PRIVATE = """for name in passwd shadow; do mount --bind {folder}/$name /etc/$name; done
exec {program} -N 1 -f {folder}/danted.conf
"""
_PASSWD = f"root:x:0:0:root:/root:/bin/sh\n{USER}:x:12345:12345::/:/usr/sbin/nologin\n"
_SHADOW = f"root:*:20000:0:99999:7:::\n{USER}:{_DIGEST}:20000:0:99999:7:::\n"


@dataclass(frozen=True)
class Dante:
    """One proxy: where it listens, and the address that it leaves from."""

    listen: str
    port: int
    external: str
    users: bool = False
    """Only USER with PASSWORD is let in; else everybody."""

    def command(self, folder: Path) -> list[str]:
        """What runs it, as root; writes its files into the folder. Raises FileNotFoundError where Dante is missing."""
        program = shutil.which("danted", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        if program is None:
            raise FileNotFoundError("danted: apt-get install -y --no-install-recommends dante-server")
        folder.mkdir(parents=True, exist_ok=True)
        method = "username" if self.users else "none"
        text = _CONF.format(
            listen=self.listen, port=self.port, external=self.external, method=method, blocked=BLOCKED_PORT
        )
        (folder / "danted.conf").write_text(text)
        (folder / "passwd").write_text(_PASSWD)
        (folder / "shadow").write_text(_SHADOW)
        script = _PRIVATE.format(folder=folder, program=program)
        return ["unshare", "--map-root-user", "--mount", "sh", "-ec", script]
