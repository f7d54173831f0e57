"""Node images: archives that are read again, bases in each form, what lies on top of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

from cri.config import load_settings
from deploy.bundle.assemble import PROJECT
from deploy.image import Compression, Image, ImageConfig, LayerBuilder, Platform, write_layout
from deploy.node_images import contents
from deploy.node_images.archive import write_image_archive
from deploy.node_images.base_image import BaseImageError, read_base
from deploy.node_images.kind import UNIT, BundleIncomplete, kind_image

AMD64 = Platform(architecture="amd64")
CONFIG = ImageConfig(env=("container=docker",), entrypoint=("/entry", "/sbin/init"), stop_signal="SIGRTMIN+3")


def image(directory: Path, compression: Compression = Compression.GZIP, text: str = "base") -> Image:
    with LayerBuilder(directory, compression) as layer:
        layer.file("etc/os-release", text)
        return Image(layers=[layer.finish()], config=CONFIG, platform=AMD64)


def names(blob: Path) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(blob) as archive:
        return {entry.name: entry for entry in archive}


@pytest.mark.parametrize("compression", Compression)
def test_an_archive_is_read_as_what_was_written(tmp_path: Path, compression: Compression) -> None:
    written = image(tmp_path / "layers", compression)
    write_image_archive(tmp_path / "a.tar", {"localhost/base:1": written})
    read = read_base(tmp_path / "a.tar", tmp_path / "store", "amd64")
    assert read.manifest_document == written.manifest_document
    assert read.config_document == written.config_document


def test_the_same_images_give_the_same_archive(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_image_archive(tmp_path / f"{name}.tar", {"localhost/base:1": image(tmp_path / name)})
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_layout_directory_is_a_base_too(tmp_path: Path) -> None:
    written = image(tmp_path / "layers")
    write_layout(tmp_path / "layout", {"1": written})
    assert read_base(tmp_path / "layout", tmp_path / "store", "amd64").id == written.id


def test_what_docker_save_wrote_before_version_25_is_read(tmp_path: Path) -> None:
    written = image(tmp_path / "layers", Compression.PLAIN)
    layer = written.layers[0].path.read_bytes()
    files = {
        "config.json": written.config_document,
        "abc/layer.tar": layer,
        "manifest.json": json.dumps(
            [{"Config": "config.json", "RepoTags": ["kindest/node:v1"], "Layers": ["abc/layer.tar"]}]
        ).encode(),
    }
    with tarfile.open(tmp_path / "saved.tar", "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    read = read_base(tmp_path / "saved.tar", tmp_path / "store", "amd64", "kindest/node:v1")
    assert read.config == CONFIG
    assert read.layers[0].diff_id == f"sha256:{hashlib.sha256(layer).hexdigest()}"
    with pytest.raises(BaseImageError, match="it has kindest/node:v1"):
        read_base(tmp_path / "saved.tar", tmp_path / "store", "amd64", "kindest/node:v2")


def test_of_several_images_one_is_chosen_by_name(tmp_path: Path) -> None:
    first, second = image(tmp_path / "1", text="first"), image(tmp_path / "2", text="second")
    write_image_archive(tmp_path / "two.tar", {"localhost/base:1": first, "localhost/base:2": second})
    assert read_base(tmp_path / "two.tar", tmp_path / "store", "amd64", "localhost/base:2").id == second.id
    with pytest.raises(BaseImageError, match="2 images"):
        read_base(tmp_path / "two.tar", tmp_path / "store", "amd64")
    with pytest.raises(BaseImageError, match="0 images for s390x"):
        read_base(tmp_path / "two.tar", tmp_path / "store", "s390x")


def test_a_layer_with_another_content_is_refused(tmp_path: Path) -> None:
    written = image(tmp_path / "layers")
    write_layout(tmp_path / "layout", {"1": written})
    blob = tmp_path / "layout/blobs" / written.layers[0].digest.replace(":", "/")
    blob.write_bytes(gzip.compress(b"something else"))
    with pytest.raises(BaseImageError, match="inflates to another content"):
        read_base(tmp_path / "layout", tmp_path / "store", "amd64")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no tar")
    with pytest.raises(BaseImageError, match="cannot be unpacked"):
        read_base(tmp_path / "text", tmp_path / "store", "amd64")


def bundle(directory: Path) -> Path:
    for name, text in (("bin/coracle", "program"), (UNIT, "[Unit]\n")):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
    return directory


def test_a_kind_node_is_its_base_with_two_layers_more(tmp_path: Path) -> None:
    base = image(tmp_path / "layers")
    node = kind_image(base, bundle(tmp_path / "bundle"), "9.9", tmp_path / "layers")
    assert list(node.layers[:1]) == list(base.layers)
    assert node.config == CONFIG
    assert "opt/coracle/9.9/bin/coracle" in names(node.layers[1].path)
    files = names(node.layers[2].path)
    assert files["opt/coracle/current"].linkname == "9.9"
    assert files["etc/systemd/system/containerd.service"].linkname == "/dev/null"
    assert "etc/systemd/system/multi-user.target.wants/.wh.containerd.service" in files
    assert set(contents.FILES) | set(contents.LINKS) <= set(files)


def test_a_bundle_without_a_unit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    with pytest.raises(BundleIncomplete, match=UNIT):
        kind_image(image(tmp_path / "layers"), tmp_path / "bundle", "9.9", tmp_path / "layers")


def test_a_kind_nodes_configuration_is_one(tmp_path: Path) -> None:
    path = tmp_path / "coracle.toml"
    path.write_text(contents.FILES["etc/coracle/coracle.toml.d/10-kind.toml"])
    assert load_settings(path, {}, {}).network.builtin.value == "never"


def test_the_dockerfile_writes_the_files_that_the_builder_writes() -> None:
    text = (PROJECT / "deploy/docker/Dockerfile.kind-node").read_text()
    for path in (*contents.FILES, *contents.LINKS, *contents.HIDDEN):
        assert f"/{path}" in text


@pytest.mark.parametrize(
    ("name", "link"), [("../out", ""), ("/out", ""), ("blobs/l", "../../out"), ("l", "/etc/passwd"), ("pipe", None)]
)
def test_an_archive_that_leads_out_is_refused(tmp_path: Path, name: str, link: str | None) -> None:
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.type = tarfile.FIFOTYPE if link is None else tarfile.SYMTYPE if link else tarfile.REGTYPE
        member.linkname = link or ""
        archive.addfile(member)
    with pytest.raises(BaseImageError, match=r"cannot be unpacked: .* (leads out|is neither)"):
        read_base(path, tmp_path / "deep" / "store", "amd64")
    assert not (tmp_path / "out").exists()
