"""coracle-oci update: other limits for a running container, by flags or as `linux.resources` in JSON."""

from __future__ import annotations

import json
import sys

from oci.cli.containers import only_word, open_cgroup
from oci.cli.options import Parsed, UsageError, value
from oci.errors import SpecError, StateError
from oci.spec import Resources
from oci.state import StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from oci.cli.dispatch import Settings


USAGE = "update [options] ID"

# flag -> section and property of linux.resources
_NUMBERS: Final = {
    "blkio-weight": ("blockIO", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtimePeriod"),
    "cpu-rt-runtime": ("cpu", "realtimeRuntime"),
    "cpu-idle": ("cpu", "idle"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernelTCP"),
    "pids-limit": ("pids", "limit"),
}
_TEXTS: Final = {"cpuset-cpus": ("cpu", "cpus"), "cpuset-mems": ("cpu", "mems")}
_SIZES: Final = {"k": 10, "m": 20, "g": 30, "t": 40}

OPTIONS = (
    value("resources r", "FILE", "JSON with linux.resources; - is stdin"),
    *(value(name, "NUMBER", f"{section}.{name_in_json}") for name, (section, name_in_json) in _NUMBERS.items()),
    *(value(name, "LIST", f"{section}.{name_in_json}") for name, (section, name_in_json) in _TEXTS.items()),
    value("l3-cache-schema", "LINE", "intelRdt.l3CacheSchema"),
    value("mem-bw-schema", "LINE", "intelRdt.memBwSchema"),
)


def run(settings: Settings, parsed: Parsed) -> int:
    container_id = only_word(parsed)
    resources = _resources(parsed)
    directory = StateDirectory(settings.root)
    state = directory.load(container_id)
    if directory.status(state) == "stopped":
        raise StateError(container_id, "cannot be updated, it is stopped")
    _update_resctrl(directory, container_id, parsed)
    cgroup = open_cgroup(state)
    if cgroup is None:
        raise StateError(container_id, "cannot be updated, it has no cgroup")
    cgroup.update(resources)
    return 0


def _update_resctrl(directory: StateDirectory, container_id: str, parsed: Parsed) -> None:
    lines = [line for name in ("l3-cache-schema", "mem-bw-schema") if (line := parsed.text(name))]
    if not lines:
        return
    from oci import resctrl
    from oci.cli.containers import parse_config

    rdt = parse_config(directory.config(container_id), "config.json").linux.intel_rdt
    if rdt is None:
        raise StateError(container_id, "has no group in resctrl (linux.intelRdt)")
    resctrl.update(rdt, container_id, lines)


def _resources(parsed: Parsed) -> Resources:
    document: dict[str, Any] = {}
    if path := parsed.text("resources"):
        document = _read(path)
    for name, (section, property_name) in _NUMBERS.items():
        if text := parsed.text(name):
            document.setdefault(section, {})[property_name] = number(text, name)
    for name, (section, property_name) in _TEXTS.items():
        if text := parsed.text(name):
            document.setdefault(section, {})[property_name] = text
    return Resources.from_json(document)


def number(text: str, name: str) -> int:
    """ "-1", "1000", "64m"."""
    digits, shift = text, 0
    if text[-1:].lower() in _SIZES:
        digits, shift = text[:-1], _SIZES[text[-1].lower()]
    if not (digits.isascii() and digits.removeprefix("-").isdigit()):
        raise UsageError(f"--{name} wants a number, not {text!r}")
    return int(digits) << shift


def _read(path: str) -> dict[str, Any]:
    if path == "-":
        content = sys.stdin.buffer.read()
    else:
        with open(path, "rb") as file:
            content = file.read()
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SpecError("", f"{path}: {error}")
    if not isinstance(document, dict):
        raise SpecError("", f"{path}: is not an object")
    return document
