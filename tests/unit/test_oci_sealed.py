"""The interpreter through a sealed copy of its loader: /proc/self/exe is a file that nobody can write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oci import sealed
from oci.cli import sealing

_LOOK = "import os, sys; print(os.readlink('/proc/self/exe')); print(sys.executable); import ctypes, os.path"


def test_through_its_loader_the_interpreter_runs_as_usual() -> None:
    path = os.path.realpath("/usr/bin/python3")
    found = sealed.through_loader(path)
    if found is None:
        pytest.skip("no glibc 2.33 or newer here")
    loader, command = found
    copy = sealed.seal(loader)
    pid = os.fork()
    if pid == 0:
        os.execve(copy, [*command, "-I", "-S", "-c", "import os; os._exit(0)"], {})
    assert os.waitpid(pid, 0)[1] == 0
    done = subprocess.run(
        [*command, "-I", "-S", "-c", _LOOK],
        executable=f"/proc/self/fd/{copy}",
        pass_fds=[copy],
        capture_output=True,
        text=True,
        check=True,
    )
    exe, name = done.stdout.split("\n")[:2]
    assert exe.startswith("/memfd:coracle")
    assert name == path
    with pytest.raises(PermissionError):
        os.write(copy, b"x")
    os.close(copy)


def test_what_is_no_dynamic_program_has_no_loader(tmp_path: Path) -> None:
    for content in (b"", b"#!/bin/sh\n", b"\x7fELF\x02\x01" + bytes(58)):
        (tmp_path / "file").write_bytes(content)
        assert sealed.through_loader(str(tmp_path / "file")) is None


def test_the_sealed_command_line_finds_the_library_for_systemds_bus() -> None:
    look = sealing.FIND_PACKAGES + "import oci.cgroups.systemd_bus; print(sys.argv, '' in sys.path)"
    command = [sys.executable, "-I", "-S", "-c", look, *sealing.package_directories(), "state"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "['-c', 'state'] False\n"
