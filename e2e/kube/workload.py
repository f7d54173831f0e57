"""What a test does with objects of its own namespace: make them, wait for them, ask about them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from e2e.kube.api import Api, Document, until
from e2e.kube.kubectl import Kubectl

_PLACES: Final = {
    "Pod": "/api/v1/namespaces/{}/pods",
    "Service": "/api/v1/namespaces/{}/services",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Secret": "/api/v1/namespaces/{}/secrets",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "DaemonSet": "/apis/apps/v1/namespaces/{}/daemonsets",
    "Job": "/apis/batch/v1/namespaces/{}/jobs",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    api: Api
    kubectl: Kubectl
    namespace: str

    def make(self, document: Document) -> Document:
        return self.api.post(_PLACES[document["kind"]].format(self.namespace), document)

    def path(self, kind: str, name: str) -> str:
        return f"{_PLACES[kind].format(self.namespace)}/{name}"

    def pod(self, name: str) -> Document:
        return self.api.get(self.path("Pod", name))

    def pods(self, app: str) -> list[Document]:
        """Those of a Deployment or DaemonSet that are not being removed."""
        items = self.api.get(f"{_PLACES['Pod'].format(self.namespace)}?labelSelector=app%3D{app}")["items"]
        return [item for item in items if "deletionTimestamp" not in item["metadata"]]

    def run(self, document: Document, seconds: float = 60) -> Document:
        """Makes a pod and waits until it is Ready."""
        self.make(document)
        return self.ready(document["metadata"]["name"], seconds)

    def ready(self, name: str, seconds: float = 60) -> Document:
        return self.when(name, is_ready, "Ready", seconds)

    def ended(self, name: str, seconds: float = 60) -> Document:
        return self.when(name, lambda pod: pod["status"]["phase"] in ("Succeeded", "Failed"), "at its end", seconds)

    def when(self, name: str, test: Callable[[Document], Any], what: str, seconds: float = 60) -> Document:
        """The pod once `test` holds of it; the failure shows its status."""
        last: list[Document] = []

        def ask() -> Document | None:
            last[:] = [self.pod(name)]
            return last[0] if test(last[0]) else None

        try:
            found: Document = until(f"pod {name} to be {what}", ask, seconds=seconds)
        except Exception as error:
            for pod in last:
                error.add_note(f"its status: {pod['status']}")
            raise
        return found

    def rolled_out(self, name: str, seconds: float = 60) -> list[Document]:
        """The pods of a Deployment once as many as wanted are ready, and no others are there."""

        def ask() -> list[Document] | None:
            state = self.api.get(self.path("Deployment", name))
            wanted, status = state["spec"]["replicas"], state["status"]
            pods = self.pods(name)
            done = status.get("observedGeneration", 0) >= state["metadata"]["generation"]
            done = done and status.get("updatedReplicas", 0) == status.get("replicas", 0) == wanted
            return pods if done and len(pods) == wanted and all(map(is_ready, pods)) else None

        found: list[Document] = until(f"deployment {name} to be rolled out", ask, seconds=seconds)
        return found

    def remove(self, kind: str, name: str, *, grace: int | None = None) -> None:
        """Asks for it and waits until it is gone."""
        self.api.delete(self.path(kind, name), grace)
        until(f"{kind} {name} to go", lambda: self.api.find(self.path(kind, name)) is None)

    def logs(self, name: str, container: str = "", **query: object) -> str:
        words = {"container": container} if container else {}
        asked = "&".join(f"{key}={value}" for key, value in (words | query).items())
        return self.api.text("GET", f"{self.path('Pod', name)}/log?{asked}")

    def exec(self, name: str, *command: str, container: str = "") -> str:
        into = ["-c", container] if container else []
        return self.kubectl("exec", name, *into, "--", *command)


def is_ready(pod: Document) -> bool:
    return condition(pod, "Ready")


def condition(pod: Document, kind: str) -> bool:
    return any(one["type"] == kind and one["status"] == "True" for one in pod["status"].get("conditions", ()))


def container_status(pod: Document, name: str) -> Document:
    """Without a state while the kubelet has told nothing of the container."""
    status = pod["status"]
    lists = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    return next((one for key in lists for one in status.get(key, ()) if one["name"] == name), {"state": {}})


def restarts(pod: Document) -> int:
    return sum(one["restartCount"] for one in pod["status"].get("containerStatuses", ()))
