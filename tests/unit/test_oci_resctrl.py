"""`linux.intelRdt` on a directory that stands for a resctrl file system."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from oci import resctrl
from oci.errors import ContainerError, SpecError, Unsupported
from oci.spec import IntelRdt


class Tree:
    """Makes what the kernel makes in a new group, and takes it away with the group."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.mountinfo = root.parent / "mountinfo"
        self.mountinfo.write_text(f"30 1 0:5 / /proc rw - proc proc rw\n31 1 0:9 / {root} rw - resctrl resctrl rw\n")
        self.make(str(root))
        (root / "info").mkdir()
        (root / "info/last_cmd_status").write_text("ok\n")

    def make(self, path: str, mode: int = 0o755) -> None:
        self._mkdir(path, mode)
        Path(path, "tasks").write_text("")
        if Path(path).parent.name != "mon_groups":
            Path(path, "schemata").write_text("    L3:0=7ff;1=7ff\n    MB:0=100;1=100\n")
            self._mkdir(f"{path}/mon_groups", mode)

    def remove(self, path: str) -> None:
        for entry in os.scandir(path):
            self.remove(entry.path) if entry.is_dir() else os.unlink(entry.path)
        self._rmdir(path)

    _mkdir = staticmethod(os.mkdir)
    _rmdir = staticmethod(os.rmdir)

    def prepare(self, rdt: IntelRdt, container_id: str = "one") -> resctrl.Group:
        return resctrl.prepare(rdt, container_id, mountinfo=str(self.mountinfo))

    def text(self, path: str) -> str:
        return (self.root / path).read_text()


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    made = Tree(tmp_path / "resctrl")
    monkeypatch.setattr(os, "mkdir", made.make)
    monkeypatch.setattr(os, "rmdir", made.remove)
    return made


def test_without_a_name_the_group_is_the_containers_own(tree: Tree) -> None:
    group = tree.prepare(IntelRdt(l3_cache_schema="L3:0=7f0", mem_bw_schema="MB:0=20", schemata=("L2:0=f",)))
    assert tree.text("one/schemata").startswith("L3:0=7f0\nMB:0=20\nL2:0=f\n")
    group.attach(12)
    assert tree.text("one/tasks") == "12\n"
    group.remove()
    group.remove()
    assert not (tree.root / "one").exists()
    assert (tree.root / "mon_groups").exists()


def test_a_named_group_is_made_from_schemata_and_stays(tree: Tree) -> None:
    group = tree.prepare(IntelRdt(clos_id="gold", schemata=("L3:0=ff",)))
    assert tree.text("gold/schemata").startswith("L3:0=ff\n")
    assert group.made == ()


def test_a_named_group_without_schemata_has_to_be_there(tree: Tree) -> None:
    with pytest.raises(SpecError, match="does not exist"):
        tree.prepare(IntelRdt(clos_id="gold"))
    tree.make(str(tree.root / "gold"))
    before = tree.text("gold/schemata")
    tree.prepare(IntelRdt(clos_id="gold")).attach(3)
    assert tree.text("gold/schemata") == before
    assert tree.text("gold/tasks") == "3\n"


@pytest.mark.parametrize(
    ("rdt", "fits"),
    [
        (IntelRdt(clos_id="gold", l3_cache_schema="L3:0=07FF"), True),
        (IntelRdt(clos_id="gold", l3_cache_schema="L3:0=7f"), False),
        (IntelRdt(clos_id="gold", mem_bw_schema="MB:1=100"), True),
        (IntelRdt(clos_id="gold", mem_bw_schema="MB:2=100"), False),
    ],
)
def test_a_group_that_is_there_must_be_what_the_config_says(tree: Tree, rdt: IntelRdt, fits: bool) -> None:
    tree.make(str(tree.root / "gold"))
    if fits:
        tree.prepare(rdt)
        return
    with pytest.raises(SpecError, match="is not what"):
        tree.prepare(rdt)


def test_the_root_group_has_the_name_of_the_root(tree: Tree) -> None:
    group = tree.prepare(IntelRdt(clos_id="/", enable_monitoring=True))
    assert group.tasks == (f"{tree.root}/tasks", f"{tree.root}/mon_groups/one/tasks")
    assert group.made == (f"{tree.root}/mon_groups/one",)


def test_a_monitoring_group_goes_with_the_container(tree: Tree) -> None:
    group = tree.prepare(IntelRdt(clos_id="gold", schemata=("L3:0=ff",), enable_monitoring=True))
    assert (tree.root / "gold/mon_groups/one").is_dir()
    group.remove()
    assert not (tree.root / "gold/mon_groups/one").exists()
    assert (tree.root / "gold").is_dir()


def test_a_failure_leaves_nothing_and_has_the_kernels_words(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree.root / "info/last_cmd_status").write_text("mask out of range\n")

    def refuse(fd: int, data: bytes) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "write", refuse)
    with pytest.raises(ContainerError, match=r"schemata: invalid argument \(mask out of range\)"):
        tree.prepare(IntelRdt(schemata=("L3:0=0",)))
    assert not (tree.root / "one").exists()


@pytest.mark.parametrize(
    "rdt",
    [
        *(IntelRdt(clos_id=name) for name in ("", ".", "..", "a/b", "/x", "info", "mon_groups", "a\nb")),
        IntelRdt(l3_cache_schema="MB:0=1"),
        IntelRdt(mem_bw_schema="MB:0=1\nL3:0=1"),
        IntelRdt(schemata=("L3:0=1\n",)),
    ],
)
def test_names_and_lines_are_checked(tree: Tree, rdt: IntelRdt) -> None:
    with pytest.raises(SpecError, match=r"linux\.intelRdt"):
        tree.prepare(rdt)


def test_other_schemata_for_a_running_container(tree: Tree) -> None:
    rdt = IntelRdt(schemata=("L3:0=ff",))
    tree.prepare(rdt)
    resctrl.update(rdt, "one", ["L3:0=0f", "MB:0=50"], mountinfo=str(tree.mountinfo))
    assert tree.text("one/schemata").startswith("L3:0=0f\nMB:0=50\n")


def test_a_host_without_resctrl_is_told_so(tree: Tree) -> None:
    tree.mountinfo.write_text("")
    with pytest.raises(Unsupported, match="no resctrl file system is mounted"):
        tree.prepare(IntelRdt(clos_id="gold"))
