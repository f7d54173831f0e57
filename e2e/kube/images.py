"""Images of these tests beside those of e2e/images.

`shell` is Debian's busybox, bash and curl with the libraries that they need: a static program cannot look up names
without the shared C library. Its `sh` is bash: that of busybox drops variables like "data-1".

`health` answers gRPC health checks: etcd does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from deploy.bundle.elf import closure
from deploy.image import Image, ImageConfig, Layer, LayerBuilder, Registry
from e2e import debian
from e2e.images.busybox import add_busybox
from e2e.images.catalog import cached_layer, stamped
from e2e.images.nginx import add_libraries

HEALTH_PORT: Final = 2379


def shell_layer() -> Layer:
    return cached_layer(stamped("kube-shell"), _build_shell)


def program_layer(program: Path, build: Callable[[Path], Layer]) -> Layer:
    """A layer with one of the cluster's own programs, built again when the program is another one."""
    state = program.stat()
    stamp = hashlib.sha256(f"{state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:12]
    return cached_layer(stamped(f"kube-{program.name}-{stamp}"), build)


def push_shell(registry: Registry) -> str:
    registry.push("test/shell", ["1"], Image(layers=[shell_layer()], config=ImageConfig(cmd=("sh",))))
    return f"{registry.address}/test/shell:1"


def push_health_server(registry: Registry, programs: Path) -> str:
    def build(directory: Path) -> Layer:
        with LayerBuilder(directory) as layer:
            layer.file("etcd", programs / "etcd", 0o755)
            layer.directory("tmp", 0o1777)
            return layer.finish()

    addresses = (f"http://0.0.0.0:{HEALTH_PORT}", f"http://localhost:{HEALTH_PORT}")
    config = ImageConfig(
        entrypoint=("/etcd", "--data-dir=/tmp/etcd", "--log-level=error", "--unsafe-no-fsync"),
        cmd=(f"--listen-client-urls={addresses[0]}", f"--advertise-client-urls={addresses[1]}"),
    )
    registry.push("test/health", ["1"], Image(layers=[program_layer(programs / "etcd", build)], config=config))
    return f"{registry.address}/test/health:1"


def _build_shell(directory: Path) -> Layer:
    trees = [tree for package in ("busybox", "bash", "curl") for tree in debian.with_libraries(package)]
    busybox = debian.program("busybox", "bin/busybox", "usr/bin/busybox")
    bash = debian.program("bash", "bin/bash", "usr/bin/bash")
    curl = debian.program("curl", "usr/bin/curl")
    loader, libraries = closure([busybox, bash, curl], trees)
    with LayerBuilder(directory) as layer:
        layer.file("usr/bin/bash", bash, 0o755)
        layer.symlink("bin/bash", "/usr/bin/bash")
        add_busybox(layer, busybox, skip={"sh", "bash"})
        layer.symlink("bin/sh", "/usr/bin/bash")
        layer.file("usr/bin/curl", curl, 0o755)
        add_libraries(layer, loader, libraries)
        return layer.finish()
