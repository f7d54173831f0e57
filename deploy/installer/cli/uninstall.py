"""`coracle-installer uninstall`: what the record says, undone."""

from __future__ import annotations

from typing import Final

import click

from deploy.installer.cli.options import (
    Place,
    fail,
    open_context,
    place_options,
    plan_option,
    report,
    show_plan,
    stay_option,
)
from deploy.installer.context import SwitchSettings

_PATIENCE_S: Final = 3600


@click.command("uninstall")
@place_options
@plan_option
@stay_option
@click.option("--keep-data", is_flag=True, help="Leave the daemon's images and state where they are.")
@click.option("--drain/--no-drain", default=False, help="Evict the node's pods before the kubelet is switched back.")
def command(place: Place, plan: bool, stay: str | None, keep_data: bool, drain: bool) -> None:
    """Give the kubelet its former runtime back, and remove everything that was installed.

    Undoes what the record on the host says, and nothing else.
    """
    from deploy.installer import install
    from deploy.installer.cli.staying import stay_at
    from deploy.installer.follow import follow
    from deploy.installer.switching.state import SwitchState

    context = open_context(place, purge=not keep_data, switch=SwitchSettings(drain=drain))
    if plan:
        show_plan(install.plan(context, "uninstall"))
        return
    # Twice where a switch was still under way: it is waited for, then reverted.
    while install.revert(context, report) not in (None, *install.ENDED_BACK):
        if follow(context, _PATIENCE_S) is SwitchState.STUCK:
            fail("the former runtime did not come back: see journalctl -u coracle-rollback.service")
    for line in install.remove(context, report):
        report("note", line)
    report("uninstall", "done")
    if stay:
        stay_at(stay, place)
