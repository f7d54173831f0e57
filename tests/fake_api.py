"""An API server that holds one node and some pods: enough for the kubernetes client's node and eviction calls."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def new_node(name: str = "worker-1") -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}, "annotations": {}, "resourceVersion": "1"},
        "spec": {"taints": [{"key": "theirs", "effect": "NoSchedule"}]},
        "status": {
            "nodeInfo": {
                "machineID": "0123456789abcdef0123456789abcdef",
                "containerRuntimeVersion": "containerd://1.7.0",
                "kubeletVersion": "v1.37.2",
                "architecture": "amd64",
                "bootID": "b",
                "kernelVersion": "6.1",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "osImage": "Debian",
                "systemUUID": "u",
            },
            "conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
        },
    }


@dataclass(slots=True)
class FakeApi:
    node: dict[str, Any] = field(default_factory=new_node)
    pods: list[dict[str, Any]] = field(default_factory=list)
    evicted: list[str] = field(default_factory=list)
    refusals: int = 0
    """How many evictions a disruption budget refuses first."""
    conflicts: int = 0
    """How many patches that name a version find that somebody else was quicker."""
    port: int = 0
    always: dict[str, Any] | None = None
    """The one answer to everything."""

    def kubeconfig(self, directory: Path) -> Path:
        path = directory / "kubeconfig"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{self.port}"}}],
            "users": [{"name": "u", "user": {"token": "secret"}}],
        }
        path.write_text(json.dumps(document))
        return path

    # -- what the server does ----------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        if self.always is not None:
            return 200, self.always
        path = path.partition("?")[0]
        if path == "/api/v1/nodes":
            return 200, {"items": [self.node]}
        if path == f"/api/v1/nodes/{self.node['metadata']['name']}":
            return self._patch(body) if method == "PATCH" else (200, self.node)
        if path == "/api/v1/pods":
            return 200, {"items": self.pods}
        if path.endswith("/eviction"):
            return self._evict(path.split("/")[-2])
        return 404, {"message": f"no {path}"}

    def _patch(self, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        version = body.get("metadata", {}).pop("resourceVersion", None)
        if version is not None and self.conflicts:
            self.conflicts -= 1
            self.node["metadata"]["resourceVersion"] = "2"
            return 409, {"message": "somebody else was quicker"}
        if version not in (None, self.node["metadata"]["resourceVersion"]):
            return 409, {"message": "old version"}
        _merge(self.node, body)
        return 200, self.node

    def _evict(self, name: str) -> tuple[int, dict[str, Any]]:
        if self.refusals:
            self.refusals -= 1
            return 429, {"message": "the budget forbids it"}
        self.evicted.append(name)
        self.pods = [pod for pod in self.pods if pod["metadata"]["name"] != name]
        return 201, {}


def pod(name: str, owner: str = "ReplicaSet", **metadata: Any) -> dict[str, Any]:
    owners = [{"kind": owner, "name": "o", "uid": "u", "apiVersion": "v1", "controller": True}]
    return {
        "metadata": {"name": name, "namespace": "default", "ownerReferences": owners, **metadata},
        "spec": {"containers": []},
        "status": {"phase": "Running"},
    }


@contextmanager
def serving(api: FakeApi) -> Iterator[FakeApi]:
    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, document = api.answer(self.command, self.path, json.loads(content or b"{}"))
            encoded = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(encoded)))
            self.end_headers()
            self.wfile.write(encoded)

        do_GET = do_PATCH = do_POST = _serve

        def log_message(self, format: str, *args: object) -> None:
            """The tests look at the state, not at the requests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _merge(target: dict[str, Any], patch: dict[str, Any]) -> None:
    """A merge patch: null removes."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        else:
            target[key] = value
