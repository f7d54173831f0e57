"""Services whose one endpoint is a process on the node: names, and the API of figures."""

from __future__ import annotations

from typing import Any

from e2e.kube.api import Api
from e2e.kube.namespace import NODE_ADDRESS
from e2e.kube.settings import DNS_ADDRESS, METRICS_PORT

_SPACE = "kube-system"


def publish_dns(api: Api) -> None:
    ports = [{"name": protocol.lower(), "port": 53, "protocol": protocol} for protocol in ("UDP", "TCP")]
    _publish(api, "kube-dns", ports, ports, clusterIP=DNS_ADDRESS)


def publish_metrics(api: Api) -> None:
    """`metrics.k8s.io` is what `kubectl top` asks."""
    _publish(
        api,
        "metrics-server",
        [{"name": "https", "port": 443, "targetPort": METRICS_PORT}],
        [{"name": "https", "port": METRICS_PORT}],
    )
    group, version, base = "metrics.k8s.io", "v1beta1", "/apis/apiregistration.k8s.io/v1/apiservices"
    if api.find(f"{base}/{version}.{group}") is not None:
        return
    api.post(
        base,
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": f"{version}.{group}"},
            "spec": {
                "group": group,
                "version": version,
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                # The certificate is one that the server made for itself.
                "insecureSkipTLSVerify": True,
                "service": {"name": "metrics-server", "namespace": _SPACE},
            },
        },
    )


def _publish(api: Api, name: str, ports: list[dict[str, Any]], endpoint: list[dict[str, Any]], **spec: str) -> None:
    """What is there already is left alone."""
    base = f"/api/v1/namespaces/{_SPACE}/services"
    if api.find(f"{base}/{name}") is not None:
        return
    metadata = {"name": name, "namespace": _SPACE}
    api.post(base, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": ports, **spec}})
    api.post(
        f"/apis/discovery.k8s.io/v1/namespaces/{_SPACE}/endpointslices",
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": metadata | {"labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": endpoint,
            "endpoints": [{"addresses": [NODE_ADDRESS], "conditions": {"ready": True}}],
        },
    )
