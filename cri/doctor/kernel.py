"""The kernel: its version, what pods need of it, what makes them better, and who else watches over processes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from cri.doctor.node import Node
from cri.doctor.probes import Probes
from cri.doctor.result import Result, fail, ok, warn
from cri.host_check import NAMESPACES, OLDEST_KERNEL, kernel_version
from cri.selinux.policy import find_policy

_GROUP: Final = "kernel"
_INTO_CGROUP: Final = (5, 7)
_EROFS_FILES: Final = (6, 12)

# A file system or module, what lacks without it, and whether pods do.
_MODULES: Final = (
    ("br_netfilter", "/proc/sys/net/bridge", "Services are not seen by pods of the same node's bridge", False),
    ("nf_conntrack", "/proc/sys/net/netfilter/nf_conntrack_max", "host ports and Services need it", False),
)


def checks(node: Node, probes: Probes) -> Iterator[Result]:
    release = probes.release()
    yield _version(release)
    yield _namespaces(node)
    yield _filesystem(node, "overlay", required=True)
    yield _erofs(node, probes, release)
    for feature, lack, required in (
        ("pidfd", "processes cannot be watched without races", True),
        ("nftables", "the built-in network and host ports do not work", False),
        ("idmapped mounts", "pods with user namespaces (hostUsers: false) are refused", False),
    ):
        yield _feature(probes, feature, lack, required)
    yield _clone_into_cgroup(node, release)
    yield _seccomp(node)
    yield _security_module(node)
    for module, trace, lack, required in _MODULES:
        yield _module(node, module, trace, lack, required)


def _version(release: str) -> Result:
    if kernel_version(release) < OLDEST_KERNEL:
        return fail(_GROUP, "version", release, "Coracle needs Linux 5.10 or newer: upgrade the kernel")
    return ok(_GROUP, "version", release)


def _namespaces(node: Node) -> Result:
    absent = sorted(NAMESPACES - set(node.names("/proc/self/ns")))
    if absent:
        return fail(_GROUP, "namespaces", f"none of type {', '.join(absent)}", "use a kernel that is built with them")
    limit = node.number("/proc/sys/user/max_user_namespaces")
    if limit == 0:
        advice = "sysctl -w user.max_user_namespaces=65536, or pods with hostUsers: false are refused"
        return warn(_GROUP, "namespaces", "user namespaces are turned off", advice)
    return ok(_GROUP, "namespaces", ", ".join(sorted(NAMESPACES)))


def _filesystem(node: Node, name: str, *, required: bool) -> Result:
    known = {line.split()[-1] for line in (node.read("/proc/filesystems") or "").splitlines() if line.strip()}
    if name in known:
        return ok(_GROUP, name, "the kernel has it")
    verdict = fail if required else warn
    persistent = f"echo {name} > /etc/modules-load.d/coracle.conf"
    return verdict(_GROUP, name, "not among /proc/filesystems", f"modprobe {name}; {persistent}")


def _erofs(node: Node, probes: Probes, release: str) -> Result:
    name = "EROFS from files"
    if not (reason := probes.ask("erofs files")):
        return ok(_GROUP, name, "mounted one")
    if kernel_version(release) < _EROFS_FILES:
        seen = f"not before Linux 6.12, this is {release}"
        return ok(_GROUP, name, f"{seen}: layers are kept as directories")
    advice = "modprobe erofs (CONFIG_EROFS_FS_BACKED_BY_FILE); until then layers are directories, which pull slower"
    return warn(_GROUP, name, reason, advice)


def _feature(probes: Probes, feature: str, lack: str, required: bool) -> Result:
    if not (reason := probes.ask(feature)):
        return ok(_GROUP, feature, "tried, works")
    verdict = fail if required else warn
    return verdict(_GROUP, feature, reason, f"{lack}: use a kernel, or a host, that allows it")


def _clone_into_cgroup(node: Node, release: str) -> Result:
    name = "clone into cgroup"
    if not node.exists("/sys/fs/cgroup/cgroup.controllers"):
        return ok(_GROUP, name, "of no use with cgroup v1")
    if kernel_version(release) < _INTO_CGROUP:
        return warn(_GROUP, name, release, "containers start slower: Linux 5.7 brings it")
    return ok(_GROUP, name, "the kernel has it")


def _seccomp(node: Node) -> Result:
    actions = node.line("/proc/sys/kernel/seccomp/actions_avail")
    if actions is None:
        return fail(_GROUP, "seccomp", "no filters", "use a kernel with CONFIG_SECCOMP_FILTER: pods ask for profiles")
    return ok(_GROUP, "seccomp", actions)


def _security_module(node: Node) -> Result:
    name = "AppArmor, SELinux"
    if node.line("/sys/module/apparmor/parameters/enabled") == "Y":
        if not any(node.exists(place) for place in ("/sbin/apparmor_parser", "/usr/sbin/apparmor_parser")):
            advice = "install apparmor: without its parser the default profile cannot be loaded"
            return warn(_GROUP, name, "AppArmor, without apparmor_parser", advice)
        return ok(_GROUP, name, "AppArmor")
    enforcing = node.line("/sys/fs/selinux/enforce")
    if enforcing is None:
        return ok(_GROUP, name, "neither is enabled in this kernel")
    policy, state = find_policy(node.root)
    seen = f"SELinux, {'enforcing' if enforcing == '1' else 'permissive'}, {state}"
    if policy is None:
        return warn(_GROUP, name, seen, "containers are not kept apart by labels: install container-selinux")
    return ok(_GROUP, name, seen)


def _module(node: Node, module: str, trace: str, lack: str, required: bool) -> Result:
    if node.exists(trace):
        return ok(_GROUP, module, "loaded")
    verdict = fail if required else warn
    return verdict(
        _GROUP, module, "not loaded", f"modprobe {module} ({lack}); echo {module} >> /etc/modules-load.d/coracle.conf"
    )
