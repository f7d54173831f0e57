"""The daemon's settings from the chart, as a drop-in. A main file that an administrator wrote is never touched."""

from __future__ import annotations

import posixpath
import tomllib
from collections.abc import Iterator

from deploy.installer import names
from deploy.installer.context import Context
from deploy.installer.effects import Effect, MakeDirectory, WriteFile
from deploy.installer.errors import Refused
from deploy.installer.stages.directories import missing_directories
from deploy.installer.stages.stage import EffectStage


class Configuration(EffectStage):
    name = "configuration"

    def check(self, context: Context) -> None:
        try:
            tomllib.loads(_text(context))
        except tomllib.TOMLDecodeError as error:
            raise Refused(f"the configuration {context.config} is no TOML: {error}")

    def effects(self, context: Context) -> Iterator[Effect]:
        for path in missing_directories(context.host, posixpath.dirname(names.CONFIG_DROP_IN)):
            yield MakeDirectory(path=path)
        yield WriteFile(path=names.CONFIG_DROP_IN, content=_text(context).encode())


def _text(context: Context) -> str:
    head = "# Written by coracle-installer; an upgrade writes it anew. Later names in this directory win over it.\n"
    return head + (context.config.read_text() if context.config else "")
