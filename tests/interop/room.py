"""Programs of other projects, unpacked and never installed: Debian's mail servers exclude one another.

`programs()` unpacks the packages once into the cache, `peers_of_npm()` what package-lock.json pins. `Room.start` runs a
program in a mount namespace of its own whose root is this machine with the packages laid over it; what it writes there
is memory and goes with it. The work folder is shared, the network is the machine's. Needs root.
A package unpacked once is not renewed: delete `~/.cache/lanewright/interop-*` for newer ones.
"""

import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from e2e.cluster import cache

PACKAGES: Final = (
    "exim4-daemon-light", "exim4-base", "opensmtpd", "msmtp", "libgsasl18", "libgssglue1", "libntlm0", "libsecret-1-0",
    "opendkim", "libopendkim11", "libhashkit2", "liblua5.3-0", "libmemcached11", "libmilter1.0.1",
    "libopendbx1", "librbl1", "libvbr2", "rspamd", "libhyperscan5", "libluajit-5.1-2", "libluajit-5.1-common",
    "libmail-deliverystatus-bounceparser-perl", "libmailtools-perl", "libmime-tools-perl", "libtimedate-perl",
    "libconvert-binhex-perl",
)  # fmt: skip
USERS: Final = {"Debian-exim": 64001, "opensmtpd": 64002, "opensmtpq": 64003, "_rspamd": 64004}
_CACHE: Final = Path.home() / ".cache" / "lanewright"
_HERE: Final = Path(__file__).parent
_LIBRARIES: Final = "usr/lib/x86_64-linux-gnu"
_ENTER: Final = """
set -e
memory=$(mktemp -d)
mount -t tmpfs -o mode=755 room "$memory"
mkdir "$memory/over" "$memory/work" "$memory/root"
cp -a "$1/." "$2/." "$memory/over/"
mkdir -p "$memory/over$3"
mount -t overlay room -o "lowerdir=/,upperdir=$memory/over,workdir=$memory/work" "$memory/root"
for each in /proc /dev /sys "$3"; do mount --rbind "$each" "$memory/root$each"; done
cd "$memory/root"
root=$memory/root
shift 3
exec chroot "$root" "$@"
"""


def programs() -> Path:
    """The folder that the packages are unpacked into."""
    key = cache.key([("packages", repr((PACKAGES, USERS)).encode()), *cache.file_inputs([Path(__file__)], _HERE)])
    return cache.folder(_CACHE / f"interop-debian-{key}", _unpack)


def peers_of_npm() -> Path:
    """The folder whose node_modules holds Haraka and mailauth."""
    files = [_HERE / "npm" / name for name in ("package.json", "package-lock.json")]
    return cache.folder(_CACHE / f"interop-npm-{cache.key(cache.file_inputs(files, _HERE))}", _install)


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout[-1000:]}{done.stderr[-2000:]}")


def _libraries() -> list[str]:
    """What the programs need and this machine does not happen to have: a library that it has is not laid over."""
    only = [f"--no-{kind}" for kind in ("recommends", "suggests", "conflicts", "breaks", "replaces", "enhances")]
    asked = ["apt-cache", "depends", "--recurse", *only, *PACKAGES]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
    needed = {line for line in told if line.startswith("lib")}
    shown = ["dpkg-query", "-W", "-f", "${db:Status-Status} ${Package}\n"]
    status = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.splitlines()
    installed = {line.partition(" ")[2] for line in status if line.startswith("installed ")}
    return sorted({name for name in needed if ":" not in name} - installed - {*PACKAGES})


def _unpack(out: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            _run("apt-get", "download", "-q", *PACKAGES, *_libraries(), folder=folder)
        except RuntimeError:  # the lists are old
            _run("apt-get", "update", "-q", folder=folder)
            _run("apt-get", "download", "-q", *PACKAGES, *_libraries(), folder=folder)
        for package in folder.glob("*.deb"):
            _run("dpkg-deb", "-x", str(package), str(out), folder=folder)
    for directory in ("lib", "bin", "sbin"):  # a folder of this name would hide the machine's link of that name
        if (out / directory).is_dir():
            _run("cp", "-a", f"{directory}/.", f"usr/{directory}/", folder=out)
            _run("rm", "-r", directory, folder=out)
    passwd, group = _others("/etc/passwd"), _others("/etc/group")
    for user, number in USERS.items():
        passwd += f"{user}:x:{number}:{number}::/var/empty:/usr/sbin/nologin\n"
        group += f"{user}:x:{number}:\n"
    (out / "etc" / "passwd").write_text(passwd)
    (out / "etc" / "group").write_text(group)
    (out / "var" / "empty").mkdir(parents=True, exist_ok=True)


def _others(file: str) -> str:
    """A file of accounts without those that we add."""
    lines = Path(file).read_text().splitlines(keepends=True)
    return "".join(line for line in lines if line.split(":")[0] not in USERS)


def _install(out: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        (out / name).write_bytes((_HERE / "npm" / name).read_bytes())
    _run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", folder=out)


def program(name: str) -> tuple[str, dict[str, str]]:
    """An unpacked program that needs no more than its libraries: its path, and the environment to run it in."""
    folder = programs()
    path = next(path for path in (folder / "usr/bin" / name, folder / "usr/sbin" / name) if path.exists())
    environment = {"PATH": "/usr/bin:/bin", "LD_LIBRARY_PATH": f"{folder / _LIBRARIES}:{folder / 'usr/lib'}"}
    return str(path), environment | {"PERL5LIB": str(folder / "usr/share/perl5"), "HOME": "/nonexistent"}


@dataclass
class Room:
    """One program's place: its work folder, and files laid over the root before it starts."""

    folder: Path
    files: Mapping[str, str] = field(default_factory=dict)

    def command(self, *argv: str) -> list[str]:
        """The command that runs `argv` in the room; its process is argv's own."""
        over = self.folder / "over"
        over.mkdir(parents=True, exist_ok=True)
        for name, content in self.files.items():
            path = over / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        work = str(self.folder)
        enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _ENTER, "sh"]
        return [*enter, str(programs()), str(over), work, *argv]

    def start(self, *argv: str) -> "subprocess.Popen[Any]":
        """Starts it; what it says goes to `log` in its folder."""
        command = self.command(*argv)
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)
