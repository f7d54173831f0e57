"""A runtime's command line as a contender: each measure is the wall time of its processes, in milliseconds."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    name: str
    command: Sequence[str]
    state: Path
    true: Path
    """Bundle of a container that ends at once."""
    pause: Path
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def open(self) -> None:
        self._call("run", "--detach", "--bundle", str(self.pause), "running")

    def close(self) -> None:
        self._call("delete", "--force", "running")

    def measures(self) -> Mapping[str, Callable[[], float]]:
        return {"run": self._run, "create+start+delete": self._life, "exec": self._exec, "state": self._state}

    def _run(self) -> float:
        return self._call("run", "--bundle", str(self.true), f"r{next(self.numbers)}")

    def _life(self) -> float:
        name = f"l{next(self.numbers)}"
        taken = self._call("create", "--bundle", str(self.true), name) + self._call("start", name)
        time.sleep(0.01)  # not part of it: the process ends
        return taken + self._call("delete", "--force", name)

    def _exec(self) -> float:
        return self._call("exec", "running", "/true")

    def _state(self) -> float:
        return self._call("state", "running")

    def _call(self, *arguments: str) -> float:
        command = [*self.command, "--root", str(self.state), *arguments]
        null = subprocess.DEVNULL
        began = time.perf_counter()
        subprocess.run(command, check=True, stdin=null, stdout=null, stderr=null)
        return (time.perf_counter() - began) * 1000
