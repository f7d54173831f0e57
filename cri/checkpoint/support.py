"""Whether this node can checkpoint. The kubelet's tests know two texts by heart: they skip on them, and on no other."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from cri.errors import Unimplemented, Unknown
from oci.checkpoint import criu


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
            self._checked[found] = await asyncio.to_thread(_problem, found)
        if problem := self._checked[found]:
            raise Unknown(f"checkpoint/restore support not available: {problem}")
        return found


def _problem(program: str) -> str:
    checked = subprocess.run([program, "check"], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if checked.returncode == 0:
        return ""
    lines = (checked.stderr + checked.stdout).splitlines()
    errors = [line for line in lines if "Error" in line] or lines or [f"exit code {checked.returncode}"]
    return f"{program} check: {errors[0].partition('): ')[2] or errors[0]}"
