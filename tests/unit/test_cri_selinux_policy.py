"""Which policy is found: on a host made of files."""

from __future__ import annotations

from pathlib import Path

import pytest

from cri.selinux.policy import find_policy

LXC = """
process = "system_u:system_r:svirt_lxc_net_t:s0"
content = "system_u:object_r:virt_var_lib_t:s0"
# a comment = with a sign
; another
file = "system_u:object_r:svirt_sandbox_file_t:s0"
sandbox_kvm_process = "system_u:system_r:svirt_qemu_net_t:s0"
"""
CONTAINER_SELINUX = """
process = "system_u:system_r:container_t:s0"
file = "system_u:object_r:container_file_t:s0"
ro_file="system_u:object_r:container_ro_file_t:s0"
init_process = "system_u:system_r:container_init_t:s0"
"""


def host(root: Path, **files: str | None) -> Path:
    """With an enforcing SELinux; keys are paths with __ for /, None takes a file away."""
    every: dict[str, str | None] = {
        "sys/fs/selinux/enforce": "1",
        "sys/fs/selinux/mls": "1",
        "sys/fs/selinux/context": "",
        "proc/self/attr/current": "system_u:system_r:container_runtime_t:s0\0",
        **{name.replace("__", "/"): text for name, text in files.items()},
    }
    for name, text in every.items():
        if text is not None:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
    return root


def test_a_kernel_without_selinux(tmp_path: Path) -> None:
    assert find_policy(tmp_path) == (None, "not enabled in this kernel")


@pytest.mark.parametrize("label", ["kernel\0", ""])
def test_a_kernel_without_a_policy(tmp_path: Path, label: str) -> None:
    policy, state = find_policy(host(tmp_path, proc__self__attr__current=label))
    assert (policy, state) == (None, "enabled in this kernel, but no policy is loaded")


def test_in_a_container_selinux_is_the_hosts_affair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class ReadOnly:
        f_flag = 1

    monkeypatch.setattr("os.statvfs", lambda path: ReadOnly)
    policy, state = find_policy(host(tmp_path))
    assert policy is None
    assert "read-only" in state


def test_without_files_of_the_policy_the_usual_labels(tmp_path: Path) -> None:
    policy, state = find_policy(host(tmp_path))
    assert state == "enabled: labels are set"
    assert policy is not None
    assert str(policy.process) == "system_u:system_r:container_t:s0"
    assert str(policy.file) == "system_u:object_r:container_file_t:s0"
    assert str(policy.unconfined) == "system_u:system_r:spc_t:s0"
    assert policy.init_type == "container_t"


def test_the_policys_own_file_counts(tmp_path: Path) -> None:
    files = {"etc__selinux__mine__contexts__lxc_contexts": LXC, "etc__selinux__config": "SELINUX=enforcing\n"}
    policy, _ = find_policy(host(tmp_path / "other", **files))
    assert policy is not None
    assert policy.process.type == "container_t"  # the type of the policy is targeted when nothing says another
    files["etc__selinux__config"] += "# SELINUXTYPE=x\nSELINUXTYPE=mine\n"
    policy, _ = find_policy(host(tmp_path / "this", **files))
    assert policy is not None
    assert (policy.process.type, policy.file.type) == ("svirt_lxc_net_t", "svirt_sandbox_file_t")


def test_container_selinux_counts_before_it(tmp_path: Path) -> None:
    files = {
        "usr__share__containers__selinux__contexts": CONTAINER_SELINUX,
        "etc__selinux__targeted__contexts__lxc_contexts": LXC,
    }
    policy, _ = find_policy(host(tmp_path, **files))
    assert policy is not None
    assert (policy.process.type, policy.file.type) == ("container_t", "container_file_t")
    assert policy.init_type == "container_init_t"


def test_a_policy_without_levels(tmp_path: Path) -> None:
    policy, _ = find_policy(host(tmp_path, sys__fs__selinux__mls="0"))
    assert policy is not None
    assert (policy.process.level, policy.file.level) == ("", "")
    assert str(policy.unconfined) == "system_u:system_r:spc_t"


def test_a_policy_that_knows_no_containers(tmp_path: Path) -> None:
    """A file of procfs answers nonsense with EINVAL, as selinuxfs does."""
    root = host(tmp_path, sys__fs__selinux__context=None)
    (root / "sys/fs/selinux/context").symlink_to("/proc/self/oom_score_adj")
    policy, state = find_policy(root)
    assert policy is None
    assert state == "enabled, but labels are not set: the policy has no container_t (install container-selinux)"


def test_whoever_may_not_ask_sets_no_labels(tmp_path: Path) -> None:
    root = host(tmp_path, sys__fs__selinux__context=None)
    policy, state = find_policy(root)
    assert policy is None
    assert state.startswith("enabled, but labels are not set: ")
    assert f"{root}/sys/fs/selinux/context" in state


def test_nonsense_in_the_policys_file_is_shown(tmp_path: Path) -> None:
    policy, state = find_policy(host(tmp_path, usr__share__containers__selinux__contexts="process = nothing"))
    assert (policy, state) == (None, "enabled, but labels are not set: 'nothing' is not a label")
