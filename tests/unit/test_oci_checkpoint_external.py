"""The names by which CRIU knows what comes from outside, and the mount table they are found in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oci.checkpoint import external, mount_table
from oci.plan.host import CgroupHierarchy
from oci.spec import Linux, Mount, Namespace, Spec

_MOUNTINFO = r"""103 99 254:0 /cp/rootfs / ro,relatime - overlay overlay rw
105 103 0:45 / /proc rw,nosuid shared:7 - proc proc rw
117 105 0:6 /null /a\040b rw,relatime master:3 - devtmpfs devtmpfs rw,size=1k
"""


def test_mountinfo() -> None:
    entries = mount_table.parse(_MOUNTINFO)
    assert [(entry.id, entry.parent, entry.mount_point, entry.fstype) for entry in entries] == [
        (103, 99, "/", "overlay"),
        (105, 103, "/proc", "proc"),
        (117, 105, "/a b", "devtmpfs"),
    ]
    assert (entries[0].root, sorted(entries[1].options)) == ("/cp/rootfs", ["nosuid", "rw"])


def spec(*mounts: Mount, masked: tuple[str, ...] = (), kinds: tuple[str, ...] = ()) -> Spec:
    linux = Linux(masked_paths=masked, namespaces=tuple(Namespace(type=kind) for kind in kinds))
    return Spec(oci_version="1.3.0", mounts=mounts, linux=linux)


def test_sources_of_a_restore_come_from_the_config(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    config = spec(
        Mount(destination="/proc", type="proc", source="proc"),
        Mount(destination="/data", type="bind", source="link", options=("rbind",)),
        Mount(destination="/image", type="bind", options=("ro",)),
        masked=("/proc/keys",),
    )
    assert external.sources_of(config, str(tmp_path), {2: "/place/2"}) == (
        "mnt[/proc/keys]:/dev/null",
        f"mnt[/data]:{tmp_path}/real",
        "mnt[/image]:/place/2",
    )


@pytest.mark.parametrize(
    ("versions", "kinds", "expected"),
    [
        ((1, 1), (), ("mnt[/sys/fs/cgroup/0]:/h/0", "mnt[/sys/fs/cgroup/1]:/h/1")),
        ((2,), (), ("mnt[/sys/fs/cgroup]:/h/0",)),
        ((1, 1), ("cgroup",), ()),
    ],
)
def test_cgroups_of_the_host(versions: tuple[int, ...], kinds: tuple[str, ...], expected: tuple[str, ...]) -> None:
    hierarchies = [
        CgroupHierarchy(name=str(index), controllers="", directory=f"/h/{index}", version=version)
        for index, version in enumerate(versions)
    ]
    config = spec(Mount(destination="/sys/fs/cgroup", type="cgroup", source="cgroup"), kinds=kinds)
    assert external.sources_of(config, "/", {}, hierarchies) == expected


def test_streams_that_were_one_stay_one_and_files_get_what_has_a_position(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    with open(tmp_path / "out", "w") as file:
        keys = ("pipe:[7]", "file[1b:22]", "pipe:[7]")
        assert list(external.inherited(keys, (reader, writer, 9), null=99)) == [
            ("pipe:[7]", reader),
            ("file[1b:22]", 99),
        ]
        assert list(external.inherited(("/dev/pts/0", "file[1:2]"), (8, file.fileno()), null=99)) == [
            ("file[1:2]", file.fileno())
        ]
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("content", ["", "{}", "[1, null]", "[" * 9000, '["pipe:[1]", 2]'])
def test_what_an_archive_says_of_streams_is_taken_with_care(tmp_path: Path, content: str) -> None:
    (tmp_path / external.STREAMS).write_text(content)
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    assert external.read_streams(fd) in ((), ("pipe:[1]",))
    os.close(fd)


def test_streams_are_not_read_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text('["pipe:[1]"]')
    (tmp_path / external.STREAMS).symlink_to("elsewhere")
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    assert external.read_streams(fd) == ()
    external_keys = ("pipe:[1]", "file[1:2]", "file[1:2]", "/dev/pts/0", "unix[5]")
    assert external.external_streams(external_keys) == ("file[1:2]", "unix[5]")
    with pytest.raises(OSError, match="symbolic links"):
        external.write_streams(fd, external_keys)
    os.close(fd)
