"""Images written without an engine: reproducible, and only what a node lacks."""

import io
import json
import tarfile
from pathlib import Path

from e2e.cluster import oci


def _tree(folder: Path, text: str = "x") -> Path:
    (folder / "usr/bin").mkdir(parents=True)
    (folder / "usr/bin/program").write_text(text)
    (folder / "usr/bin/program").chmod(0o755)
    (folder / "usr/bin/link").symlink_to("program")
    (folder / "usr/share").mkdir()
    return folder


def _image(*layers: oci.Layer) -> oci.Image:
    return oci.Image("example/it:1", layers, ("/usr/bin/program",), user="10001:10001", environment={"A": "1"})


def _blobs(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as read:
        found = {m.name: read.extractfile(m) for m in read.getmembers()}
        return {name: content.read() for name, content in found.items() if content}


def test_the_same_files_made_later_give_the_same_digest(tmp_path: Path) -> None:
    first = oci.write_layer(_tree(tmp_path / "a"), tmp_path / "a.tar")
    second = oci.write_layer(_tree(tmp_path / "b"), tmp_path / "b.tar")
    assert first.digest == second.digest
    assert oci.write_layer(_tree(tmp_path / "c", "y"), tmp_path / "c.tar").digest != first.digest


def test_a_layer_keeps_modes_and_links_and_leaves_out_what_it_is_told(tmp_path: Path) -> None:
    layer = oci.write_layer(_tree(tmp_path / "a"), tmp_path / "a.tar", lambda name: name == "usr/share")
    with tarfile.open(layer.path) as read:
        assert read.getnames() == ["usr", "usr/bin", "usr/bin/link", "usr/bin/program"]
        assert read.getmember("usr/bin/program").mode == 0o755
        assert read.getmember("usr/bin/link").linkname == "program"


def test_every_digest_in_an_archive_is_the_one_of_its_content(tmp_path: Path) -> None:
    image = _image(oci.write_layer(_tree(tmp_path / "a"), tmp_path / "a.tar"))
    out = io.BytesIO()
    oci.write_archive([image], out)
    blobs = _blobs(out.getvalue())
    for name, content in blobs.items():
        if name.startswith("blobs/"):
            assert oci.digest(content) == f"sha256:{name.rpartition('/')[2]}"
    index = json.loads(blobs["index.json"])["manifests"][0]
    assert index["annotations"]["io.containerd.image.name"] == "example/it:1"
    manifest = json.loads(blobs["blobs/sha256/" + index["digest"][7:]])
    config = json.loads(blobs["blobs/sha256/" + manifest["config"]["digest"][7:]])
    assert config["rootfs"]["diff_ids"] == [layer["digest"] for layer in manifest["layers"]]
    assert config["config"]["User"] == "10001:10001"


def test_layers_that_a_node_has_are_not_sent_again(tmp_path: Path) -> None:
    base = oci.write_layer(_tree(tmp_path / "a"), tmp_path / "a.tar")
    source = oci.write_layer(_tree(tmp_path / "b", "new"), tmp_path / "b.tar")
    out = io.BytesIO()
    assert oci.write_archive([_image(base, source)], out, present={base.digest}) == source.size
    assert f"blobs/sha256/{base.digest[7:]}" not in _blobs(out.getvalue())


def test_a_layer_shared_by_two_images_is_sent_once(tmp_path: Path) -> None:
    base = oci.write_layer(_tree(tmp_path / "a"), tmp_path / "a.tar")
    other = oci.Image("example/other:1", (base,), ("/bin/other",))
    assert oci.write_archive([_image(base), other], io.BytesIO()) == base.size


def test_a_changed_archive_is_digested_anew(tmp_path: Path) -> None:
    layer = oci.write_layer(_tree(tmp_path / "a"), tmp_path / "a.tar")
    again = oci.write_layer(_tree(tmp_path / "b", "changed"), tmp_path / "a.tar")
    assert again.digest != layer.digest
