"""coracle-oci events: what a container uses, once or again and again, and its OOM kills, as lines of JSON (runc's)."""

from __future__ import annotations

import json
import time

from oci.cli.containers import only_word, open_cgroup
from oci.cli.options import Parsed, UsageError, switch, value
from oci.errors import StateError
from oci.state import StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from oci.cgroups import Cgroup, CgroupStats
    from oci.cli.dispatch import Settings


USAGE = "events [options] ID"
OPTIONS = (
    switch("stats", "show once and end"),
    value("interval", "SECONDS", "time between two lines, default 5 (5s and 500ms are understood)"),
)


def run(settings: Settings, parsed: Parsed) -> int:
    container_id = only_word(parsed)
    interval = seconds(parsed.text("interval", "5"))
    directory = StateDirectory(settings.root)
    state = directory.load(container_id)
    if directory.status(state) == "stopped":
        raise StateError(container_id, "is not running")
    cgroup = open_cgroup(state)
    if cgroup is None:
        raise StateError(container_id, "has no cgroup to look at")
    _tell("stats", container_id, describe(cgroup.stats()))
    killed = cgroup.oom_kills()
    while not parsed.switch("stats"):
        time.sleep(interval)
        if directory.status(state) == "stopped":
            break
        _tell("stats", container_id, describe(cgroup.stats()))
        killed = _tell_oom(cgroup, container_id, killed)
    return 0


def seconds(text: str) -> float:
    """ "5", "5s", "500ms"."""
    for suffix, unit in (("ms", 0.001), ("s", 1.0), ("", 1.0)):
        number = text.removesuffix(suffix)
        if text.endswith(suffix) and number.isascii() and number.isdigit() and int(number) > 0:
            return int(number) * unit
    raise UsageError(f"--interval wants seconds, not {text!r}")


def describe(stats: CgroupStats) -> dict[str, Any]:
    document: dict[str, Any] = {}
    if (cpu := stats.cpu) is not None:
        document["cpu"] = {
            "usage": {"total": cpu.usage_ns, "kernel": cpu.system_ns, "user": cpu.user_ns},
            "throttling": {
                "periods": cpu.periods,
                "throttledPeriods": cpu.throttled_periods,
                "throttledTime": cpu.throttled_ns,
            },
        }
    if (memory := stats.memory) is not None:
        document["memory"] = {"usage": {"usage": memory.usage, "limit": memory.limit or 0}, "rss": memory.rss}
    if stats.pids is not None:
        document["pids"] = {"current": stats.pids.current, "limit": stats.pids.limit or 0}
    if stats.io is not None:
        devices = [(io.major, io.minor, io.read_bytes, io.write_bytes) for io in stats.io.devices]
        document["blkio"] = {
            "ioServiceBytesRecursive": [
                {"major": major, "minor": minor, "op": op, "value": count}
                for major, minor, read, written in devices
                for op, count in (("Read", read), ("Write", written))
            ]
        }
    return document


def _tell_oom(cgroup: Cgroup, container_id: str, before: int) -> int:
    now = cgroup.oom_kills()
    for _ in range(now - before):
        _tell("oom", container_id, None)
    return now


def _tell(kind: str, container_id: str, data: dict[str, Any] | None) -> None:
    line: dict[str, Any] = {"type": kind, "id": container_id}
    if data is not None:
        line["data"] = data
    print(json.dumps(line), flush=True)  # noqa: T201
