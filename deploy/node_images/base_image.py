"""A base image from a file or a directory: an OCI layout, a tar of one, or what `docker save` writes.

Nothing is unpacked but the blobs, whose digests are checked. Tags of several images in one archive are told apart by
name; an archive of one image needs none.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from deploy.image.document import INDEX_TYPE, Image, ImageConfig, Platform
from deploy.image.layer import Compression, Layer

_INDEXES: Final = (INDEX_TYPE, "application/vnd.docker.distribution.manifest.list.v2+json")
_NAMES: Final = ("io.containerd.image.name", "org.opencontainers.image.ref.name")
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"


class BaseImageError(Exception):
    """The base image cannot be used."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"base image {path}: {reason}")
        self.path = path


def read_base(path: Path, store: Path, architecture: str, name: str = "") -> Image:
    """`store` receives the blobs of an archive. Raises BaseImageError."""
    directory = path
    if path.is_file():
        directory = store / hashlib.sha256(f"{path.resolve()}:{path.stat().st_mtime_ns}".encode()).hexdigest()[:16]
        if not directory.is_dir():
            _unpack(path, directory)
    try:
        if (directory / "index.json").is_file():
            return _from_layout(path, directory, architecture, name)
        if (directory / "manifest.json").is_file():
            return _from_docker(path, directory, name)
    except (KeyError, ValueError, OSError) as error:
        raise BaseImageError(path, f"is damaged: {error!r}")
    raise BaseImageError(path, "is neither an OCI layout nor an archive of docker save")


def _unpack(path: Path, directory: Path) -> None:
    partial = directory.with_name(f".{directory.name}")
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                _extract(archive, member, partial)
    except (tarfile.TarError, ValueError, OSError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise BaseImageError(path, f"cannot be unpacked: {error}")
    partial.rename(directory)


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo, top: Path) -> None:
    """Directories, files, and links that stay inside: all that such an archive has. Raises ValueError for the rest.

    tarfile's own filters came with 3.11.4, after Debian 12's Python.
    """
    path = top / member.name
    inside = top.resolve()
    target = path.parent / member.linkname if member.issym() else path
    if not (path.parent.resolve().is_relative_to(inside) and target.resolve().is_relative_to(inside)):
        raise ValueError(f"{member.name} leads out of the archive")
    path.parent.mkdir(parents=True, exist_ok=True)
    content = archive.extractfile(member) if member.isfile() else None
    if content is not None:
        with content, path.open("xb") as file:
            shutil.copyfileobj(content, file)
    elif member.issym():
        path.symlink_to(member.linkname)
    elif member.isdir():
        path.mkdir(exist_ok=True)
    else:
        raise ValueError(f"{member.name} is neither a file nor a directory")


def _from_layout(path: Path, directory: Path, architecture: str, name: str) -> Image:
    def blob(digest: str) -> Path:
        return directory / "blobs" / digest.replace(":", "/")

    def document(descriptor: Mapping[str, Any]) -> dict[str, Any]:
        data = blob(descriptor["digest"]).read_bytes()
        if f"sha256:{hashlib.sha256(data).hexdigest()}" != descriptor["digest"]:
            raise ValueError(f"{descriptor['digest']} has another content")
        parsed: dict[str, Any] = json.loads(data)
        return parsed

    entries = json.loads((directory / "index.json").read_bytes())["manifests"]
    manifest = document(_chosen(path, entries, architecture, name))
    while manifest.get("mediaType") in _INDEXES or "manifests" in manifest:
        manifest = document(_chosen(path, manifest["manifests"], architecture, ""))
    config = document(manifest["config"])
    blobs = [blob(layer["digest"]) for layer in manifest["layers"]]
    return _image(blobs, config)


def _from_docker(path: Path, directory: Path, name: str) -> Image:
    entries = json.loads((directory / "manifest.json").read_bytes())
    fitting = [entry for entry in entries if not name or name in (entry["RepoTags"] or ())]
    if len(fitting) != 1:
        known = ", ".join(tag for entry in entries for tag in entry["RepoTags"] or ())
        raise BaseImageError(path, f"has {len(fitting)} images that fit {name!r}; it has {known or 'no names'}")
    config = json.loads((directory / fitting[0]["Config"]).read_bytes())
    return _image([(directory / layer).resolve() for layer in fitting[0]["Layers"]], config)


def _chosen(path: Path, entries: Sequence[Mapping[str, Any]], architecture: str, name: str) -> Mapping[str, Any]:
    def fits(entry: Mapping[str, Any]) -> bool:
        platform = entry.get("platform", {})
        names = [entry.get("annotations", {}).get(key) for key in _NAMES]
        return platform.get("architecture", architecture) == architecture and (not name or name in names)

    fitting = [entry for entry in entries if fits(entry)]
    if not fitting or (len(fitting) > 1 and not name):
        raise BaseImageError(path, f"has {len(fitting)} images for {architecture} that fit {name!r}")
    return fitting[0]


def _image(blobs: Sequence[Path], config: Mapping[str, Any]) -> Image:
    section = config.get("config", {})
    diff_ids = config["rootfs"]["diff_ids"]
    if len(diff_ids) != len(blobs):
        raise ValueError(f"{len(diff_ids)} diff ids for {len(blobs)} layers")

    def texts(key: str) -> tuple[str, ...]:
        return tuple(section.get(key) or ())

    return Image(
        layers=[_layer(blob, diff_id) for blob, diff_id in zip(blobs, diff_ids, strict=True)],
        config=ImageConfig(
            env=texts("Env"),
            entrypoint=texts("Entrypoint"),
            cmd=texts("Cmd"),
            user=section.get("User", ""),
            working_dir=section.get("WorkingDir", ""),
            volumes=texts("Volumes"),
            exposed_ports=texts("ExposedPorts"),
            labels=section.get("Labels") or {},
            stop_signal=section.get("StopSignal", ""),
        ),
        platform=Platform(architecture=config["architecture"], os=config["os"]),
    )


def _layer(blob: Path, diff_id: str) -> Layer:
    """The layer as it lies there; what its compression is its first bytes say."""
    with blob.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        digest = f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"
    compression = Compression.GZIP if head[:2] == _GZIP else Compression.ZSTD if head == _ZSTD else Compression.PLAIN
    if compression is Compression.PLAIN and digest != diff_id:
        raise ValueError(f"layer {blob.name} has another content than {diff_id}")
    if compression is Compression.GZIP:
        with gzip.open(blob) as plain:
            if f"sha256:{hashlib.file_digest(plain, 'sha256').hexdigest()}" != diff_id:
                raise ValueError(f"layer {blob.name} inflates to another content than {diff_id}")
    return Layer(path=blob, digest=digest, diff_id=diff_id, size=blob.stat().st_size, media_type=compression.media_type)
