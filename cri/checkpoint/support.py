"""Whether this node can checkpoint. The kubelet's tests know two texts by heart: they skip on them, and on no other."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Final

from cri.errors import Unimplemented, Unknown
from oci.checkpoint import criu

#: The first that dumps a pod's processes without stopping its network.
OLDEST: Final = (3, 19)


class Support:
    """Asks CRIU once what it thinks of the kernel."""

    def __init__(self, configured: Path) -> None:
        self._name = "criu" if configured == Path() else str(configured)
        self._checked: dict[str, str] = {}

    async def program(self, method: str) -> str:
        """Where CRIU is. Raises Unimplemented(`method`) without it, Unknown where it cannot work."""
        found = criu.find(self._name)
        if found is None:
            raise Unimplemented(method)
        if found not in self._checked:
            self._checked[found] = await asyncio.to_thread(problem, found)
        if lacking := self._checked[found]:
            raise Unknown(f"checkpoint/restore support not available: {lacking}")
        return found


def problem(program: str) -> str:
    told = _run(program, "--version").stdout
    found = re.match(r"Version: ([0-9]+)\.([0-9]+)", told)
    if found is not None and (int(found[1]), int(found[2])) < OLDEST:
        return f"{program} is of version {found[1]}.{found[2]}, needed is {OLDEST[0]}.{OLDEST[1]}"
    checked = _run(program, "check")
    if checked.returncode == 0:
        return ""
    lines = (checked.stderr + checked.stdout).splitlines()
    errors = [line for line in lines if "Error" in line] or lines or [f"exit code {checked.returncode}"]
    return f"{program} check: {errors[0].partition('): ')[2] or errors[0]}"


def _run(program: str, argument: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, argument], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
