"""Stand-ins for the images that critest pulls, made from Debian packages and pushed under the upstream paths.

The runtime is told by mirrors that the upstream hosts are the local registry; the suite's own flag for another registry
renames only some of its pulls. One image cannot be made: the one pinned by digest needs the upstream's exact bytes.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from deploy.bundle.elf import closure
from deploy.image import Image, ImageConfig, Layer, LayerBuilder, Platform, Registry
from e2e import debian
from e2e.images.busybox import GROUP, PASSWD, add_busybox
from e2e.images.catalog import cached_layer, stamped
from e2e.images.nginx import add_libraries, nginx_layer
from e2e.images.pause import pause_layer

MIRRORED_HOSTS: Final = ("registry.k8s.io", "k8s.gcr.io", "gcr.io", "public.ecr.aws")
_TOOLS: Final = "k8s-staging-cri-tools"
_SHELL: Final = ImageConfig(cmd=("sh",))
_HTTPD: Final = """\
ServerRoot /usr/local/apache2
PidFile /run/httpd.pid
Listen 80
LoadModule mpm_prefork_module modules/mod_mpm_prefork.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule dir_module modules/mod_dir.so
LoadModule mime_module modules/mod_mime.so
User www-data
Group www-data
TypesConfig /dev/null
StartServers 1
MinSpareServers 1
MaxSpareServers 2
DocumentRoot /usr/local/apache2/htdocs
DirectoryIndex index.html
ErrorLog /proc/self/fd/2
LogLevel notice
"""


class Published(NamedTuple):
    repository: str
    tags: Sequence[str]
    image: Image


def push_images(registry: Registry) -> int:
    """Pushes all of them; answers how many names there are now."""
    count = 0
    for published in catalogue():
        registry.push(published.repository, published.tags, published.image)
        count += len(published.tags)
    return count


def catalogue() -> Iterator[Published]:
    shell = [cached_layer(stamped("critest-shell"), _shell_layer)]
    yield Published("e2e-test-images/busybox", ["1.29-2"], Image(layers=shell, config=_SHELL))
    yield from _servers(shell)
    yield Published(
        "e2e-test-images/nonewprivs",
        ["1.3"],
        Image(
            layers=[*shell, cached_layer(stamped("critest-nnp"), _nnp_layer)], config=ImageConfig(entrypoint=("/nnp",))
        ),
    )
    pause = ImageConfig(entrypoint=("/pause",), user="65535:65535", working_dir="/")
    yield Published("pause", ["3.9"], Image(layers=[cached_layer(stamped("critest-pause"), pause_layer)], config=pause))
    for repository, tags in _one_file_images():
        name = f"{repository.rpartition('/')[2]}-{tags[0]}"
        layer = cached_layer(stamped(f"critest-{name}"), _OneFile(name).build)
        yield Published(repository, tags, Image(layers=[*shell, layer], config=_SHELL))
    yield from _users(shell)


def _servers(shell: Sequence[Layer]) -> Iterator[Published]:
    def hostnet(directory: Path) -> Layer:
        return nginx_layer(directory, port=12003)

    nginx = ImageConfig(cmd=("nginx",), exposed_ports=("80/tcp",))
    yield Published(
        "e2e-test-images/nginx",
        ["1.14-2"],
        Image(layers=[*shell, cached_layer(stamped("critest-nginx"), nginx_layer)], config=nginx),
    )
    yield Published(
        f"{_TOOLS}/hostnet-nginx-{Platform.here().architecture}",
        ["latest"],
        Image(
            layers=[*shell, cached_layer(stamped("critest-nginx-hostnet"), hostnet)],
            config=replace(nginx, exposed_ports=("12003/tcp",)),
        ),
    )
    httpd = ImageConfig(
        cmd=("httpd", "-D", "FOREGROUND", "-f", "/usr/local/apache2/conf/httpd.conf"), exposed_ports=("80/tcp",)
    )
    yield Published(
        "e2e-test-images/httpd",
        ["2.4.39-4"],
        Image(layers=[*shell, cached_layer(stamped("critest-httpd"), _httpd_layer)], config=httpd),
    )


def _one_file_images() -> Iterator[tuple[str, Sequence[str]]]:
    """Images that need only differ from each other."""
    for name, tags in (
        ("test-image-latest", ["latest"]),
        ("test-image-digest", ["test"]),
        ("test-image-tag", ["test"]),
        ("test-image-tag", ["all"]),
        ("test-image-1", ["latest"]),
        ("test-image-2", ["latest"]),
        ("test-image-3", ["latest"]),
        ("test-image-tags", ["1", "2", "3"]),
    ):
        yield f"{_TOOLS}/{name}", tags
    for tag in ("1.35.0-glibc", "1-uclibc", "1", "1-glibc", "1-musl"):
        yield "docker/library/busybox", [tag]


def _users(shell: Sequence[Layer]) -> Iterator[Published]:
    for name, user in (
        ("uid", "1002"),
        ("username", "www-data"),
        ("uid-group", "1003:users"),
        ("username-group", "www-data:www-data"),
    ):
        image = Image(layers=shell, config=replace(_SHELL, user=user))
        yield Published(f"{_TOOLS}/test-image-user-{name}", ["latest"], image)
    group = cached_layer(stamped("critest-predefined-group"), _group_layer)
    image = Image(layers=[*shell, group], config=replace(_SHELL, user="1000"))
    yield Published(f"{_TOOLS}/test-image-predefined-group", ["latest"], image)


class _OneFile:
    def __init__(self, name: str) -> None:
        self._name = name

    def build(self, directory: Path) -> Layer:
        with LayerBuilder(directory) as layer:
            layer.file(self._name, f"{self._name}\n")
            return layer.finish()


def _shell_layer(directory: Path) -> Layer:
    """busybox, and the two programs that the suite wants and Debian's busybox lacks: ipcs and pgrep.

    Not the static busybox: its shell runs applets without looking at their paths, so hiding /bin/ls would hide nothing.
    """
    packages = ("busybox", "util-linux", "procps")
    roots = [root for package in packages for root in debian.with_libraries(package)]
    busybox = debian.program("busybox", "bin/busybox", "usr/bin/busybox")
    programs = [debian.program("util-linux", "usr/bin/ipcs"), debian.program("procps", "usr/bin/pgrep")]
    loader, libraries = closure([busybox, *programs], roots)
    with LayerBuilder(directory) as layer:
        add_busybox(layer, busybox)
        for program in programs:
            layer.file(f"usr/bin/{program.name}", program, 0o755)
        add_libraries(layer, loader, libraries)
        return layer.finish()


def _httpd_layer(directory: Path) -> Layer:
    trees = debian.with_libraries("apache2-bin")
    program, modules = trees[0] / "usr/sbin/apache2", trees[0] / "usr/lib/apache2/modules"
    wanted = [modules / f"mod_{name}.so" for name in ("mpm_prefork", "authz_core", "dir", "mime")]
    loader, libraries = closure([program, *wanted], trees)
    with LayerBuilder(directory) as layer:
        layer.directory("run")
        layer.file("usr/local/bin/httpd", program, 0o755)
        layer.file("usr/local/apache2/conf/httpd.conf", _HTTPD)
        for module in wanted:
            layer.file(f"usr/local/apache2/modules/{module.name}", module)
        layer.file("usr/local/apache2/htdocs/index.html", "<html><body><h1>It works!</h1></body></html>\n")
        add_libraries(layer, loader, libraries)
        return layer.finish()


def _nnp_layer(directory: Path) -> Layer:
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / "nnp"
    source = Path(__file__).with_name("nonewprivs.c")
    subprocess.run(["cc", "-O1", "-static", "-o", str(program), str(source)], check=True)
    with LayerBuilder(directory) as layer:
        layer.file("nnp", program, 0o4755)
        return layer.finish()


def _group_layer(directory: Path) -> Layer:
    user = "default-user:x:1000:1000:Default user:/home/default-user:/bin/sh\n"
    groups = "default-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n"
    with LayerBuilder(directory) as layer:
        layer.file("etc/passwd", PASSWD + user)
        layer.file("etc/group", GROUP + groups)
        layer.directory("home/default-user", uid=1000, gid=1000)
        return layer.finish()
