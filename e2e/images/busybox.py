"""A layer with busybox: a static shell and its tools.

Every applet is a hard link in /bin, not a symbolic link: a runtime that masks one path (/bin/ls) must hide that
applet and no other.
"""

from __future__ import annotations

import subprocess
from collections.abc import Collection
from pathlib import Path
from typing import Final

from deploy.image import Compression, Layer, LayerBuilder
from e2e import debian

PASSWD: Final = """\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
mail:x:8:8:mail:/var/spool/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/nonexistent:/bin/false
"""
GROUP: Final = """\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
mail:x:8:
www-data:x:33:
nogroup:x:65534:
"""
_DIRECTORIES: Final = ("dev", "etc", "home", "proc", "root", "sys", "usr/bin", "usr/sbin", "var/run", "var/www")


def static_busybox() -> Path:
    """Debian's static busybox, which runs anywhere and brings no library."""
    return debian.program("busybox-static", "bin/busybox", "usr/bin/busybox")


def busybox_layer(directory: Path, *, compression: Compression = Compression.GZIP) -> Layer:
    with LayerBuilder(directory, compression) as layer:
        add_busybox(layer, static_busybox())
        return layer.finish()


def add_busybox(layer: LayerBuilder, program: Path, *, skip: Collection[str] = ()) -> None:
    """The program, its applets but for `skip`, and the directories and accounts that a small system has."""
    applets = subprocess.run([program, "--list"], check=True, capture_output=True, text=True).stdout.split()
    for path in _DIRECTORIES:
        layer.directory(path)
    layer.directory("tmp", 0o1777)
    layer.file("bin/busybox", program, 0o755)
    for applet in applets:
        if applet != "busybox" and applet not in skip:
            layer.hardlink(f"bin/{applet}", "bin/busybox")
    layer.file("etc/passwd", PASSWD)
    layer.file("etc/group", GROUP)
