"""A layer with Debian's nginx: the program, the libraries it names and their loader, a configuration and a page."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from deploy.bundle.elf import closure
from deploy.image import Layer, LayerBuilder
from e2e import debian

PAGE: Final = "<!doctype html>\n<title>Coracle</title>\n<p>Served from a container that Coracle runs.\n"
_CONFIGURATION: Final = """\
user www-data;
worker_processes 1;
daemon off;
pid /var/run/nginx.pid;
error_log /dev/stderr warn;
events { worker_connections 64; }
http {
    types { text/html html; text/plain txt; }
    access_log /dev/stdout;
    server {
        listen %d;
        root /usr/share/nginx/html;
    }
}
"""


def nginx_layer(directory: Path, *, port: int = 80) -> Layer:
    trees = debian.with_libraries("nginx")
    program = trees[0] / "usr/sbin/nginx"
    loader, libraries = closure([program], trees)
    with LayerBuilder(directory) as layer:
        for path in ("var/lib/nginx", "var/log/nginx", "var/run"):
            layer.directory(path)
        layer.file("usr/sbin/nginx", program, 0o755)
        layer.file("etc/nginx/nginx.conf", _CONFIGURATION % port)
        layer.file("usr/share/nginx/html/index.html", PAGE)
        add_libraries(layer, loader, libraries)
        return layer.finish()


def add_libraries(layer: LayerBuilder, loader: str, libraries: dict[str, Path]) -> None:
    """Libraries in /usr/lib, where every loader looks, and the loader where the programs name it."""
    for name, path in sorted(libraries.items()):
        if name != Path(loader).name:
            layer.file(f"usr/lib/{name}", path.resolve(), 0o755)
    by_name = libraries.get(Path(loader).name)
    if by_name is None:
        raise FileNotFoundError(f"no package has the loader {loader}")
    layer.file(loader, by_name.resolve(), 0o755)
