"""What a layer must be, whichever form it has on disk: every case runs for EROFS files and for directories.

Archives that are generated are in `test_imagesvc_layers_generated`, layers on top of each other in
`test_imagesvc_layers_stacked`.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Iterator, Sequence

import pytest

from imagesvc.layer.errors import CorruptEntry, CorruptLayer
from imagesvc.layer.writer import LayerForm
from tests.contract.layer_bench import EPOCH, Bench, Seen, archive, bench, entry, look

pytestmark = pytest.mark.root


@pytest.fixture(params=list(LayerForm), ids=lambda form: form.value)
def layers(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with bench(request.param) as made:
        yield made


def test_every_kind_of_entry(layers: Bench) -> None:
    capability = bytes.fromhex("0100000200240000000000000000000000000000")
    layers.add(
        archive(
            entry("./", tarfile.DIRTYPE, mode=0o750, uid=3, gid=4),
            entry("d/", tarfile.DIRTYPE, mode=0o1777, uid=70000, gid=4_000_000_000),
            (entry("d/file", mode=0o4755, uid=1000, gid=1001, mtime=EPOCH + 0.123456789), b"content"),
            entry("d/empty"),
            entry("d/link", tarfile.SYMTYPE, linkname="../target", uid=5, gid=6),
            entry("d/absolute", tarfile.SYMTYPE, linkname="/etc/passwd"),
            entry("hard", tarfile.LNKTYPE, linkname="d/file"),
            entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
            entry("big-numbers", tarfile.CHRTYPE, devmajor=4000, devminor=1_000_000),
            entry("disk", tarfile.BLKTYPE, devmajor=8, devminor=1),
            entry("pipe", tarfile.FIFOTYPE, mode=0o600),
            (
                entry(
                    "attributes",
                    pax_headers={
                        "SCHILY.xattr.user.note": "hello",
                        "SCHILY.xattr.trusted.overlay.redirect": "/etc",
                        "SCHILY.xattr.security.selinux": "u:r:of_another_policy:s0",
                        "SCHILY.xattr.security.capability": capability.decode("latin-1"),
                    },
                ),
                b"x",
            ),
            entry("old", mtime=-5),
        )
    )
    seen = look(layers.root())
    assert seen["."] == Seen(mode=stat.S_IFDIR | 0o750, uid=3, gid=4, mtime_ns=0 if False else seen["."].mtime_ns)
    assert seen["d"].mode == stat.S_IFDIR | 0o1777
    assert (seen["d"].uid, seen["d"].gid) == (70000, 4_000_000_000)
    file = seen["d/file"]
    assert (file.mode, file.uid, file.gid, file.content, file.nlink) == (
        stat.S_IFREG | 0o4755,
        1000,
        1001,
        b"content",
        2,
    )
    assert abs(file.mtime_ns - (EPOCH * 1_000_000_000 + 123_456_789)) < 1000  # tarfile writes a float
    assert seen["hard"] == file
    assert (seen["d/link"].content, seen["d/link"].uid, seen["d/link"].gid) == (b"../target", 5, 6)
    assert seen["d/absolute"].content == b"/etc/passwd"
    assert seen["null"].device == os.makedev(1, 3)
    assert seen["big-numbers"].device == os.makedev(4000, 1_000_000)
    assert seen["disk"].mode == stat.S_IFBLK | 0o644
    assert seen["pipe"].mode == stat.S_IFIFO | 0o600
    assert dict(seen["attributes"].xattrs)["user.note"] == b"hello"
    assert {"trusted.overlay.redirect", "security.selinux"}.isdisjoint(dict(seen["attributes"].xattrs))
    assert seen["old"].mtime_ns == -5_000_000_000


def test_capabilities_of_files_survive(layers: Bench) -> None:
    value = bytes.fromhex("0100000200240000000000000000000000000000")
    record = b"SCHILY.xattr.security.capability=" + value + b"\n"
    length = len(record) + 3
    header = f"{length} ".encode() + record
    assert len(header) == length
    extended = entry("x", tarfile.XHDTYPE)
    extended.size = len(header)
    file = entry("ping", mode=0o755, uid=1)
    tar = extended.tobuf() + header.ljust(512, b"\0") + file.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)
    layers.add(tar)
    assert dict(look(layers.root())["ping"].xattrs)["security.capability"] == value


def test_long_names_and_targets(layers: Bench) -> None:
    name = "/".join(["n" * 200] * 15)
    target = "t/" * 1000 + "t"
    for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        layers.add(
            archive((entry(f"{name}/{'f' * 255}"), b"deep"), entry("link", tarfile.SYMTYPE, linkname=target), form=form)
        )
        seen = look(layers.root())
        assert seen[f"{name}/{'f' * 255}"].content == b"deep"
        assert seen["link"].content == target.encode()


@pytest.mark.parametrize("length", [*range(395, 460), 511, 512, 513, 4095])
def test_symlinks_of_every_length_near_a_block(layers: Bench, length: int) -> None:
    layers.add(archive(*(entry(f"l{n}", tarfile.SYMTYPE, linkname="x" * length) for n in range(5)), entry("end")))
    seen = look(layers.root())
    assert [len(seen[f"l{n}"].content) for n in range(5)] == [length] * 5


def test_a_big_directory(layers: Bench) -> None:
    names = [f"{n:x}".zfill(1 + n % 7) for n in range(5000)] + ["!first", "~last", "é", "-", "..."]
    layers.add(archive(*((entry(f"d/{name}"), name.encode()) for name in names)))
    seen = look(layers.root())
    assert {path.removeprefix("d/") for path in seen if path.startswith("d/")} == set(names)
    assert all(seen[f"d/{name}"].content == name.encode() for name in names)
    assert not os.path.exists(f"/proc/self/fd/{layers.root()}/d/nothing")


def test_implied_directories_are_reported(layers: Bench) -> None:
    facts = layers.add(archive(entry("a/b/", tarfile.DIRTYPE), entry("a/b/c/d"), entry("e/f")))
    assert facts.implied == (b"", b"a", b"a/b/c", b"e")
    assert look(layers.root())["a/b/c"].mode == stat.S_IFDIR | 0o755


def test_the_last_entry_of_a_name_wins(layers: Bench) -> None:
    layers.add(
        archive(
            (entry("x"), b"first"),
            entry("link", tarfile.LNKTYPE, linkname="x"),
            (entry("x"), b"second"),
            entry("d/", tarfile.DIRTYPE),
            entry("d/inside"),
            (entry("d"), b"a file now"),
            (entry("f"), b"was a file"),
            entry("f/", tarfile.DIRTYPE),
            entry("f/inside"),
            entry("s", tarfile.SYMTYPE, linkname="f"),
            (entry("s"), b"no link"),
            entry("same"),
            entry("same", tarfile.LNKTYPE, linkname="same"),
            entry("t/", tarfile.DIRTYPE),
            entry("t/inside"),
            entry("t/", tarfile.DIRTYPE, mode=0o700),
        )
    )
    seen = look(layers.root())
    assert (seen["x"].content, seen["link"].content, seen["x"].nlink, seen["link"].nlink) == (b"second", b"first", 1, 1)
    assert seen["d"].content == b"a file now"
    assert "d/inside" not in seen
    assert "f/inside" in seen
    assert seen["s"].content == b"no link"
    assert seen["f"].mode == stat.S_IFDIR | 0o755
    assert "same" in seen
    assert seen["t"].mode == stat.S_IFDIR | 0o700
    assert "t/inside" in seen


def test_names_stay_inside_the_root(layers: Bench) -> None:
    layers.add(
        archive(
            (entry("/absolute"), b"1"),
            (entry("a/../b/./c"), b"2"),
            entry("up", tarfile.SYMTYPE, linkname="../../../outside"),
            (entry("up/inside"), b"3"),
            entry("root", tarfile.SYMTYPE, linkname="/"),
            (entry("root/below"), b"4"),
            entry("lib", tarfile.SYMTYPE, linkname="usr/lib"),
            (entry("lib/x"), b"5"),
            entry("hard", tarfile.LNKTYPE, linkname="/lib/x"),
        )
    )
    seen = look(layers.root())
    files = {path: item.content for path, item in seen.items() if stat.S_ISREG(item.mode)}
    assert files == {
        "absolute": b"1",
        "b/c": b"2",
        "outside/inside": b"3",
        "below": b"4",
        "usr/lib/x": b"5",
        "hard": b"5",
    }


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ([entry("../x")], "climbs out"),
        ([entry("a/../../x")], "climbs out"),
        ([entry("hard", tarfile.LNKTYPE, linkname="../../etc/shadow")], "climbs out"),
        ([entry("hard", tarfile.LNKTYPE, linkname="missing")], "'missing' is not in this layer"),
        ([entry("d/", tarfile.DIRTYPE), entry("hard", tarfile.LNKTYPE, linkname="d")], "is a directory"),
        ([entry("f"), entry("f/x")], "not a directory"),
        ([entry("loop", tarfile.SYMTYPE, linkname="loop"), entry("loop/x")], "too many symlinks"),
        ([entry("a/.wh...")], "whiteout"),
        ([entry("a/.wh..")], "whiteout"),
        ([entry("a/.wh.")], "whiteout"),
        ([entry("n" * 256)], "more than 255 bytes"),
        ([entry("./", tarfile.SYMTYPE, linkname="/etc")], "the root cannot be"),
        ([entry("f", tarfile.GNUTYPE_SPARSE)], "sparse"),
        ([entry("f", b"Z")], "unknown type"),
        ([entry("f", pax_headers={"GNU.sparse.major": "1"})], "sparse"),
    ],
)
def test_dishonest_archives_are_refused(layers: Bench, entries: Sequence[tarfile.TarInfo], problem: str) -> None:
    before = sorted(os.listdir(layers.path))
    with pytest.raises(CorruptEntry, match=problem) as caught:
        layers.add(archive(*entries))
    assert repr(os.fsdecode(caught.value.name)[:20])[1:-1] in str(caught.value)
    assert sorted(os.listdir(layers.path)) == before


def test_a_truncated_archive_is_refused(layers: Bench) -> None:
    tar = archive((entry("a"), b"x" * 5000))
    for length in (100, 700, 3000):
        with pytest.raises(CorruptLayer, match="ends early"):
            layers.add(tar[:length])
        shutil.rmtree(layers.path / "layers")
        (layers.path / "layers").mkdir()
