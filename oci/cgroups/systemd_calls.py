"""The few calls to systemd's manager that a container runtime needs. Owns the words on the bus and systemd's errors.

A connection is made for each call: that is a fifth of a millisecond, needs no lock between threads, and a systemd that
has been restarted meanwhile is no case of its own. Root speaks to systemd's own socket, which works without a message
bus; where only the bus is within reach (in a container that was given it), the bus is used.
"""

from __future__ import annotations

import os
import time

from oci.cgroups.systemd_units import Property
from oci.errors import BusError, CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Final

    from oci.cgroups.systemd_bus import Connection

_SERVICE: Final = "org.freedesktop.systemd1"
_PATH: Final = "/org/freedesktop/systemd1"
_MANAGER: Final = f"{_SERVICE}.Manager"
_PROPERTIES: Final = "org.freedesktop.DBus.Properties"
_COLLECTED_WITHIN_S: Final = 5.0
_EXISTS: Final = f"{_SERVICE}.UnitExists"
_NO_SUCH: Final = (f"{_SERVICE}.NoSuchUnit", f"{_SERVICE}.UnitNotLoaded")


def private_socket() -> str:
    if os.geteuid():
        return f"{os.environ.get('XDG_RUNTIME_DIR') or f'/run/user/{os.geteuid()}'}/systemd/private"
    return "/run/systemd/private"


def bus_socket() -> str:
    if os.geteuid():
        return f"{os.environ.get('XDG_RUNTIME_DIR') or f'/run/user/{os.geteuid()}'}/bus"
    return "/run/dbus/system_bus_socket"


def connect() -> Connection:
    from oci.cgroups.systemd_bus import Connection  # with a library that takes 14 ms, for who speaks to systemd only

    private = private_socket()
    if os.path.exists(private):
        return Connection(private, bus=False)
    return Connection(bus_socket(), bus=True)


class Systemd:
    def __init__(self, connect: Callable[[], Connection] = connect) -> None:
        self._connect = connect

    def control_group(self) -> str:
        """Below which cgroup the manager keeps its units: "" for the one that runs the whole host."""
        ((_, value),) = self._run(
            lambda bus: bus.call(_SERVICE, _PATH, _PROPERTIES, "Get", "ss", _MANAGER, "ControlGroup"), "the manager"
        )
        return "" if value == "/" else str(value)

    def start_scope(self, unit: str, pids: Sequence[int], properties: Iterable[Property]) -> bool:
        """With the processes in it when this returns; False when there is such a unit already."""
        wanted = [*properties, ("PIDs", ("au", list(pids)))]
        deadline = time.monotonic() + _COLLECTED_WITHIN_S
        while True:
            try:
                self._job(unit, "StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", wanted, [])
                return True
            except CgroupError as error:
                if not isinstance(error.__cause__, BusError) or error.__cause__.name != _EXISTS:
                    raise
            # One that has just ended is there until systemd comes round to collect it.
            if self._state(unit) in ("active", "activating", "reloading") or time.monotonic() > deadline:
                return False
            time.sleep(0.02)

    def stop(self, unit: str) -> None:
        """Ends the unit; one that systemd does not know any more is fine. What failed before is forgotten too."""
        try:
            self._job(unit, "StopUnit", "ss", unit, "replace")
            self._run(lambda bus: bus.call(_SERVICE, _PATH, _MANAGER, "ResetFailedUnit", "s", unit), unit)
        except CgroupError as error:
            if not _unknown(error):
                raise

    def set_properties(self, unit: str, properties: Sequence[Property]) -> None:
        """Until the unit ends. For one that systemd does not know any more nothing is set."""
        try:
            self._run(
                lambda bus: bus.call(
                    _SERVICE, _PATH, _MANAGER, "SetUnitProperties", "sba(sv)", unit, True, list(properties)
                ),
                unit,
            )
        except CgroupError as error:
            if not _unknown(error):
                raise

    def _state(self, unit: str) -> str:
        """ActiveState; "" for a unit that is not loaded."""

        def ask(bus: Connection) -> tuple[Any, ...]:
            (path,) = bus.call(_SERVICE, _PATH, _MANAGER, "GetUnit", "s", unit)
            return bus.call(_SERVICE, path, _PROPERTIES, "Get", "ss", f"{_SERVICE}.Unit", "ActiveState")

        try:
            ((_, state),) = self._run(ask, unit)
        except CgroupError as error:
            if _unknown(error):
                return ""
            raise
        return str(state)

    def _job(self, unit: str, member: str, signature: str, *body: object) -> None:
        def run(bus: Connection) -> tuple[Any, ...]:
            bus.listen(_MANAGER, "JobRemoved")
            if bus.bus:  # there systemd says nothing unless somebody wants to hear it
                bus.call(_SERVICE, _PATH, _MANAGER, "Subscribe")
            (job,) = bus.call(_SERVICE, _PATH, _MANAGER, member, signature, *body)
            return bus.wait_signal("JobRemoved", lambda values: len(values) > 3 and values[1] == job)

        result = self._run(run, unit)[3]
        if result != "done":
            raise CgroupError(unit, f"systemd's job for it ({member}) ended as {result!r}")

    def _run(self, action: Callable[[Connection], tuple[Any, ...]], what: str) -> tuple[Any, ...]:
        try:
            bus = self._connect()
            try:
                return action(bus)
            finally:
                bus.close()
        except BusError as error:
            raise CgroupError(what, f"systemd: {error}") from error


def _unknown(error: CgroupError) -> bool:
    return isinstance(error.__cause__, BusError) and error.__cause__.name in _NO_SUCH
