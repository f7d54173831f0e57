"""`coracle serve`: the daemon in the foreground."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from cri.cli.options import fail, load, read_settings, settings_options


@click.command("serve")
@settings_options()
def command(config_file: Path | None, **options: Sequence[str]) -> None:
    """Serve the CRI in the foreground.

    Containers run on when the daemon stops, and are found again when it starts.
    """
    settings = read_settings(config_file, **options)

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
        asyncio.run(serve(settings, application(), log, reload=lambda: load(config_file, **options)))
    except (CriError, OciError, CniError, ImageError, OSError) as error:
        log.close()
        fail(str(error))
    finally:
        log.close()
