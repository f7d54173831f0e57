"""`coracle-installer switch`: install, then have the host give the kubelet this runtime, and show how it ended."""

from __future__ import annotations

import sys
from typing import Final

import click

from deploy.installer import install
from deploy.installer.cli.installing import Order, install_daemon, order_options
from deploy.installer.cli.options import report
from deploy.installer.cli.staying import stay_at, wait_for_mark
from deploy.installer.context import SwitchSettings
from deploy.installer.follow import follow
from deploy.installer.stages.permission import NotAsked
from deploy.installer.switching.state import SwitchState

_MARGIN_S: Final = 3600


@click.command("switch")
@order_options
@click.option("--any-node", is_flag=True, help="Switch although nobody labelled the node coracle.io/switch=true.")
@click.option("--allow-control-plane", is_flag=True, help="Switch a node of the control plane, too: its pods stop.")
@click.option("--drain/--no-drain", default=False, help="Evict the node's pods first.")
@click.option("--drain-timeout", type=click.IntRange(1), default=300, show_default=True, metavar="SECONDS")
@click.option(
    "--ready-timeout",
    type=click.IntRange(1),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="How long the node may take to be Ready again before the host rolls back.",
)
@click.option("--image", "images", multiple=True, help="Pull this image before the kubelet stops; repeatable.")
@click.option("--attempt", default="1", show_default=True, help="Another one tries again what was rolled back here.")
def command(
    order: Order,
    any_node: bool,
    allow_control_plane: bool,
    drain: bool,
    drain_timeout: int,
    ready_timeout: int,
    images: tuple[str, ...],
    attempt: str,
) -> None:
    """Install, and re-point the kubelet to this runtime. All pods of the node start anew.

    The work is done by coracle-switch.service on the host, which rolls back when the node is not Ready in time.
    """
    settings = SwitchSettings(
        any_node=any_node,
        allow_control_plane=allow_control_plane,
        drain=drain,
        drain_timeout_s=drain_timeout,
        attempt=attempt,
        ready_timeout_s=ready_timeout,
        images=images,
    )
    context = install_daemon(order, "switch", settings)
    if context is None:
        return
    try:
        install.switch(context, report)
    except NotAsked as error:
        if not order.stay:
            raise
        report("permission", str(error))
        wait_for_mark(order.stay, order.place)
        return
    except install.RolledBackBefore as error:
        if not order.stay:
            raise
        report("switch", str(error))
    ended = follow(context, ready_timeout * 2 + _MARGIN_S)
    install.finish(context, report)
    if order.stay:
        stay_at(order.stay, order.place)
    elif ended is not SwitchState.COMMITTED:
        sys.exit(1)
