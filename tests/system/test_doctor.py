"""`coracle doctor` on this machine: it ends, tells something of every group, and changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from e2e import leaks

COMMAND = (sys.executable, "-c", "from cri.cli import main; main()", "doctor")
GROUPS = {"kernel", "cgroups", "sysctls", "network", "registries", "kubelet", "disks", "others"}


def doctor(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    flags = (f"--root={tmp_path}/root", f"--runroot={tmp_path}/run", f"--registry-config-path={tmp_path}/certs.d")
    return subprocess.run([*COMMAND, *flags, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_this_machine_can_run_pods(tmp_path: Path) -> None:
    before = leaks.snapshot().mounts
    done = doctor(tmp_path, "--json")
    report = json.loads(done.stdout)
    assert {check["group"] for check in report["checks"]} == GROUPS
    assert done.returncode == (1 if report["failed"] else 0)
    found = {check["name"]: check["verdict"] for check in report["checks"]}
    # What every machine that these tests run on has: the daemon of the other tests would not start otherwise.
    assert {found[name] for name in ("version", "namespaces", "overlay", "pidfd", "seccomp")} <= {"ok", "warn"}
    assert list(tmp_path.iterdir()) == []
    assert {mount for mount in leaks.snapshot().mounts - before if str(tmp_path) in mount} == set()


def test_a_registry_that_nobody_serves_fails(tmp_path: Path) -> None:
    directory = tmp_path / "certs.d/registry.example"
    directory.mkdir(parents=True)
    (directory / "hosts.toml").write_text('server = "http://127.0.0.1:1"\n')
    done = doctor(tmp_path)
    assert done.returncode == 1
    assert "fail\tregistries\tregistry.example\thttp://127.0.0.1:1" in done.stdout
    assert "Connection refused" in done.stdout
