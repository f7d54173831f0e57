"""Seccomp profiles in files, as Kubernetes' "localhost" profiles are. Owns the two formats and the caps on reading.

Plain: `linux.seccomp` of runtime-spec. Docker's: the same with `archMap` instead of `architectures`, and with rules
that carry `includes` and `excludes` (capabilities, architectures, least kernel version), which are decided here.
"""

from __future__ import annotations

import json
import os
import platform
import stat

from oci.errors import SeccompError, SpecError
from oci.spec import Seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any, Final

_LARGEST: Final = 1 << 20
_GO_NAMES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_NATIVE: Final = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}


def load_profile(path: str, capabilities: frozenset[str] = frozenset()) -> Seccomp:
    """Read a profile for a container whose bounding set is `capabilities`."""
    try:
        return parse_profile(_read(path), capabilities, machine=platform.machine(), kernel=platform.release())
    except (OSError, ValueError, SpecError, SeccompError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SeccompError(f"profile {path}: {reason}")


def _read(path: str) -> bytes:
    # A FIFO or a device in place of the file must not hold up the caller.
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise SeccompError("is not a regular file")
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise SeccompError(f"is larger than {_LARGEST} bytes")
    return data


def parse_profile(data: bytes, capabilities: frozenset[str], *, machine: str, kernel: str) -> Seccomp:
    try:
        document = json.loads(data)
    except RecursionError:
        raise SeccompError("is nested too deeply")
    if not isinstance(document, dict):
        raise SpecError("", "must be an object")
    plain = dict(document)
    if plain.get("archMap"):
        if plain.get("architectures"):
            raise SpecError("archMap", "must not be given together with architectures")
        plain["architectures"] = _architectures(plain["archMap"], machine)
    rules = []
    for index, rule in enumerate(_list(plain.get("syscalls"), "syscalls")):
        where = f"syscalls[{index}]"
        if not isinstance(rule, dict):
            raise SpecError(where, "must be an object")
        if _applies(rule, where, capabilities, machine, kernel):
            rules.append(_with_names(rule, where))
    plain["syscalls"] = rules
    return Seccomp.from_json(plain, "")


def _with_names(rule: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Docker's older profiles have one `name`."""
    if "name" not in rule:
        return rule
    if rule.get("names"):
        raise SpecError(where, "must not have both name and names")
    return {**rule, "names": [rule["name"]]}


def _architectures(entries: object, machine: str) -> list[str]:
    for index, entry in enumerate(_list(entries, "archMap")):
        if not isinstance(entry, dict):
            raise SpecError(f"archMap[{index}]", "must be an object")
        if entry.get("architecture") == _NATIVE.get(machine):
            others = _list(entry.get("subArchitectures"), f"archMap[{index}].subArchitectures")
            return [entry["architecture"], *others]
    return []


def _applies(rule: Mapping[str, Any], where: str, capabilities: frozenset[str], machine: str, kernel: str) -> bool:
    """Every condition of `includes` must hold, and none of `excludes`."""
    wanted = _conditions(rule.get("includes"), f"{where}.includes", capabilities, machine, kernel)
    unwanted = _conditions(rule.get("excludes"), f"{where}.excludes", capabilities, machine, kernel)
    return all(wanted) and not any(unwanted)


def _conditions(filter: object, where: str, capabilities: frozenset[str], machine: str, kernel: str) -> list[bool]:
    if filter is None:
        return []
    if not isinstance(filter, dict):
        raise SpecError(where, "must be an object")
    held = [capability in capabilities for capability in _list(filter.get("caps"), f"{where}.caps")]
    if architectures := _list(filter.get("arches"), f"{where}.arches"):
        held.append(_GO_NAMES.get(machine, machine) in architectures)
    if least := filter.get("minKernel"):
        held.append(_version(kernel, where) >= _version(least, f"{where}.minKernel"))
    return held


def _version(text: object, where: str) -> tuple[int, int]:
    """(6, 1) of "6.1.0-25-amd64"."""
    words = text.split(".") if isinstance(text, str) else []
    numbers = ["".join(char for char in word.partition("-")[0] if char in "0123456789") for word in words[:2]]
    if len(numbers) < 2 or not all(numbers):
        raise SpecError(where, f"{text!r} is not a kernel version like 4.8")
    return int(numbers[0]), int(numbers[1])


def _list(value: object, where: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise SpecError(where, "must be a list")
    return value
