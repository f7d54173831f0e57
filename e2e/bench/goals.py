"""What is measured, and the goal of each measure. Pure data: the report and the tests of the goals read it.

The goals are in absolute figures on a 2-core machine; `ratio` is the most that Coracle may take of what containerd
takes in the same run, where that is fixed.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class Better(Enum):
    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    name: str
    title: str
    unit: str
    goal: float | None = None
    ratio: float | None = None
    better: Better = Better.LOWER

    def met(self, value: float) -> bool | None:
        """Whether `value` meets the goal; None when there is none."""
        if self.goal is None:
            return None
        return value <= self.goal if self.better is Better.LOWER else value >= self.goal


MEASURES: Final = (
    Measure(name="run_pod", title="RunPodSandbox", unit="ms", goal=15),
    Measure(name="create", title="CreateContainer", unit="ms", goal=6),
    Measure(name="start", title="StartContainer", unit="ms", goal=3),
    Measure(name="first_log", title="pod to first log line", unit="ms", goal=30, ratio=0.25),
    Measure(name="exec", title="ExecSync(true)", unit="ms", goal=5, ratio=0.2),
    Measure(name="stop", title="StopContainer, SIGTERM honoured", unit="ms", goal=6),
    Measure(name="remove", title="RemoveContainer", unit="ms", goal=5),
    Measure(name="stop_pod", title="StopPodSandbox", unit="ms", goal=10),
    Measure(name="remove_pod", title="RemovePodSandbox", unit="ms", goal=5),
    Measure(name="exec_rate", title="ExecSync, 8 in parallel", unit="1/s", goal=400, better=Better.HIGHER),
    Measure(name="exec_cpu", title="CPU per exec", unit="ms", goal=4),
    Measure(name="pod_rate", title="pods, 8 in parallel", unit="1/s", goal=25, better=Better.HIGHER),
    Measure(name="pod_cpu", title="CPU per pod cycle", unit="ms", goal=40),
    Measure(name="daemon_empty", title="daemon, no pods", unit="MB PSS", goal=45),
    Measure(name="daemon_crowd", title="daemon, 50 pods", unit="MB PSS", goal=60),
    Measure(name="daemon_private", title="daemon, 50 pods", unit="MB private"),
    Measure(name="pod_memory", title="per pod beside the daemon", unit="MB PSS", goal=1.2),
    Measure(
        name="pod_memory_settled", title="the same when the kernel has merged equal pages", unit="MB PSS", goal=0.35
    ),
    Measure(name="idle_cpu", title="idle CPU, 50 pods, 1 Hz relist", unit="% of a core", goal=0.2),
    Measure(name="list_pods", title="ListPodSandbox, 50 pods", unit="ms", goal=1),
    Measure(name="list_containers", title="ListContainers, 50 pods", unit="ms", goal=1),
    Measure(name="restart", title="daemon restart, 50 pods, until lists are right", unit="s", goal=0.5),
    Measure(name="log_rate", title="log, 100-byte lines", unit="MB/s", goal=200, better=Better.HIGHER),
    Measure(name="log_cpu", title="log, CPU per 200 MB", unit="s", goal=0.6),
    Measure(name="log_split", title="log, lines split", unit="lines", goal=0),
    Measure(name="pull", title="pull, 20,000 files in one layer", unit="s"),
    Measure(name="pull_cpu", title="pull, CPU", unit="s"),
    Measure(name="pull_disk", title="pull, disk", unit="MB"),
    Measure(name="remove_image", title="RemoveImage", unit="s", goal=0.05),
)
