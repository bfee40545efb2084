"""Container images written without an engine: layers, configuration and manifest as the OCI image format has them.

Specification: OCI image-spec 1.1, image-layout, config and layer pages. Invariant: the same files give the same digests
(sorted names, fixed times, root's ids), so a node that holds a layer already is never sent it again.
"""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

_EPOCH: Final = "1970-01-01T00:00:00Z"
_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
_MACHINES: Final = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Layer:
    """One layer's uncompressed tar archive on disk; uncompressed, so its digest is its diff id, too."""

    path: Path
    digest: str
    size: int


@dataclass(frozen=True)
class Image:
    """An image: a reference, its layers, and how its program starts."""

    reference: str
    layers: tuple[Layer, ...]
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    user: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def config(self) -> bytes:
        """Return the configuration blob."""
        machine = os.uname().machine
        settings: dict[str, Any] = {"Env": [f"{k}={v}" for k, v in sorted(self.environment.items())]}
        start = {"Entrypoint": list(self.entrypoint), "Cmd": list(self.command), "User": self.user}
        settings |= {name: value for name, value in start.items() if value}
        return _json(
            {
                "created": _EPOCH,
                "architecture": _MACHINES.get(machine, machine),
                "os": "linux",
                "config": settings,
                "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in self.layers]},
            }
        )

    def manifest(self) -> bytes:
        """Return the manifest blob."""
        layers = [{"mediaType": _LAYER, "digest": layer.digest, "size": layer.size} for layer in self.layers]
        return _json(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _descriptor(_CONFIG, self.config()),
                "layers": layers,
            }
        )

    @property
    def digest(self) -> str:
        """The manifest's digest: changes when anything in the image does."""
        return digest(self.manifest())


def digest(content: bytes) -> str:
    """Return `sha256:...` of a blob."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def write_layer(folder: Path, out: Path, skip: Callable[[str], bool] = lambda name: False) -> Layer:
    """Write the tree below `folder` as a layer at `out`; `skip` is asked with every path, as `usr/share/doc`."""
    half = out.with_name(f".{out.name}.{os.getpid()}")
    with tarfile.open(half, "w", format=tarfile.PAX_FORMAT) as archive:
        for path in _walk(folder):
            name = str(path.relative_to(folder))
            if not skip(name):
                archive.add(path, name, recursive=False, filter=_reproducible)
    half.replace(out)
    return read_layer(out)


def write_files(files: Mapping[str, tuple[bytes, int]], out: Path) -> Layer:
    """Write files given as name -> (content, mode) as a layer at `out`."""
    half = out.with_name(f".{out.name}.{os.getpid()}")
    with tarfile.open(half, "w", format=tarfile.PAX_FORMAT) as archive:
        for name in sorted({str(p) for f in files for p in Path(f).parents} - {"."}):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        for name, (content, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    half.replace(out)
    return read_layer(out)


def read_layer(path: Path) -> Layer:
    """Return the layer of an archive on disk; its digest is kept in a file beside it."""
    memory = path.with_name(f"{path.name}.sha256")
    if not memory.exists() or memory.stat().st_mtime_ns < path.stat().st_mtime_ns:
        with path.open("rb") as source:
            memory.write_text(f"sha256:{hashlib.file_digest(source, 'sha256').hexdigest()}")
    return Layer(path, memory.read_text(), path.stat().st_size)


def write_archive(images: Sequence[Image], out: IO[bytes], present: Collection[str] = ()) -> int:
    """Write images as one OCI layout archive without the blobs in `present`; returns the layers' bytes in it."""
    written: set[str] = set(present)
    total = 0
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        for image in images:
            for layer in image.layers:
                if layer.digest not in written:
                    written.add(layer.digest)
                    total += layer.size
                    _add_file(archive, _blob_name(layer.digest), layer)
            for content in (image.config(), image.manifest()):
                if digest(content) not in written:
                    written.add(digest(content))
                    _add(archive, _blob_name(digest(content)), content)
        _add(archive, "index.json", _json({"schemaVersion": 2, "manifests": [_named(i) for i in images]}))
    return total


def _named(image: Image) -> dict[str, Any]:
    # containerd takes the image's name from its own annotation and does not shorten it
    names = {"io.containerd.image.name": image.reference, "org.opencontainers.image.ref.name": image.reference}
    return {**_descriptor(_MANIFEST, image.manifest()), "annotations": names}


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest(content), "size": len(content)}


def _blob_name(of: str) -> str:
    return f"blobs/sha256/{of.removeprefix('sha256:')}"


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), 0o644
    archive.addfile(entry, io.BytesIO(content))


def _add_file(archive: tarfile.TarFile, name: str, layer: Layer) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = layer.size, 0o644
    with layer.path.open("rb") as source:
        archive.addfile(entry, source)


def _walk(folder: Path) -> Iterable[Path]:
    found = [Path(at) / name for at, folders, files in os.walk(folder) for name in (*folders, *files)]
    return sorted(found)


def _reproducible(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if entry.ischr() or entry.isblk() or entry.isfifo():  # a runtime makes /dev itself
        return None
    entry.mtime, entry.uname, entry.gname, entry.pax_headers = 0, "", "", {}
    return entry


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
