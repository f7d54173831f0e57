"""What `systemctl cat` says of the kubelet: command line, environment, environment files. Pure.

Reads only what re-pointing needs. A later assignment replaces an earlier one, an empty one clears; variables in the
command line are filled in from Environment= and from the environment files, which win over it (systemd.exec(5)).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass

from deploy.installer.edits import variable_of


@dataclass(frozen=True, slots=True, kw_only=True)
class KubeletUnit:
    exec_start: str
    environment: tuple[tuple[str, str], ...]
    environment_files: tuple[str, ...]
    """Absolute paths; the sign for "may be missing" is taken off."""

    def uses(self, variable: str) -> bool:
        return bool(re.search(rf"\$\{{?{re.escape(variable)}\b", self.exec_start))

    def arguments(self, read: Callable[[str], str]) -> str:
        """The command line with its variables filled in; `read` gives the text of an environment file."""
        values = dict(self.environment)

        def value(found: re.Match[str]) -> str:
            name = found.group(1) or found.group(2)
            from_files = [text for path in self.environment_files if (text := variable_of(read(path), name))]
            return from_files[-1] if from_files else values.get(name, "")

        return re.sub(r"\$\{(\w+)\}|\$(\w+)", value, self.exec_start)

    def file_that_sets(self, variable: str, read: Callable[[str], str]) -> str | None:
        """The last environment file that assigns it; that one counts."""
        setting = [path for path in self.environment_files if re.search(rf"^[ \t]*{variable}=", read(path), re.M)]
        return setting[-1] if setting else None


def parse_unit(text: str) -> KubeletUnit:
    exec_start = ""
    environment: list[tuple[str, str]] = []
    files: list[str] = []
    for line in _joined(text):
        key, separator, value = line.partition("=")
        key, value = key.strip(), value.strip()
        if not separator:
            continue
        if key == "ExecStart":
            exec_start = value
        elif key == "EnvironmentFile":
            files = [*files, value.removeprefix("-")] if value else []
        elif key == "Environment":
            environment = [*environment, *_pairs(value)] if value else []
    return KubeletUnit(exec_start=exec_start, environment=tuple(environment), environment_files=tuple(files))


def _joined(text: str) -> list[str]:
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [line for line in lines if line.strip() and not line.lstrip().startswith(("#", ";", "["))]


def _pairs(value: str) -> list[tuple[str, str]]:
    try:
        words = shlex.split(value)
    except ValueError:
        words = [value]
    return [(word.partition("=")[0], word.partition("=")[2]) for word in words if "=" in word]
