"""Which specs of e2e.test run here: all that a node must pass, less what this bed cannot have.

Each pattern that is left out says why; the runner prints it.
"""

from __future__ import annotations

from typing import Final

FOCUS: Final = r"\[NodeConformance\]"

LEFT_OUT: Final = {
    r"FeatureGate:InPlacePodLevelResourcesVerticalScaling": "pod-level resources need cgroup v2",
}
"""Pattern -> reason."""


def skip_pattern() -> str:
    return "|".join(LEFT_OUT)
