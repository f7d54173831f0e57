"""Eviction of a node's pods, as `kubectl drain --ignore-daemonsets --delete-emptydir-data` does it.

Budgets are kept: an eviction that one forbids is tried again until the time is over.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from kubernetes import client

from deploy.installer.errors import NotVerified

_TOO_MANY_REQUESTS: Final = 429
_GONE: Final = 404
_PAUSE_S: Final = 2.0
_MIRROR: Final = "kubernetes.io/config.mirror"


def drain(
    api: Any,
    node: str,
    timeout_s: float,
    *,
    now: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    deadline = now() + timeout_s
    while True:
        here = api.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={node}").items
        left = [pod for pod in here if may_be_evicted(pod)]
        if not left:
            return
        if now() > deadline:
            names = ", ".join(f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in left[:5])
            raise NotVerified(f"node {node} still has {len(left)} pods after {timeout_s:g} s: {names}")
        for pod in left:
            if pod.metadata.deletion_timestamp is None:
                _evict(api, pod)
        sleep(_PAUSE_S)


def may_be_evicted(pod: Any) -> bool:
    """Not what a DaemonSet puts back at once, what the kubelet reads from a file, or what has ended."""
    owners = pod.metadata.owner_references or []
    if any(owner.kind == "DaemonSet" and owner.controller for owner in owners):
        return False
    if _MIRROR in (pod.metadata.annotations or {}):
        return False
    return pod.status.phase not in ("Succeeded", "Failed")


def _evict(api: Any, pod: Any) -> None:
    metadata = client.V1ObjectMeta(name=pod.metadata.name, namespace=pod.metadata.namespace)
    try:
        api.create_namespaced_pod_eviction(
            pod.metadata.name, pod.metadata.namespace, client.V1Eviction(metadata=metadata)
        )
    except client.ApiException as error:
        if error.status not in (_TOO_MANY_REQUESTS, _GONE):
            raise
