"""What must be true of the static pod, asked through the kubelet's API. A check answers a line to show, or raises."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import websocket

from e2e.kubelet.server import Kubelet, trusting_context

NAMESPACE, POD = "default", "static-node"
_READY_FILE = "/tmp/ready"


class CheckFailed(Exception):
    """A check did not come true."""


def manifest(image: str) -> dict[str, Any]:
    """Two containers; one is ready when its exec probe finds a file that it makes a moment after its start."""
    script = f"trap 'exit 0' TERM; echo started; sleep 1; touch {_READY_FILE}; while :; do sleep 3600 & wait $!; done"
    probe = {"exec": {"command": ["cat", _READY_FILE]}, "periodSeconds": 1, "failureThreshold": 30}
    limits = {"cpu": "200m", "memory": "64Mi"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "static", "namespace": NAMESPACE},
        "spec": {
            "terminationGracePeriodSeconds": 2,
            "containers": [
                {
                    "name": "probed",
                    "image": image,
                    "command": ["sh", "-c", script],
                    "readinessProbe": probe,
                    "resources": {"limits": limits},
                },
                {
                    "name": "writer",
                    "image": image,
                    "command": [
                        "sh",
                        "-c",
                        "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo line $i; sleep 1; done",
                    ],
                },
            ],
        },
    }


def pod_runs(kubelet: Kubelet) -> str:
    def ready() -> str | None:
        for item in kubelet.json("/pods")["items"] or ():
            status = item["status"]
            conditions = {one["type"]: one["status"] for one in status.get("conditions", ())}
            if (
                item["metadata"]["name"] == POD
                and status.get("phase") == "Running"
                and conditions.get("Ready") == "True"
            ):
                return f"pod {POD} is Running and Ready, address {status['podIP']}"
        return None

    return _until("the pod to be Running and Ready", ready, seconds=60)


def logs(kubelet: Kubelet) -> str:
    def lines() -> str | None:
        text = kubelet.get(f"/containerLogs/{NAMESPACE}/{POD}/writer?tailLines=2").decode()
        return f"the last lines of writer: {text.split(chr(10))[:2]}" if text.startswith("line ") else None

    return _until("log lines", lines)


def run(kubelet: Kubelet) -> str:
    query = urlencode({"cmd": "echo through the kubelet"})
    answer = kubelet.request("POST", f"/run/{NAMESPACE}/{POD}/writer?{query}").decode()
    if answer.strip() != "through the kubelet":
        raise CheckFailed(f"run answered {answer!r}")
    return f"run in writer answered {answer.strip()!r}"


def execute(kubelet: Kubelet) -> str:
    """exec as kubectl does it: a WebSocket to the kubelet, which hands it on to the runtime's streaming server."""
    query = urlencode(
        [("command", "sh"), ("command", "-c"), ("command", "echo streamed; exit 3"), ("output", 1), ("error", 1)]
    )
    connection = websocket.create_connection(
        f"wss://127.0.0.1:{kubelet.port}/exec/{NAMESPACE}/{POD}/writer?{query}",
        subprotocols=["v4.channel.k8s.io"],
        sslopt={"context": trusting_context()},
        timeout=30,
    )
    channels: dict[int, bytes] = {}
    try:
        while frame := connection.recv():
            data = frame if isinstance(frame, bytes) else frame.encode()
            channels[data[0]] = channels.get(data[0], b"") + data[1:]
    except websocket.WebSocketConnectionClosedException:
        pass  # the end of the stream
    finally:
        connection.close()
    status = json.loads(channels.get(3, b"{}"))
    causes = status.get("details", {}).get("causes", [{}])
    if channels.get(1) != b"streamed\n" or causes[0].get("message") != "3":
        raise CheckFailed(f"exec answered {channels}")
    return "exec in writer streamed its output, and its exit code 3"


def stats(kubelet: Kubelet) -> str:
    def figures() -> str | None:
        for entry in kubelet.json("/stats/summary")["pods"]:
            if entry["podRef"]["name"] != POD or len(entry.get("containers") or ()) < 2:
                continue
            memory = {one["name"]: one.get("memory", {}).get("workingSetBytes", 0) for one in entry["containers"]}
            cpu = {one["name"]: one.get("cpu", {}).get("usageCoreNanoSeconds", 0) for one in entry["containers"]}
            if all(memory.values()) and all(cpu.values()):
                used = ", ".join(
                    f"{name} {memory[name] / 1e6:.2f} MB {cpu[name] / 1e6:.0f} ms" for name in sorted(memory)
                )
                return f"stats/summary: {used}"
        return None

    return _until("figures of both containers", figures, seconds=60)


def pod_goes(kubelet: Kubelet) -> str:
    def gone() -> str | None:
        items = kubelet.json("/runningpods/")["items"] or ()
        return None if items else "the pod is gone after its manifest"

    return _until("the pod to go", gone, seconds=60)


ALL = (pod_runs, logs, run, execute, stats)


def _until(what: str, ask: Callable[[], str | None], *, seconds: float = 30) -> str:
    deadline = time.monotonic() + seconds
    problem = ""
    while time.monotonic() < deadline:
        try:
            found = ask()
        except (OSError, RuntimeError, KeyError) as error:
            found, problem = None, f" ({error})"
        if found is not None:
            return found
        time.sleep(0.2)
    raise CheckFailed(f"waited {seconds:g} s for {what}{problem}")
