"""The command line of a user without privileges: its own id alone, and with the ids that newuidmap(1) grants."""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oci.cli.spec_verb import template
from tests.system.containers import make_rootfs
from tests.system.oci_command import REPOSITORY

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(not shutil.which("newuidmap"), reason="newuidmap is not installed (package uidmap)"),
]

_CODE = "import sys; sys.path.insert(0, sys.argv.pop(1)); from oci.cli import main; main()"
_FIRST = 200_000


class User:
    """A user of this machine with a directory, in which our code is, too: nothing else may be readable to it."""

    def __init__(self, directory: Path) -> None:
        name = f"ocx{os.getpid()}"
        subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", name], check=True, capture_output=True)
        self.entry = pwd.getpwnam(name)
        for kind in ("subuids", "subgids"):
            subprocess.run(["usermod", f"--add-{kind}", f"{_FIRST}-{_FIRST + 65535}", name], check=True)
        self.directory = directory
        shutil.copytree(REPOSITORY / "oci", directory / "oci", ignore=shutil.ignore_patterns("__pycache__"))
        self.bundle = directory / "bundle"
        make_rootfs(self.bundle / "rootfs")
        (directory / "run").mkdir()
        for path in (directory / "run", self.bundle, self.bundle / "rootfs", *(self.bundle / "rootfs").rglob("*")):
            os.chown(path, self.entry.pw_uid, self.entry.pw_gid, follow_symlinks=False)

    def remove(self) -> None:
        subprocess.run(["userdel", self.entry.pw_name], check=True, capture_output=True)

    def config(self, *args: str, many: bool, **linux: Any) -> None:
        document: dict[str, Any] = template(rootless=True)
        document["process"] |= {"args": list(args), "terminal": False}
        for name, own in (("uidMappings", self.entry.pw_uid), ("gidMappings", self.entry.pw_gid)):
            document["linux"][name] = [{"containerID": 0, "hostID": own, "size": 1}]
            if many:
                document["linux"][name].append({"containerID": 1, "hostID": _FIRST, "size": 65536})
        document["linux"] |= linux
        (self.bundle / "config.json").write_text(json.dumps(document))

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["/usr/bin/python3", "-I", "-S", "-c", _CODE, str(self.directory), *arguments]
        # Files, not pipes: the container of a create goes on holding them.
        with tempfile.TemporaryFile("w+") as output:
            status = subprocess.run(
                command, user=self.entry.pw_uid, group=self.entry.pw_gid, extra_groups=[], cwd=self.bundle,
                env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(self.directory / "run")},
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=30, check=False,
            ).returncode  # fmt: skip
            output.seek(0)
            return subprocess.CompletedProcess(command, status, output.read())


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    with tempfile.TemporaryDirectory(prefix="coracle-rootless-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        one = User(directory)
        yield one
        one.remove()


@pytest.mark.parametrize("many", [False, True])
def test_a_whole_life(user: User, many: bool) -> None:
    user.config("sleep", "1000", many=many)
    made = user("run", "--detach", "one")
    assert made.returncode == 0, made.stdout
    try:
        state = json.loads(user("state", "one").stdout)
        assert state["status"] == "running"
        assert os.stat(f"/proc/{state['pid']}").st_uid == user.entry.pw_uid
        assert user("exec", "one", "sh", "-c", "id -u; echo $$").stdout.split()[0] == "0"
        other = user("exec", "--user", "5:6", "one", "sh", "-c", "id -u; id -g")
        if many:
            assert (other.returncode, other.stdout) == (0, "5\n6\n")
        else:
            assert other.returncode == 255
            assert "become uid 5" in other.stdout
        assert user("exec", "one", "sh", "-c", "exit 7").returncode == 7
    finally:
        assert user("delete", "--force", "one").returncode == 0
    assert user("list", "-q").stdout == ""


def test_the_foreground_and_what_it_writes(user: User) -> None:
    user.config("sh", "-c", "cat /proc/self/uid_map; exit 3", many=True)
    finished = user("run", "one")
    assert finished.returncode == 3
    assert [line.split()[:2] for line in finished.stdout.splitlines()] == [
        ["0", str(user.entry.pw_uid)],
        ["1", str(_FIRST)],
    ]


def test_ids_that_nobody_granted(user: User) -> None:
    user.config("true", many=False, uidMappings=[{"containerID": 0, "hostID": 0, "size": 10}])
    assert "newuidmap refused 0 0 10; /etc/subuid says what is allowed" in user("run", "one").stdout


def test_limits_need_a_cgroup(user: User) -> None:
    user.config("true", many=False, resources={"pids": {"limit": 10}})
    assert "limits need a delegated cgroup" in user("run", "one").stdout
    assert user("list", "-q").stdout == ""
