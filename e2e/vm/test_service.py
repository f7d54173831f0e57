"""coracle.service: what systemd sees of it, and what its end does to pods."""

from __future__ import annotations

from e2e.vm.conftest import Node
from e2e.vm.inside import BUSYBOX


def test_systemd_finds_nothing_wrong_with_the_unit(node: Node) -> None:
    said = node.guest.run("systemd-analyze", "verify", "coracle.service", check=False, timeout=900)
    assert (said.returncode, said.stderr.decode()) == (0, "")


def test_it_is_ready_and_says_so(node: Node) -> None:
    assert node.property("ActiveState") == "active"
    assert node.property("StatusText") == "serving unix:///run/coracle/coracle.sock"
    assert node.property("Delegate") == "yes"
    pid = node.property("MainPID")
    assert node.shell(f"cat /proc/{pid}/cgroup").strip() == "0::/system.slice/coracle.service/daemon"
    assert node.shell(f"cat /proc/{pid}/oom_score_adj").strip() == "-999"
    assert "coracle-default (enforce)" in node.shell("cat /sys/kernel/security/apparmor/profiles")


def test_pods_are_scopes_with_what_they_were_given(node: Node) -> None:
    (pod,) = node.inside("pods", "1", "kubepods-burstable-pod1.slice")
    scope = f"coracle-{pod['sandbox']}.scope"
    path = f"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice/{scope}"
    assert pod["cgroup"] == f"{path}/{pod['container']}"
    assert node.property("Slice", scope) == "kubepods-burstable-pod1.slice"
    assert node.property("Delegate", scope) == "yes"
    assert node.property("TasksMax", scope) == "infinity"
    assert node.shell(f"cat /proc/{pod['pid']}/attr/apparmor/current").strip() == "coracle-default (enforce)"
    node.inside("limit", pod["container"], str(64 << 20))
    node.shell("systemctl daemon-reload", timeout=900)
    assert node.shell(f"cat /sys/fs/cgroup{pod['cgroup']}/memory.max").strip() == str(64 << 20)
    node.inside("clear")
    assert node.property("LoadState", scope) == "not-found"
    assert node.shell(f"ls -d /sys/fs/cgroup{path} 2>/dev/null || true") == ""


def test_pods_outlive_restart_kill_and_stop(node: Node) -> None:
    made = node.inside("pods", "2")
    pids = [str(pod["pid"]) for pod in made]
    for command in ("systemctl restart coracle", "systemctl kill -s KILL --kill-whom=main coracle"):
        before = node.property("MainPID")
        node.shell(command, timeout=900)
        node.until(f"[ $(systemctl show -P MainPID coracle) != {before} ] && systemctl is-active -q coracle")
        state = node.inside("state")
        assert {state["containers"][pod["container"]] for pod in made} == {"CONTAINER_RUNNING"}
        assert {state["pods"][pod["sandbox"]] for pod in made} == {"SANDBOX_READY"}
    node.shell("systemctl stop coracle", timeout=900)
    node.shell("kill -0 " + " ".join(pids))
    node.start()
    node.inside("clear")
    assert node.inside("state") == {
        "pods": {}, "containers": {}, "images": [BUSYBOX], "addresses": {}, "namespaces": [],
    }  # fmt: skip


def test_a_reload_changes_what_can_be_changed(node: Node) -> None:
    before = node.property("MainPID")
    node.shell("mkdir -p /etc/coracle && printf 'log_level = \"debug\"\\n' > /etc/coracle/coracle.toml")
    node.shell("systemctl reload coracle && sleep 2")
    assert node.property("MainPID") == before
    assert "setting changed" in node.journal()
    node.shell("rm /etc/coracle/coracle.toml; systemctl reload coracle")


def test_a_daemon_that_hangs_is_ended_and_its_pods_run_on(node: Node) -> None:
    """SIGSTOP stands for a loop that does not come round: nothing is told to systemd."""
    node.shell(
        "mkdir -p /run/systemd/system/coracle.service.d; "
        "printf '[Service]\\nWatchdogSec=20\\n' > /run/systemd/system/coracle.service.d/short.conf; "
        "systemctl daemon-reload; systemctl restart coracle", timeout=900,
    )  # fmt: skip
    (pod,) = node.inside("pods", "1")
    before = node.property("MainPID")
    restarts = int(node.property("NRestarts"))
    node.shell(f"kill -STOP {before}")
    node.until(f"[ $(systemctl show -P NRestarts coracle) -gt {restarts} ] && systemctl is-active -q coracle")
    journal = node.journal()
    assert "Watchdog timeout" in journal
    assert "most recent call first" in journal  # the stacks of its threads
    assert node.inside("state")["containers"][pod["container"]] == "CONTAINER_RUNNING"
    node.inside("clear")
    node.shell("rm -r /run/systemd/system/coracle.service.d; systemctl daemon-reload; systemctl restart coracle",
               timeout=900)  # fmt: skip
