"""Stand-ins for the images that e2e.test pulls, pushed under the names that it asks a registry for.

e2e-test-images/busybox    a shell with its tools
e2e-test-images/agnhost    the tests' own server, on the shell; with a directory that its registry server serves
e2e-test-images/nonewprivs, nonroot, nginx ...
pause
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from deploy.image import Image, ImageConfig, Layer, LayerBuilder, Registry
from deploy.image.document import index_document
from e2e.critest.images import catalogue
from e2e.images.busybox import GROUP, PASSWD
from e2e.images.catalog import cached_layer, nginx_image, stamped
from e2e.images.pause import pause_layer
from e2e.kube.images import program_layer, shell_layer
from e2e.kube.tools import kubernetes_source

_PREFIX: Final = "e2e-test-images"
_USER: Final = "user-defined-in-image"
_GROUP: Final = "group-defined-in-image"

# Specs compare what busybox' shell says; that of Debian 12 drops variables like "data-1", which others look for.
_BUSYBOX_SHELL: Final = """\
#!/bin/bash
while IFS= read -r -d '' entry; do
    [[ ${entry%%=*} == *[!A-Za-z0-9_]* ]] && exec -a /bin/sh /bin/bash "$@"
done < /proc/$$/environ
exec -a /bin/sh /bin/busybox "$@"
"""


def push_images(registry: Registry, programs: Path) -> int:
    """All of them; answers how many names there are."""
    count = 0
    for repository, tags, image in _catalogue(programs):
        registry.push(repository, tags, image)
        count += len(tags)
    return count


def registries(address: str) -> dict[str, str]:
    """What e2e.test reads from the file that KUBE_TEST_REPO_LIST names."""
    return {"promoterE2eRegistry": f"{address}/{_PREFIX}", "gcRegistry": address}


def _catalogue(programs: Path) -> Iterator[tuple[str, list[str], Image]]:
    shell = shell_layer()
    pause = _pause()
    agnhost = program_layer(programs / "agnhost", lambda directory: _agnhost(directory, programs, pause))
    busybox = [shell, cached_layer(stamped("kube-busybox-shell"), _busybox_shell)]
    yield f"{_PREFIX}/busybox", ["1.37.0-2"], Image(layers=busybox, config=ImageConfig(cmd=("sh",)))
    yield f"{_PREFIX}/glibc-dns-testing", ["2.1.1"], Image(layers=[shell], config=ImageConfig(cmd=("sh",)))
    version = (_agnhost_sources() / "VERSION").read_text().strip()
    config = ImageConfig(entrypoint=("/agnhost",), cmd=("pause",))
    yield f"{_PREFIX}/agnhost", [version, "2.55"], Image(layers=[shell, agnhost], config=config)
    yield f"{_PREFIX}/nonroot", ["1.5"], Image(layers=[shell], config=ImageConfig(cmd=("id", "-u"), user="1234"))
    yield f"{_PREFIX}/nginx", ["1.27.0-2", "1.28.0-2"], nginx_image()
    # Ours of machine code does not end on SIGTERM; one spec wants that.
    leaves = ImageConfig(entrypoint=("/agnhost", "pause"), user="65535:65535")
    yield "pause", ["3.10.2"], Image(layers=[agnhost], config=leaves)
    setuid = next(one for one in catalogue() if one.repository == f"{_PREFIX}/nonewprivs")
    yield f"{_PREFIX}/nonewprivs", ["1.4"], setuid.image


def _busybox_shell(directory: Path) -> Layer:
    with LayerBuilder(directory) as layer:
        layer.file("bin/sh", _BUSYBOX_SHELL, 0o755)
        return layer.finish()


def _pause() -> Image:
    config = ImageConfig(entrypoint=("/pause",), user="65535:65535", working_dir="/")
    return Image(layers=[cached_layer(stamped("pause"), pause_layer)], config=config)


def _agnhost_sources() -> Path:
    return kubernetes_source() / "test/images/agnhost"


def _agnhost(directory: Path, programs: Path, served: Image) -> Layer:
    with LayerBuilder(directory) as layer:
        layer.file("agnhost", programs / "agnhost", 0o755)
        layer.hardlink("agnhost-2", "agnhost")
        layer.directory("uploads")
        for name in ("localhost.crt", "localhost.key"):
            layer.file(name, _agnhost_sources() / "porter" / name)
        layer.file("etc/passwd", f"{PASSWD}{_USER}:x:1000:1000::/home:/bin/sh\n")
        layer.file("etc/group", f"{GROUP}{_USER}:x:1000:\n{_GROUP}:x:50000:{_USER}\n")
        _add_registry(layer, served)
        return layer.finish()


def _add_registry(layer: LayerBuilder, image: Image) -> None:
    """What `agnhost fake-registry-server` serves: pause:testing, through an index."""
    base = "var/registry/pause"
    index = index_document([image])
    documents = {image.manifest.digest: image.manifest_document, _digest(index): index}
    for digest, content in documents.items():
        layer.file(_stored(f"{base}/manifests", digest), content)
    layer.file(f"{base}/manifests/testing", _digest(index))
    layer.file(_stored(f"{base}/blobs", image.id), image.config_document)
    for part in image.layers:
        layer.file(_stored(f"{base}/blobs", part.digest), part.path)


def _stored(base: str, digest: str) -> str:
    algorithm, _, value = digest.partition(":")
    return f"{base}/{algorithm}/{value[:2]}/{value}/data"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
