"""Objects of the tests as values: a pod, its containers, and what makes pods."""

from __future__ import annotations

from typing import Any

Document = dict[str, Any]

WAIT = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done"
"""A shell's main loop that ends at once on SIGTERM."""


def container(name: str, image: str, script: str = WAIT, **more: Any) -> Document:
    """A shell that runs `script`."""
    return {"name": name, "image": image, "command": ["sh", "-c", script], **more}


def pod(name: str, *containers: Document, labels: dict[str, str] | None = None, **spec: Any) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"terminationGracePeriodSeconds": 2, "containers": list(containers), **spec},
    }


def deployment(name: str, replicas: int, *containers: Document, **spec: Any) -> Document:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {"replicas": replicas, **_selected(name, pod(name, *containers, **spec))},
    }


def daemon_set(name: str, *containers: Document, **spec: Any) -> Document:
    template = _selected(name, pod(name, *containers, **spec))
    return {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name}, "spec": template}


def job(name: str, *containers: Document, completions: int = 1, parallelism: int = 1, backoff: int = 0) -> Document:
    template = pod(name, *containers, restartPolicy="Never")
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {
            "completions": completions,
            "parallelism": parallelism,
            "backoffLimit": backoff,
            "template": {"metadata": {"labels": {"made-by": name}}, "spec": template["spec"]},
        },
    }


def service(name: str, port: int, *, target: int | None = None, selector: str = "", **spec: Any) -> Document:
    """For the pods of the Deployment `selector`, or of the one of the same name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {
            "selector": {"app": selector or name},
            "ports": [{"name": "main", "port": port, "targetPort": target or port}],
            **spec,
        },
    }


def config_map(name: str, **data: str) -> Document:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def secret(name: str, **data: str) -> Document:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def _selected(name: str, template: Document) -> Document:
    labels = {"app": name}
    return {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": template["spec"]},
    }
