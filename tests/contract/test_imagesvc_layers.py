"""What a layer must be, whichever form it has on disk: every case runs for EROFS files and for directories.

Generated archives are compared with what GNU tar extracts; archives that no honest tool writes are compared between the
two forms, which must agree on every name. Stacking is tested through overlayfs itself.
"""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesvc.layer import cover
from imagesvc.layer.errors import CorruptEntry, CorruptLayer
from imagesvc.layer.files import LayerId, open_writer
from imagesvc.layer.writer import LayerFacts, LayerForm
from imagesvc.mounts import LayerMounts, Owners, Way
from imagesvc.stack import stack
from imagesvc.store.records import LayerRecord
from oci import syscalls
from oci.engine.userns import IdmapNamespaces
from oci.spec import IdMapping

pytestmark = pytest.mark.root

EPOCH = 1_700_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a path is, as far as a container can tell. Sizes of directories are the file system's own affair."""

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    nlink: int = 1
    content: bytes = b""
    device: int = 0
    xattrs: tuple[tuple[str, bytes], ...] = ()


@dataclass
class Bench:
    """Layers of one form in a directory, and overlays of them."""

    form: LayerForm
    way: Way
    path: Path
    mounts: LayerMounts = field(init=False)
    layers: list[LayerRecord] = field(default_factory=list)

    def __post_init__(self) -> None:
        (self.path / "layers").mkdir()
        self.mounts = LayerMounts(self.path / "layers", self.path / "run", self.way)

    def add(self, tar: bytes, *, piece: int = 1 << 16) -> LayerFacts:
        layer = LayerId(f"sha256:{len(self.layers) + 1:064x}")
        name = layer.removeprefix("sha256:") + (".erofs" if self.form is LayerForm.EROFS else "")
        writer = open_writer(self.path / "layers" / name, layer, self.form)
        try:
            for start in range(0, len(tar), piece):
                writer.feed(tar[start : start + piece])
            facts = writer.finish()
        finally:
            writer.close()
        self.layers.append(
            LayerRecord(
                id=layer,
                form=self.form,
                size=facts.size,
                inodes=facts.inodes,
                implied=frozenset(facts.implied),
                opaque_root=facts.opaque_root,
            )
        )
        return facts

    def root(self, index: int = -1) -> int:
        return self.mounts.root(self.layers[index].id, self.form)

    def stacked(self) -> list[LayerRecord]:
        return stack([layer.id for layer in self.layers], {layer.id: layer for layer in self.layers})

    @contextmanager
    def overlay(self) -> Iterator[int]:
        upper, work = self.path / "upper", self.path / "work"
        upper.mkdir()
        work.mkdir()
        roots = [self.mounts.root(layer.id, layer.form) for layer in self.stacked()]
        fd = self.mounts.overlay(roots, upper=upper, work=work)
        try:
            yield fd
        finally:
            os.close(fd)
            shutil.rmtree(upper)
            shutil.rmtree(work)


@contextmanager
def bench(form: LayerForm, way: Way = Way.DETACHED) -> Iterator[Bench]:
    # Not below /tmp: that is a tmpfs on some machines, from which EROFS files cannot be mounted.
    path = Path(tempfile.mkdtemp(prefix="coracle-layers-", dir="/var/tmp"))
    made = Bench(form=form, way=way, path=path)
    try:
        yield made
    finally:
        made.mounts.close()
        shutil.rmtree(path)


@pytest.fixture(params=list(LayerForm), ids=lambda form: form.value)
def layers(request: pytest.FixtureRequest) -> Iterator[Bench]:
    with bench(request.param) as made:
        yield made


# --- archives -----------------------------------------------------------------------------------------------------


def entry(name: str, kind: bytes = tarfile.REGTYPE, **values: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    info.mode = 0o755 if kind == tarfile.DIRTYPE else 0o644
    info.mtime = EPOCH
    for key, value in values.items():
        setattr(info, key, value)
    return info


def archive(*entries: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as tar:
        for item in entries:
            info, content = item if isinstance(item, tuple) else (item, b"")
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def look(root: int | Path) -> dict[str, Seen]:
    """Everything below `root`, itself as ".", by path."""
    path = f"/proc/self/fd/{root}" if isinstance(root, int) else str(root)
    found: dict[str, Seen] = {}
    pending = ["."]
    while pending:
        name = pending.pop()
        full = os.path.join(path, name)
        status = os.lstat(full) if name != "." else os.stat(full)
        content = b""
        if stat.S_ISREG(status.st_mode):
            content = Path(full).read_bytes()
            assert len(content) == status.st_size
        elif stat.S_ISLNK(status.st_mode):
            content = os.fsencode(os.readlink(full))
            assert len(content) == status.st_size
        elif stat.S_ISDIR(status.st_mode):
            pending += [os.path.normpath(os.path.join(name, leaf)) for leaf in os.listdir(full)]
        follow = name == "."
        names = sorted(os.listxattr(full, follow_symlinks=follow))
        found[name] = Seen(
            mode=status.st_mode,
            uid=status.st_uid,
            gid=status.st_gid,
            mtime_ns=status.st_mtime_ns,
            nlink=1 if stat.S_ISDIR(status.st_mode) else status.st_nlink,
            content=content,
            device=status.st_rdev,
            xattrs=tuple((key, os.getxattr(full, key, follow_symlinks=follow)) for key in names),
        )
    return found


def without_directory_times(seen: dict[str, Seen]) -> dict[str, Seen]:
    return {path: replace(item, mtime_ns=0) if stat.S_ISDIR(item.mode) else item for path, item in seen.items()}


# --- one layer alone ----------------------------------------------------------------------------------------------


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


# --- against GNU tar ----------------------------------------------------------------------------------------------

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh.") and len(name.encode()) <= 255)
IDS = st.sampled_from([0, 1, 1000, 65534, 2_097_152, 4_294_967_290])


@st.composite
def honest_trees(draw: st.DrawFn) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Archives as tools write them: parents first, every name once."""
    directories = [""]
    files: list[str] = []
    taken: set[str] = set()
    made: list[tuple[tarfile.TarInfo, bytes]] = []
    for _ in range(draw(st.integers(0, 25))):
        path = draw(st.sampled_from(directories)) + draw(NAMES)
        if path in taken or len(path.encode()) > 1000:
            continue
        taken.add(path)
        kind = draw(st.sampled_from([tarfile.REGTYPE] * 3 + [tarfile.DIRTYPE] * 2 + [tarfile.SYMTYPE, tarfile.LNKTYPE]))
        content = b""
        info = entry(
            path,
            kind,
            # GNU tar leaves the setgid bit that a directory inherits, also where the archive has none.
            mode=draw(st.integers(0, 0o7777)) & (~0o2000 if kind == tarfile.DIRTYPE else -1),
            uid=draw(IDS),
            gid=draw(IDS),
            mtime=draw(st.integers(0, 1 << 33)),
        )
        if kind == tarfile.REGTYPE:
            content = draw(st.sampled_from([b"", b"x", b"y" * 511, b"z" * 512, b"w" * 5000]))
            files.append(path)
        elif kind == tarfile.DIRTYPE:
            directories.append(path + "/")
        elif kind == tarfile.SYMTYPE:
            info.linkname = draw(NAMES)
            info.mode = 0o777
        elif files:
            info.linkname = draw(st.sampled_from(files))
        else:
            continue
        made.append((info, content))
    return made


@pytest.mark.parametrize("form", list(LayerForm), ids=lambda form: form.value)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    entries=honest_trees(),
    tar_format=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    piece=st.sampled_from([100, 512, 1000, 1 << 20]),
)
def test_honest_archives_are_what_gnu_tar_makes_of_them(
    form: LayerForm, entries: list[tuple[tarfile.TarInfo, bytes]], tar_format: int, piece: int
) -> None:
    tar = archive((entry("./", tarfile.DIRTYPE), b""), *entries, form=tar_format)
    with bench(form) as made:
        made.add(tar, piece=piece)
        expected = made.path / "expected"
        expected.mkdir()
        command = ["tar", "-xpf", "-", "--numeric-owner", "-C", str(expected)]
        subprocess.run(command, input=tar, check=True, env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]})
        # GNU tar sets a directory's time when it leaves it, and spoils it when it comes back.
        assert without_directory_times(look(made.root())) == without_directory_times(look(expected))


# --- both forms agree, whatever comes ------------------------------------------------------------------------------

WILD = st.lists(
    st.tuples(
        st.lists(
            st.sampled_from(["a", "b", "c", ".", "..", "", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh..wh.x"]),
            min_size=1,
            max_size=4,
        ),
        st.sampled_from(
            [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
        ),
        st.sampled_from(["a", "b", "/a/b", "../b", "a/b/c", "c"]),
        st.sampled_from([b"", b"content", b"c" * 600]),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(entries=WILD)
def test_both_forms_agree_on_archives_that_no_tool_writes(
    entries: list[tuple[list[str], bytes, str, bytes]],
) -> None:
    made = []
    for parts, kind, link, content in entries:
        info = entry("/".join(parts), kind, linkname=link if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "")
        made.append((info, content if kind == tarfile.REGTYPE else b""))
    tar = archive(*made)
    outcomes: list[tuple[str, object, object]] = []
    for form in LayerForm:
        with bench(form) as layers:
            try:
                facts = layers.add(tar)
            except CorruptLayer as error:
                outcomes.append((str(error), None, None))
                continue
            outcomes.append(("", look(layers.root()), (facts.implied, facts.opaque_root)))
            assert sorted(os.listdir(layers.path)) == ["layers", "run"]
    assert outcomes[0] == outcomes[1]


# --- layers on top of each other -----------------------------------------------------------------------------------


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
