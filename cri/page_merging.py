"""Kernel same-page merging on this host: turned on for the shims' sake where it is off, and off again afterwards.

Shims offer their memory to it (`oci.merging`); nothing else of Coracle does, and containers never do. KSM only looks at
memory that was offered, so on a host where nobody else uses it, turning it on concerns the shims alone. It is never
turned off under somebody who had it on, nor while pods run.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

SWITCH: Final = Path("/sys/kernel/mm/ksm/run")
_ON: Final = "1"
_OFF: Final = "0"

_log: Final = logging.getLogger(__name__)


class PageMerging:
    def __init__(self, marker: Path, switch: Path = SWITCH) -> None:
        """`marker` is a file that stands while merging is on because of us: a daemon that was killed left it."""
        self._marker = marker
        self._switch = switch

    def turn_on(self) -> None:
        """A kernel without KSM, or a read-only /sys, costs memory and nothing else: it is said, once."""
        try:
            if self._switch.read_text().strip() == _OFF:
                self._marker.touch()
                self._switch.write_text(_ON)
                _log.info("kernel same-page merging turned on: shims share equal pages (runtime.merge_memory)")
        except OSError as error:
            _log.info("shims cannot share equal pages: %s: %s", self._switch, error.strerror)

    def turn_off(self) -> None:
        """Undo `turn_on`, if it was us who did it."""
        if self._marker.exists():
            self._switch.write_text(_OFF)
            self._marker.unlink()
