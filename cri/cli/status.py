"""`coracle status`: whether the daemon can take pods."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from cri.cli.options import ADDRESS_KEYS, read_settings, settings_options


@click.command("status")
@settings_options(ADDRESS_KEYS)
def command(config_file: Path | None, **options: Sequence[str]) -> None:
    """Show whether the daemon can take pods.

    The exit code is 0 when it can, else 1.
    """
    from cri.api import runtime_pb2 as api
    from cri.api.runtime_pb2_grpc import RuntimeServiceStub
    from cri.cli.client import QUICK_S, connected
    from cri.cli.tables import show

    settings = read_settings(config_file, **options)
    with connected(settings) as channel:
        stub = RuntimeServiceStub(channel)
        version = stub.Version(api.VersionRequest(), timeout=QUICK_S)
        answer = stub.Status(api.StatusRequest(), timeout=QUICK_S)
    click.echo(f"{version.runtime_name} {version.runtime_version} at {settings.listen}")
    conditions = answer.status.conditions
    show(
        ("CONDITION", "STATUS", "REASON", "MESSAGE"),
        [(one.type, "yes" if one.status else "no", one.reason, one.message) for one in conditions],
    )
    if not all(one.status for one in conditions):
        sys.exit(1)
