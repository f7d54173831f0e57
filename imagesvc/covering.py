"""Makes the covers that images need (see imagesvc.layer.cover): looks at mounted layers, writes one more."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from pathlib import Path

from imagesvc.errors import LayerError
from imagesvc.joined import Joined
from imagesvc.keeper import LayerKeeper
from imagesvc.layer import cover, files
from imagesvc.layer.files import LayerId
from imagesvc.layer.writer import LayerForm
from imagesvc.mounts import LayerMounts
from imagesvc.stack import stack
from imagesvc.store.images import ImageStore
from imagesvc.store.records import LayerRecord
from imagesvc.threads import run_to_end


class CoverMaker:
    def __init__(self, store: ImageStore, keeper: LayerKeeper, mounts: LayerMounts, form: LayerForm) -> None:
        self._store = store
        self._keeper = keeper
        self._mounts = mounts
        self._form = form
        self._writing: Joined[LayerId, LayerRecord] = Joined()

    async def make(self, layers: list[LayerId], leases: ExitStack) -> tuple[LayerId | None, cover.Attributes]:
        """The image's cover, made unless it is there already, and the attributes of the image's root.

        It is not collected as long as `leases` is open.
        """
        records = stack(layers, self._store.layers)
        wanted, root = await run_to_end(lambda: self._look(records))
        if not wanted:
            return None, root
        layer = cover.cover_id(layers, wanted)
        leases.enter_context(self._keeper.lease([layer]))
        if layer not in self._store.layers:
            await self._writing.run(layer, lambda: self._write_cover(layer, wanted, root))
        return layer, root

    async def remake(self, layers: list[LayerId], layer: LayerId, to: Path) -> LayerRecord:
        """Once more the cover `layer` of an image of these `layers`, written to `to`. Raises LayerError, OSError."""
        records = stack(layers, self._store.layers)
        wanted, root = await run_to_end(lambda: self._look(records))
        if not wanted or cover.cover_id(layers, wanted) != layer:
            raise LayerError(layer, "the layers below it are damaged as well: they come first")
        return await run_to_end(lambda: self._write(layer, wanted, root, to))

    def _look(self, records: list[LayerRecord]) -> tuple[dict[bytes, cover.Attributes], cover.Attributes]:
        stacked = [
            cover.StackedLayer(root=self._mounts.root(record.id, record.form), implied=record.implied)
            for record in records
        ]
        return cover.cover_of(stacked)

    async def _write_cover(
        self, layer: LayerId, wanted: dict[bytes, cover.Attributes], root: cover.Attributes
    ) -> LayerRecord:
        staged, final = self._keeper.new_staged(), self._keeper.path(layer, self._form)

        def write() -> LayerRecord:
            record = self._write(layer, wanted, root, staged)
            files.publish(staged, final)
            return record

        try:
            record = await run_to_end(write)
        except BaseException:
            await asyncio.shield(asyncio.to_thread(files.remove_both, staged, final))
            raise
        self._store.add_layer(record)
        return record

    def _write(
        self, layer: LayerId, wanted: dict[bytes, cover.Attributes], root: cover.Attributes, to: Path
    ) -> LayerRecord:
        writer = files.open_writer(to, layer, self._form)
        try:
            for entry in cover.entries(wanted, root):
                writer.add(entry)
            facts = writer.finish()
        finally:
            writer.close()
        return LayerRecord(id=layer, form=self._form, size=facts.size, inodes=facts.inodes, seal=facts.seal)
