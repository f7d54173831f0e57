"""The doctor's checks on trees of their own: what is in order, what is not, and that each says what to do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cri.config import load_settings
from cri.config.schema import Settings
from cri.doctor import cgroups, disks, kernel, kubelet, network, others, registries, sysctls
from cri.doctor.disks import Space
from cri.doctor.node import Node
from cri.doctor.result import Result, Verdict
from imagesvc.registry.hosts import Host

V2 = "29 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
V1 = (
    "30 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
    "31 24 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "32 24 0:29 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
)
HEALTHY = {
    "/proc/filesystems": "nodev\ttmpfs\nnodev\toverlay\n\text4\n\terofs\n",
    "/proc/self/mountinfo": f"25 1 8:1 / / rw - ext4 /dev/sda1 rw\n{V2}",
    "/proc/sys/kernel/seccomp/actions_avail": "kill_process allow",
    "/proc/sys/net/bridge/bridge-nf-call-iptables": "1",
    "/proc/sys/net/netfilter/nf_conntrack_max": "65536",
    "/proc/sys/net/ipv4/ip_forward": "1",
    "/proc/sys/fs/inotify/max_user_instances": "1024",
    "/proc/sys/fs/inotify/max_user_watches": "524288",
    "/proc/sys/kernel/pid_max": "4194304",
    "/proc/sys/fs/file-max": "9223372036854775807",
    "/sys/fs/cgroup/cgroup.controllers": "cpuset cpu io memory hugetlb pids rdma",
    "/sys/fs/cgroup/cgroup.subtree_control": "cpuset cpu io memory hugetlb pids",
    "/sys/module/apparmor/parameters/enabled": "Y\n",
    "/sbin/apparmor_parser": "",
    "/run/systemd/system/.": "",
    "/run/systemd/timesync/synchronized": "",
    "/proc/fs/jbd2/sda1-8/info": "",
    **{f"/proc/self/ns/{name}": "" for name in ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user")},
}


@dataclass
class FakeProbes:
    version: str = "6.12.9"
    refuses: Mapping[str, str] = field(default_factory=dict)

    def ask(self, feature: str) -> str:
        return self.refuses.get(feature, "")

    def release(self) -> str:
        return self.version


def node(root: Path, files: Mapping[str, str] = HEALTHY, **changes: str | None) -> Node:
    """`changes` by path; None takes the file away."""
    for name, text in {**files, **changes}.items():
        if text is None:
            continue
        path = root / name.lstrip("/")
        if name.endswith("/."):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (root / "sys/dev/block").mkdir(parents=True, exist_ok=True)
    (root / "sys/dev/block/8:1").symlink_to("../../devices/virtio1/block/sda/sda1")
    return Node(root)


def settings(text: str = "", tmp_path: Path | None = None) -> Settings:
    if tmp_path is None:
        return load_settings(None, {}, {})
    (tmp_path / "coracle.toml").write_text(text)
    return load_settings(tmp_path / "coracle.toml", {}, {})


def by_name(results: Iterable[Result]) -> dict[str, Result]:
    found = {result.name: result for result in results}
    assert all(result.advice for result in found.values() if result.verdict is not Verdict.OK)
    return found


def verdicts(results: Iterable[Result]) -> dict[str, str]:
    return {name: result.verdict.value for name, result in by_name(results).items()}


def test_a_healthy_node_has_nothing_to_do(tmp_path: Path) -> None:
    healthy = node(tmp_path)
    space = Space(free=0.5, free_inodes=0.9, bytes_free=10**11)
    results = [
        *kernel.checks(healthy, FakeProbes()),
        *cgroups.checks(healthy, settings()),
        *sysctls.checks(healthy),
        *network.checks(healthy, settings()),
        *registries.checks(healthy, settings(), lambda host, timeout: ""),
        *kubelet.checks(healthy, settings()),
        *disks.checks(healthy, settings(), lambda path: space),
        *others.checks(healthy, settings(), 1.8e9),
    ]
    assert [result for result in results if result.verdict is not Verdict.OK] == []
    assert json.loads(json.dumps(results[0].to_json()))["verdict"] == "ok"


@pytest.mark.parametrize(
    ("probes", "changes", "expected"),
    [
        (FakeProbes(version="5.4.0"), {}, {"version": "fail", "EROFS from files": "ok"}),
        (FakeProbes(refuses={"erofs files": "no such device"}), {}, {"EROFS from files": "warn"}),
        (FakeProbes(version="6.1.0", refuses={"erofs files": "block device"}), {}, {"EROFS from files": "ok"}),
        (FakeProbes(refuses={"pidfd": "x", "nftables": "y"}), {}, {"pidfd": "fail", "nftables": "warn"}),
        (FakeProbes(), {"/proc/filesystems": "nodev\ttmpfs\n"}, {"overlay": "fail"}),
        (FakeProbes(), {"/proc/sys/kernel/seccomp/actions_avail": None}, {"seccomp": "fail"}),
        (FakeProbes(), {"/proc/sys/net/bridge/bridge-nf-call-iptables": None}, {"br_netfilter": "warn"}),
        (FakeProbes(), {"/sbin/apparmor_parser": None}, {"AppArmor, SELinux": "warn"}),
        (FakeProbes(), {"/proc/self/ns/cgroup": None}, {"namespaces": "fail"}),
        (FakeProbes(), {"/proc/sys/user/max_user_namespaces": "0"}, {"namespaces": "warn"}),
    ],
)
def test_what_the_kernel_lacks(
    tmp_path: Path, probes: FakeProbes, changes: dict[str, str | None], expected: dict[str, str]
) -> None:
    found = verdicts(kernel.checks(node(tmp_path, {**HEALTHY, **changes}), probes))  # type: ignore[dict-item]
    assert {name: found[name] for name in expected} == expected


def test_selinux_with_and_without_its_labels(tmp_path: Path) -> None:
    name, files = "AppArmor, SELinux", {**HEALTHY, "/sys/module/apparmor/parameters/enabled": "N"}
    assert by_name(kernel.checks(node(tmp_path / "off", files), FakeProbes()))[name].seen == (
        "neither is enabled in this kernel"
    )
    files |= {"/sys/fs/selinux/enforce": "1", "/sys/fs/selinux/context": "", "/proc/self/attr/current": "u:r:t:s0\0"}
    on = node(tmp_path / "on", files)
    assert by_name(kernel.checks(on, FakeProbes()))[name].seen == "SELinux, enforcing, enabled: labels are set"
    (on.path("/sys/fs/selinux/context")).unlink()
    found = by_name(kernel.checks(on, FakeProbes()))[name]
    assert found.verdict is Verdict.WARN
    assert found.seen.startswith("SELinux, enforcing, enabled, but labels are not set: ")
    assert "container-selinux" in found.advice


def test_cgroup_v1_works_and_should_not_stay(tmp_path: Path) -> None:
    files = {**HEALTHY, "/proc/self/mountinfo": V1}
    del files["/sys/fs/cgroup/cgroup.controllers"]
    found = by_name(cgroups.checks(node(tmp_path, files), settings()))
    assert found["version"].verdict is Verdict.WARN
    assert found["controllers"].seen == "no cpuset, hugetlb, io"
    assert found["manager"].seen == "cgroupfs"
    assert "delegation" not in found


def test_controllers_that_are_missing_or_not_handed_down(tmp_path: Path) -> None:
    files = {
        **HEALTHY,
        "/sys/fs/cgroup/cgroup.controllers": "cpu pids cpuset io hugetlb",
        "/sys/fs/cgroup/cgroup.subtree_control": "cpu",
    }
    found = by_name(cgroups.checks(node(tmp_path, files), settings()))
    assert found["controllers"].verdict is Verdict.FAIL
    assert found["delegation"].advice.startswith("echo +memory +pids > ")


@pytest.mark.parametrize(
    ("manager", "systemd", "verdict", "seen"),
    [
        ("auto", True, "ok", "systemd"),
        ("auto", False, "ok", "cgroupfs"),
        ("cgroupfs", True, "warn", "cgroupfs, on a host that systemd manages"),
        ("systemd", False, "fail", "cgroup_manager is systemd, but this host has no systemd"),
    ],
)
def test_who_manages_cgroups(tmp_path: Path, manager: str, systemd: bool, verdict: str, seen: str) -> None:
    files = {name: text for name, text in HEALTHY.items() if systemd or "systemd" not in name}
    chosen = settings(f'cgroup_manager = "{manager}"\n', tmp_path)
    result = by_name(cgroups.checks(node(tmp_path / "root", files), chosen))["manager"]
    assert (result.verdict.value, result.seen) == (verdict, seen)


def test_sysctls_say_the_command(tmp_path: Path) -> None:
    files = {**HEALTHY, "/proc/sys/net/ipv4/ip_forward": "0", "/proc/sys/fs/inotify/max_user_instances": "128"}
    found = by_name(sysctls.checks(node(tmp_path, files)))
    assert found["net.ipv4.ip_forward"].verdict is Verdict.FAIL
    assert "sysctl -w net.ipv4.ip_forward=1" in found["net.ipv4.ip_forward"].advice
    assert found["fs.inotify.max_user_instances"].verdict is Verdict.WARN


CONFLIST = json.dumps({"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}, {"type": "portmap"}]})


@pytest.mark.parametrize(
    ("files", "builtin", "verdict", "seen"),
    [
        ({}, "auto", "ok", "none in"),
        ({}, "never", "fail", "no network in"),
        ({"/opt/cni/bin/bridge": "", "/opt/cni/bin/portmap": ""}, "auto", "fail", "cannot be executed"),
        ({"/opt/cni/bin/bridge": ""}, "auto", "warn", "portmap not in"),
        ({"/opt/cni/bin/bridge": ""}, "never", "fail", "portmap not in"),
    ],
)
def test_networks(tmp_path: Path, files: dict[str, str], builtin: str, verdict: str, seen: str) -> None:
    if files:
        files = {**files, "/etc/cni/net.d/10-pods.conflist": CONFLIST}
    chosen = settings(f'[network]\nbuiltin = "{builtin}"\n', tmp_path)
    *_, last = network.checks(node(tmp_path / "root", files), chosen)
    assert (last.verdict.value, seen in last.seen) == (verdict, True), last


def test_a_configuration_that_does_not_parse_is_told(tmp_path: Path) -> None:
    first, *_ = network.checks(node(tmp_path, {"/etc/cni/net.d/10-x.conflist": "{"}), settings())
    assert first.verdict is Verdict.WARN
    assert "10-x.conflist" in first.seen


def greeter(answers: Mapping[str, str]) -> registries.Greet:
    def greet(host: Host, timeout: float) -> str:
        return next((text for part, text in answers.items() if part in host.base), "")

    return greet


def test_registries_of_which_some_answer(tmp_path: Path) -> None:
    files = {
        "/etc/coracle/certs.d/one.example/hosts.toml": '[host."https://mirror.example"]\n',
        "/etc/coracle/certs.d/two.example_5000_/hosts.toml": 'server = "https://two.example:5000"\n',
        "/etc/coracle/certs.d/bad.example/hosts.toml": "server = [",
    }
    answers = greeter({"mirror": "timed out", "two.example": "its certificate is not trusted: expired"})
    results = list(registries.checks(node(tmp_path, files), settings(), answers))
    told = [(result.name, result.verdict.value) for result in results]
    assert told == [
        ("bad.example", "fail"),
        ("one.example", "ok"),
        ("one.example", "warn"),
        ("two.example_5000_", "fail"),
    ]
    assert "expired" in results[-1].seen


def kubelet_files(**options: str) -> dict[str, str]:
    lines = "".join(f"{name}: {value}\n" for name, value in options.items())
    return {**HEALTHY, "/var/lib/kubelet/config.yaml": lines}


def test_a_kubelet_that_agrees(tmp_path: Path) -> None:
    files = kubelet_files(
        containerRuntimeEndpoint="unix:///var/run/coracle/coracle.sock", cgroupDriver="systemd", failCgroupV1="true"
    )
    found = verdicts(kubelet.checks(node(tmp_path, files), settings()))
    assert set(found.values()) == {"ok"}


def test_flags_win_over_the_file_and_a_running_kubelet_over_both(tmp_path: Path) -> None:
    files = kubelet_files(containerRuntimeEndpoint="unix:///run/coracle/coracle.sock", cgroupDriver="systemd")
    files["/var/lib/kubelet/kubeadm-flags.env"] = (
        'KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///run/containerd/containerd.sock --v=2"\n'
    )
    found = by_name(kubelet.checks(node(tmp_path / "1", files), settings()))
    assert found["containerRuntimeEndpoint"].seen == "unix:///run/containerd/containerd.sock"
    files["/proc/77/cmdline"] = "/usr/bin/kubelet\0--container-runtime-endpoint\0unix:///run/coracle/coracle.sock\0"
    found = by_name(kubelet.checks(node(tmp_path / "2", files), settings()))
    assert found["containerRuntimeEndpoint"].verdict is Verdict.OK


def test_a_kubelet_that_does_not_agree(tmp_path: Path) -> None:
    files = {**kubelet_files(cgroupDriver="cgroupfs", runtimeRequestTimeout="15s", failCgroupV1="true")}
    found = verdicts(kubelet.checks(node(tmp_path / "v2", files), settings()))
    assert found == {
        "configuration": "ok",
        "containerRuntimeEndpoint": "warn",
        "cgroupDriver": "fail",
        "runtimeRequestTimeout": "warn",
    }
    del files["/sys/fs/cgroup/cgroup.controllers"]
    found = verdicts(kubelet.checks(node(tmp_path / "v1", files), settings()))
    assert (found["cgroupDriver"], found["failCgroupV1"]) == ("ok", "fail")


def test_a_damaged_configuration_of_the_kubelet_is_told(tmp_path: Path) -> None:
    first, *_ = kubelet.checks(node(tmp_path, {"/var/lib/kubelet/config.yaml": "a: ["}), settings())
    assert (first.verdict, "no YAML" in first.seen) == (Verdict.WARN, True)


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.5, "ok"), (0.05, "warn"), (0.001, "fail")], ids=["enough", "little", "none"]
)
def test_space(tmp_path: Path, share: float, verdict: str) -> None:
    space = Space(free=share, free_inodes=1.0, bytes_free=1)
    found = verdicts(disks.checks(node(tmp_path), settings(), lambda path: space))
    assert found["space of /var/lib/coracle"] == verdict
    assert found["inodes of /var/lib/coracle"] == "ok"


@pytest.mark.parametrize(
    ("mounts", "verdict", "seen"),
    [
        ("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n", "ok", "ext4"),
        ("25 1 8:2 / / rw - ext4 /dev/root rw\n", "ok", "ext4"),
        ("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n26 25 0:9 / /var rw - overlay overlay rw\n", "fail", "overlay"),
        ("25 1 8:1 / / rw - ext4 /dev/sda1 rw\n26 25 0:9 / /var/lib rw - tmpfs t rw\n", "warn", "tmpfs"),
        ("25 1 8:1 / / rw - xfs /dev/sda1 rw\n26 25 0:9 / /var/libx rw - tmpfs t rw\n", "ok", "xfs"),
        ("25 1 0:9 / / rw - 9p host rw\n", "warn", "9p"),
    ],
)
def test_file_systems(tmp_path: Path, mounts: str, verdict: str, seen: str) -> None:
    files = {**HEALTHY, "/proc/self/mountinfo": mounts}
    found = by_name(disks.checks(node(tmp_path, files), settings(), lambda path: None))
    result = found["file system of /var/lib/coracle"]
    assert (result.verdict.value, result.seen) == (verdict, seen)


def test_ext4_without_a_journal_is_told(tmp_path: Path) -> None:
    files = {name: text for name, text in HEALTHY.items() if "jbd2" not in name}
    found = by_name(disks.checks(node(tmp_path, files), settings(), lambda path: None))
    assert found["file system of /var/lib/coracle"].seen == "ext4 without a journal"


def test_what_other_runtimes_left(tmp_path: Path) -> None:
    tasks = "/run/containerd/io.containerd.runtime.v2.task/k8s.io"
    files = {
        f"{tasks}/abc/init.pid": "1",
        "/run/containerd/containerd.sock": "",
        "/etc/crictl.yaml": "runtime-endpoint: unix:///run/containerd/containerd.sock\n",
    }
    found = by_name(others.checks(node(tmp_path, files), settings(), 1.0))
    assert found["containerd"].seen.startswith("1 containers of pods")
    assert "rmp --all --force" in found["containerd"].advice
    assert {found[name].verdict for name in ("crictl", "clock")} == {Verdict.WARN}
    assert found["CRI-O"].seen == "not here"
