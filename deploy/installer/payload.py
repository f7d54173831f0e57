"""What is installed: a directory that holds one build of Coracle as it shall lie below /opt/coracle/<version>.

    PAYLOAD/bin/coracle                       the daemon and its command line
    PAYLOAD/bin/coracle-installer             the host's part of this installer
    PAYLOAD/share/systemd/coracle.service     its unit
    PAYLOAD/manifest.json                     "version", among others
    PAYLOAD/SHA256SUMS                        of every file

It is what `deploy.bundle` builds. Owns the reading of that directory, and its identity: two builds of one version
differ in it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.installer.errors import Refused

_UNIT: Final = "share/systemd/coracle.service"


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    directory: Path
    version: str
    unit: bytes
    identity: str


def read_payload(directory: Path) -> Payload:
    """Raises Refused when the directory is no build of Coracle."""
    if not (directory / "bin" / "coracle").is_file():
        raise Refused(f"payload {directory} holds no bin/coracle", "point --payload at an unpacked bundle")
    return Payload(
        directory=directory,
        version=_version(directory / "manifest.json"),
        unit=_bytes(directory / _UNIT),
        identity=hashlib.sha256(_bytes(directory / "SHA256SUMS")).hexdigest(),
    )


def _version(manifest: Path) -> str:
    try:
        version = json.loads(_bytes(manifest))["version"]
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"{manifest} names no version: {error!r}")
    if not isinstance(version, str) or not version or "/" in version or version.startswith("."):
        raise Refused(f"{manifest}: {version!r} is no version that can name a directory")
    return version


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Refused(f"payload has no {path}: {error.strerror}", "point --payload at an unpacked bundle")
