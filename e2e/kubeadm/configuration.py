"""What kubeadm is told: an ordinary node, on cgroup v1 if need be, on a machine that does other work as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from e2e.kube.kubelet_settings import NEVER_EVICT
from e2e.kube.namespace import NODE_ADDRESS
from e2e.kube.settings import API_PORT, CGROUP_ROOT, DOMAIN, NODE, POD_RANGE, SERVICE_RANGE
from e2e.kube.tools import KUBERNETES


def configuration(directory: Path, endpoint: str, registry: str) -> str:
    """Documents of YAML."""
    documents = (_init(endpoint), _cluster(registry, directory), _kubelet(directory), _proxy())
    return "\n---\n".join(json.dumps(document) for document in documents)


def _init(endpoint: str) -> dict[str, Any]:
    return {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "InitConfiguration",
        "localAPIEndpoint": {"advertiseAddress": NODE_ADDRESS, "bindPort": API_PORT},
        "nodeRegistration": {
            "name": NODE,
            "criSocket": endpoint,
            # The only node has to run everything.
            "taints": [],
            "kubeletExtraArgs": [{"name": "node-ip", "value": NODE_ADDRESS}],
            # cgroup v1, and programs that this machine need not have.
            "ignorePreflightErrors": ["SystemVerification", "FileExisting-crictl"],
        },
        "timeouts": {"controlPlaneComponentHealthCheck": "8m", "kubeletHealthCheck": "8m"},
    }


def _cluster(registry: str, directory: Path) -> dict[str, Any]:
    plugins = [{"name": "flex-volume-plugin-dir", "value": f"{directory}/plugins"}]
    return {
        "apiVersion": "kubeadm.k8s.io/v1beta4",
        "kind": "ClusterConfiguration",
        "kubernetesVersion": KUBERNETES,
        "imageRepository": registry,
        "networking": {"serviceSubnet": SERVICE_RANGE, "podSubnet": POD_RANGE, "dnsDomain": DOMAIN},
        "controllerManager": {"extraArgs": plugins},
        # The machine's disk is shared with what else runs on it.
        "etcd": {"local": {"dataDir": "/var/lib/etcd", "extraArgs": [{"name": "unsafe-no-fsync", "value": "true"}]}},
    }


def _kubelet(directory: Path) -> dict[str, Any]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupRoot": CGROUP_ROOT,
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "resolvConf": f"{directory}/resolv.conf",
        "volumePluginDir": f"{directory}/plugins",
        "evictionHard": dict(NEVER_EVICT),
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "syncFrequency": "5s",
        "nodeStatusUpdateFrequency": "5s",
    }


def _proxy() -> dict[str, Any]:
    """These sysctls belong to the whole machine: they stay as they are."""
    conntrack = {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"}
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "mode": "nftables",
        "conntrack": conntrack,
    }
