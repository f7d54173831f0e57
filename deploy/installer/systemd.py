"""What the installer asks of systemd, through systemctl."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deploy.installer.commands import Commands, check

_START_S: Final = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitState:
    enabled: bool
    active: bool


class Systemd:
    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def state(self, unit: str) -> UnitState:
        return UnitState(
            enabled=self._commands.run(("systemctl", "is-enabled", "--quiet", unit)).status == 0,
            active=self._commands.run(("systemctl", "is-active", "--quiet", unit)).status == 0,
        )

    def text(self, unit: str) -> str:
        """The unit's file and its drop-ins, in the order in which they count; empty when there is no such unit."""
        done = self._commands.run(("systemctl", "cat", "--no-pager", unit))
        return done.output if done.status == 0 else ""

    def reload(self) -> None:
        check(self._commands, "systemctl", "daemon-reload")

    def enable(self, unit: str) -> None:
        check(self._commands, "systemctl", "enable", "--quiet", unit)

    def disable(self, unit: str) -> None:
        check(self._commands, "systemctl", "disable", "--quiet", unit)

    def start(self, unit: str, *, wait: bool = True) -> None:
        """A Type=notify unit has started when it said READY."""
        self._verb("start", unit, wait)

    def restart(self, unit: str) -> None:
        self._verb("restart", unit, True)

    def stop(self, unit: str) -> None:
        self._verb("stop", unit, True)

    def _verb(self, verb: str, unit: str, wait: bool) -> None:
        check(self._commands, "systemctl", verb, *(() if wait else ("--no-block",)), unit, timeout=_START_S)
