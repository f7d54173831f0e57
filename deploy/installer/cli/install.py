"""`coracle-installer install`: the daemon on this node, the kubelet left alone."""

from __future__ import annotations

import click

from deploy.installer.cli.installing import Order, install_daemon, order_options
from deploy.installer.cli.options import report
from deploy.installer.cli.staying import stay_at


@click.command("install")
@order_options
def command(order: Order) -> None:
    """Install the daemon and start it. The kubelet is left alone."""
    if install_daemon(order, "install") is None:
        return
    report("install", "done")
    if order.stay:
        stay_at(order.stay, order.place)
