"""Other suites, run in the guest on the daemon's systemd driver: critest, crun's, our own."""

from __future__ import annotations

import re

import pytest

from e2e.vm.conftest import Node

_REGISTRY = {"E2E_REGISTRY_STORAGE": "/srv/coracle/.cache/registry", "OCI_SUITE_PATIENCE": "400", "E2E_SLOWNESS": "10"}
_CRUN_FILES = ("bpf_devices", "resources", "cgroup_resources", "cgroup_setup", "update", "start")


def _python(node: Node, *words: str, timeout: float) -> str:
    done = node.guest.run("/opt/venv/bin/python", *words, env=_REGISTRY, timeout=timeout, show=True, check=False)
    return (done.stdout + done.stderr).decode("utf-8", "replace")


#: It pins the digest of upstream bytes, which no stand-in can have.
_PINNED = "public image with digest should be pulled and removed"


def test_critest(node: Node, request: pytest.FixtureRequest) -> None:
    """All specs but benchmarks, AppArmor's among them."""
    if not request.config.getoption("--vm-critest"):
        pytest.skip("needs --vm-critest")
    node.shell("chmod +x .cache/critest; systemctl stop coracle", timeout=300)
    said = _python(node, "-m", "e2e.critest", "--critest", ".cache/critest", "--keep", "/root/critest", timeout=21600)
    failed = {line for line in said.splitlines() if line.startswith("FAILED")}
    assert not {line for line in failed if _PINNED not in line}
    passed = re.search(r"^(\d+) passed, \d+ failed", said, re.MULTILINE)
    assert passed
    assert int(passed[1]) >= 136
    assert "AppArmor is not enabled" not in said


@pytest.mark.parametrize("manager", ["cgroupfs", "systemd"])
def test_crun_suite(node: Node, request: pytest.FixtureRequest, manager: str) -> None:
    if not request.config.getoption("--vm-crun"):
        pytest.skip("needs --vm-crun")
    files = [word for name in _CRUN_FILES for word in ("--only", f"test_{name}")]
    runtime = "env PYTHONPATH=/srv/coracle /opt/venv/bin/python -m oci.cli"
    said = _python(
        node, "-m", "e2e.oci", "--crun", ".cache/crun", "--runtime", runtime, "--cgroup-manager", manager, *files,
        timeout=3600,
    )  # fmt: skip
    failed = {line.split()[-1].rstrip(":") for line in said.splitlines() if line.startswith("failed")}
    assert "fair:" in said
    assert not {line for line in said.splitlines() if line.startswith("failed   FAIR")} - {"start"}, failed


def test_cri_suite(node: Node) -> None:
    node.shell("systemctl stop coracle", timeout=300)
    said = _python(node, "-m", "pytest", "-q", "e2e/cri", "--timeout", "1800", timeout=14400)
    assert " failed" not in said.splitlines()[-1]
