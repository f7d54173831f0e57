"""Is the node Ready with the runtime that it should have? Asked until it is, or the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from deploy.installer import names
from deploy.installer.cluster.kubeconfig import NodeReport, Unreadable, read_credentials, read_node
from deploy.installer.errors import NotVerified
from deploy.installer.health import Look
from deploy.installer.host import Host
from deploy.installer.switching.state import Request
from deploy.installer.systemd import Systemd

_PAUSE_S: Final = 2.0


def problem_with(report: NodeReport, prefix: str, since: str) -> str:
    """`since` is the heartbeat from before the kubelet started: an older one says nothing of it."""
    if not report.runtime.startswith(prefix):
        return f"the node shows {report.runtime or 'no runtime'}, not {prefix}"
    if since and report.heartbeat == since:
        return "the kubelet has not reported since it was started"
    return "" if report.ready else "the node is not Ready"


def node_look(host: Host, request: Request, prefix: str) -> Look:
    """Raises Unreadable when the kubelet's credentials cannot be used from here."""
    credentials = read_credentials(host, request.kubeconfig)
    try:
        since = read_node(credentials, request.node).heartbeat
    except Unreadable:
        since = ""  # the server may come back with this very kubelet: a control-plane node

    def look() -> str:
        try:
            return problem_with(read_node(credentials, request.node), prefix, since)
        except Unreadable as error:
            return str(error)

    return look


def health_look(systemd: Systemd, healthz: Look) -> Look:
    """The kubelet's own word, for a node whose server cannot be asked."""

    def look() -> str:
        if not systemd.state(names.KUBELET_UNIT).active:
            return f"{names.KUBELET_UNIT} is not active"
        return healthz()

    return look


def wait_until(
    look: Look,
    seconds: float,
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Raises NotVerified with what was wrong last."""
    deadline = now() + seconds
    while problem := look():
        if now() >= deadline:
            raise NotVerified(f"{problem}, after {seconds:g} s")
        sleep(_PAUSE_S)
