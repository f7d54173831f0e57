"""Our own service beside the CRI on the same socket (`cri/api/coracle.proto`): one file per call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from cri.coracle_service.check import check
from cri.coracle_service.watch_pulls import watch_pulls
from cri.rpc import Handler

if TYPE_CHECKING:
    from cri.daemon import Daemon

HANDLERS: Final[Mapping[str, Handler[Daemon]]] = {"WatchPulls": watch_pulls, "Check": check}
