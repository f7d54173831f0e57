"""`coracle-installer install`: the daemon on this node, the kubelet left alone."""

from __future__ import annotations

from pathlib import Path

import click

from deploy.installer.cli.options import (
    Place,
    config_option,
    open_context,
    payload_option,
    place_options,
    plan_option,
    report,
    show_plan,
    stay_option,
)


@click.command("install")
@place_options
@payload_option
@config_option
@plan_option
@stay_option
def command(place: Place, payload: Path, config: Path | None, plan: bool, stay: str | None) -> None:
    """Install the daemon and start it. The kubelet is left alone."""
    from deploy.installer import install
    from deploy.installer.cli.staying import stay_at

    context = open_context(place, payload=payload, config=config)
    if plan:
        show_plan(install.plan(context, "install"))
        return
    install.install(context, report)
    report("install", "done")
    if stay:
        stay_at(stay, place)
