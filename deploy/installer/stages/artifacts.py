"""One build of Coracle below /opt/coracle/<version>, and the link `current` to it.

Builds lie beside each other; only the link moves at an upgrade.
"""

from __future__ import annotations

from collections.abc import Iterator

from deploy.installer import names
from deploy.installer.context import Context
from deploy.installer.effects import CopyTree, Effect, Link, MakeDirectory
from deploy.installer.errors import Refused
from deploy.installer.journal import Kind
from deploy.installer.payload import Payload
from deploy.installer.stages.directories import missing_directories
from deploy.installer.stages.stage import EffectStage


class Artifacts(EffectStage):
    name = "artifacts"

    def check(self, context: Context) -> None:
        payload = _payload(context)
        path = _place(payload)
        record = context.journal.latest(Kind.TREE, path)
        if record is not None and record.after != payload.identity and context.host.exists(path):
            raise Refused(
                f"{path} holds another build of version {payload.version}",
                "uninstall that one first, or give this build a version of its own",
            )

    def effects(self, context: Context) -> Iterator[Effect]:
        payload = _payload(context)
        for path in missing_directories(context.host, names.INSTALL_ROOT):
            yield MakeDirectory(path=path)
        yield CopyTree(path=_place(payload), source=payload.directory, identity=payload.identity)
        yield Link(path=names.CURRENT, target=payload.version)


def _payload(context: Context) -> Payload:
    if context.payload is None:
        raise Refused("there is nothing to install", "give --payload")
    return context.payload


def _place(payload: Payload) -> str:
    return f"{names.INSTALL_ROOT}/{payload.version}"
