"""coracle-oci ps: the container's processes by their pids on the host."""

from __future__ import annotations

import json

from oci.cli.containers import only_word, open_cgroup
from oci.cli.options import Parsed, UsageError, value
from oci.errors import StateError
from oci.state import StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cli.dispatch import Settings


USAGE = "ps [options] ID"
OPTIONS = (value("format f", "FORMAT", "table or json"),)


def run(settings: Settings, parsed: Parsed) -> int:
    container_id = only_word(parsed)
    form = parsed.text("format", "table")
    if form not in ("table", "json"):
        raise UsageError(f"--format is table or json, not {form!r}")
    state = StateDirectory(settings.root).load(container_id)
    cgroup = open_cgroup(state)
    if cgroup is None:
        raise StateError(container_id, "has no cgroup to list")
    pids = sorted(cgroup.pids())
    print(json.dumps(pids) if form == "json" else "\n".join(["PID", *map(str, pids)]))  # noqa: T201
    return 0
