"""Nodes, images and registries for the tests of the image service."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.image import Compression, Image, ImageConfig, Layer, LayerBuilder
from e2e.registry import RunningRegistry
from tests.system.faulty_registry import FaultyRegistry, faulty_registry
from tests.system.image_node import Node, open_files


@pytest.fixture(params=["erofs", "directory"])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    yield from _node(request.param)


@pytest.fixture
def erofs_node() -> Iterator[Node]:
    yield from _node("erofs")


@pytest.fixture
def directory_node() -> Iterator[Node]:
    yield from _node("directory")


def _node(form: str) -> Iterator[Node]:
    # Not below /tmp: that is a tmpfs on some machines, which has no EROFS files and no upper layers.
    path = Path(tempfile.mkdtemp(prefix="coracle-images-", dir="/var/tmp"))
    descriptors = open_files()
    yield Node(path=path, form=form)
    shutil.rmtree(path)
    assert str(path) not in Path("/proc/self/mountinfo").read_text()
    assert open_files() == descriptors


@pytest.fixture(scope="session")
def layers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Layer]:
    directory = tmp_path_factory.mktemp("layers")
    made = {}
    for compression in Compression:
        with LayerBuilder(directory, compression) as builder:
            builder.directory("tmp", 0o1777)
            builder.directory("root", 0o700, uid=5)
            builder.file("bin/tool", b"#!\n" * 1000, 0o755)
            builder.file("etc/config", b"lower")
            builder.hardlink("bin/link", "bin/tool")
            made[compression.name.lower()] = builder.finish()
    with LayerBuilder(directory) as builder:
        builder.whiteout("etc/config")
        builder.file("etc/other", b"upper")
        made["upper"] = builder.finish()
    with LayerBuilder(directory) as builder:
        for name in ("tmp/without-its-directory", "root/x"):
            builder.raw(tarfile.TarInfo(name), b"x")
        made["implied"] = builder.finish()
    with LayerBuilder(directory, Compression.PLAIN) as builder:
        builder.file("big", os.urandom(8 << 20))
        made["big"] = builder.finish()
    return made


@pytest.fixture(scope="session")
def pushed(registry: RunningRegistry, layers: dict[str, Layer]) -> dict[str, str]:
    """References by what they are; ids under "id:...", digests of the manifests under "digest:..."."""
    images = {
        "gzip": Image(layers=[layers["gzip"], layers["upper"]], config=ImageConfig(user="7", env=("A=1",))),
        "zstd": Image(layers=[layers["zstd"]]),
        "plain": Image(layers=[layers["plain"]]),
        "implied": Image(layers=[layers["gzip"], layers["implied"]]),
        "twice": Image(layers=[layers["upper"], layers["gzip"], layers["upper"]]),
        "nothing": Image(layers=[]),
        "big": Image(layers=[layers["gzip"], layers["big"]]),
    }
    found = {}
    for name, image in images.items():
        manifest = registry.client.push(f"imagesvc/{name}", ["1", "2", "latest"], image)
        found[name] = f"{registry.address}/imagesvc/{name}"
        found[f"id:{name}"] = image.id
        found[f"digest:{name}"] = f"{found[name]}@{manifest.digest}"
    return found


@pytest.fixture(scope="session")
def faulty() -> Iterator[FaultyRegistry]:
    with faulty_registry() as registry:
        yield registry
