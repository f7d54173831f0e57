"""Which layers stay: those of images, of pulls under way, and of containers that still stand on them.

A layer in EROFS form may be removed under a running container: the mount keeps the file. One in directory form may not,
so whoever mounts it is recorded with a directory that exists as long as the container does; the layer goes when that
directory is gone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from imagesvc.layer import files
from imagesvc.layer.files import EMPTY, LayerId, file_name
from imagesvc.layer.writer import LayerForm
from imagesvc.mounts import LayerMounts
from imagesvc.store.images import ImageStore
from imagesvc.store.records import LayerRecord

_log = logging.getLogger(__name__)


class LayerKeeper:
    def __init__(self, store: ImageStore, mounts: LayerMounts, layers: Path, staging: Path) -> None:
        self._store = store
        self._mounts = mounts
        self._layers = layers
        self._staging = staging
        self._leases: Counter[LayerId] = Counter()
        self._removing: set[asyncio.Future[None]] = set()

    def path(self, layer: LayerId, form: LayerForm) -> Path:
        return self._layers / file_name(layer, form)

    def new_staged(self) -> Path:
        return self._staging / secrets.token_hex(16)

    @contextmanager
    def lease(self, layers: Iterable[LayerId]) -> Iterator[None]:
        """They are not collected in the block, whether they exist already or not."""
        held = set(layers)
        self._leases.update(held)
        try:
            yield
        finally:
            self._leases.subtract(held)
            self._leases += Counter()  # drops what nobody holds

    async def collect(self) -> None:
        """Remove what nothing needs, and wait until its space is free again."""
        await asyncio.shield(self.begin_collecting())

    def begin_collecting(self) -> asyncio.Future[None]:
        """Remove what nothing needs: records and names now, contents in a thread, until the future is done."""
        self._release_gone_owners()
        layers = [layer for layer in self._store.unreferenced() if layer.id not in self._leases]
        if layers:
            self._store.remove_layers(layer.id for layer in layers)
        # Renamed before anything else can run: a pull that begins now may write a layer of the same name.
        doomed = [self._doom(layer) for layer in layers]
        task = asyncio.ensure_future(asyncio.to_thread(_remove_all, doomed))
        self._removing.add(task)
        task.add_done_callback(self._removing.discard)
        return task

    async def close(self) -> None:
        """Waits for contents that are being removed."""
        await asyncio.gather(*self._removing, return_exceptions=True)

    def check(self) -> None:
        """At start: records and files agree. Images whose layers are gone go; files without a record too."""
        store = self._store
        missing = {record.id for record in store.layers.values() if not self.path(record.id, record.form).exists()}
        for image in [image for image in store.images.values() if missing & set(image.layers)]:
            _log.warning("image %s is dropped: its layers are gone from %s", image.id, self._layers)
            store.remove_image(image.id)
        known = {file_name(record.id, record.form) for record in store.layers.values()}
        files.remove_all_but(self._layers, known | {file_name(EMPTY, form) for form in LayerForm})
        files.remove_all_but(self._staging, ())

    def strays(self) -> Iterator[Path]:
        """What lies among the layers and is nobody's: no record's, no pull's. Blocks for one listing."""
        known = {file_name(layer, form) for layer in (*self._store.layers, *self._leases, EMPTY) for form in LayerForm}
        for path in sorted(self._layers.iterdir()):
            if path.name not in known:
                yield path

    def replace(self, layer: LayerRecord, new: Path) -> None:
        """`new`, a finished layer of the same id and form, takes the place of the damaged one.

        A crash in the middle leaves the old one or the new one of an EROFS file. Of a directory it may leave neither:
        the next start drops the images that need it, and the next pull brings them back.
        """
        self._mounts.forget(layer.id)
        path = self.path(layer.id, layer.form)
        if layer.form is LayerForm.DIRECTORY:
            _remove_all([self._doom(layer)])
        files.publish(new, path)

    def _release_gone_owners(self) -> None:
        for owner in self._store.owners:
            if not os.path.lexists(owner):
                self._store.release(owner)

    def _doom(self, layer: LayerRecord) -> Path:
        self._mounts.forget(layer.id)
        staged = self.new_staged()
        try:
            os.rename(self.path(layer.id, layer.form), staged)
        except FileNotFoundError:
            pass  # removed by somebody else: nothing is left to do
        return staged


def _remove_all(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            files.remove(path)
        except OSError as error:
            _log.warning("%s could not be removed, the next start tries again: %s", path, error.strerror)
