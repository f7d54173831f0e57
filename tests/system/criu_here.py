"""Can processes be dumped on this machine? The tests of checkpoints ask once, and say what is missing."""

from __future__ import annotations

from functools import cache

from cri.checkpoint import support
from oci.checkpoint import criu


@cache
def reason_against() -> str:
    """Empty when CRIU is installed, new enough, and says of this kernel that it will do."""
    program = criu.find()
    return "the program criu is not installed" if program is None else support.problem(program)
