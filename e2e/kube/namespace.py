"""The network namespace of the cluster: its own loopback, ports, bridges and packet filter, gone with its last process.

The command line runs itself again below `unshare --net`; everything that it starts is then inside by itself, so nothing
is wrapped. /sys stays as it is: a fresh one would hide the cgroups.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

NODE_ADDRESS: Final = "10.99.0.1"
_MARK: Final = "CORACLE_KUBE_OUTSIDE"
_SET_UP: Final = (
    "ip link set lo up",
    # A dummy interface would do; not every kernel has them.
    "ip link add node0 type veth peer name node0-peer",
    "ip link set node0-peer up",
    f"ip address add {NODE_ADDRESS}/24 dev node0",
    "ip link set node0 up",
    # The kubelet and kube-proxy ask which address the default route has.
    "ip route add default dev node0",
    "sysctl -qw net.ipv4.ip_forward=1",
    "sysctl -qw net.bridge.bridge-nf-call-iptables=1",
)


def inside() -> bool:
    outside = os.environ.get(_MARK)
    return outside is not None and outside != _mine()


def enter(module: str, arguments: Sequence[str], *, mounts: bool = False) -> None:
    """Returns inside the namespace; outside it replaces this process by `python -m module ARGUMENTS` inside.

    With `mounts` there is a mount namespace, too.
    """
    if inside():
        return
    if os.geteuid() != 0:
        sys.exit("a Kubernetes node needs root")
    os.environ[_MARK] = _mine()
    kinds = ["--net", *(["--mount"] if mounts else [])]
    os.execvp("unshare", ["unshare", *kinds, "--", sys.executable, "-m", module, *arguments])


def furnish() -> None:
    """Gives the empty namespace the node's address; once."""
    for command in _SET_UP:
        subprocess.run(command.split(), check=True)


def _mine() -> str:
    return os.readlink("/proc/self/ns/net")
