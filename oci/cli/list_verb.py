"""coracle-oci list"""

from __future__ import annotations

import json

from oci.cli.options import Parsed, UsageError, switch, value
from oci.cli.status import describe
from oci.errors import StateError
from oci.state import StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cli.dispatch import Settings


USAGE = "list [options]"
OPTIONS = (value("format f", "FORMAT", "table or json"), switch("quiet q", "ids only"))
_COLUMNS = ("id", "pid", "status", "bundle", "created", "owner")


def run(settings: Settings, parsed: Parsed) -> int:
    form = parsed.text("format", "table")
    if form not in ("table", "json"):
        raise UsageError(f"--format is table or json, not {form!r}")
    directory = StateDirectory(settings.root)
    found = []
    for container_id in directory.ids():
        try:
            found.append(describe(directory, directory.load(container_id)))
        except StateError:
            continue  # being created or removed right now
    if parsed.switch("quiet"):
        text = "\n".join(str(entry["id"]) for entry in found)
    elif form == "json":
        text = json.dumps(found)
    else:
        rows = [[name.upper() for name in _COLUMNS]] + [[str(entry[name]) for name in _COLUMNS] for entry in found]
        widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
        text = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    if text:
        print(text)  # noqa: T201
    return 0
