"""Which image goes under which name: the images of the tests, the demo and the benchmarks.

Layers are built once into .cache/images/ and found again by a stamp that names what they were made of.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.image import Compression, Image, ImageConfig, Layer, LayerBuilder, Platform, Registry
from e2e.images.busybox import busybox_layer
from e2e.images.nginx import nginx_layer
from e2e.images.pause import pause_image, pause_layer
from e2e.paths import CACHE

_STORE: Final = CACHE / "images"
_SHELL: Final = ImageConfig(cmd=("sh",))


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageNames:
    """References of what `push_test_images` pushed."""

    busybox: str
    busybox_id: str
    busybox_zstd: str
    busybox_plain: str
    nginx: str
    with_user: str
    """busybox with USER 1000:1000, an entrypoint, a working directory, a volume and a label."""
    pause: str
    multi: str
    """An index of this machine's platform and a foreign one."""


def cached_layer(name: str, build: Callable[[Path], Layer]) -> Layer:
    """The layer that `build` makes, from the store when it was built before."""
    directory = _STORE / name
    record = directory / "layer"
    if record.exists():
        digest, diff_id, size, media_type = record.read_text().split()
        path = directory / digest.replace(":", "-")
        return Layer(path=path, digest=digest, diff_id=diff_id, size=int(size), media_type=media_type)
    layer = build(directory)
    partial = directory / f".layer-record-{os.getpid()}"
    partial.write_text(f"{layer.digest} {layer.diff_id} {layer.size} {layer.media_type}\n")
    partial.replace(record)
    return layer


def busybox_image() -> Image:
    return Image(layers=[cached_layer(stamped("busybox"), busybox_layer)], config=_SHELL)


def nginx_image() -> Image:
    busybox = cached_layer(stamped("busybox"), busybox_layer)
    nginx = cached_layer(stamped("nginx"), nginx_layer)
    return Image(
        layers=[busybox, nginx],
        config=ImageConfig(cmd=("nginx",), exposed_ports=("80/tcp",), stop_signal="SIGQUIT"),
    )


def many_files_layer(files: int, *, files_in_directory: int = 100) -> Layer:
    """`files` small files of different content, like the layer of an interpreter with its packages."""

    def build(directory: Path) -> Layer:
        with LayerBuilder(directory) as layer:
            for number in range(files):
                seed = hashlib.sha256(str(number).encode()).digest()
                body = (seed * 64)[: 200 + number % 1500] + b"\n" * (number % 4000)
                layer.file(f"data/{number // files_in_directory:04}/{number:05}.txt", body)
            return layer.finish()

    return cached_layer(f"files-{files}", build)


def push_test_images(registry: Registry) -> ImageNames:
    """Pushes the images of the system tests; a few hundred milliseconds when the layers are built."""
    busybox = busybox_image()

    def push(repository: str, image: Image) -> str:
        registry.push(repository, ["1"], image)
        return f"{registry.address}/{repository}:1"

    def packed(compression: Compression) -> Image:
        def build(directory: Path) -> Layer:
            return busybox_layer(directory, compression=compression)

        return Image(layers=[cached_layer(stamped(f"busybox-{compression.name.lower()}"), build)], config=_SHELL)

    with_user = ImageConfig(
        entrypoint=("/bin/sh", "-c"),
        cmd=("echo default",),
        user="1000:1000",
        working_dir="/srv",
        volumes=("/data",),
        labels={"kind": "test"},
        env=("PATH=/bin", "FROM_IMAGE=yes"),
    )
    foreign = Image(layers=busybox.layers, config=_SHELL, platform=_foreign())
    registry.push_index("test/multi", ["1"], [foreign, busybox])
    return ImageNames(
        busybox=push("test/busybox", busybox),
        busybox_id=busybox.id,
        busybox_zstd=push("test/busybox-zstd", packed(Compression.ZSTD)),
        busybox_plain=push("test/busybox-plain", packed(Compression.PLAIN)),
        nginx=push("test/nginx", nginx_image()),
        with_user=push("test/with-user", Image(layers=busybox.layers, config=with_user)),
        pause=push("test/pause", pause_image(cached_layer(stamped("pause"), pause_layer))),
        multi=f"{registry.address}/test/multi:1",
    )


def _foreign() -> Platform:
    return Platform(architecture="s390x" if Platform.here().architecture != "s390x" else "amd64")


def stamped(name: str) -> str:
    """The name of a store entry: it changes when the code that builds the layers does."""
    sources = sorted([*Path(__file__).parent.glob("*.py"), *(Path(__file__).parents[2] / "deploy/image").glob("*.py")])
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()[:12]
    return f"{name}-{digest}"
