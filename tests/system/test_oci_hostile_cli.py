"""Traps for the command line: an image with a Python library of its own, ids and users that are almost right."""

from __future__ import annotations

import fcntl
import json
import os
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.containers import make_rootfs
from tests.system.oci_command import Command, clean_command


@pytest.fixture
def oci(tmp_path: Path) -> Iterator[Command]:
    make_rootfs(tmp_path / "bundle/rootfs")
    with clean_command(tmp_path / "bundle", tmp_path / "state") as command:
        yield command


@pytest.fixture
def trapped(oci: Command) -> Path:
    """The root file system has a Python library where ours is, each module of which leaves a mark when loaded."""
    rootfs = oci.bundle / "rootfs"
    library = Path(sysconfig.get_path("stdlib"))
    ours = Path(__file__).parents[2] / "oci"
    mark = "open('/loaded', 'a').write(__name__ + chr(10))\n"
    for directory in (library, library / "encodings", library / "ctypes", ours, ours / "init"):
        inside = rootfs / str(directory).lstrip("/")
        inside.mkdir(parents=True, exist_ok=True)
        for module in directory.glob("*.py"):
            (inside / module.name).write_text(mark)
    return rootfs / "loaded"


@pytest.mark.parametrize("case", ["runs", "missing", "forbidden", "bad directory", "bad limit"])
def test_nothing_is_loaded_from_the_image(oci: Command, trapped: Path, case: str) -> None:
    """CVE-2019-14271: a helper inside of the container loaded the container's libraries, as root of the host."""
    process = {"cwd": "/etc/passwd"} if case == "bad directory" else {}
    if case == "bad limit":
        process = {"rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1 << 40, "soft": 1 << 40}]}  # type: ignore[dict-item]
    program = {"runs": "true", "missing": "/no/such", "forbidden": "/etc/passwd"}.get(case, "true")
    oci.config(program, **process)
    finished = oci("run", "one", check=False)
    assert (finished.returncode == 0) is (case == "runs"), finished.stderr
    assert not trapped.exists(), trapped.read_text()


def test_nothing_is_loaded_from_the_image_by_exec(oci: Command, trapped: Path) -> None:
    oci.config("sleep", "1000")
    oci("run", "--detach", "one")
    oci("exec", "one", "true")
    assert oci("exec", "one", "/no/such", check=False).returncode == 255
    assert oci("exec", "--cwd", "/etc/passwd", "one", "true", check=False).returncode == 255
    assert not trapped.exists(), trapped.read_text()


@pytest.mark.parametrize("user", ["1000:junk", "-1", "0x0", "1000:", " 0", "4294967296", "root", "1000:1000:0", "٣"])
def test_a_user_that_is_almost_a_number_is_nobody(oci: Command, user: str) -> None:
    """CVE-2026-30892 (and CVE-2024-40635): a lenient reading made somebody root."""
    oci.config("sleep", "1000")
    oci("run", "--detach", "one")
    finished = oci("exec", "--user", user, "one", "id", "-u", check=False)
    assert (finished.returncode, finished.stdout) == (255, "")
    assert "is not a user or group id" in finished.stderr


def test_added_capabilities_are_never_inheritable(oci: Command) -> None:
    """CVE-2022-29162, CVE-2025-27612: inheritable ones let file capabilities of the image take effect."""
    oci.config("sleep", "1000")
    oci("run", "--detach", "one")
    status = oci("exec", "--cap", "CAP_SYS_PTRACE", "one", "grep", "Cap", "/proc/self/status").stdout
    sets = dict(line.split(":\t") for line in status.splitlines())
    assert int(sets["CapEff"], 16) & 1 << 19
    assert int(sets["CapInh"], 16) == int(sets["CapAmb"], 16) == 0


@pytest.mark.parametrize("name", ["../../etc", "..", ".", "a/b", "a\nb", "", "ä"])
def test_an_id_is_never_a_path(oci: Command, name: str) -> None:
    oci.config("true")
    assert oci("run", "--", name, check=False).returncode == 1
    assert oci("delete", "--force", "--", name, check=False).returncode == 1


@pytest.mark.parametrize("path", ["../outside", "foo/../../outside", "foo/.."])
def test_a_cgroup_below_is_below(oci: Command, path: str) -> None:
    oci.config("sleep", "1000")
    oci("run", "--detach", "one")
    finished = oci("exec", "--cgroup", path, "one", "true", check=False)
    assert finished.returncode == 255
    assert "components are not allowed" in finished.stderr


def test_a_cgroup_path_stays_inside_of_the_hierarchies(oci: Command) -> None:
    oci.config("true")
    document = json.loads((oci.bundle / "config.json").read_text())
    document["linux"]["cgroupsPath"] = f"../../../../{oci.prefix}/x"
    (oci.bundle / "config.json").write_text(json.dumps(document))
    oci("run", "one")
    assert not Path(f"/{oci.prefix}").exists()


def test_only_three_descriptors_and_those_asked_for_get_in(oci: Command) -> None:
    """CVE-2024-21626 began with one more."""
    script = "for fd in /proc/self/fd/*; do echo ${fd##*/} $(readlink $fd); done"
    oci.config("sh", "-c", script)
    lines = oci("run", "one").stdout.splitlines()
    # The shell holds the directory it lists open, and the pipe of its substitution.
    strange = [line for line in lines if int(line.split()[0]) > 2 and not line.endswith("/fd") and "pipe:" not in line]
    assert not [line for line in strange if len(line.split()) > 1], lines


def test_the_running_programs_executable_is_not_the_hosts(oci: Command) -> None:
    """CVE-2019-5736: what a container finds behind /proc/PID/exe of the waiting init cannot be written."""
    oci.config("sleep", "1000")
    oci("create", "one")
    pid = oci.state("one")["pid"]
    assert os.readlink(f"/proc/{pid}/exe").startswith("/memfd:")
    # Not just "text file busy", which would end with the process.
    fd = os.open(f"/proc/{pid}/exe", os.O_RDONLY)
    try:
        assert fcntl.fcntl(fd, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
    finally:
        os.close(fd)


def test_state_is_nobody_elses(oci: Command) -> None:
    oci.config("sleep", "1000")
    oci("run", "--detach", "one")
    for path in (oci.root / "one").iterdir():
        assert path.stat().st_mode & 0o077 == 0 or path.is_socket(), path
    assert oci.root.stat().st_mode & 0o777 == 0o700
