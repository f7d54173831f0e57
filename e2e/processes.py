"""Background programs around a test: started with a log file of their own, stopped by pid, never by name."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

#: How many times slower than a real machine this one is: an emulated one says so.
SLOWNESS: Final = float(os.environ.get("E2E_SLOWNESS", "1"))


class NotReady(Exception):
    """A program ended, or did not become ready in time; the message ends with the last lines of its log."""

    def __init__(self, name: str, reason: str, log: Path) -> None:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:]) if log.exists() else ""
        super().__init__(f"{name} {reason}; the end of {log}:\n{tail}")
        self.name = name


class Program:
    """One running program. `stop` sends SIGTERM, then SIGKILL; it is idempotent."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as sink:
            # A session of its own: a Ctrl-C at the terminal reaches only the driver, which then stops things in order.
            self.process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                env=None if env is None else {**os.environ, **env},
                cwd=cwd,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = 30) -> None:
        seconds *= SLOWNESS
        deadline = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None:
                raise NotReady(self.name, f"ended with status {self.process.returncode}", self.log)
            if time.monotonic() > deadline:
                raise NotReady(self.name, f"was not ready within {seconds:g} s", self.log)
            time.sleep(0.02)

    def stop(self, seconds: float = 15) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def kill(self) -> None:
        """SIGKILL, and no ghost left."""
        self.process.kill()
        self.process.wait()


def leave_on_termination() -> None:
    """Makes SIGTERM end the driver as Ctrl-C does: what it started is stopped and what it made is removed."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def answers(host: str, port: int) -> bool:
    """Whether something listens there."""
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


def children_of(pid: int) -> tuple[int, ...]:
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            try:
                found += map(int, (task / "children").read_text().split())
            except OSError:
                pass  # a thread that has just ended
    except OSError:
        pass
    return tuple(found)


class Sockets:
    """Who listens at which Unix socket: `ss` at one moment, by the inode of the socket's file.

    By inode, since a program may bind through a name that only it knows, like /proc/self/fd/7/shim.sock.
    """

    def __init__(self) -> None:
        listing = subprocess.run(
            ["ss", "--unix", "--listening", "--processes", "--extended", "--no-header"],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        self._owners: dict[int, tuple[int, ...]] = {}
        for line in listing.splitlines():
            inode = re.search(r"\bino:(\d+)", line)
            if inode:
                self._owners[int(inode[1])] = tuple(sorted(int(pid) for pid in re.findall(r"\bpid=(\d+)", line)))

    def owner(self, path: Path) -> int:
        """The process that listens at `path`; of several (a fork still holds it) the oldest."""
        owners = self._owners.get(path.stat().st_ino, ())
        if not owners:
            raise LookupError(f"no process listens at {path}")
        return owners[0]

    def owners_below(self, directory: Path) -> tuple[int, ...]:
        """One process for each socket that lies below `directory` and that somebody listens at."""
        found = []
        for path in directory.rglob("*.sock") if directory.is_dir() else ():
            try:
                found.append(self.owner(path))
            except (LookupError, FileNotFoundError):
                continue
        return tuple(found)
