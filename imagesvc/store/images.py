"""Images, names and layers: SQLite and memory kept alike. Every change is one transaction; no call waits for a disk.

Used from one thread (the event loop's).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from imagesvc.config import parse_config
from imagesvc.digest import Digest
from imagesvc.layer.files import LayerId
from imagesvc.layer.writer import LayerForm, Seal
from imagesvc.store.records import ImageId, ImageRecord, LayerRecord, Name


class ImageStore:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self.images: dict[ImageId, ImageRecord] = {}
        self.layers: dict[LayerId, LayerRecord] = {}
        self.names: dict[str, Name] = {}
        self._names_of: dict[ImageId, dict[str, Name]] = {}
        self.size = 0  # of all layers, on disk
        self.inodes = 0
        self._uses: dict[str, set[LayerId]] = {}
        self._load()

    # --- reading ---------------------------------------------------------------------------------------------------

    def names_of(self, image: ImageId) -> list[Name]:
        """In the order in which they were given."""
        return list(self._names_of.get(image, {}).values())

    def config_document(self, image: ImageId) -> bytes:
        row = self._database.execute("SELECT config FROM images WHERE id = ?", (image,)).fetchone()
        return bytes(row[0]) if row else b""

    def unreferenced(self) -> list[LayerRecord]:
        """Layers that no image and no owner needs."""
        needed = {layer for image in self.images.values() for layer in image.layers}
        needed.update(layer for layers in self._uses.values() for layer in layers)
        return [record for layer, record in self.layers.items() if layer not in needed]

    def users(self, layer: LayerId) -> list[str]:
        """The owners that need it, see `use`."""
        return [owner for owner, layers in self._uses.items() if layer in layers]

    @property
    def owners(self) -> tuple[str, ...]:
        return tuple(self._uses)

    # --- changing --------------------------------------------------------------------------------------------------

    def add_layer(self, layer: LayerRecord) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO layers VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                layer.id,
                layer.form.value,
                layer.size,
                layer.inodes,
                b"".join(path + b"\0" for path in sorted(layer.implied)),
                layer.opaque_root,
                layer.seal.content_end if layer.seal else None,
                layer.seal.digest if layer.seal else None,
            ),
        )
        self._remember(layer)

    def _remember(self, layer: LayerRecord) -> None:
        self._forget(layer.id)
        self.layers[layer.id] = layer
        self.size += layer.size
        self.inodes += layer.inodes

    def _forget(self, layer: LayerId) -> None:
        if known := self.layers.pop(layer, None):
            self.size -= known.size
            self.inodes -= known.inodes

    def add_image(self, image: ImageRecord, config: bytes, pulled_at: int) -> None:
        with self._transaction():
            self._database.execute(
                "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?)",
                (image.id, config, image.root_mode, image.root_uid, image.root_gid, pulled_at),
            )
            self._database.executemany(
                "INSERT INTO image_layers VALUES (?, ?, ?)",
                [(image.id, position, layer) for position, layer in enumerate(image.layers)],
            )
        self.images[image.id] = image

    def set_names(self, names: Iterable[Name]) -> None:
        """A name that stood for another image now stands for this one; its place in the order is a new one then."""
        names = list(names)
        with self._transaction():
            for name in names:
                known = self.names.get(name.name)
                if known == name:
                    continue
                self._database.execute(
                    "INSERT OR REPLACE INTO image_names VALUES (?, ?, ?)", (name.name, name.image, name.digest)
                )
                if known is not None and known.image != name.image:
                    del self.names[name.name]
                    del self._names_of[known.image][name.name]
                self._name(name)

    def _name(self, name: Name) -> None:
        self.names[name.name] = name
        self._names_of.setdefault(name.image, {})[name.name] = name

    def remove_image(self, image: ImageId) -> None:
        """With all of its names."""
        with self._transaction():
            for table in ("image_names", "image_layers"):
                self._database.execute(f"DELETE FROM {table} WHERE image_id = ?", (image,))
            self._database.execute("DELETE FROM images WHERE id = ?", (image,))
        for text in self._names_of.pop(image, {}):
            del self.names[text]
        del self.images[image]

    def remove_layers(self, layers: Iterable[LayerId]) -> None:
        layers = list(layers)
        with self._transaction():
            self._database.executemany("DELETE FROM layers WHERE id = ?", [(layer,) for layer in layers])
        for layer in layers:
            self._forget(layer)

    def use(self, owner: str, layers: Iterable[LayerId]) -> None:
        new = set(layers) - self._uses.get(owner, set())
        if new:
            with self._transaction():
                self._database.executemany(
                    "INSERT OR IGNORE INTO layer_uses VALUES (?, ?)", [(owner, layer) for layer in sorted(new)]
                )
            self._uses.setdefault(owner, set()).update(new)

    def release(self, owner: str) -> None:
        if self._uses.pop(owner, None) is not None:
            self._database.execute("DELETE FROM layer_uses WHERE owner = ?", (owner,))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._database.execute("ROLLBACK")
            raise
        self._database.execute("COMMIT")

    def _load(self) -> None:
        execute = self._database.execute
        for row in execute("SELECT id, form, size, inodes, implied, opaque_root, content_end, seal FROM layers"):
            self._remember(
                LayerRecord(
                    id=row[0],
                    form=LayerForm(row[1]),
                    size=row[2],
                    inodes=row[3],
                    implied=frozenset(bytes(row[4]).split(b"\0")[:-1]),
                    opaque_root=bool(row[5]),
                    seal=None if row[7] is None else Seal(content_end=row[6], digest=row[7]),
                )
            )
        stacks: dict[str, list[LayerId]] = {}
        for image, layer in execute("SELECT image_id, layer_id FROM image_layers ORDER BY image_id, position"):
            stacks.setdefault(image, []).append(layer)
        for row in execute("SELECT id, config, root_mode, root_uid, root_gid FROM images ORDER BY pulled_at"):
            self.images[row[0]] = ImageRecord(
                id=row[0],
                config=parse_config(row[1]).config,
                layers=tuple(stacks.get(row[0], ())),
                root_mode=row[2],
                root_uid=row[3],
                root_gid=row[4],
                config_size=len(row[1]),
            )
        for name, image, digest in execute("SELECT name, image_id, digest FROM image_names ORDER BY rowid"):
            self._name(Name(name=name, image=ImageId(image), digest=Digest(digest)))
        for owner, layer in execute("SELECT owner, layer_id FROM layer_uses"):
            self._uses.setdefault(owner, set()).add(layer)
