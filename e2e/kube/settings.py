"""Names and addresses that several parts of the cluster have to agree on."""

from __future__ import annotations

import os
from typing import Final

from e2e.kube.namespace import NODE_ADDRESS

NODE: Final = "node1"
API_PORT: Final = 6443
API: Final = f"https://{NODE_ADDRESS}:{API_PORT}"
POD_RANGE: Final = "10.97.0.0/24"
SERVICE_RANGE: Final = "10.98.0.0/24"
SERVICE_ADDRESS: Final = "10.98.0.1"
"""Of the Service `kubernetes`: the first of the range."""
DNS_ADDRESS: Final = "10.98.0.10"
METRICS_PORT: Final = 4443
FRONT_PROXY: Final = "front-proxy"
"""Whom an API behind the API server believes what it says of a user."""
DOMAIN: Final = "cluster.local"
CGROUP_ROOT: Final = f"/coracle-node{os.getpid()}"
"""The kubelet's cgroups are below it: a machine's own kubelet, and another cluster of these, have others."""
