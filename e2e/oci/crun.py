"""crun's own suite, one file of it at a time, each on a terminal with a directory to write to."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from e2e.oci import bed, tap, terminal
from e2e.oci.tap import Case, Outcome

_STAND_INS: Final = Path(__file__).parent / "stand_ins"
# A virtual machine without KVM needs more.
_PATIENCE: Final = float(os.environ.get("OCI_SUITE_PATIENCE", "90"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    checkout: Path
    init: Path
    runtime: Path
    work: Path
    log: Path
    cgroup_manager: str = "cgroupfs"

    def files(self) -> tuple[Path, ...]:
        return tuple(sorted(self.checkout.glob("tests/test_*.py")))

    def run(self, file: Path, names: Sequence[str], tell: Callable[[str], None]) -> tuple[Case, ...]:
        """All cases of a file, or those of `names`. One that hangs is failed, and the rest is run without it."""
        wanted = list(names) or _case_names(file)
        done: dict[str, Case] = {}
        for case in self._attempts(file, wanted if names else [], wanted, tell):
            done.setdefault(case.name, case)
        missing = [name for name in wanted if name not in done]
        lost = [Case(name=name, outcome=Outcome.FAILED, reason="gave no result") for name in missing]
        return (*done.values(), *lost)

    def _attempts(
        self, file: Path, chosen: list[str], wanted: list[str], tell: Callable[[str], None]
    ) -> Iterator[Case]:
        left = list(wanted)
        while left:
            report, silent = self._once(file, chosen)
            yield from report.cases
            if not silent:
                return
            seen = {case.name for case in report.cases}
            left = [name for name in left if name not in seen]
            if left:
                tell(f"{file.name}: {left[0]} hangs")
                yield Case(name=left[0], outcome=Outcome.FAILED, reason=f"no sign of life for {_PATIENCE:.0f} s")
                left = left[1:]
            chosen = left

    def _once(self, file: Path, names: Sequence[str]) -> tuple[tap.Report, bool]:
        keep = frozenset(_children())
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": "/root",
            "PYTHONPATH": str(_STAND_INS),
            "PYTHONUNBUFFERED": "1",
            "OCI_RUNTIME": str(self.runtime),
            "INIT": str(self.init),
            "CGROUP_MANAGER": self.cgroup_manager,
            "LANG": "C",
        }
        if names:
            environment["RUN_TESTS"] = " ".join(names)
        self.work.mkdir(exist_ok=True)
        ran = terminal.run(
            [sys.executable, str(file)],
            directory=self.work,
            environment=environment,
            patience=_PATIENCE,
            every_tick=lambda pid: bed.reap_orphans(keep | {pid}),
        )
        bed.kill_orphans(keep)
        with self.log.open("a") as log:
            log.write(f"=== {file.name}\n" + "\n".join(ran.lines) + "\n")
        shutil.rmtree(self.work, ignore_errors=True)
        return tap.parse(ran.lines), ran.silent


def _case_names(file: Path) -> list[str]:
    """The keys of the file's table of tests."""
    text = file.read_text()
    table = text[text.rindex("all_tests = {") :]
    return re.findall(r"""^\s+["']([^"']+)["']\s*:""", table, re.MULTILINE)


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
