"""The node images, pulled and run by Coracle itself: the installer, and a kind node on a base that is made here.

No kindest/node can be had without network; Debian's userland stands in for it. What is shown is that a base in each
archive's form is read, that our layers lie on top of it as meant, and that the commands in them start.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.bundle.assemble import Bundle
from deploy.image import Image, ImageConfig, LayerBuilder
from deploy.node_images import contents
from deploy.node_images.archive import write_image_archive
from deploy.node_images.base_image import read_base
from deploy.node_images.installer import installer_image
from deploy.node_images.kind import kind_image
from e2e.bundle.checks import CheckFailed, answer_of
from e2e.daemon import DaemonSettings, running_daemon
from e2e.registry import RunningRegistry

_BASE: Final = "localhost/base:1"


def check_images(directory: Path, bundle: Bundle, userland: Path, registry: RunningRegistry) -> Iterator[str]:
    """A line for each thing that was seen to work."""
    layers = directory / "layers"
    installer = installer_image(bundle, layers)
    registry.client.push("installer", ["1"], installer)
    version = bundle.project.version
    kind = kind_image(_base(directory, userland, bundle.settings.architecture), bundle.root, version, layers)
    registry.client.push("kind", ["1"], kind)
    with running_daemon(DaemonSettings(name="bunimg", directory=directory / "node")) as daemon:
        said = answer_of(daemon.client, f"{registry.address}/installer:1", directory / "installer", "--help")
        if "Usage: coracle-installer" not in said:
            raise CheckFailed("the installer's help", said)
        yield f"installer image: {_size(installer)}: {said.splitlines()[0]}"
        said = answer_of(daemon.client, f"{registry.address}/kind:1", directory / "kind", *_PROBE)
        expected = [f"coracle, version {version}", "/dev/null", "no containerd", *contents.FILES]
        if said.splitlines() != expected:
            raise CheckFailed("a kind node's files", said)
        yield f"kind node image: {_size(kind)} in {len(kind.layers)} layers: {said.splitlines()[0]}"


_PROBE: Final = (
    "/bin/sh",
    "-c",
    "cd / && /usr/local/bin/coracle --version && readlink etc/systemd/system/containerd.service"
    f" && for name in {' '.join(contents.HIDDEN)}; do test -e $name || echo no containerd; done"
    f" && for name in {' '.join(contents.FILES)}; do test -s $name && echo $name; done",
)


def _base(directory: Path, userland: Path, architecture: str) -> Image:
    """The userland with the names that kind's image has, written as an archive and read again."""
    with LayerBuilder(directory / "base-layers") as layer:
        layer.symlink("etc/systemd/system/multi-user.target.wants/containerd.service", "../containerd.service")
        layer.file("etc/systemd/system/containerd.service", "[Service]\nExecStart=/usr/local/bin/containerd\n")
        layer.tree(userland)
        base = Image(layers=[layer.finish()], config=ImageConfig(stop_signal="SIGRTMIN+3"))
    archive = directory / "base.tar"
    write_image_archive(archive, {_BASE: base})
    return read_base(archive, directory / "blobs", architecture, _BASE)


def _size(image: Image) -> str:
    return f"{sum(layer.size for layer in image.layers) / 1e6:.1f} MB"
