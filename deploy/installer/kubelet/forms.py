"""Which kind of node this is, by the facts that were read from it; and the words for those that are refused. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from deploy.installer import names
from deploy.installer.edits import flag_of, key_of
from deploy.installer.errors import Refused
from deploy.installer.health import DEFAULT_PORT
from deploy.installer.kubelet.unit import KubeletUnit, parse_unit

CONFIG: Final = "/var/lib/kubelet/config.yaml"
INSTANCE_CONFIG: Final = "/var/lib/kubelet/instance-config.yaml"
KUBEADM_FLAGS: Final = "/var/lib/kubelet/kubeadm-flags.env"
EXTRA_ARGS: Final = "KUBELET_EXTRA_ARGS"
_DEFAULT_ENDPOINT: Final = "unix:///run/containerd/containerd.sock"
_DEFAULT_KUBECONFIG: Final = "/etc/kubernetes/kubelet.conf"

#: A path that only one distribution has, and what its operator does instead.
_REFUSED: Final = (
    (
        ("/etc/systemd/system/k3s.service", "/etc/systemd/system/k3s-agent.service", "/var/lib/rancher/k3s"),
        "this is a k3s node: its kubelet is a part of k3s and reads no kubelet configuration",
        f'set "container-runtime-endpoint: {names.ENDPOINT}" in /etc/rancher/k3s/config.yaml and restart k3s',
    ),
    (
        ("/var/lib/rancher/rke2",),
        "this is an RKE2 node: RKE2 writes its kubelet's flags itself",
        f'set "container-runtime-endpoint: {names.ENDPOINT}" in /etc/rancher/rke2/config.yaml and restart RKE2',
    ),
    (
        ("/var/lib/k0s", "/etc/systemd/system/k0sworker.service"),
        "this is a k0s node: k0s starts its kubelet itself",
        f"start the worker with --cri-socket remote:{names.ENDPOINT}",
    ),
    (
        ("/snap/microk8s", "/var/snap/microk8s", "/var/snap/kubelet"),
        "this node's kubelet comes from a snap, which the installer must not change",
        f"set --container-runtime-endpoint={names.ENDPOINT} in the snap's kubelet arguments and restart it",
    ),
)


class Form(Enum):
    KUBEADM = "kubeadm"
    KIND = "kind"
    MINIKUBE = "minikube"
    PLAIN = "a systemd unit of its own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kubelet:
    """What the kubelet of this node uses now."""

    form: Form
    unit: KubeletUnit
    endpoint: str
    kubeconfig: str
    cgroup_driver: str
    """Empty when the configuration does not say."""
    healthz_port: int


def recognise(unit_text: str, exists: Callable[[str], bool], read: Callable[[str], str]) -> Kubelet:
    """Raises Refused for a node whose kubelet cannot be re-pointed in a way that its distribution would keep."""
    for paths, reason, remedy in _REFUSED:
        if any(exists(path) for path in paths):
            raise Refused(reason, remedy)
    unit = parse_unit(unit_text)
    if not unit.exec_start:
        raise Refused(f"systemd knows no {names.KUBELET_UNIT}", "only a kubelet that systemd runs can be switched")
    arguments = unit.arguments(read)
    config = read(flag_of(arguments, "--config") or CONFIG)
    return Kubelet(
        form=_form(exists, unit),
        unit=unit,
        endpoint=flag_of(arguments, "--container-runtime-endpoint")
        or (key_of(config, "containerRuntimeEndpoint") or "").strip("\"'")
        or _DEFAULT_ENDPOINT,
        kubeconfig=flag_of(arguments, "--kubeconfig") or _DEFAULT_KUBECONFIG,
        cgroup_driver=(key_of(config, "cgroupDriver") or "").strip("\"'"),
        healthz_port=int(port) if (port := key_of(config, "healthzPort") or "").isdigit() else DEFAULT_PORT,
    )


def _form(exists: Callable[[str], bool], unit: KubeletUnit) -> Form:
    if exists("/kind"):
        return Form.KIND
    if exists("/var/lib/minikube"):
        return Form.MINIKUBE
    if exists(KUBEADM_FLAGS) or KUBEADM_FLAGS in unit.environment_files:
        return Form.KUBEADM
    return Form.PLAIN
