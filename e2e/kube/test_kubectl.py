"""What a person does with kubectl: exec, attach, cp, logs, port-forward, debug, top."""

from __future__ import annotations

import http.client
import os
import pty
import re
import subprocess
import time
from pathlib import Path

import pytest

from e2e.images.catalog import ImageNames
from e2e.kube.api import until
from e2e.kube.kubectl import Failed
from e2e.kube.manifests import container, pod
from e2e.kube.workload import Workload, container_status

COUNTS = "trap 'exit 0' TERM; i=0; while :; do i=$((i+1)); echo line $i; sleep 0.2; done"


@pytest.fixture(scope="module")
def desk(work: Workload, images: ImageNames) -> str:
    """A pod to work on: one container waits, one counts, one echoes its input."""
    echoes = container("echoes", images.busybox, "while read line; do echo got $line; done; sleep 3600", stdin=True)
    work.run(pod("desk", container("main", images.busybox), container("counts", images.busybox, COUNTS), echoes))
    return "desk"


def test_exec_gives_output_and_status(work: Workload, desk: str) -> None:
    assert work.exec(desk, "echo", "said", container="main") == "said\n"
    with pytest.raises(Failed) as failed:
        work.exec(desk, "sh", "-c", "echo wrong >&2; exit 42", container="main")
    assert failed.value.status == 42
    assert "wrong" in failed.value.error


def test_exec_takes_input_and_megabytes(work: Workload, desk: str) -> None:
    text = "0123456789abcde\n" * 65536
    answer = work.kubectl("exec", "-i", desk, "-c", "main", "--", "cat", stdin=text)
    assert answer == text


def test_exec_in_a_terminal(work: Workload, desk: str) -> None:
    """As with a keyboard: the terminal is real, so is its size."""
    leader, follower = pty.openpty()
    command = work.kubectl.command("exec", "-it", desk, "-c", "main", "--", "sh")
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, start_new_session=True)
    os.close(follower)
    try:
        os.write(leader, b"test -t 0 && echo term$((40+2)); exit 7\n")
        seen = b""
        deadline = time.monotonic() + 30
        while b"term42" not in seen and time.monotonic() < deadline:
            seen += os.read(leader, 4096)
        assert b"term42" in seen
        assert process.wait(30) == 7
    finally:
        process.kill()
        os.close(leader)


def test_attach_reaches_the_first_process(work: Workload, desk: str) -> None:
    process = work.kubectl.start("attach", "-i", desk, "-c", "echoes", stdin=subprocess.PIPE)
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("through attach\n")
        process.stdin.flush()
        while (line := process.stdout.readline()) and "got through attach" not in line:
            pass
        assert "got through attach" in line
    finally:
        process.kill()
        process.communicate()


def test_copying_both_ways(work: Workload, desk: str, tmp_path: Path, shell: str) -> None:
    source = tmp_path / "directory"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "file").write_bytes(os.urandom(3 << 20))
    work.kubectl("cp", str(source), f"{desk}:/tmp/there", "-c", "main")
    work.kubectl("cp", f"{desk}:/tmp/there/inner/file", str(tmp_path / "back"), "-c", "main")
    assert (tmp_path / "back").read_bytes() == (source / "inner" / "file").read_bytes()


def test_logs_of_the_end_and_following(work: Workload, desk: str) -> None:
    until("some lines", lambda: "line 5\n" in work.logs(desk, "counts"))
    lines = work.kubectl("logs", desk, "-c", "counts", "--tail=2").splitlines()
    assert len(lines) == 2
    stamped = work.kubectl("logs", desk, "-c", "counts", "--tail=1", "--timestamps")
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z line \d+$", stamped)
    process = work.kubectl.start("logs", "-f", desk, "-c", "counts", "--tail=1")
    try:
        assert process.stdout is not None
        numbers = [int(process.stdout.readline().split()[1]) for _ in range(5)]
        assert numbers == list(range(numbers[0], numbers[0] + 5))
    finally:
        process.kill()
        process.communicate()


def test_port_forward_carries_many_requests(work: Workload, images: ImageNames) -> None:
    work.run(pod("server", {"name": "main", "image": images.nginx}))
    process = work.kubectl.start("port-forward", "pod/server", ":80")
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().split()[2].rpartition(":")[2])
        for _ in range(20):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            connection.request("GET", "/")
            assert b"Coracle" in connection.getresponse().read()
            connection.close()
    finally:
        process.kill()
        process.communicate()


def test_debug_with_an_ephemeral_container(work: Workload, images: ImageNames, desk: str) -> None:
    words = ("debug", desk, f"--image={images.busybox}", "--target=main", "--container=helper", "--")
    work.kubectl(*words, "sh", "-c", "ps; sleep 3600")
    work.when(desk, lambda pod: "running" in container_status(pod, "helper")["state"], "with a helper")
    # The target's processes: its shell is the first one of the namespace that both are in.
    until("its output", lambda: "sleep 3600" in work.logs(desk, "helper"))
    assert re.search(r"^\s*1 root.*trap", work.logs(desk, "helper"), re.MULTILINE)
    assert "helper" not in work.exec(desk, "hostname", container="main")


def test_debug_of_the_node(work: Workload, images: ImageNames) -> None:
    words = ("debug", "node/node1", f"--image={images.busybox}", "--profile=sysadmin", "--quiet", "--")
    work.kubectl(*words, "chroot", "/host", "cat", "/proc/1/comm")
    items = work.api.get(f"/api/v1/namespaces/{work.namespace}/pods")["items"]
    name = next(item["metadata"]["name"] for item in items if "node-debugger" in item["metadata"]["name"])
    assert work.ended(name)["status"]["phase"] == "Succeeded"
    assert work.logs(name) == Path("/proc/1/comm").read_text()


def test_top_of_a_pod_and_of_the_node(work: Workload, images: ImageNames) -> None:
    """metrics-server asks the kubelet, which asks the runtime; it needs two answers to tell of processor time."""
    busy = container("busy", images.busybox, "while :; do :; done", resources={"limits": {"cpu": "200m"}})
    work.run(pod("tops", busy, container("idle", images.busybox)))
    busy_row, idle_row = until("figures of both containers", lambda: _top(work, "pod", "tops", "--containers"))
    assert (busy_row[:2], idle_row[:2]) == (["tops", "busy"], ["tops", "idle"])
    assert 10 < _millicores(busy_row[2]) <= 250
    assert _millicores(idle_row[2]) < _millicores(busy_row[2])
    assert re.fullmatch(r"\d+Mi", busy_row[3])
    (node,) = until("figures of the node", lambda: _top(work, "node", "node1"))
    assert _millicores(node[1]) > _millicores(busy_row[2])
    work.remove("Pod", "tops", grace=0)


def _top(work: Workload, *words: str) -> list[list[str]]:
    """The rows; none while there are no figures."""
    try:
        return [line.split() for line in work.kubectl("top", *words, "--no-headers").splitlines()]
    except Failed:
        return []


def _millicores(text: str) -> int:
    return int(text.removesuffix("m"))


def test_events_and_description_of_a_pod(work: Workload, desk: str) -> None:
    text = work.kubectl("describe", "pod", desk)
    assert "coracle://" in text
    assert "Container started" in text or "Started container" in text
