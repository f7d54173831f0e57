"""What an operator wants to know of a node at one glance: each question with its answer and whether it is as it should.

Changes nothing and needs no lock.
"""

from __future__ import annotations

from dataclasses import dataclass

from deploy.installer import names
from deploy.installer.context import Context
from deploy.installer.errors import InstallError
from deploy.installer.host import digest
from deploy.installer.journal import Kind, Phase
from deploy.installer.stages.permission import this_kubelet
from deploy.installer.stages.unit import answering
from deploy.installer.switching.state import SwitchState, read_switch


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    question: str
    answer: str
    good: bool


def findings(context: Context) -> list[Finding]:
    found = [_record(context), *_files(context), _unit(context)]
    switch = read_switch(context.journal)
    if switch is not None:
        found.append(
            Finding(
                question="switch",
                answer=f"{switch.state.value}{f': {switch.reason}' if switch.reason else ''}",
                good=switch.state in (SwitchState.COMMITTED, SwitchState.REVERTED),
            )
        )
    found.append(_kubelet(context, switched=switch is not None and switch.state is SwitchState.COMMITTED))
    if context.node is not None:
        found += _node(context, switched=switch is not None and switch.state is SwitchState.COMMITTED)
    return found


def _record(context: Context) -> Finding:
    records = context.journal.standing()
    open_steps = [record for record in records if record.phase is Phase.INTENDED]
    if not records:
        return Finding(question="record", answer="nothing is installed here", good=False)
    if open_steps:
        return Finding(
            question="record", answer=f"interrupted at {open_steps[-1].stage}: {open_steps[-1].path}", good=False
        )
    return Finding(question="record", answer=f"{len(records)} steps, all done", good=True)


def _files(context: Context) -> list[Finding]:
    latest = {
        record.path: record for record in context.journal.standing() if record.kind in (Kind.FILE, Kind.UNIT_FILE)
    }
    changed = [path for path, record in latest.items() if digest(context.host.read(path) or b"") != record.after]
    return [Finding(question="file", answer=f"{path} is not as it was written", good=False) for path in sorted(changed)]


def _unit(context: Context) -> Finding:
    try:
        return Finding(question="daemon", answer=answering(context), good=True)
    except InstallError as error:
        return Finding(question="daemon", answer=str(error), good=False)


def _kubelet(context: Context, *, switched: bool) -> Finding:
    try:
        endpoint = this_kubelet(context).endpoint
    except InstallError as error:
        return Finding(question="kubelet", answer=str(error), good=not switched)
    return Finding(question="kubelet", answer=f"uses {endpoint}", good=(endpoint == names.ENDPOINT) is switched)


def _node(context: Context, *, switched: bool) -> list[Finding]:
    node = context.node
    assert node is not None  # the caller asked
    runtime, state = node.runtime_version(), node.state()
    return [
        Finding(question="node's runtime", answer=runtime, good=runtime.startswith(names.RUNTIME_PREFIX) is switched),
        Finding(question="node", answer="Ready" if node.is_ready() else "not Ready", good=node.is_ready()),
        Finding(question="label", answer=state.value if state else "none", good=state is not None),
    ]
