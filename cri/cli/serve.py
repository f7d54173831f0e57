"""`coracle serve`: the daemon in the foreground."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import click

from cri.cli.messages import fail
from cri.cli.options import flag_texts, settings_options
from cri.config import ConfigError, Settings, load_settings


@click.command("serve")
@settings_options()
def command(config_file: Path | None, **options: Sequence[str]) -> None:
    """Serve the CRI in the foreground.

    Containers run on when the daemon stops, and are found again when it starts.
    """
    texts = flag_texts(options)

    def read() -> Settings:
        """With the variables and files that there are now. Raises ConfigError."""
        return load_settings(config_file, os.environ, texts)

    try:
        settings = read()
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
        asyncio.run(serve(settings, application(), log, reload=read))
    except (CriError, OciError, CniError, ImageError, OSError) as error:
        log.close()
        fail(str(error))
    finally:
        log.close()
