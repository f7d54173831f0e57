"""The door to the host's programs. From the pod: the host's own nsenter(1), in its root, enters PID 1's namespaces.

`InDirectory` stands in for the host where there is none: it takes systemctl and the rest from a directory. Image builds
and tests use it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from deploy.installer.errors import CommandFailed
from deploy.installer.host import Host, Step

_ENTER: Final = ("nsenter", "--target=1", "--mount", "--uts", "--ipc", "--net", "--")
_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TIMEOUT_S: Final = 300.0
_TIMED_OUT: Final = 124
_NOT_FOUND: Final = 127


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    status: int
    output: str


class Commands(Protocol):
    def run(self, argv: Sequence[str], timeout: float = TIMEOUT_S) -> Done:
        """Runs a program of the host; its status and both its outputs. Never raises for a status."""


class OnHost:
    """A host whose root is "/" is entered already."""

    def __init__(self, host: Host) -> None:
        self._root = str(host.root)
        self._step = host.step

    def run(self, argv: Sequence[str], timeout: float = TIMEOUT_S) -> Done:
        if self._root == "/":
            return _run(argv, argv, timeout, self._step)
        return _run([*_ENTER, *argv], argv, timeout, self._step, root=self._root)


class InDirectory:
    """Programs by their last name from `directory`; what is not there from below the host's root."""

    def __init__(self, directory: Path, host: Host) -> None:
        self._directory = directory
        self._host = host

    def run(self, argv: Sequence[str], timeout: float = TIMEOUT_S) -> Done:
        stand_in = self._directory / Path(argv[0]).name
        program = stand_in if stand_in.exists() else self._host.locate(argv[0], follow=True)
        return _run([str(program), *argv[1:]], argv, timeout, self._host.step)


def check(commands: Commands, *argv: str, timeout: float = TIMEOUT_S) -> str:
    """The output of a program that must succeed."""
    done = commands.run(argv, timeout)
    if done.status:
        raise CommandFailed(argv, done.status, done.output)
    return done.output


def _run(command: Sequence[str], argv: Sequence[str], timeout: float, step: Step, root: str = "") -> Done:
    def go_there() -> None:
        os.chroot(root)
        os.chdir("/")

    step(f"before: {' '.join(argv)}")
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
            env={**os.environ, "PATH": _PATH} if root else None,
            preexec_fn=go_there if root else None,  # this process has one thread
        )
        done = Done(status=ended.returncode, output=ended.stdout + ended.stderr)
    except subprocess.TimeoutExpired:
        done = Done(status=_TIMED_OUT, output=f"no end within {timeout:g} s")
    except OSError as error:
        done = Done(status=_NOT_FOUND, output=error.strerror or str(error))
    step(f"after: {' '.join(argv)}")
    return done
