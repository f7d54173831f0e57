"""The daemon's unit, enabled and running; and the proof that it answers on its socket.

The unit is the one that packages ship; a drop-in says where the program lies.
"""

from __future__ import annotations

import posixpath
import tomllib
from collections.abc import Iterator
from typing import Final

from deploy.installer import names
from deploy.installer.cluster.node import NodeState
from deploy.installer.context import Context
from deploy.installer.effects import Effect, MakeDirectory, Own, Run, WriteFile
from deploy.installer.errors import NotVerified
from deploy.installer.host import digest
from deploy.installer.journal import Kind, Phase
from deploy.installer.stages.directories import missing_directories
from deploy.installer.stages.stage import EffectStage

PROGRAM: Final = f"{names.CURRENT}/bin/coracle"
_DROP_IN: Final = (
    f"# Written by coracle-installer.\n[Service]\nExecStart=\nExecStart={PROGRAM} serve $CORACLE_FLAGS\n"
).encode()
_CLEAR_S: Final = 600.0
_BRIDGE: Final = "coracle0"
_NOT_THERE: Final = ("Cannot find device", "can't find device", "No such file or directory")


class Unit(EffectStage):
    name = "unit"

    def effects(self, context: Context) -> Iterator[Effect]:
        assert context.payload is not None  # the artifacts' check came before
        unit = context.payload.unit
        yield WriteFile(path=f"{names.UNIT_DIRECTORY}/{names.UNIT}", content=unit, unit=True)
        for path in missing_directories(context.host, posixpath.dirname(names.UNIT_DROP_IN)):
            yield MakeDirectory(path=path)
        yield WriteFile(path=names.UNIT_DROP_IN, content=_DROP_IN, unit=True)
        yield Own(path=names.DATA)
        yield Own(path="/run/coracle")
        for path in missing_directories(context.host, names.ADDRESSES):
            yield MakeDirectory(path=path)
        yield Own(path=f"{names.ADDRESSES}/{_bridge(context)}")
        config = context.host.read(names.CONFIG_DROP_IN) or b""
        yield Run(path=names.UNIT, fingerprint=digest(unit + _DROP_IN + config + context.payload.identity.encode()))

    def apply(self, context: Context) -> bool:
        done = super().apply(context)
        answering(context)
        if context.node is not None and context.node.state() is NodeState.INSTALLING:
            context.node.set_state(NodeState.INSTALLED)
        return done

    def undo(self, context: Context) -> list[str]:
        records = context.journal.standing(self.name)
        reports = []
        ours = any(record.path == names.UNIT and not record.before.active for record in records)
        if ours and context.systemd.state(names.UNIT).active:
            cleared = context.commands.run((PROGRAM, "clear"), _CLEAR_S)
            if cleared.status:
                reports.append(f"pods of the daemon could not be removed: {cleared.output.strip()}")
            context.systemd.stop(names.UNIT)
        if ours:
            if context.systemd.state(names.SLICE).active:  # systemd made it for pods without a parent, and keeps it
                context.systemd.stop(names.SLICE)
            reports += _remove_network(context)
        if not context.purge:
            for record in records:
                if record.kind is Kind.OWNED and record.path == names.DATA:
                    context.journal.mark(record, Phase.UNDONE)
            reports.append(f"{names.DATA} stays, as was asked")
        return reports + super().undo(context)


def _remove_network(context: Context) -> list[str]:
    """What the built-in network keeps while there is a daemon. A node that has another one has neither of these."""
    bridge, reports = _bridge(context), []
    for argv in (("ip", "link", "delete", bridge), ("nft", "delete", "table", "inet", f"coracle-{bridge}")):
        done = context.commands.run(argv, 30)
        if done.status and not any(word in done.output for word in _NOT_THERE):
            reports.append(f"{' '.join(argv)}: {done.output.strip() or done.status}; a reboot removes it")
    return reports


def _bridge(context: Context) -> str:
    """The built-in network's, and its name."""
    settings = tomllib.loads(context.host.text(names.CONFIG_DROP_IN))
    return str(settings.get("network", {}).get("bridge", "") or _BRIDGE)


def answering(context: Context) -> str:
    """What the daemon says of itself. Raises NotVerified when it does not answer."""
    done = context.commands.run((PROGRAM, "status"), 60)
    first = done.output.splitlines()[0] if done.output.splitlines() else ""
    if not first.startswith("coracle ") or " at " not in first:
        raise NotVerified(f"{names.UNIT} is started but does not answer: {done.output.strip() or 'no word'}")
    return first
