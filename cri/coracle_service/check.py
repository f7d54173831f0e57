"""Check: `cri.check` as a call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from cri.api import coracle_pb2 as own
from cri.check import run
from cri.check.faults import Looking, Verdict
from cri.rpc import Call

if TYPE_CHECKING:
    from cri.daemon import Daemon


async def check(daemon: Daemon, request: own.CheckRequest, call: Call) -> AsyncIterator[own.CheckResponse]:
    async for each in run.check(daemon, repair=request.repair, layers=not request.skip_layers):
        yield _progress(each) if isinstance(each, Looking) else _finding(each)


def _progress(looking: Looking) -> own.CheckResponse:
    progress = own.CheckProgress(part=looking.part, done=looking.done, total=looking.total)
    return own.CheckResponse(progress=progress)


def _finding(verdict: Verdict) -> own.CheckResponse:
    fault = verdict.fault
    finding = own.Finding(
        subject=fault.subject,
        problem=fault.problem,
        remedy=fault.remedy,
        repairable=fault.repair is not None,
        repaired=verdict.repaired,
        failure=verdict.failure,
    )
    return own.CheckResponse(finding=finding)
