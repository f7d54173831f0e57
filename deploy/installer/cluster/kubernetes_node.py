"""The node through the kubernetes client. Every change is a patch, and may be repeated.

Needs `get` and `patch` on nodes, and for `drain` also `list` on pods and `create` on pods/eviction.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from kubernetes import client
from kubernetes import config as configuration

from deploy.installer import names
from deploy.installer.cluster.drain import drain
from deploy.installer.cluster.node import NodeState

_CONFLICT: Final = 409
_TRIES: Final = 5
_TIMEOUT_S: Final = 30


def api_client(kubeconfig: Path | None) -> Any:
    """The pod's own credentials, or those of `kubeconfig`."""
    if kubeconfig is None:
        configuration.load_incluster_config()  # type: ignore[no-untyped-call]
        return client.ApiClient()
    return configuration.new_client_from_config(str(kubeconfig))  # type: ignore[no-untyped-call]


class KubernetesNode:
    def __init__(self, connection: Any, name: str) -> None:
        self._api = client.CoreV1Api(connection)
        self.name = name

    def machine_id(self) -> str:
        return str(self._read().status.node_info.machine_id or "")

    def labels(self) -> Mapping[str, str]:
        return dict(self._read().metadata.labels or {})

    def state(self) -> NodeState | None:
        value = self.labels().get(names.LABEL)
        return NodeState(value) if value in set(NodeState) else (NodeState.FAILED if value is not None else None)

    def set_state(self, state: NodeState, message: str = "") -> None:
        self._patch({"labels": {names.LABEL: state.value}, "annotations": {names.MESSAGE_ANNOTATION: message or None}})

    def forget(self) -> None:
        self.taint(False)
        self._patch({"labels": {names.LABEL: None}, "annotations": {names.MESSAGE_ANNOTATION: None}})

    def is_cordoned(self) -> bool:
        return bool(self._read().spec.unschedulable)

    def cordon(self, on: bool) -> None:
        self._api.patch_node(self.name, {"spec": {"unschedulable": on or None}}, _request_timeout=_TIMEOUT_S)

    def taint(self, on: bool) -> None:
        for attempt in range(_TRIES):
            node = self._read()
            others = [taint for taint in node.spec.taints or [] if taint.key != names.TAINT]
            if (len(others) < len(node.spec.taints or [])) == on:
                return
            taints = [self._api.api_client.sanitize_for_serialization(taint) for taint in others]
            if on:
                taints.append({"key": names.TAINT, "value": "true", "effect": "NoSchedule"})
            # The list is replaced as a whole: the version refuses it when somebody else changed it meanwhile.
            body = {"metadata": {"resourceVersion": node.metadata.resource_version}, "spec": {"taints": taints or None}}
            try:
                self._api.patch_node(self.name, body, _request_timeout=_TIMEOUT_S)
                return
            except client.ApiException as error:
                if error.status != _CONFLICT or attempt == _TRIES - 1:
                    raise

    def annotation(self, key: str) -> str | None:
        value = (self._read().metadata.annotations or {}).get(key)
        return None if value is None else str(value)

    def annotate(self, key: str, value: str | None) -> None:
        self._patch({"annotations": {key: value}})

    def runtime_version(self) -> str:
        return str(self._read().status.node_info.container_runtime_version or "")

    def kubelet_version(self) -> str:
        return str(self._read().status.node_info.kubelet_version or "")

    def is_ready(self) -> bool:
        conditions = self._read().status.conditions or []
        return any(one.type == "Ready" and one.status == "True" for one in conditions)

    def drain(self, timeout_s: float) -> None:
        drain(self._api, self.name, timeout_s)

    def _read(self) -> Any:
        return self._api.read_node(self.name, _request_timeout=_TIMEOUT_S)

    def _patch(self, metadata: Mapping[str, object]) -> None:
        self._api.patch_node(self.name, {"metadata": metadata}, _request_timeout=_TIMEOUT_S)
