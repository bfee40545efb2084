"""Container images on a machine without an engine: Debian by debootstrap, libraries by lock file, and our source.

Layers, from slow and rare to quick and often: Debian with Python (minutes, once a machine), the locked libraries of
one program (seconds, when its lock changes), our source (under a second). Invariant: the name of a layer in the cache
is the hash of its inputs. The images hold what `lanes/Dockerfile` and `operator/Dockerfile` put into theirs, at the
same paths.
"""

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e import compiled
from e2e.cluster import cache, oci, prerequisites
from e2e.cluster.errors import ClusterError
from e2e.cluster.identity import Layout
from e2e.cluster.progress import Say, run_shown, step

REGISTRY: Final = "lanewright.local"
SUITE: Final = "bookworm"  # Debian 12, as python:3.11-slim-bookworm
UID: Final = 10001
_GLIBC: Final = (2, 36)  # bookworm's
# not read by any program in a container
_LEFT_OUT: Final = (
    "usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "usr/share/lintian", "var/cache/apt",
    "var/lib/apt/lists", "var/log", "var/cache/debconf", "proc", "sys", "dev", "tmp/hsperf",
)  # fmt: skip
_HOME: Final = "/opt/lanewright"
_FORMAT: Final = b"4"  # raise when this file writes something else from the same inputs


@dataclass(frozen=True)
class Program:
    """One of our programs as an image: its lock file and the packages that it is made of."""

    name: str
    lock: str
    packages: tuple[str, ...]
    module: str
    command: str


PROGRAMS: Final = {
    "relay": Program(
        name="relay",
        lock="lanes/requirements.lock",
        packages=("crds/lane_api", "lanes/lane_relay"),
        module="lane_relay",
        command="lane-relay",
    ),
    "operator": Program(
        name="operator",
        lock="operator/requirements.lock",
        packages=("crds/lane_api", "operator/lane_operator"),
        module="lane_operator",
        command="lane-operator",
    ),
}
OURS: Final = ("relay", "operator", "unbound")
BASIC: Final = ("busybox", "pause")


class Images:
    """Builds images for one checkout; layers that others can use lie in the machine's cache."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._cache = layout.caches / "images"

    def build(self, name: str) -> list[oci.Image]:
        """Return the image under every reference it gets; raises ClusterError for a name that is not ours."""
        if name in ("busybox", "pause"):
            return [self._busybox(name)]
        if name == "unbound":
            image = self._unbound()
        elif name in PROGRAMS:
            image = self._program(PROGRAMS[name])
        else:
            raise ClusterError(f"no image is called {name!r}", f"choose from {' '.join((*OURS, *BASIC))}")
        return [image, _under(image, f"{REGISTRY}/{name}:{image.digest[7:19]}")]

    def _busybox(self, name: str) -> oci.Image:
        binary = Path(shutil.which("busybox") or "/bin/busybox")
        layer = self._layer("busybox", [("busybox", binary.read_bytes())], lambda half, _: _busybox_root(half, binary))
        start = {"pause": ("/bin/busybox", "sleep", "2147483647")}.get(name, ())
        command = () if start else ("/bin/sh",)
        return oci.Image(f"{REGISTRY}/{name}:1", (layer,), start, command, environment={"PATH": "/bin"})

    def _program(self, program: Program) -> oci.Image:
        layers = (self._debian(), self._libraries(program), self._source(program))
        return oci.Image(
            f"{REGISTRY}/{program.name}:dev", layers, (f"/usr/local/bin/{program.command}",), user=f"{UID}:{UID}",
            environment={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "PYTHONPATH": f"{_HOME}/app:{_HOME}/lib",
                "PYTHONUNBUFFERED": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
            },
        )  # fmt: skip

    def _unbound(self) -> oci.Image:
        settings = (self._layout.checkout / "lanes" / "unbound.conf").read_bytes()
        files = {"etc/unbound/unbound.conf": (settings, 0o644), "etc/unbound/conf.d/.keep": (b"", 0o644)}
        folder = self._layout.state / "images"
        folder.mkdir(parents=True, exist_ok=True)
        system = self._system("unbound", ("unbound", "dns-root-data", "ca-certificates"))
        layers = (system, oci.write_files(files, folder / "unbound.tar"))
        start = ("/usr/sbin/unbound", "-d", "-p", "-c", "/etc/unbound/unbound.conf")
        return oci.Image(f"{REGISTRY}/unbound:dev", layers, start, user=f"{UID}:{UID}")

    def _debian(self) -> oci.Layer:
        return self._system("debian", ("python3", "ca-certificates", "tzdata"))

    def _system(self, name: str, packages: tuple[str, ...]) -> oci.Layer:
        """Return a small Debian with these packages and our user."""
        inputs = [("system", repr((SUITE, packages, _LEFT_OUT, UID, platform.machine())).encode())]

        def make(half: Path, say: Say) -> None:
            self._debootstrap(half / "root", packages, say)

        return self._layer(name, inputs, make, "90 s the first time")

    def _debootstrap(self, root: Path, packages: tuple[str, ...], say: Say) -> None:
        archives = self._cache / "debs"
        archives.mkdir(parents=True, exist_ok=True)
        command = ["debootstrap", "--variant=minbase", f"--cache-dir={archives}", f"--include={','.join(packages)}"]
        fix = "check the network and that a Debian mirror can be reached"
        run_shown([*command, SUITE, str(root)], say, self._layout.log / "debootstrap.log", fix=fix)
        user = f"lanewright:x:{UID}:{UID}::/nonexistent:/usr/sbin/nologin\n"
        for file, line in (("passwd", user), ("group", f"lanewright:x:{UID}:\n")):
            with (root / "etc" / file).open("a") as out:
                out.write(line)
        for file in ("resolv.conf", "hostname"):  # debootstrap copies the builder's
            (root / "etc" / file).write_text("")

    def _libraries(self, program: Program) -> oci.Layer:
        lock = self._layout.checkout / program.lock
        if not lock.exists():
            raise ClusterError(f"{program.lock} is missing", "`make lock` writes it")
        inputs = [("lock", lock.read_bytes()), ("machine", platform.machine().encode())]
        return self._layer(
            f"{program.name}-libraries", inputs, lambda half, say: self._install(half, lock, say), "20 s"
        )

    def _install(self, half: Path, lock: Path, say: Say) -> None:
        target = half / "root" / _HOME.lstrip("/") / "lib"
        command, machine = prerequisites.pip(), platform.machine()
        arguments = ["install", "--require-hashes", "--no-deps", "--only-binary=:all:", "--python-version=3.11"]
        if command[0].endswith("uv"):
            arguments.append(f"--python-platform={machine}-manylinux_2_36")  # Debian 12's glibc
        else:
            tags = ("manylinux_2_36", "manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
            arguments += [f"--platform={tag}_{machine}" for tag in tags]
        log = self._layout.log / f"{half.name}-libraries.log"
        fix = "check the network and the package index that pip uses"
        run_shown([*command, *arguments, f"--target={target}", "-r", str(lock)], say, log, fix=fix)
        shutil.rmtree(target / "bin", ignore_errors=True)
        bytecode(target, f"{_HOME}/lib")

    def _source(self, program: Program) -> oci.Layer:
        staging = self._layout.state / "images" / program.name
        shutil.rmtree(staging, ignore_errors=True)
        app = staging / _HOME.lstrip("/") / "app"
        for package in program.packages:
            source = self._layout.checkout / package
            shutil.copytree(source, app / source.name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        if program.name == "relay":
            self._add_extensions(app)
        for path in app.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)
        bytecode(app, f"{_HOME}/app")
        start = staging / "usr/local/bin" / program.command
        start.parent.mkdir(parents=True)
        start.write_text(launcher(program.module))
        start.chmod(0o755)
        return oci.write_layer(staging, staging.with_suffix(".tar"))

    def _add_extensions(self, app: Path) -> None:
        """The compiled form beside the pure one, where what this machine compiles runs on Debian 12's Python."""
        lacking, built = _misfit() or compiled.why_not(self._layout.checkout), None
        if not lacking:
            try:
                built = compiled.source(self._layout.checkout, self._layout.caches)
            except subprocess.CalledProcessError:  # its words are on standard error; `make compiled` fails for it
                lacking = "compiling failed"
        if built is None:
            print(f"the relay's image gets the pure form, which is slower: {lacking}", file=sys.stderr)
            return
        for extension in built.rglob("*.so"):
            shutil.copy(extension, app / extension.relative_to(built))

    def _layer(
        self, name: str, inputs: Sequence[tuple[str, bytes]], make: Callable[[Path, Say], None], expect: str = ""
    ) -> oci.Layer:
        key = cache.key([*inputs, ("format", _FORMAT)])

        def build(half: Path) -> None:
            with step(f"building image layer {name}", expect) as say:
                make(half, say)
                oci.write_layer(half / "root", half / "layer.tar", _left_out)
                shutil.rmtree(half / "root")

        return oci.read_layer(cache.folder(self._cache / f"{name}-{key}", build) / "layer.tar")


def _misfit() -> str:
    """Why an extension that is compiled here would not load in an image, or empty."""
    if sys.implementation.cache_tag != "cpython-311":
        return f"it runs CPython 3.11, and this is {sys.implementation.cache_tag}"
    name, version = platform.libc_ver()
    if name != "glibc" or tuple(map(int, version.split("."))) > _GLIBC:
        return f"it has glibc 2.36, and this machine {name or 'another libc'} {version}"
    return ""


def launcher(module: str) -> str:
    """Return the script that starts one of our programs, as the Dockerfiles write it."""
    return f"#!/usr/bin/env python3\nimport sys\n\nfrom {module}.__main__ import main\n\nsys.exit(main())\n"


def _under(image: oci.Image, reference: str) -> oci.Image:
    return oci.Image(reference, image.layers, image.entrypoint, image.command, image.user, image.environment)


def _left_out(name: str) -> bool:
    return any(name.startswith(f"{prefix}/") for prefix in _LEFT_OUT)


def _busybox_root(half: Path, binary: Path) -> None:
    root = half / "root"
    for folder in ("bin", "tmp", "etc", "var"):
        (root / folder).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy(binary, root / "bin/busybox")
    applets = subprocess.run([binary, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in (a for a in applets if a != "busybox"):
        (root / "bin" / applet).symlink_to("busybox")


def bytecode(folder: Path, inside: str) -> None:
    """Compile for a read-only root file system; without Python 3.11 here it starts slower, and that is all.

    In a process of its own: the bytes depend on what the compiling one has imported (marshal's references).
    """
    if sys.implementation.cache_tag == "cpython-311":
        options = ["-q", "-q", "-s", str(folder), "-p", inside, "--invalidation-mode", "unchecked-hash"]
        subprocess.run([sys.executable, "-I", "-m", "compileall", *options, str(folder)], check=False)
