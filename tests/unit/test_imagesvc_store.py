"""store, image, stack: what is known, before and after a restart, and how images are found."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from imagesvc.config import parse_config
from imagesvc.digest import Digest
from imagesvc.errors import AmbiguousName
from imagesvc.image import find_image, image_of
from imagesvc.layer.files import LayerId
from imagesvc.layer.writer import LayerForm
from imagesvc.stack import stack
from imagesvc.store.images import ImageStore
from imagesvc.store.records import ImageId, ImageRecord, LayerRecord, Name
from imagesvc.store.schema import MIGRATIONS

CONFIG = b'{"os": "linux", "config": {"Env": ["A=1"]}}'
TOP = Digest("sha256:" + "f" * 64)


def layer(number: int, **fields: object) -> LayerRecord:
    values: dict[str, object] = {"size": 100, "inodes": 1, "form": LayerForm.EROFS, **fields}
    return LayerRecord(id=LayerId(f"sha256:{number:064x}"), **values)  # type: ignore[arg-type]


def image(text: str, *layers: LayerRecord) -> ImageRecord:
    return ImageRecord(
        id=ImageId("sha256:" + text.ljust(64, "0")),
        config=parse_config(CONFIG).config,
        layers=tuple(each.id for each in layers),
        root_mode=0o755,
        root_uid=1,
        root_gid=2,
        config_size=len(CONFIG),
    )


@pytest.fixture
def database(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    connection.execute("PRAGMA foreign_keys=ON")
    for script in MIGRATIONS:
        connection.executescript(script)
    yield connection
    connection.close()


@pytest.fixture
def store(database: sqlite3.Connection) -> ImageStore:
    return ImageStore(database)


def same(store: ImageStore, database: sqlite3.Connection) -> None:
    """What is in memory is what a restart finds."""
    again = ImageStore(database)
    assert again.images == store.images
    assert again.layers == store.layers
    assert list(again.names.items()) == list(store.names.items())
    assert (again.size, again.inodes, again.owners) == (store.size, store.inodes, store.owners)
    assert {each: again.names_of(each) for each in again.images} == {
        each: store.names_of(each) for each in store.images
    }


def name(text: str, record: ImageRecord, digest: Digest = TOP) -> Name:
    return Name(name=text, image=record.id, digest=digest)


def test_records_survive_a_restart(store: ImageStore, database: sqlite3.Connection) -> None:
    first, second = layer(1, implied=frozenset((b"", b"tmp", b"\xff/x"))), layer(2, opaque_root=True, size=50)
    for each in (first, second):
        store.add_layer(each)
    record = image("a", first, second, first)
    store.add_image(record, CONFIG, 5)
    store.set_names([name("r.example/a@" + TOP, record), name("r.example/a:1", record)])
    store.use("/containers/c", [first.id])
    assert (store.size, store.inodes) == (150, 2)
    assert store.config_document(record.id) == CONFIG
    same(store, database)


def test_a_name_moves_to_another_image_and_the_old_one_keeps_its_digest(
    store: ImageStore, database: sqlite3.Connection
) -> None:
    old, new = image("a"), image("b")
    for number, record in enumerate((old, new)):
        store.add_image(record, CONFIG, number)
    store.set_names([name("r/a@1", old), name("r/a:latest", old)])
    store.set_names([name("r/a@2", new), name("r/a:latest", new)])
    assert [each.name for each in store.names_of(old.id)] == ["r/a@1"]
    assert [each.name for each in store.names_of(new.id)] == ["r/a@2", "r/a:latest"]
    same(store, database)


def test_removing_an_image_removes_its_names(store: ImageStore, database: sqlite3.Connection) -> None:
    first = layer(1)
    store.add_layer(first)
    record, other = image("a", first), image("b", first)
    for each in (record, other):
        store.add_image(each, CONFIG, 0)
    store.set_names([name("r/a:1", record), name("s/a:1", record), name("r/b:1", other)])
    store.remove_image(record.id)
    assert list(store.names) == ["r/b:1"]
    assert store.unreferenced() == []
    same(store, database)
    store.remove_image(other.id)
    assert store.unreferenced() == [first]
    store.use("/c", [first.id])
    assert store.unreferenced() == []
    store.release("/c")
    store.release("/c")
    assert store.unreferenced() == [first]
    store.remove_layers([first.id])
    assert (store.size, store.layers) == (0, {})
    same(store, database)


def test_a_failed_change_changes_nothing(store: ImageStore, database: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        store.add_image(image("a", layer(1)), CONFIG, 0)  # the layer is not there
    assert store.images == {}
    with pytest.raises(sqlite3.IntegrityError):
        store.set_names([name("r/a:1", image("x"))])
    assert store.names == {}
    same(store, database)


# --- finding -------------------------------------------------------------------------------------------------------


def test_images_are_found_by_all_that_people_write(store: ImageStore) -> None:
    record, other = image("abc1"), image("abc2")
    for each in (record, other):
        store.add_image(each, CONFIG, 0)
    store.set_names([name("docker.io/library/abc:latest", record), name(f"docker.io/library/abc@{TOP}", record)])
    for text in (
        record.id,
        record.id.removeprefix("sha256:"),
        "sha256:abc1",
        "abc1",
        "abc",  # a name comes before a prefix
        "abc:latest",
        "docker.io/library/abc",
        f"abc@{TOP}",
        f"abc:ignored@{TOP}",
    ):
        assert find_image(store, text) == record.id, text
    for text in ("", "ab", "sha256:", "abd", "nothing", "UPPER", "abc:2", "a" * 64):
        assert find_image(store, text) is None, text
    with pytest.raises(AmbiguousName, match="'sha256:abc' is ambiguous"):
        find_image(store, "sha256:abc")


def test_images_as_the_daemon_sees_them(store: ImageStore) -> None:
    one, two = layer(1), layer(2, size=7)
    for each in (one, two):
        store.add_layer(each)
    record = image("a", one, two, one)
    store.add_image(record, CONFIG, 0)
    store.set_names([name(f"r.example/a@{TOP}", record), name("r.example/a:1", record)])
    seen = image_of(store, record, ())
    assert (seen.repo_tags, seen.repo_digests) == (("r.example/a:1",), (f"r.example/a@{TOP}",))
    assert seen.size == 107 + len(CONFIG)
    assert seen.config.env == ("A=1",)
    for patterns, pinned in (((), False), (("r.example/a:1",), True), (("r.example/*",), True), (("a:1",), False)):
        assert image_of(store, record, patterns).pinned == pinned


# --- stacking ------------------------------------------------------------------------------------------------------


def test_layers_are_stacked_from_the_top_without_repetition() -> None:
    layers = [layer(1), layer(2), layer(3)]
    records = {each.id: each for each in layers}
    ids = [each.id for each in layers]
    assert [each.id for each in stack([ids[0], ids[1], ids[0], ids[2]], records)] == [ids[2], ids[0], ids[1]]
    hiding = {**records, ids[1]: layer(2, opaque_root=True)}
    assert [each.id for each in stack(ids, hiding)] == [ids[2], ids[1]]
    assert stack([], records) == []
