"""Volumes and their mounts: hostPath and emptyDir. Others need a cluster, and are errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from cri.api import runtime_pb2 as api
from cri.podspec.reader import ManifestError, Reader

_PROPAGATION: Final = {
    "None": api.PROPAGATION_PRIVATE,
    "HostToContainer": api.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": api.PROPAGATION_BIDIRECTIONAL,
}
_HOST_PATH_TYPES: Final = (
    "", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket", "CharDevice", "BlockDevice",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    path: Path
    make: bool
    """Whether the directory is to be made first."""
    owned: bool
    """Whether it goes with the pod."""


def read_volumes(spec: Reader, place: Path) -> dict[str, Volume]:
    """By name; emptyDir volumes lie below `place`."""
    volumes: dict[str, Volume] = {}
    for entry in spec.tables("volumes"):
        name = entry.text("name")
        if name in volumes:
            raise ManifestError(entry.where("name"), f"volume {name!r} is there twice")
        volumes[name] = _volume(entry, name, place)
    return volumes


def _volume(entry: Reader, name: str, place: Path) -> Volume:
    if entry.has("hostPath"):
        host = entry.table("hostPath")
        kind = host.text("type", "")
        if kind not in _HOST_PATH_TYPES:
            raise ManifestError(host.where("type"), f"{kind!r} is none of {', '.join(filter(None, _HOST_PATH_TYPES))}")
        if kind == "FileOrCreate":
            raise ManifestError(host.where("type"), "FileOrCreate is not supported: make the file, and say File")
        path = _absolute(host, "path")
        return Volume(path=Path(path), make=kind == "DirectoryOrCreate", owned=False)
    # `emptyDir: {}` is there, and empty; `emptyDir:` alone reads as nothing.
    if entry.has("emptyDir"):
        entry.table("emptyDir").ignore("sizeLimit")
        return Volume(path=place / "volumes" / name, make=True, owned=True)
    raise ManifestError(entry.path, f"volume {name!r} is neither hostPath nor emptyDir: others need a cluster")


def read_mounts(container: Reader, volumes: Mapping[str, Volume]) -> list[api.Mount]:
    mounts = []
    for entry in container.tables("volumeMounts"):
        name = entry.text("name")
        if name not in volumes:
            raise ManifestError(entry.where("name"), f"the pod has no volume {name!r}")
        propagation = entry.text("mountPropagation", "None")
        if propagation not in _PROPAGATION:
            raise ManifestError(
                entry.where("mountPropagation"), f"{propagation!r} is none of {', '.join(_PROPAGATION)}"
            )
        mounts.append(
            api.Mount(
                container_path=_absolute(entry, "mountPath"),
                host_path=str(_below(volumes[name].path, entry)),
                readonly=entry.flag("readOnly", False),
                propagation=_PROPAGATION[propagation],
            )
        )
    return mounts


def _below(path: Path, entry: Reader) -> Path:
    sub_path = PurePosixPath(entry.text("subPath", ""))
    if sub_path.is_absolute() or ".." in sub_path.parts:
        raise ManifestError(entry.where("subPath"), f"{str(sub_path)!r} leads out of the volume")
    return path / sub_path


def _absolute(entry: Reader, key: str) -> str:
    path = entry.text(key)
    if not path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise ManifestError(entry.where(key), f"{path!r} is not an absolute path without ..")
    return path
