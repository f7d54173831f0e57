"""lo of a pod: brought up in process, whichever network serves the pod (the `loopback` plugin's whole work)."""

from __future__ import annotations

from cni.builtin import rtnetlink
from cni.builtin.namespace import open_namespace, socket_inside
from oci.syscalls import closing


def loopback_up(netns_path: str) -> None:
    netns_fd = open_namespace(netns_path)
    with closing(netns_fd), socket_inside(netns_fd, netns_path) as inside:
        inside.transact([rtnetlink.set_loopback_up()])
