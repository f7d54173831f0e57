"""Labels on a kernel with SELinux and Debian's policy; in a guest of its own: a kernel has one of the two modules.

The policy is enforced for containers only where a test says so. See recipe.py for the daemon's own domain.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.vm.conftest import Node
from e2e.vm.guest import Guest
from e2e.vm.image import build
from e2e.vm.payload import archive, source_disk

_PATIENCE_S = 1800.0
_PROCESS = "system_u:system_r:container_t"
_FILE = "system_u:object_r:container_file_t"
_FIELD = "INVALID_ARGUMENT: config.linux.security_context.selinux_options"
_PAIR = re.compile(r"s0:c(\d+),c(\d+)")


@pytest.fixture(scope="module")
def labelled(request: pytest.FixtureRequest) -> Iterator[Node]:
    """A node of its own; with --vm-name one that `python -m e2e.vm up --selinux` has started."""
    options = request.config
    critest = options.getoption("--vm-critest")
    existing = options.getoption("--vm-name")
    guest = Guest(existing or f"selinux-{os.getpid()}")
    if existing:
        guest.run("tar", "-x", stdin=archive(), timeout=900)
    else:
        more: dict[str, Path] = {".cache/critest": critest} if critest else {}
        guest.start(build(selinux=True), source_disk(more), patience=900)
    try:
        node = Node(guest)
        if node.guest.run("test", "-e", "/sys/fs/selinux/enforce", check=False).returncode:
            pytest.skip("this guest has no SELinux")
        node.inside("setup", timeout=_PATIENCE_S)
        node.shell("mkdir -p /run/coracle; restorecon -F /usr/local/bin/coracle /var/lib/coracle /run/coracle")
        node.shell("systemctl restart coracle", timeout=_PATIENCE_S)
        yield node
    finally:
        if not existing and not options.getoption("--vm-keep"):
            guest.remove()


def _ask(node: Node, *words: str) -> Any:
    command = ["/opt/venv/bin/python", "-m", "e2e.vm.labels", *words]
    done = node.guest.run(*command, env={"E2E_SLOWNESS": "10"}, timeout=_PATIENCE_S, check=False)
    assert done.returncode == 0, f"{words}: {done.stderr.decode()[-2000:]}\n{node.journal()[-4000:]}"
    return json.loads(done.stdout.splitlines()[-1])


def _level(label: str) -> str:
    return label.split(":", 3)[3]


def test_the_daemon_says_that_labels_are_set(labelled: Node) -> None:
    assert _ask(labelled, "state") == "enabled: labels are set"
    seen = labelled.shell("coracle doctor --all", timeout=_PATIENCE_S, check=False)
    assert "SELinux, permissive, enabled: labels are set" in seen
    pid = labelled.property("MainPID")
    assert "container_engine_t" in labelled.shell(f"cat /proc/{pid}/attr/current")


def test_processes(labelled: Node) -> None:
    """What the host sees of a container's first process, and what an executed one sees of itself."""
    found = _ask(labelled, "processes")
    assert all(first == executed for first, executed in found.values())
    labels = {name: first for name, (first, _) in found.items()}
    own = labels["plain"]
    assert own.startswith(f"{_PROCESS}:")
    assert _PAIR.fullmatch(_level(own))
    assert labels["plain's second"] == own
    chosen = [labels[name] for name in ("plain", "other", "the host's network", "a user namespace")]
    assert len(set(chosen)) == len(chosen)
    assert all(label.startswith(f"{_PROCESS}:") and _PAIR.fullmatch(_level(label)) for label in chosen)
    assert labels["plain's own level"] == f"{_PROCESS}:s0:c5,c9"
    assert labels["asked"] == "root:system_r:container_kvm_t:s0:c3.c7"
    assert labels["asked, and the container"] == "root:system_r:container_t:s0:c8"
    free = {labels[name] for name in ("privileged", "privileged, with a type", "the host's pids", "the host's ipc")}
    assert free == {"system_u:system_r:spc_t:s0"}


def test_what_no_label_can_be_made_of_is_refused(labelled: Node) -> None:
    answers = _ask(labelled, "refused")
    assert len(answers) == 7
    wrong = {name: said for name, said in answers.items() if not all(one.startswith(_FIELD) for one in said)}
    assert wrong == {}


@pytest.mark.parametrize("layers", ["erofs", "directory"])
def test_files(labelled: Node, layers: str) -> None:
    labelled.inside("clear", timeout=_PATIENCE_S)
    _ask(labelled, "forget")
    labelled.shell(f"echo CORACLE_IMAGES_LAYER_FORMAT={layers} >> /etc/default/coracle")
    labelled.shell("systemctl restart coracle", timeout=_PATIENCE_S)
    found = _ask(labelled, "files")
    level = _level(found["process"])
    before, after, own = found["before"], found["after"], found["own"]
    shared = {path for path in before if not path.startswith(("/kept", "/dev/mqueue"))}
    assert {before[path] for path in shared} == {f"{_FILE}:{level}"}
    assert before["/dev/mqueue"] == f"{_FILE}:s0"
    assert _level(before["/dev/mqueue/made"]) == level  # its type is the policy's choice
    assert {before["/kept"], before["/kept/below/file"]} == {found["volumes"]}
    assert found["volumes"] != f"{_FILE}:{level}"
    # A container with a level of its own: what both have to read has no categories from then on.
    both = {"/etc/hosts", "/etc/hostname", "/etc/resolv.conf"}
    assert {path: label for path, label in after.items() if label != before[path]} == dict.fromkeys(both, f"{_FILE}:s0")
    assert {own[path] for path in ("/", "/bin/busybox", "/made", "/dev", "/dev/null")} == {f"{_FILE}:s0:c5,c9"}
    assert own["/dev/shm"] == f"{_FILE}:{level}"
    assert found["etc"] == "INVALID_ARGUMENT: config.mounts[0].host_path: /etc is the host's: it is not relabelled"
    assert found["what must not change"] == "unchanged"


def test_a_pod_keeps_its_level_over_a_restart(labelled: Node) -> None:
    made = _ask(labelled, "pod")
    labelled.shell("systemctl restart coracle", timeout=_PATIENCE_S)
    assert _ask(labelled, "again", made["sandbox"]) == [made["label"]] * 2


def test_pods_cannot_use_each_others_files_where_the_policy_is_enforced(labelled: Node) -> None:
    labelled.shell("setenforce 1")
    try:
        found = _ask(labelled, "strangers")
    finally:
        labelled.shell("setenforce 0")
    assert found["enforce"] == "1"
    assert found["owner"] == {"read": "strangers", "write": "written", "own files": "written"}
    assert found["stranger"]["own files"] == "written"
    assert "Permission denied" in found["stranger"]["read"]
    assert "Permission denied" in found["stranger"]["write"]


def test_critest(labelled: Node, request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--vm-critest"):
        pytest.skip("needs --vm-critest")
    labelled.inside("clear", timeout=_PATIENCE_S)
    labelled.shell("chmod +x .cache/critest; systemctl stop coracle", timeout=_PATIENCE_S)
    done = labelled.guest.run(
        "/opt/venv/bin/python", "-m", "e2e.critest", "--critest", ".cache/critest", "--focus", "SELinux",
        env={"E2E_REGISTRY_STORAGE": "/srv/coracle/.cache/registry", "E2E_SLOWNESS": "10"},
        timeout=7200, show=True, check=False,
    )  # fmt: skip
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert re.search(r"^[1-9]\d* passed, 0 failed", said, re.MULTILINE), said[-3000:]
