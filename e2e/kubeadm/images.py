"""The images that `kubeadm config images list` names, made from the programs: one static program each.

kube-proxy has nft beside it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.bundle.elf import closure
from deploy.image import Compression, Image, ImageConfig, Layer, LayerBuilder, Registry
from e2e import debian
from e2e.images.catalog import cached_layer, push_test_images, stamped
from e2e.images.nginx import add_libraries
from e2e.images.pause import pause_image, pause_layer
from e2e.kube.images import program_layer, push_shell
from e2e.kube.tools import KUBERNETES

_REPOSITORY: Final = "node"
_PROGRAMS: Final = (
    *("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy"),
    *("etcd", "coredns", "pause"),
)
_WHERE: Final = "usr/local/bin"


def repository(registry: Registry) -> str:
    return f"{registry.address}/{_REPOSITORY}"


def push_node_images(registry: Registry, programs: Path) -> None:
    """Those of kubeadm, and those of the tests."""
    push_test_images(registry)
    push_shell(registry)
    for name, tag in _named(programs, repository(registry)):
        made = _pause() if name == "pause" else _image(name, programs)
        registry.push(f"{_REPOSITORY}/{name}", [tag], made)


def _named(programs: Path, where: str) -> Iterator[tuple[str, str]]:
    """Repository and tag of each."""
    command = [str(programs / "kubeadm"), "config", "images", "list", f"--image-repository={where}"]
    listing = subprocess.run(
        [*command, f"--kubernetes-version={KUBERNETES}"], check=True, capture_output=True, text=True
    ).stdout
    for reference in listing.split():
        name, _, tag = reference.removeprefix(f"{where}/").partition(":")
        if name not in _PROGRAMS:
            raise LookupError(f"kubeadm names {reference}, and no program is known for it")
        yield name, tag


def _pause() -> Image:
    """kubeadm pulls it; the runtime needs none."""
    return pause_image(cached_layer(stamped("pause"), pause_layer))


def _image(name: str, programs: Path) -> Image:
    def build(directory: Path) -> Layer:
        with LayerBuilder(directory, Compression.ZSTD) as layer:
            layer.file(f"{_WHERE}/{name}", programs / name, 0o755)
            layer.directory("tmp", 0o1777)
            if name == "kube-proxy":
                _add_nft(layer)
            return layer.finish()

    config = ImageConfig(env=(f"PATH=/{_WHERE}:/usr/sbin:/bin",), entrypoint=(f"/{_WHERE}/{name}",))
    return Image(layers=[program_layer(programs / name, build, purpose="kubeadm")], config=config)


def _add_nft(layer: LayerBuilder) -> None:
    trees = debian.with_libraries("nftables")
    program = debian.program("nftables", "usr/sbin/nft", "sbin/nft")
    loader, libraries = closure([program], trees)
    layer.file("usr/sbin/nft", program, 0o755)
    add_libraries(layer, loader, libraries)
