"""Every path, unit and label that the installer knows by name. Paths are the host's own, without a mounted root."""

from __future__ import annotations

from typing import Final

# -- files of the node ----------------------------------------------------------------------------------------------

INSTALL_ROOT: Final = "/opt/coracle"
CURRENT: Final = f"{INSTALL_ROOT}/current"
CONFIG_DROP_IN: Final = "/etc/coracle/coracle.toml.d/50-installer.toml"
CRICTL_CONFIG: Final = "/etc/crictl.yaml"
UNIT_DIRECTORY: Final = "/etc/systemd/system"
DATA: Final = "/var/lib/coracle"
ADDRESSES: Final = "/var/lib/cni/networks"
"""Where every host-local keeps the addresses that it gave away, by the network's name."""
SOCKET: Final = "/run/coracle/coracle.sock"
ENDPOINT: Final = f"unix://{SOCKET}"

# -- the record -----------------------------------------------------------------------------------------------------

RECORD: Final = "/var/lib/coracle-deploy"
JOURNAL: Final = f"{RECORD}/journal"
SAVED: Final = f"{RECORD}/saved"
LOCK: Final = f"{RECORD}/lock"
ROLLBACK_SCRIPT: Final = f"{RECORD}/rollback.sh"

# -- units ----------------------------------------------------------------------------------------------------------

UNIT: Final = "coracle.service"
SLICE: Final = "coracle.slice"
UNIT_DROP_IN: Final = f"{UNIT_DIRECTORY}/{UNIT}.d/50-installer.conf"
SWITCH_UNIT: Final = "coracle-switch.service"
ROLLBACK_UNIT: Final = "coracle-rollback.service"
ROLLBACK_TIMER: Final = "coracle-rollback.timer"
KUBELET_UNIT: Final = "kubelet.service"
KUBELET_DROP_IN: Final = f"{UNIT_DIRECTORY}/kubelet.service.d/90-coracle.conf"
RUNTIME_CGROUP: Final = "/system.slice/coracle.service"

# -- the node as the cluster sees it --------------------------------------------------------------------------------

LABEL: Final = "coracle.io/runtime"
"""Set from the first step on, so that a half-installed node is found by the key alone. Its values: `NodeState`."""
SWITCH_LABEL: Final = "coracle.io/switch"
"""Set to "true" by a person: this node may be switched."""
TAINT: Final = "coracle.io/switching"
MESSAGE_ANNOTATION: Final = "coracle.io/message"
CRI_SOCKET_ANNOTATION: Final = "kubeadm.alpha.kubernetes.io/cri-socket"
CONTROL_PLANE_LABEL: Final = "node-role.kubernetes.io/control-plane"
RUNTIME_PREFIX: Final = "coracle://"
