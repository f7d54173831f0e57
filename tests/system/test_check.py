"""`coracle check` on a daemon that serves: nothing to find on a healthy node; each kind of harm found, and mended."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from cri.api import runtime_pb2 as pb
from e2e import cgroups
from e2e.daemon import Daemon
from oci import netns
from tests.system.pods import Pods

#: Where directories are named after their owners, and what these are.
_PLACES: Final = {"root/containers": "container", "run/bundles": "container", "run/sandboxes": "pod"}


def check(daemon: Daemon, *flags: str) -> tuple[int, list[Mapping[str, object]]]:
    command = [*daemon.program(), "check", f"--listen={daemon.endpoint}", "--json", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def found(daemon: Daemon) -> Mapping[str, object]:
    """The one fault there is."""
    status, findings = check(daemon, "--skip-layers")
    assert len(findings) == 1, findings
    assert status == 1
    return findings[0]


def problems(findings: list[Mapping[str, object]]) -> list[str]:
    return sorted(f"{finding['subject']}: {finding['problem']}" for finding in findings)


def test_a_healthy_node_with_pods_and_images(daemon: Daemon, pods: Pods) -> None:
    pod = pods.run()
    pods.start(pod)
    assert check(daemon) == (0, [])
    daemon.restart()
    assert check(daemon) == (0, [])


def test_a_damaged_layer_is_fetched_again(daemon: Daemon, pods: Pods) -> None:
    layer = max((daemon.root / "layers").iterdir(), key=lambda path: path.stat().st_size)
    with layer.open("r+b") as file:
        file.seek(100_000)
        byte = file.read(1)
        file.seek(100_000)
        file.write(bytes([byte[0] ^ 1]))
    status, (finding,) = check(daemon)
    assert status == 1
    assert str(finding["subject"]).startswith("layer sha256:")
    assert "busybox" in str(finding["subject"])
    assert "its content has digest" in str(finding["problem"])
    status, (finding,) = check(daemon, "--repair")
    assert (status, finding["repaired"]) == (0, True)
    assert check(daemon) == (0, [])
    pods.start(pods.run())


def test_what_belongs_to_nobody(daemon: Daemon, pods: Pods) -> None:
    """All at once, as each look takes its time: seen first, then repaired, then gone. What is not ours stays."""
    pod = pods.run()
    stray = daemon.root / "layers/stray.erofs"
    directories = [daemon.root.parent / place / ("ab" * 32) for place in _PLACES]
    ours = Path(netns_of(daemon, pod.id))
    left = ours.with_name(ours.name[:-12] + "0123456789ab")
    others = ours.with_name("cni-00000000-0000-4000-8000-000000000000")
    cgroup = f"{pods.cgroup}/{'cd' * 32}"
    stray.write_bytes(b"x")
    for path in directories:
        (path / "deep").mkdir(parents=True)
    netns.bind(str(left), str(ours))
    netns.bind(str(others), str(ours))
    cgroups.create(cgroup)
    expected = sorted(
        [
            f"file {stray}: no image has this layer",
            *(
                f"directory {path}: no {owner} has it"
                for path, owner in zip(directories, _PLACES.values(), strict=True)
            ),
            f"network namespace {left}: no pod has it",
            f"cgroup {cgroup}: no container has it",
        ]
    )
    try:
        status, findings = check(daemon, "--skip-layers")
        assert (status, problems(findings)) == (1, expected)
        assert all(finding["repairable"] and not finding["repaired"] for finding in findings)
        status, findings = check(daemon, "--skip-layers", "--repair")
        assert (status, problems(findings)) == (0, expected)
        assert all(finding["repaired"] for finding in findings)
        assert check(daemon, "--skip-layers") == (0, [])
        assert not any(path.exists() for path in (stray, left, *directories))
        assert others.exists()
    finally:
        netns.remove(str(left))
        netns.remove(str(others))


def test_a_name_of_a_namespace_that_somebody_removed(daemon: Daemon, pods: Pods) -> None:
    pod = pods.run()
    path = netns_of(daemon, pod.id)
    inode = os.stat(path).st_ino
    netns.remove(path)
    status, findings = check(daemon, "--skip-layers")
    assert status == 1
    assert f"{path}, the name of its network namespace, is gone" in [finding["problem"] for finding in findings]
    check(daemon, "--skip-layers", "--repair")
    assert os.stat(path).st_ino == inode
    assert check(daemon, "--skip-layers") == (0, [])


def test_a_network_that_was_taken_apart(daemon: Daemon, pods: Pods) -> None:
    pod = pods.run()
    subprocess.run(["nsenter", f"--net={netns_of(daemon, pod.id)}", "ip", "link", "set", "eth0", "down"], check=True)
    finding = found(daemon)
    assert finding["subject"] == f"pod {pod.id}"
    assert "interface eth0 is missing or down" in str(finding["problem"])
    assert finding["remedy"] == "delete the pod: its controller makes a new one"
    assert not finding["repairable"]


def test_a_process_that_left_its_cgroup(daemon: Daemon, pods: Pods) -> None:
    container = pods.start(pods.run())
    answer = daemon.client.runtime.ContainerStatus(pb.ContainerStatusRequest(container_id=container.id, verbose=True))
    cgroups.move(json.loads(answer.info["info"])["pid"], "/")
    finding = found(daemon)
    assert finding["subject"] == f"container {container.id}"
    assert "is not in its cgroup" in str(finding["problem"])


def netns_of(daemon: Daemon, pod: str) -> str:
    request = pb.PodSandboxStatusRequest(pod_sandbox_id=pod, verbose=True)
    answer = daemon.client.runtime.PodSandboxStatus(request)
    return str(json.loads(answer.info["info"])["netns"])
