"""coracle-oci ps: the container's processes by their pids on the host."""

from __future__ import annotations

import json
import subprocess

from oci.cli.containers import open_cgroup
from oci.cli.options import Parsed, UsageError, value
from oci.errors import StateError
from oci.state import StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cli.dispatch import Settings


USAGE = "ps [options] ID [-- OPTIONS OF PS]"
OPTIONS = (value("format f", "FORMAT", "table or json"),)


def run(settings: Settings, parsed: Parsed) -> int:
    if not parsed.words:
        raise UsageError("needs a container id")
    container_id, *options = parsed.words
    form = parsed.text("format", "table")
    if form not in ("table", "json"):
        raise UsageError(f"--format is table or json, not {form!r}")
    state = StateDirectory(settings.root).load(container_id)
    cgroup = open_cgroup(state)
    if cgroup is None:
        raise StateError(container_id, "has no cgroup to list")
    pids = sorted(cgroup.pids())
    if options:
        return _show(pids, options)
    print(json.dumps(pids) if form == "json" else "\n".join(["PID", *map(str, pids)]))  # noqa: T201
    return 0


def _show(pids: list[int], options: list[str]) -> int:
    """The lines of ps(1) that are about the container."""
    try:
        done = subprocess.run(["ps", *options], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise UsageError("options of ps need the program ps (package procps)")
    head, *lines = done.stdout.splitlines() or [""]
    if done.returncode or "PID" not in head.split():
        raise UsageError(f"ps {' '.join(options)} shows no PID column: {done.stderr.strip() or head}")
    column = head.split().index("PID")
    wanted = {str(pid) for pid in pids}
    print("\n".join([head, *(line for line in lines if line.split()[column] in wanted)]))  # noqa: T201
    return 0
