"""Whether the layers on this node are still what was pulled, and putting right those that are not.

A damaged layer is fetched again beside the old one, which it then replaces in one rename. Containers that stand on the
old file keep it as it was mounted: they are to be restarted by whoever runs them. Credentials are those of this node's
Docker configuration files; the kubelet's cannot be had without it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

from imagesvc import errors
from imagesvc.covering import CoverMaker
from imagesvc.digest import Digest, matches, new_hash
from imagesvc.joined import Joined
from imagesvc.keeper import LayerKeeper
from imagesvc.layer import files, seal
from imagesvc.layer.files import LayerId
from imagesvc.layer.writer import LayerForm
from imagesvc.pull import Puller
from imagesvc.reference import Reference, parse_reference
from imagesvc.store.images import ImageStore
from imagesvc.store.records import ImageId, ImageRecord, LayerRecord


class Upkeep:
    def __init__(self, store: ImageStore, keeper: LayerKeeper, puller: Puller, covers: CoverMaker) -> None:
        self._store = store
        self._keeper = keeper
        self._puller = puller
        self._covers = covers
        self._repairs: Joined[LayerId, LayerRecord] = Joined()

    # --- looking ---------------------------------------------------------------------------------------------------

    async def problem(self, layer: LayerId) -> str:
        """What is wrong with a layer, "" for nothing or for one that is gone. Reads all of it. Raises OSError."""
        record = self._store.layers.get(layer)
        if record is None:
            return ""
        if record.seal is None:
            return "it was pulled by a version that took no seals: whether it is whole cannot be told"
        path, sealed = self._keeper.path(layer, record.form), record.seal
        found = await asyncio.to_thread(seal.problem, path, layer, record.form, sealed)
        return found if self._store.layers.get(layer) == record else ""

    def image_problem(self, image_id: str) -> str:
        """Of the record alone: what is wrong with it, "" for nothing."""
        image = ImageId(image_id)
        record = self._store.images.get(image)
        if record is None:
            return ""
        computed = new_hash(Digest(image))
        computed.update(self._store.config_document(image))
        if not matches(Digest(image), computed):
            return f"its configuration has digest {computed.hexdigest()}"
        if missing := [layer for layer in record.layers if layer not in self._store.layers]:
            return f"layer {missing[0]} is not recorded"
        return ""

    def images_of(self, layer: LayerId) -> tuple[ImageRecord, ...]:
        return tuple(image for image in self._store.images.values() if layer in image.layers)

    def strays(self) -> tuple[Path, ...]:
        """What lies among the layers and belongs to no record and no pull."""
        return tuple(self._keeper.strays())

    # --- mending ---------------------------------------------------------------------------------------------------

    async def repair(self, layer: LayerId) -> None:
        """Fetch the layer again, or make it again, and put it in the place of the damaged one.

        Raises PullError, RegistryConfigError, LayerError, OSError; the old one is still there then.
        """
        await self._repairs.run(layer, lambda: self._repair(layer))

    async def _repair(self, layer: LayerId) -> LayerRecord:
        record = self._store.layers.get(layer)
        images = self.images_of(layer)
        if record is None or not images:
            raise errors.LayerError(layer, "no image has it any more")
        if record.form is LayerForm.DIRECTORY and (users := self._store.users(layer)):
            raise errors.LayerError(layer, f"containers stand on it and would lose their files: {', '.join(users)}")
        staged = self._keeper.new_staged()
        try:
            with self._keeper.lease([layer]):
                new = await self._again(layer, images, staged)
                self._keeper.replace(record, staged)
                self._store.add_layer(new)
        finally:
            await asyncio.shield(asyncio.to_thread(files.remove, staged))
        return new

    async def _again(self, layer: LayerId, images: tuple[ImageRecord, ...], to: Path) -> LayerRecord:
        if layer.startswith("cover:"):
            return await self._covers.remake([each for each in images[0].layers if each != layer], layer, to)
        failure: errors.PullError | None = None
        for reference in self._references(images):
            try:
                return await self._puller.refetch(reference, layer, to)
            except errors.PullError as error:
                failure = error
        raise failure or errors.LayerError(layer, "its image has no name under which it could be fetched again")

    def _references(self, images: tuple[ImageRecord, ...]) -> Iterator[Reference]:
        """By digest only: a tag may mean another image by now."""
        for image in images:
            for name in self._store.names_of(image.id):
                if not name.is_tag:
                    yield parse_reference(name.name)
