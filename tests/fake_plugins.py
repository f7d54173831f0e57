"""Plugins as small shell scripts that write each call down: `<order>-<plugin>-<verb>` holds environment and stdin."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RESULT = {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": "/x"}], "ips": [
    {"address": "10.1.0.2/16", "gateway": "10.1.0.1", "interface": 0}]}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    plugin: str
    verb: str
    environment: Mapping[str, str]
    stdin: Mapping[str, object]


class FakePlugins:
    def __init__(self, directory: Path) -> None:
        self.bin = directory / "bin"
        self._log = directory / "calls"
        for made in (self.bin, self._log):
            made.mkdir(parents=True, exist_ok=True)

    def add(self, name: str, **scripts: str) -> None:
        """A plugin that answers ADD with `RESULT`, else is silent; `scripts` replace what it does for a verb."""
        cases = {"ADD": f"echo '{json.dumps(RESULT)}'"} | scripts
        lines = [f"{verb}) {script} ;;" for verb, script in cases.items()]
        path = self.bin / name
        path.write_text(
            f"#!/bin/sh\nn=$(ls {self._log} | wc -l)\nf={self._log}/$(printf %04d $n)-{name}-$CNI_COMMAND\n"
            f"{{ env | grep ^CNI_; echo; cat; }} > $f\ncase $CNI_COMMAND in\n" + "\n".join(lines) + "\nesac\n"
        )
        path.chmod(0o755)

    def calls(self) -> list[Call]:
        return [self._read(path) for path in sorted(self._log.iterdir())]

    def verbs(self) -> list[tuple[str, str]]:
        return [(call.plugin, call.verb) for call in self.calls()]

    def forget(self) -> None:
        for path in self._log.iterdir():
            path.unlink()

    def _read(self, path: Path) -> Call:
        head, _, stdin = path.read_text().partition("\n\n")
        environment = dict(line.split("=", 1) for line in head.splitlines())
        _, plugin, verb = path.name.split("-")
        return Call(plugin, verb, environment, json.loads(stdin))


def failing(message: str, code: int = 11, details: str = "") -> str:
    error = {"cniVersion": "1.1.0", "code": code, "msg": message, "details": details}
    return f"echo '{json.dumps(error)}'; exit 1"


def conflist(*plugins: str, version: str = "1.1.0", name: str = "net") -> str:
    listed = [{"type": plugin, "capabilities": {"portMappings": True}} for plugin in plugins]
    return json.dumps({"cniVersion": version, "name": name, "plugins": listed})
