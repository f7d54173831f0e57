"""What the daemon calls. The facade of the image service: asyncio, one event loop, heavy work in worker processes.

Lists and look-ups are answered from memory and are right the moment a pull or a removal has returned. Mounts are made
in threads, in well under a millisecond; they are returned as descriptors that the caller owns.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, MutableSequence, Sequence
from dataclasses import dataclass
from pathlib import Path

from imagesvc import errors, mounts, threads
from imagesvc.config import ImageConfig
from imagesvc.covering import CoverMaker
from imagesvc.image import Image, find_image, image_of
from imagesvc.joined import Joined
from imagesvc.keeper import LayerKeeper
from imagesvc.layer.files import EMPTY, LayerId
from imagesvc.layer.writer import LayerForm
from imagesvc.measure import measure
from imagesvc.mounts import LayerMounts, Owners
from imagesvc.progress import Listener, ProgressBoard, PullProgress
from imagesvc.pull import Puller, PullSettings
from imagesvc.reference import Reference, parse_reference
from imagesvc.registry.credentials import Credentials
from imagesvc.stack import stack
from imagesvc.store.images import ImageStore
from imagesvc.store.records import ImageId, ImageRecord, LayerRecord
from imagesvc.store.schema import AREA, MIGRATIONS
from imagesvc.upkeep import Upkeep
from imagesvc.worker.pool import Pool

__all__ = [
    "Credentials",
    "FilesystemUsage",
    "Image",
    "ImageConfig",
    "ImageService",
    "ImageSettings",
    "Usage",
]

_MOST_RESOLVES = 16

Migrate = Callable[[sqlite3.Connection, str, Sequence[str]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    """`layer_format` is "auto", "erofs" or "directory"; times in seconds; an empty path is none."""

    root: Path
    runroot: Path
    registry_config_path: Path = Path()
    docker_config_paths: tuple[Path, ...] = ()
    pinned: tuple[str, ...] = ()
    max_parallel_downloads: int = 3
    pull_progress_timeout: float = 60.0
    layer_format: str = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    used_bytes: int
    inodes_used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesystemUsage:
    mountpoint: str
    used_bytes: int
    inodes_used: int
    timestamp_ns: int


class ImageService:
    def __init__(
        self,
        settings: ImageSettings,
        store: ImageStore,
        keeper: LayerKeeper,
        layer_mounts: LayerMounts,
        form: LayerForm,
    ) -> None:
        self.form = form
        self.way = layer_mounts.way
        self._settings = settings
        self._store = store
        self._keeper = keeper
        self._mounts = layer_mounts
        self._pool = Pool(layers=max(settings.max_parallel_downloads, os.cpu_count() or 1), resolves=_MOST_RESOLVES)
        pull_settings = PullSettings(
            registry_config_path=settings.registry_config_path,
            docker_config_paths=settings.docker_config_paths,
            progress_timeout=settings.pull_progress_timeout,
            parallel_downloads=settings.max_parallel_downloads,
            form=form,
        )
        covers = CoverMaker(store, keeper, layer_mounts, form)
        self._puller = Puller(pull_settings, store, keeper, covers, self._pool)
        self.upkeep = Upkeep(store, keeper, self._puller, covers)
        self._pulls: Joined[tuple[str, Credentials | None], ImageId] = Joined()
        self._listeners: dict[tuple[str, Credentials | None], MutableSequence[Listener]] = {}
        self._board = ProgressBoard()

    @classmethod
    async def open(
        cls,
        settings: ImageSettings,
        database: sqlite3.Connection,
        *,
        migrate: Migrate,
    ) -> ImageService:
        """`migrate` brings the area's tables up to date. Raises LayerError, OSError."""
        migrate(database, AREA, MIGRATIONS)
        store = ImageStore(database)
        layers, staging = settings.root / "layers", settings.root / "staging"

        def prepare() -> tuple[LayerForm, LayerMounts]:
            for directory in (layers, staging):
                directory.mkdir(parents=True, exist_ok=True)
                directory.chmod(0o700)
            wanted = None if settings.layer_format == "auto" else LayerForm(settings.layer_format)
            form = mounts.choose_form(layers, wanted)
            way = mounts.choose_way(layers, staging, settings.runroot, form)
            return form, LayerMounts(layers, settings.runroot, way)

        form, layer_mounts = await asyncio.to_thread(prepare)
        keeper = LayerKeeper(store, layer_mounts, layers, staging)
        keeper.check()
        await keeper.collect()
        return cls(settings, store, keeper, layer_mounts, form)

    async def close(self) -> None:
        """Pulls under way are given up; mounts that were handed out live on."""
        await self._pulls.close()
        await self._pool.close()
        await self._keeper.close()
        await asyncio.to_thread(self._mounts.close)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        return self._pool.pids

    # --- what is here ----------------------------------------------------------------------------------------------

    def list(self) -> tuple[Image, ...]:
        return tuple(self._image(record) for record in self._store.images.values())

    def find(self, name: str) -> Image | None:
        """By id, by any of its names as people write them, or by an id's beginning. Raises AmbiguousName."""
        image = find_image(self._store, name)
        return None if image is None else self._image(self._store.images[image])

    def config_document(self, image_id: str) -> bytes:
        """The config as the registry has it; empty for an image that is not here."""
        return self._store.config_document(ImageId(image_id))

    def layer_ids(self) -> tuple[LayerId, ...]:
        return tuple(self._store.layers)

    def usage(self) -> FilesystemUsage:
        return FilesystemUsage(
            mountpoint=str(self._settings.root / "layers"),
            used_bytes=self._store.size,
            inodes_used=self._store.inodes,
            timestamp_ns=time.time_ns(),
        )

    # --- pull and remove -------------------------------------------------------------------------------------------

    async def pull(
        self, reference: str, credentials: Credentials | None = None, on_progress: Listener | None = None
    ) -> Image:
        """Fetch the image, or ask the registry whether it is still the one that is here.

        The same pull by several callers is one. It is given up, and leaves nothing, when the last of them is cancelled.
        Raises InvalidReference, PullError, RegistryConfigError, LayerError, OSError.
        """
        parsed = parse_reference(reference)
        key = str(parsed), credentials
        listeners = self._listeners.setdefault(key, [])
        if on_progress is not None:
            listeners.append(on_progress)
        try:
            image = await self._pulls.run(key, lambda: self._pull(parsed, credentials, listeners))
        finally:
            if on_progress is not None:
                listeners.remove(on_progress)
            if not listeners:
                self._listeners.pop(key, None)
        record = self._store.images.get(image)
        if record is None:
            raise errors.ImageNotPresent(reference)  # removed in the moment between
        return self._image(record)

    async def _pull(
        self, reference: Reference, credentials: Credentials | None, listeners: MutableSequence[Listener]
    ) -> ImageId:
        watch = self._board.begin(str(reference))
        watch.listeners = listeners
        try:
            return await self._puller.pull(reference, credentials, watch)
        except BaseException:
            await asyncio.shield(self._keeper.collect())
            raise
        finally:
            self._board.end(watch)

    async def remove(self, name: str) -> None:
        """With all of its names. An unknown name is fine. Containers of the image are not disturbed.

        The image is gone when this returns; its space is given back by the disk a moment later.

        Raises AmbiguousName.
        """
        image = find_image(self._store, name)
        if image is not None:
            self._store.remove_image(image)
        self._keeper.begin_collecting()

    def watch_progress(self) -> AsyncIterator[tuple[PullProgress, ...]]:
        """All pulls under way: now, and whenever something moved."""
        return self._board.watch()

    # --- mounts ----------------------------------------------------------------------------------------------------

    async def mount_rootfs(
        self,
        image_id: str,
        directory: Path,
        *,
        read_only: bool = False,
        owners: Owners | None = None,
        label: str = "",
    ) -> int:
        """A detached mount for one container; its writable layer is made in `directory`. With `owners` its files belong
        to that user namespace, with `label` they have that SELinux label.

        The caller owns the descriptor. `directory` must exist as long as the container does: it is what keeps layers in
        directory form from being removed. Raises ImageNotPresent, LayerError, OSError.
        """
        record = self._record(image_id)
        layers = self._in_use(record, directory)
        return await self._mounted(
            record, lambda: self._make_rootfs(record, layers, directory, read_only, owners, label)
        )

    async def mount_image(
        self, image_id: str, owner: Path | None = None, *, owners: Owners | None = None, label: str = ""
    ) -> int:
        """The whole image, read-only, as a detached mount. `owner` is a directory that lives as long as the mount."""
        record = self._record(image_id)
        layers = self._in_use(record, owner)
        return await self._mounted(record, lambda: self._make_image(layers, owners, label))

    async def container_usage(self, directory: Path) -> Usage:
        """Of the writable layer that `mount_rootfs` made in `directory`; zero where there is none (any more)."""
        return await asyncio.to_thread(_measure, directory / "upper")

    async def _mounted(self, record: ImageRecord, make: Callable[[], int]) -> int:
        """What `make` mounts, in a thread; the layers' own descriptors stay open meanwhile."""
        with self._keeper.lease(record.layers):
            fd = await threads.descriptor(make)
        if record.id not in self._store.images:
            self._keeper.begin_collecting()
        return fd

    def _record(self, image_id: str) -> ImageRecord:
        record = self._store.images.get(ImageId(image_id))
        if record is None:
            raise errors.ImageNotPresent(image_id)
        return record

    def _in_use(self, record: ImageRecord, owner: Path | None) -> Sequence[LayerRecord]:
        layers = stack(record.layers, self._store.layers)
        kept = [layer.id for layer in layers if layer.form is LayerForm.DIRECTORY]
        if kept and owner is not None:
            owner.mkdir(parents=True, exist_ok=True)
            self._store.use(str(owner), kept)
        return layers

    def _roots(self, layers: Sequence[LayerRecord], at_least: int = 1) -> Sequence[int]:
        """From the top down, the empty layer below where there would be fewer than overlayfs wants."""
        roots = [self._mounts.root(layer.id, layer.form) for layer in layers]
        return roots if len(roots) >= at_least else [*roots, self._mounts.root(EMPTY, self.form)]

    async def check_owners(self, owners: Owners) -> None:
        """Whether layers can be shown with mapped owners here. Raises LayerError, OSError."""

        staging = self._settings.root / "staging"
        await asyncio.to_thread(mounts.try_overlay, self._mounts, self.form, staging, owners)

    def _make_image(self, layers: Sequence[LayerRecord], owners: Owners | None, label: str) -> int:
        if not layers:
            raise errors.LayerError("none", "the image has no layers to mount")
        return self._mounts.overlay(self._roots(layers, at_least=2), owners=owners, label=label)

    def _make_rootfs(
        self,
        record: ImageRecord,
        layers: Sequence[LayerRecord],
        directory: Path,
        read_only: bool,
        owners: Owners | None,
        label: str,
    ) -> int:
        if read_only:
            return self._make_image(layers, owners, label)
        upper, work = directory / "upper", directory / "work"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            upper.mkdir()
            work.mkdir()
        except FileExistsError:
            # An attempt before this one: what overlayfs left in `work` would make it refuse.
            shutil.rmtree(work, ignore_errors=True)
            upper.mkdir(exist_ok=True)
            work.mkdir()
        # The root directory of an overlay is its upper layer's.
        uid, gid = record.root_uid, record.root_gid
        os.chown(upper, *(owners.of(uid, gid) if owners else (uid, gid)))
        os.chmod(upper, record.root_mode)
        return self._mounts.overlay(self._roots(layers), upper=upper, work=work, owners=owners, label=label)

    def _image(self, record: ImageRecord) -> Image:
        return image_of(self._store, record, self._settings.pinned)


def _measure(top: Path) -> Usage:
    tally = measure(top)
    return Usage(used_bytes=tally.used, inodes_used=tally.inodes)
