"""runtime-tools' validation programs: each makes a bundle, drives the runtime through its life and prints TAP.

A program is clean when it ends with 0, all its cases (some have none) are "ok" and none was skipped for an error.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.oci import bed, tap
from e2e.oci.tap import Case, Outcome

_PATIENCE: Final = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    checkout: Path
    runtime: Path
    log: Path

    def run(self, program: Path) -> Case:
        """`directory` of a program names it: validation/NAME/NAME.t."""
        name = program.parent.name
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                [str(program)],
                cwd=self.checkout,
                env={**os.environ, "RUNTIME": str(self.runtime)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            status = _wait(process)
            output.seek(0)
            text = output.read()
        bed.kill_orphans(frozenset())
        with self.log.open("a") as log:
            log.write(f"=== {name} status {status}\n{text}\n")
        return judge(name, status, text)


def judge(name: str, status: int | None, text: str) -> Case:
    if status is None:
        return Case(name=name, outcome=Outcome.FAILED, reason=f"took longer than {_PATIENCE} s")
    report = tap.parse(text.splitlines())
    failed = [case for case in report.cases if case.outcome is Outcome.FAILED]
    if failed:
        first = failed[0]
        return Case(
            name=name, outcome=Outcome.FAILED, reason=f"{len(failed)} cases, first: {first.name} {first.reason}"
        )
    # Some programs check by their exit status alone.
    if status:
        lines = text.strip().splitlines() or ["no output"]
        return Case(name=name, outcome=Outcome.FAILED, reason=f"status {status}: {lines[-1][:300]}")
    if report.cases and all(case.outcome is Outcome.SKIPPED for case in report.cases):
        return Case(name=name, outcome=Outcome.SKIPPED, reason=report.cases[0].reason)
    return Case(name=name, outcome=Outcome.PASSED)


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    keep = frozenset((process.pid,))
    for _ in range(_PATIENCE * 20):
        try:
            return process.wait(0.05)
        except subprocess.TimeoutExpired:
            bed.reap_orphans(keep)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return None
