"""`coracle-installer host-switch` and `host-rollback`: what the host's units run. No cluster, no kubernetes client."""

from __future__ import annotations

import sys

import click

from deploy.installer.cli.options import Place, open_context, place_options


@click.command("host-switch", hidden=True)
@place_options
def host_switch(place: Place) -> None:
    """Switch the kubelet, and roll back when that fails."""
    from deploy.installer.switching import agent
    from deploy.installer.switching.state import SwitchState
    from deploy.installer.switching.units import DECIDED

    ended = agent.switch(open_context(place, with_node=False))
    click.echo(f"the switch is {ended.value if ended else 'not asked for'}")
    if ended is not SwitchState.COMMITTED:
        sys.exit(DECIDED)


@click.command("host-rollback", hidden=True)
@place_options
def host_rollback(place: Place) -> None:
    """Roll back a switch that has not ended, or one that shall be reverted."""
    from deploy.installer.switching import agent
    from deploy.installer.switching.state import SwitchState
    from deploy.installer.switching.units import DECIDED

    ended = agent.roll_back(open_context(place, with_node=False))
    click.echo(f"the switch is {ended.value if ended else 'not asked for'}")
    if ended is SwitchState.STUCK:
        sys.exit(DECIDED)
