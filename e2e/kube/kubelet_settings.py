"""The kubelet's configuration file, for a machine that does other work as well."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from e2e.kube.certificates import Certificates
from e2e.kube.settings import CGROUP_ROOT, DNS_ADDRESS, DOMAIN, POD_RANGE

# The disk and the memory of a machine that tests are no reason to evict.
NEVER_EVICT: Final = dict.fromkeys(
    ("memory.available", "nodefs.available", "nodefs.inodesFree", "imagefs.available"), "0%"
)
_QUICK_RESTARTS: Final = {
    "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},
    "featureGates": {"KubeletCrashLoopBackOffMax": True},
}


def configuration(
    directory: Path,
    certificates: Certificates,
    endpoint: str,
    eviction: Mapping[str, str],
    *,
    quick_restarts: bool,
) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": endpoint,
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": CGROUP_ROOT,
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "readOnlyPort": 0,
        "podCIDR": POD_RANGE,
        "staticPodPath": f"{directory}/manifests",
        "podLogsDir": f"{directory}/pod-logs",
        "volumePluginDir": f"{directory}/plugins",
        "clusterDomain": DOMAIN,
        "clusterDNS": [DNS_ADDRESS],
        "resolvConf": f"{directory}/resolv.conf",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(certificates.certificate("ca"))},
        },
        "authorization": {"mode": "Webhook"},
        "evictionHard": dict(eviction),
        "evictionPressureTransitionPeriod": "5s",
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        "serializeImagePulls": False,
        # Tests wait for these.
        "syncFrequency": "5s",
        "fileCheckFrequency": "1s",
        "nodeStatusUpdateFrequency": "5s",
        "nodeStatusReportFrequency": "5s",
    } | (_QUICK_RESTARTS if quick_restarts else {})
