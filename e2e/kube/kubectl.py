"""kubectl as users run it: a program, its words, what it prints."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


class Failed(Exception):
    def __init__(self, words: tuple[str, ...], status: int, output: str, error: str) -> None:
        super().__init__(f"kubectl {' '.join(words)}: status {status}\n{output[-1000:]}\n{error[-2000:]}")
        self.status = status
        self.output = output
        self.error = error


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubectl:
    program: Path
    config: Path
    namespace: str

    def command(self, *words: str) -> list[str]:
        return [str(self.program), f"--kubeconfig={self.config}", f"--namespace={self.namespace}", *words]

    def __call__(self, *words: str, stdin: str | None = None, seconds: float = 60) -> str:
        """What it printed; raises Failed unless the status is 0."""
        done = subprocess.run(
            self.command(*words), input=stdin or "", capture_output=True, text=True, timeout=seconds, check=False
        )
        if done.returncode != 0:
            raise Failed(words, done.returncode, done.stdout, done.stderr)
        return done.stdout

    def start(self, *words: str, stdin: int | None = subprocess.DEVNULL) -> subprocess.Popen[str]:
        """In the background, with pipes; the caller ends it."""
        return subprocess.Popen(
            self.command(*words),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            bufsize=1,
        )
