"""Images of these tests beside those of e2e/images.

`shell` is Debian's busybox, bash, netcat and curl with the libraries that they need: a static program cannot look up
names without the shared C library. Its `sh` is bash, since that of busybox drops variables like "data-1"; its `nc` is
OpenBSD's, since that of busybox knows no UDP.

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
_PACKAGES: Final = ("busybox", "bash", "netcat-openbsd", "curl")


def shell_layer() -> Layer:
    return cached_layer(_stamped("kube-shell"), _build_shell)


def program_layer(program: Path, build: Callable[[Path], Layer], *, purpose: str = "kube") -> Layer:
    """A layer with one of the cluster's own programs, built again when the program is another one."""
    state = program.stat()
    return cached_layer(_stamped(f"{purpose}-{program.name}", f"{state.st_size} {state.st_mtime_ns}"), build)


def _stamped(name: str, *more: str) -> str:
    """As `stamped`: it changes with the code of this package, too."""
    sources = [path.read_bytes() for path in sorted(Path(__file__).parent.rglob("images.py"))]
    digest = hashlib.sha256(b"".join([*sources, *(word.encode() for word in more)])).hexdigest()[:12]
    return stamped(f"{name}-{digest}")


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
    trees = [tree for package in _PACKAGES for tree in debian.with_libraries(package)]
    busybox = debian.program("busybox", "bin/busybox", "usr/bin/busybox")
    bash = debian.program("bash", "bin/bash", "usr/bin/bash")
    netcat = debian.program("netcat-openbsd", "bin/nc.openbsd", "usr/bin/nc.openbsd")
    curl = debian.program("curl", "usr/bin/curl")
    loader, libraries = closure([busybox, bash, netcat, curl], trees)
    with LayerBuilder(directory) as layer:
        add_busybox(layer, busybox, skip={"sh", "bash", "nc"})
        for name, program in (("bash", bash), ("nc", netcat), ("curl", curl)):
            layer.file(f"bin/{name}", program, 0o755)
        layer.symlink("bin/sh", "bash")
        add_libraries(layer, loader, libraries)
        return layer.finish()
