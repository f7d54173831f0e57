"""Which specs of e2e.test run here: all that a node must pass, less what this machine cannot give any runtime.

None of them needs a second node. What is left out is printed with its reason.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

FOCUS: Final = r"\[NodeConformance\]"
_SYS_RESOURCE: Final = 24


def left_out() -> dict[str, str]:
    """Pattern -> reason."""
    if _has_capability(_SYS_RESOURCE):
        return {}
    return {r"PLR .*NotInUserNS": "an oom_score_adj of -997 takes CAP_SYS_RESOURCE, which is not there"}


def _has_capability(number: int) -> bool:
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return found is not None and bool(int(found[1], 16) >> number & 1)
