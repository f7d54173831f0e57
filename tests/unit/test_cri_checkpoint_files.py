"""Archives of checkpoints: made, unpacked, and what a hostile one does not get."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from cri.checkpoint import archive, changes, pods
from cri.errors import InvalidArgument


def tar_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, content in members:
            info.size = len(content)
            info.uid, info.gid = os.getuid(), os.getgid()
            tar.addfile(info, io.BytesIO(content))
    return path


def member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = ""
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o755 if kind == tarfile.DIRTYPE else 0o644
    return info, content


@pytest.fixture
def root(tmp_path: Path) -> Iterator[int]:
    """A root file system whose image has a link that leads to the host's /etc, and one that leads up."""
    made = tmp_path / "root"
    (made / "etc").mkdir(parents=True)
    (made / "data").symlink_to("/etc")
    (made / "up").symlink_to("../../outside")
    (tmp_path / "outside").mkdir()
    fd = os.open(made, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


class TestChanges:
    def test_what_was_made_and_removed_comes_back(self, tmp_path: Path, root: int) -> None:
        upper, out = tmp_path / "upper", tmp_path / "out"
        (upper / "a").mkdir(parents=True)
        out.mkdir()
        (upper / "a" / "file").write_text("text")
        os.link(upper / "a" / "file", upper / "a" / "same")
        (upper / "a" / "file").chmod(0o4751)
        (upper / "link").symlink_to("a/file")
        os.mkfifo(upper / "fifo")
        os.mknod(upper / "gone", stat.S_IFCHR, 0)
        (tmp_path / "root" / "gone").mkdir()
        (tmp_path / "root" / "gone" / "x").touch()
        changes.write(upper, out)
        assert json.loads((out / changes.DELETED).read_text()) == ["/gone"]
        changes.apply(root, out)
        made = tmp_path / "root"
        assert (made / "a" / "file").read_text() == "text"
        assert (made / "a" / "same").samefile(made / "a" / "file")
        assert stat.S_IMODE((made / "a" / "file").stat().st_mode) == 0o4751
        assert os.readlink(made / "link") == "a/file"
        assert stat.S_ISFIFO((made / "fifo").stat().st_mode)
        assert not (made / "gone").exists()

    def test_nothing_leaves_the_root(self, tmp_path: Path, root: int) -> None:
        out = tmp_path / "out"
        out.mkdir()
        before = os.stat("/etc").st_mtime_ns
        tar_of(
            out / changes.DIFF,
            member("data/planted", b"x"),
            member("../../outside/planted", b"x"),
            member("/up/planted", b"x"),
            member("etc/link", kind=tarfile.SYMTYPE, link="/etc"),
            member("etc/link/planted", b"x"),
        )
        (out / changes.DELETED).write_text(json.dumps(["/data/hosts", "/../../outside", "/", ""]))
        changes.apply(root, out)
        assert os.stat("/etc").st_mtime_ns == before
        assert list((tmp_path / "outside").iterdir()) == []
        assert (tmp_path / "root" / "etc" / "planted").read_bytes() == b"x"

    def test_a_hard_link_reaches_nothing_outside(self, tmp_path: Path, root: int) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (tmp_path / "outside" / "secret").touch()
        tar_of(out / changes.DIFF, member("stolen", kind=tarfile.LNKTYPE, link="../outside/secret"))
        with pytest.raises(OSError, match="No such file"):
            changes.apply(root, out)

    @pytest.mark.parametrize("content", ["{}", "[1]", "no", "[" * 100_000])
    def test_a_list_that_is_none(self, tmp_path: Path, root: int, content: str) -> None:
        (tmp_path / changes.DELETED).write_text(content)
        with pytest.raises(InvalidArgument, match="deleted"):
            changes.apply(root, tmp_path)

    def test_without_changes(self, tmp_path: Path, root: int) -> None:
        changes.apply(root, tmp_path)


class TestArchive:
    def test_there_and_back(self, tmp_path: Path) -> None:
        (tmp_path / "from" / "checkpoint").mkdir(parents=True)
        (tmp_path / "from" / "checkpoint" / "core-1.img").write_bytes(b"core")
        (tmp_path / "from" / "spec.dump").write_text("{}")
        archive.pack(tmp_path / "from", tmp_path / "c.tar")
        (tmp_path / "to").mkdir()
        images = archive.unpack(tmp_path / "c.tar", tmp_path / "to")
        assert (images / "core-1.img").read_bytes() == b"core"
        assert (tmp_path / "to" / "spec.dump").read_text() == "{}"
        assert stat.S_IMODE((tmp_path / "c.tar").stat().st_mode) == 0o600

    def test_only_plain_files_by_known_names(self, tmp_path: Path) -> None:
        location = tar_of(
            tmp_path / "c.tar",
            member("checkpoint/core-1.img", b"core"),
            member("checkpoint/parent", kind=tarfile.SYMTYPE, link="/etc"),
            member("checkpoint/hard.img", kind=tarfile.LNKTYPE, link="/etc/passwd"),
            member("checkpoint/deep/er.img", b"x"),
            member("checkpoint/../../planted", b"x"),
            member("/planted", b"x"),
            member("container.log", kind=tarfile.SYMTYPE, link="/etc/passwd"),
            member("checkpoint/dev", kind=tarfile.CHRTYPE),
        )
        (tmp_path / "to").mkdir()
        archive.unpack(location, tmp_path / "to")
        found = sorted(str(path.relative_to(tmp_path / "to")) for path in (tmp_path / "to").rglob("*"))
        assert found == ["checkpoint", "checkpoint/core-1.img"]

    def test_a_name_that_comes_twice_does_not_replace_the_first(self, tmp_path: Path) -> None:
        location = tar_of(tmp_path / "c.tar", member("checkpoint/a.img", b"1"), member("checkpoint/a.img", b"2"))
        (tmp_path / "to").mkdir()
        with pytest.raises(InvalidArgument, match="is no checkpoint"):
            archive.unpack(location, tmp_path / "to")

    @pytest.mark.parametrize("content", [b"", b"\0" * 10240, b"nonsense" * 2000])
    def test_what_is_no_archive(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "c.tar").write_bytes(content)
        (tmp_path / "to").mkdir()
        with pytest.raises(InvalidArgument, match="is no checkpoint"):
            archive.unpack(tmp_path / "c.tar", tmp_path / "to")


class TestPods:
    def test_there_and_back(self, tmp_path: Path) -> None:
        archives = pods.locations(tmp_path, ["b", "a"])
        pods.write_list(tmp_path, archives)
        assert pods.read_list(tmp_path) == {"a": tmp_path / "0.tar", "b": tmp_path / "1.tar"}

    @pytest.mark.parametrize(
        "content",
        ["", "[]", '{"version": 2, "containers": {}}', '{"version": 1, "containers": {"a": "../../x.tar"}}',
         '{"version": 1, "containers": {"a": 1}}', '{"version": 1}'],
    )  # fmt: skip
    def test_a_list_that_is_none(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "pod.json").write_text(content)
        with pytest.raises(InvalidArgument, match="checkpoint_path"):
            pods.read_list(tmp_path)

    def test_no_list(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidArgument, match="No such file"):
            pods.read_list(tmp_path)
