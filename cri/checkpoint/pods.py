"""A pod's checkpoint: a directory with an archive for each container, and a list of them. Pure but for the files.

<directory>/pod.json          {"version": 1, "containers": {"<name>": "<file>"}}
<directory>/0.tar, 1.tar ...
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cri.errors import InvalidArgument

_LIST: Final = "pod.json"
_VERSION: Final = 1
_FILE: Final = re.compile(r"[0-9]+\.tar")
_LIMIT: Final = 1 << 20


def locations(directory: Path, names: Iterable[str]) -> dict[str, Path]:
    return {name: directory / f"{index}.tar" for index, name in enumerate(sorted(names))}


def write_list(directory: Path, archives: dict[str, Path]) -> None:
    files = {name: path.name for name, path in archives.items()}
    (directory / _LIST).write_text(json.dumps({"version": _VERSION, "containers": files}, indent=1))


def read_list(directory: Path) -> dict[str, Path]:
    """Name of a container -> its archive. Raises InvalidArgument."""
    path = directory / _LIST
    try:
        with open(path, "rb") as file:
            document = json.loads(file.read(_LIMIT))
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidArgument("checkpoint_path", f"{path}: {error}") from None
    found = document.get("containers") if isinstance(document, dict) else None
    if not isinstance(found, dict) or document.get("version") != _VERSION:
        raise InvalidArgument("checkpoint_path", f"{path} is no list of containers of version {_VERSION}")
    for file_name in found.values():
        if not isinstance(file_name, str) or not _FILE.fullmatch(file_name):
            raise InvalidArgument("checkpoint_path", f"{path} names {file_name!r}, which is no archive beside it")
    return {name: directory / file_name for name, file_name in found.items()}
