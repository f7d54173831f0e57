"""Addresses and host ports that no pod has are given back: when the daemon starts, and once more soon after.

At the start what is younger than `YOUNG_SECONDS` has to stay: it may belong to a pod that another daemon on the same
bridge is making, or to one that a daemon killed just now was making. The second round knows.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from cni.errors import CniError
from cni.values import YOUNG_SECONDS
from cri.pod_network import attachment

if TYPE_CHECKING:
    from cri.daemon import Daemon

_log = logging.getLogger(__name__)


async def release(daemon: Daemon) -> None:
    try:
        await daemon.networks.gc([attachment(record) for record in daemon.sandboxes])
    except CniError as error:  # a plugin's trouble with pods long gone keeps nobody from running new ones
        _log.warning("addresses of pods that are gone could not all be given back: %s", error)


async def release_once_more(daemon: Daemon) -> None:
    await asyncio.sleep(YOUNG_SECONDS + 1)
    await release(daemon)
