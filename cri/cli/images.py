"""`coracle images`: what has been pulled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from cri.cli.options import ADDRESS_KEYS, read_settings, settings_options


@click.command("images")
@settings_options(ADDRESS_KEYS)
def command(config_file: Path | None, **options: Sequence[str]) -> None:
    """List the images on this node."""
    from cri.api import runtime_pb2 as api
    from cri.api.runtime_pb2_grpc import ImageServiceStub
    from cri.cli.client import QUICK_S, connected
    from cri.cli.tables import short_id, show, size

    settings = read_settings(config_file, **options)
    with connected(settings) as channel:
        answer = ImageServiceStub(channel).ListImages(api.ListImagesRequest(), timeout=QUICK_S)
    rows = [
        (name, short_id(image.id), size(image.size), "yes" if image.pinned else "")
        for image in answer.images
        for name in (*image.repo_tags, *(() if image.repo_tags else image.repo_digests))
    ]
    show(("IMAGE", "ID", "SIZE", "PINNED"), sorted(rows))
