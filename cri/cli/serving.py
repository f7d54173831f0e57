"""The daemon in the foreground, from flags that are nothing but a key of the settings and its value."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from cri.cli.messages import fail
from cri.config import KEYS, ConfigError, Settings, load_settings
from oci.values import frozen


@frozen
class Flags:
    """`texts` has what was given for each key's flag."""

    config: Path | None
    texts: Mapping[str, Sequence[str]]

    def settings(self) -> Settings:
        """With the variables and files that there are now. Raises ConfigError."""
        return load_settings(self.config, os.environ, self.texts)


def plain(arguments: Sequence[str]) -> Flags | None:
    """None for a command line with anything else in it: help is asked for, or it is wrong."""
    texts: dict[str, list[str]] = {flag: [] for flag in ("--config", *(key.flag for key in KEYS))}
    words = iter(arguments)
    for word in words:
        flag, equals, text = word.partition("=")
        if flag not in texts:
            return None
        value = text if equals else next(words, None)
        if value is None:
            return None
        texts[flag].append(value)
    config = texts.pop("--config")
    return Flags(config=Path(config[-1]) if config else None, texts=texts)


def run(flags: Flags) -> None:
    """Until it is told to stop. Ends the program with a message where it cannot serve."""
    try:
        settings = flags.settings()
    except ConfigError as error:
        fail(str(error))

    from cri.host_check import look, missing

    if problems := list(missing(look(settings))):
        fail(*problems)

    import asyncio

    from cni.errors import CniError
    from cri.errors import CriError
    from cri.log_lines import Log
    from cri.server import serve
    from cri.services import application
    from imagesvc.errors import ImageError
    from oci.errors import OciError

    log = Log(settings.log_level, settings.log_format)
    try:
        asyncio.run(serve(settings, application(), log, reload=flags.settings))
    except (CriError, OciError, CniError, ImageError, OSError) as error:
        log.close()
        fail(str(error))
    finally:
        log.close()
