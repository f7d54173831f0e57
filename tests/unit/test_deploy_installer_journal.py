"""The record, the steps that write it, and their way back when others have changed things since."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.installer import names
from deploy.installer.commands import Done
from deploy.installer.effects import Doors, Link, MakeDirectory, Own, WriteFile, carry_out
from deploy.installer.errors import BrokenRecord, Busy, InstallError
from deploy.installer.host import Host
from deploy.installer.journal import Edit, Journal, Phase
from deploy.installer.systemd import Systemd
from deploy.installer.undo import SAVED_SUFFIX, undo


class NoCommands:
    def run(self, argv: object, timeout: float = 0) -> Done:
        return Done(status=0, output="")


def doors_of(directory: Path) -> Doors:
    for name in ("var/lib", "etc"):
        (directory / name).mkdir(parents=True, exist_ok=True)
    host = Host(directory)
    return Doors(host=host, systemd=Systemd(NoCommands()), journal=Journal(host))


def carried(doors: Doors, *effects: MakeDirectory | WriteFile | Link | Own) -> list[bool]:
    with doors.journal.locked():
        return [carry_out(effect, "stage", doors) for effect in effects]


def undone(doors: Doors) -> list[str]:
    with doors.journal.locked():
        return undo(doors.journal.standing(), doors)


def test_what_holds_already_is_not_ours_to_undo(tmp_path: Path) -> None:
    doors = doors_of(tmp_path)
    (tmp_path / "etc/there").write_text("same")
    assert carried(doors, WriteFile(path="/etc/there", content=b"same"), MakeDirectory(path="/etc")) == [False, False]
    assert doors.journal.standing() == []


def test_a_changed_file_comes_back_with_its_bytes_mode_and_time(tmp_path: Path) -> None:
    doors = doors_of(tmp_path)
    place = tmp_path / "etc/file"
    place.write_bytes(b"old\xff")
    place.chmod(0o640)
    before = place.stat()
    carried(doors, WriteFile(path="/etc/file", content=b"new"))
    assert (place.read_bytes(), place.stat().st_mode) == (b"new", before.st_mode)
    assert undone(doors) == []
    after = place.stat()
    assert place.read_bytes() == b"old\xff"
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_changes_on_changes_are_undone_in_reverse(tmp_path: Path) -> None:
    doors = doors_of(tmp_path)
    for content in (b"one", b"two", b"three"):
        carried(doors, WriteFile(path="/etc/file", content=content))
    undone(doors)
    assert not (tmp_path / "etc/file").exists()


def test_a_shared_file_that_others_changed_loses_our_settings_only(tmp_path: Path) -> None:
    doors = doors_of(tmp_path)
    place = tmp_path / "etc/args"
    place.write_text('A="--x"\n')
    edit = Edit(style="env:A", key="--f", old=None, new="v")
    carried(doors, WriteFile(path="/etc/args", content=b'A="--x --f=v"\n', edits=(edit,)))
    place.write_text('A="--x --f=v --theirs"\n')
    assert undone(doors) == ["/etc/args was changed since: only our settings were taken out of it"]
    assert place.read_text() == 'A="--x --theirs"\n'


def test_a_whole_file_that_others_changed_stays_and_the_old_one_lies_beside_it(tmp_path: Path) -> None:
    doors = doors_of(tmp_path)
    place = tmp_path / "etc/crictl.yaml"
    place.write_text("old")
    carried(doors, WriteFile(path="/etc/crictl.yaml", content=b"ours"))
    place.write_text("theirs")
    assert len(undone(doors)) == 1
    assert place.read_text() == "theirs"
    assert Path(f"{place}{SAVED_SUFFIX}").read_text() == "old"


def test_a_directory_that_holds_what_is_not_ours_stays(tmp_path: Path) -> None:
    doors = doors_of(tmp_path)
    carried(doors, MakeDirectory(path="/etc/ours"))
    (tmp_path / "etc/ours/theirs").touch()
    assert undone(doors) == ["/etc/ours stays: it holds what is not ours"]


def test_a_link_that_somebody_turned_elsewhere_stays(tmp_path: Path) -> None:
    doors = doors_of(tmp_path)
    carried(doors, Link(path="/etc/current", target="a"))
    (tmp_path / "etc/current").unlink()
    (tmp_path / "etc/current").symlink_to("b")
    assert undone(doors) == ["/etc/current stays: it points to b, which is not ours"]


def test_data_below_a_mount_is_never_removed(tmp_path: Path) -> None:
    doors = doors_of(tmp_path)
    carried(doors, Own(path="/var/lib/coracle"))
    (tmp_path / "var/lib/coracle/mnt").mkdir(parents=True)
    table = tmp_path / "proc/1/mountinfo"
    table.parent.mkdir(parents=True)
    table.write_text("41 30 0:38 / /var/lib/coracle/mnt rw - tmpfs tmpfs rw\n")
    with pytest.raises(InstallError, match="/var/lib/coracle/mnt is still mounted"):
        undone(doors)
    assert (tmp_path / "var/lib/coracle/mnt").exists()


def test_a_last_line_without_its_end_is_no_entry(tmp_path: Path) -> None:
    doors = doors_of(tmp_path)
    carried(doors, WriteFile(path="/etc/a", content=b"a"))
    record = tmp_path / names.JOURNAL.lstrip("/")
    whole = record.read_bytes()
    record.write_bytes(whole + b'{"record":{"number":2,"st')
    again = Journal(doors.host)
    assert [one.phase for one in again.standing()] == [Phase.DONE]
    with again.locked():
        again.set_note("n", a="b")
    assert record.read_bytes().startswith(whole)
    assert Journal(doors.host).note("n") == {"a": "b"}


@pytest.mark.parametrize("line", [b"{}\n", b"[]\n", b"no json\n", b'{"record":{"number":1}}\n', b'{"note":"x"}\n'])
def test_a_whole_line_that_makes_no_sense_stops_everything(tmp_path: Path, line: bytes) -> None:
    doors = doors_of(tmp_path)
    carried(doors, WriteFile(path="/etc/a", content=b"a"))
    with (tmp_path / names.JOURNAL.lstrip("/")).open("ab") as record:
        record.write(line)
    with pytest.raises(BrokenRecord, match="line 3"):
        Journal(doors.host)


def test_only_one_installer_works(tmp_path: Path) -> None:
    doors = doors_of(tmp_path)
    with doors.journal.locked(), pytest.raises(Busy), Journal(doors.host).locked():
        pass


def test_links_on_the_host_are_followed_below_its_root(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "etc").symlink_to("/real")
    (tmp_path / "real/up").symlink_to("../../../real")
    (tmp_path / "real/file").write_text("inside")
    host = Host(tmp_path)
    assert host.text("/etc/up/file") == "inside"
    assert host.locate("/etc/up/file") == tmp_path / "real/file"
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="too many symbolic links"):
        host.locate("/loop/x")
