"""`coracle info`: everything that the daemon tells about itself, as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from cri.cli.options import ADDRESS_KEYS, read_settings, settings_options


@click.command("info")
@settings_options(ADDRESS_KEYS)
def command(config_file: Path | None, **options: Sequence[str]) -> None:
    """Print the daemon's versions, conditions, runtime handlers and settings as JSON."""
    from google.protobuf.json_format import MessageToDict

    from cri.api import runtime_pb2 as api
    from cri.api.runtime_pb2_grpc import RuntimeServiceStub
    from cri.cli.client import QUICK_S, connected

    settings = read_settings(config_file, **options)
    with connected(settings) as channel:
        stub = RuntimeServiceStub(channel)
        version = stub.Version(api.VersionRequest(), timeout=QUICK_S)
        answer = stub.Status(api.StatusRequest(verbose=True), timeout=QUICK_S)
    told = {
        "version": MessageToDict(version),
        "conditions": [MessageToDict(one) for one in answer.status.conditions],
        "runtimeHandlers": [MessageToDict(one) for one in answer.runtime_handlers],
        "features": MessageToDict(answer.features),
        **{name: json.loads(text) if text.startswith("{") else text for name, text in answer.info.items()},
    }
    click.echo(json.dumps(told, indent=2))
