"""Layers on top of each other, tested through overlayfs itself: what hides what, whose the files are, and what layers
only imply.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from imagesvc.layer import cover
from imagesvc.layer.files import open_writer
from imagesvc.layer.writer import LayerForm
from imagesvc.mounts import Owners, Way
from imagesvc.store.records import LayerRecord
from oci import syscalls
from oci.engine.userns import IdmapNamespaces
from oci.spec import IdMapping
from tests.contract.layer_bench import Bench, archive, bench, entry, look

pytestmark = pytest.mark.root


@pytest.fixture(params=list(LayerForm), ids=lambda form: form.value)
def layers(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with bench(request.param) as made:
        yield made


def files_of(root: int) -> dict[str, bytes]:
    return {path: item.content for path, item in look(root).items() if not stat.S_ISDIR(item.mode)}


def test_whiteouts_hide_what_lower_layers_have(layers: Bench) -> None:
    layers.add(
        archive(
            *((entry(name), b"1") for name in ("f", "keep", "d/x", "d/y", "o/x", "o/y", "r/x", "s/x")),
            entry("link", tarfile.SYMTYPE, linkname="keep"),
        )
    )
    layers.add(
        archive(
            *(entry(name) for name in (".wh.f", "d/.wh.x", ".wh.link", "o/.wh..wh..opq", ".wh.absent")),
            (entry("o/z"), b"2"),
            # a whiteout and a sibling of that name, in both orders: the sibling is this layer's and stays
            entry(".wh.r"),
            (entry("r/new"), b"2"),
            (entry("s/new"), b"2"),
            entry(".wh.s"),
        )
    )
    with layers.overlay() as fd:
        assert files_of(fd) == {"keep": b"1", "d/y": b"1", "o/z": b"2", "r/new": b"2", "s/new": b"2"}


def test_a_file_over_a_directory_and_back(layers: Bench) -> None:
    layers.add(archive((entry("x/inside"), b"1"), (entry("y"), b"1")))
    layers.add(archive((entry("x"), b"2"), (entry("y/inside"), b"2")))
    with layers.overlay() as fd:
        assert files_of(fd) == {"x": b"2", "y/inside": b"2"}
    layers.add(archive((entry("x/new"), b"3")))
    with layers.overlay() as fd:
        assert files_of(fd) == {"x/new": b"3", "y/inside": b"2"}


def test_an_opaque_root_hides_everything_below(layers: Bench) -> None:
    layers.add(archive((entry("a"), b"1")))
    layers.add(archive(entry(".wh..wh..opq"), (entry("b"), b"2")))
    layers.add(archive((entry("c"), b"3")))
    with layers.overlay() as fd:
        assert files_of(fd) == {"b": b"2", "c": b"3"}


def test_the_writable_layer_works(layers: Bench) -> None:
    layers.add(archive((entry("d/file"), b"lower"), entry("d/gone")))
    with layers.overlay() as fd:
        root = f"/proc/self/fd/{fd}"
        Path(root, "d/file").write_bytes(b"changed")
        Path(root, "d/gone").unlink()
        Path(root, "new").write_bytes(b"new")
        assert files_of(fd) == {"d/file": b"changed", "new": b"new"}
    with layers.overlay() as fd:
        assert files_of(fd) == {"d/file": b"lower", "d/gone": b""}


@pytest.mark.parametrize("way", list(Way), ids=lambda way: way.name.lower())
@pytest.mark.parametrize("form", list(LayerForm), ids=lambda form: form.value)
def test_layers_with_the_owners_of_a_user_namespace(form: LayerForm, way: Way) -> None:
    with bench(form, way) as layers, user_namespace(host_id=300_000, size=1000) as owners:
        layers.add(archive((entry("a", uid=0, gid=7), b"lower"), (entry("far", uid=2000), b"x")))
        layers.add(archive((entry("b", uid=999), b"upper")))
        upper, work = layers.path / "upper", layers.path / "work"
        upper.mkdir()
        work.mkdir()
        roots = [layers.mounts.root(layer.id, layer.form) for layer in layers.stacked()]
        fd = layers.mounts.overlay(roots, upper=upper, work=work, owners=owners)
        try:
            owned = {name: os.stat(name, dir_fd=fd) for name in ("a", "b", "far")}
            assert (owned["a"].st_uid, owned["a"].st_gid) == (300_000, 300_007)
            assert owned["b"].st_uid == 300_999
            assert owned["far"].st_uid == 65534
            os.chmod("a", 0o600, dir_fd=fd)  # copies it up
            assert os.stat(upper / "a").st_uid == 300_000
            assert files_of(fd) == {"a": b"lower", "b": b"upper", "far": b"x"}
        finally:
            os.close(fd)
        assert not list((layers.path / "run" / "mounts").iterdir())


@contextmanager
def user_namespace(*, host_id: int, size: int) -> Iterator[Owners]:
    proc = os.open("/proc", os.O_PATH)
    namespaces = IdmapNamespaces(proc)
    mapping = (IdMapping(container_id=0, host_id=host_id, size=size),)
    try:
        yield Owners(user_fd=namespaces.get((mapping, mapping)), uid=host_id, gid=host_id, size=size)
    finally:
        namespaces.close()
        os.close(proc)


def test_many_layers(layers: Bench) -> None:
    for number in range(127):
        layers.add(archive((entry(f"f{number}"), b"x"), (entry("top"), str(number).encode())))
    with layers.overlay() as fd:
        seen = files_of(fd)
        assert len(seen) == 128
        assert seen["top"] == b"126"


@pytest.mark.parametrize("form", list(LayerForm), ids=lambda form: form.value)
def test_overlays_without_descriptors_of_layers(form: LayerForm) -> None:
    """The way of kernels before Linux 6.13 works on every kernel."""
    with bench(form, Way.ATTACHED) as layers:
        for number in range(100):
            layers.add(archive((entry(f"f{number}"), b"x"), entry(".wh.f0") if number else entry("first")))
        with layers.overlay() as fd:
            seen = files_of(fd)
            assert len(seen) == 100
            assert "f0" not in seen
            Path(f"/proc/self/fd/{fd}/new").write_bytes(b"")
        read_only = layers.mounts.overlay([layers.root(0), layers.root(1)])
        with syscalls.closing(read_only), pytest.raises(OSError, match="Read-only"):
            Path(f"/proc/self/fd/{read_only}/new").write_bytes(b"")
    assert str(layers.path) not in Path("/proc/self/mountinfo").read_text()


# --- what layers only imply ----------------------------------------------------------------------------------------


def covered(layers: Bench) -> tuple[dict[bytes, cover.Attributes], cover.Attributes]:
    return cover.cover_of(
        [
            cover.StackedLayer(root=layers.mounts.root(each.id, each.form), implied=each.implied)
            for each in layers.stacked()
        ]
    )


def test_an_implied_directory_takes_the_attributes_of_the_one_below(layers: Bench) -> None:
    layers.add(
        archive(
            entry("./", tarfile.DIRTYPE, mode=0o700, uid=7),
            entry("tmp/", tarfile.DIRTYPE, mode=0o1777, uid=1, gid=2, pax_headers={"SCHILY.xattr.user.k": "v"}),
            entry("etc/", tarfile.DIRTYPE),
            entry("a/", tarfile.DIRTYPE, mode=0o711),
            entry("a/b/", tarfile.DIRTYPE, mode=0o722),
            entry("gone/", tarfile.DIRTYPE, mode=0o733),
            entry("opaque/", tarfile.DIRTYPE, mode=0o744),
            entry("opaque/in/", tarfile.DIRTYPE, mode=0o744),
        )
    )
    layers.add(
        archive(
            entry("tmp/x"),
            entry("etc/x"),
            entry("a/", tarfile.DIRTYPE, mode=0o755, uid=9),
            entry("a/b/x"),
            entry(".wh.gone"),
            entry("opaque/.wh..wh..opq"),
            entry("opaque/in/x"),
        )
    )
    layers.add(archive(entry("tmp/y"), entry("gone/y")))
    found, root = covered(layers)
    assert (root.mode, root.uid) == (0o700, 7)
    assert {path: (each.mode, each.uid, each.gid, each.xattrs) for path, each in found.items()} == {
        b"a": (0o755, 9, 0, ()),
        b"a/b": (0o722, 0, 0, ()),
        b"opaque": (0o744, 0, 0, ()),
        b"tmp": (0o1777, 1, 2, ((b"user.k", b"v"),)),
    }


def test_the_cover_changes_attributes_and_nothing_else(layers: Bench) -> None:
    layers.add(archive(entry("tmp/", tarfile.DIRTYPE, mode=0o1777), (entry("tmp/old"), b"1"), (entry("z"), b"1")))
    layers.add(archive((entry("tmp/new"), b"2"), entry("tmp/.wh.old")))
    found, root = covered(layers)
    layer = cover.cover_id([each.id for each in layers.layers], found)
    name = layer.replace(":", "-") + (".erofs" if layers.form is LayerForm.EROFS else "")
    writer = open_writer(layers.path / "layers" / name, layer, layers.form)
    for made in cover.entries(found, root):
        writer.add(made)
    facts = writer.finish()
    writer.close()
    layers.layers.append(LayerRecord(id=layer, form=layers.form, size=facts.size, inodes=facts.inodes))
    with layers.overlay() as fd:
        assert files_of(fd) == {"tmp/new": b"2", "z": b"1"}
        assert look(fd)["tmp"].mode == stat.S_IFDIR | 0o1777


def test_layers_with_all_their_directories_need_no_cover(layers: Bench) -> None:
    layers.add(archive(entry("./", tarfile.DIRTYPE), entry("tmp/", tarfile.DIRTYPE, mode=0o1777)))
    layers.add(archive(entry("./", tarfile.DIRTYPE), entry("tmp/", tarfile.DIRTYPE, mode=0o1777), entry("tmp/x")))
    assert covered(layers)[0] == {}
