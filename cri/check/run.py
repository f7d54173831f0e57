"""The check as a whole: parts in order, a second look at what may have been in motion, repairs where wanted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final

from cri.check.faults import Fault, Looking, Verdict
from cri.check.images import images
from cri.check.leftovers import leftovers
from cri.check.pods import pods

if TYPE_CHECKING:
    from cri.daemon import Daemon

#: What is being made or removed has its record and its things in step by then.
SETTLE_S: Final = 2.0

_log = logging.getLogger("cri.check")


async def check(daemon: Daemon, *, repair: bool, layers: bool) -> AsyncIterator[Looking | Verdict]:
    """Everything, or without the layers' contents. A repair that fails is part of the verdict, not an error."""
    for part, look in (("pods", pods), ("leftovers", leftovers)):
        yield Looking(part=part, done=0, total=1)
        found = await look(daemon)
        if found:
            await asyncio.sleep(SETTLE_S)
            again = await look(daemon)
            found = [fault for fault in again if fault in found]
        for fault in found:
            yield await _settle(fault, repair)
        yield Looking(part=part, done=1, total=1)
    if layers:
        async for each in images(daemon):
            yield each if isinstance(each, Looking) else await _settle(each, repair)


async def _settle(fault: Fault, repair: bool) -> Verdict:
    _log.warning("%s: %s", fault.subject, fault.problem)
    if not repair or fault.repair is None:
        return Verdict(fault=fault)
    try:
        await fault.repair()
    except Exception as error:
        _log.warning("%s could not be repaired: %s", fault.subject, error)
        return Verdict(fault=fault, failure=str(error) or type(error).__name__)
    _log.info("%s was repaired", fault.subject)
    return Verdict(fault=fault, repaired=True)
