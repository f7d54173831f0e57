"""What a kind node has to have besides the bundle: files, links and names that are hidden. Values, nothing is written.

A kind node is a machine to its kubelet: systemd starts containerd and the kubelet, kubeadm is told the CRI socket by
the cluster's configuration. Three of its files name containerd; these replace them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SOCKET: Final = "/run/coracle/coracle.sock"
INSTALL_ROOT: Final = "/opt/coracle"

_CRICTL: Final = f"""\
runtime-endpoint: unix://{SOCKET}
image-endpoint: unix://{SOCKET}
timeout: 10
"""

# The daemon's own cgroup is what the kubelet reports as the runtime's.
_KUBELET: Final = "KUBELET_EXTRA_ARGS=--runtime-cgroups=/system.slice/coracle.service\n"

_UNIT_DROP_IN: Final = f"""\
# Modules are the affair of the machine below.
[Service]
ExecStartPre=
ExecStart=
ExecStart={INSTALL_ROOT}/current/bin/coracle serve $CORACLE_FLAGS
"""

# The node's network is kindnet, which writes its configuration when its own pod runs: until then the node has none.
_CONFIG: Final = """\
[network]
builtin = "never"
"""

FILES: Final[Mapping[str, str]] = {
    "etc/crictl.yaml": _CRICTL,
    "etc/default/kubelet": _KUBELET,
    "etc/coracle/coracle.toml.d/10-kind.toml": _CONFIG,
    "etc/systemd/system/coracle.service.d/10-kind.conf": _UNIT_DROP_IN,
}

LINKS: Final[Mapping[str, str]] = {
    "etc/systemd/system/multi-user.target.wants/coracle.service": "/etc/systemd/system/coracle.service",
    # Masked rather than removed: its program still serves to read what the image was built with.
    "etc/systemd/system/containerd.service": "/dev/null",
    "usr/local/bin/coracle": f"{INSTALL_ROOT}/current/bin/coracle",
    "usr/local/bin/coracle-oci": f"{INSTALL_ROOT}/current/bin/coracle-oci",
}

HIDDEN: Final = ("etc/systemd/system/multi-user.target.wants/containerd.service",)
