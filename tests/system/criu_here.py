"""Can processes be dumped on this machine? The tests of checkpoints ask once, and say what is missing."""

from __future__ import annotations

import subprocess
from functools import cache

from oci.checkpoint import criu


@cache
def reason_against() -> str:
    """Empty when CRIU is installed and says of this kernel that it will do."""
    program = criu.find()
    if program is None:
        return "the program criu is not installed"
    checked = subprocess.run([program, "check"], capture_output=True, text=True, check=False)
    if checked.returncode == 0:
        return ""
    errors = [line for line in (checked.stdout + checked.stderr).splitlines() if "Error" in line]
    return f"criu check: {errors[0] if errors else checked.stderr.strip()}"
