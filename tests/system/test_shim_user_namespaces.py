"""Pods with a user namespace of their own, as the shim makes them: who owns what, and who may what."""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from cri.shims import Launcher, SandboxSetup
from oci.spec import IdMapping
from tests.system.shim_pods import Pod, clean_launcher, make_rootfs, pod

_HOST_ID = 300_000
_SIZE = 65536
_MAPPINGS = (IdMapping(container_id=0, host_id=_HOST_ID, size=_SIZE),)
_EXTRA: dict[str, Any] = {
    f"{kind}Mappings": [{"containerID": 0, "hostID": _HOST_ID, "size": _SIZE}] for kind in ("uid", "gid")
}


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("shim-users"))


@pytest.fixture
async def launcher() -> AsyncIterator[Launcher]:
    async with clean_launcher() as one:
        yield one


@pytest.fixture(params=["own pid namespaces", "one pid namespace"])
async def users_pod(launcher: Launcher, rootfs: Path, request: pytest.FixtureRequest) -> AsyncIterator[Pod]:
    setup = SandboxSetup(
        hostname="pod",
        netns_path=f"/run/netns/shimtest-{os.getpid()}",
        sysctls={"kernel.shm_rmid_forced": "1", "net.ipv4.ip_unprivileged_port_start": "80"},
        shared_pid=request.param == "one pid namespace",
        uid_mappings=_MAPPINGS,
        gid_mappings=_MAPPINGS,
    )
    async with pod(launcher, rootfs, setup) as one:
        yield one


async def test_root_inside_is_nobody_outside(users_pod: Pod) -> None:
    handles = await users_pod.create("c", "sleep", "1000", **_EXTRA)
    await users_pod.shim.start("c")
    status = _status(handles.pid)
    assert status["Uid"].split() == [str(_HOST_ID)] * 4
    assert status["Gid"].split() == [str(_HOST_ID)] * 4


async def test_the_pods_user_namespace_owns_the_others(users_pod: Pod) -> None:
    script = "id -u; cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_unprivileged_port_start; hostname"
    await users_pod.create("c", "sh", "-c", script, **_EXTRA)
    await users_pod.shim.start("c")
    assert await users_pod.exit_code("c") == 0
    assert users_pod.lines("c") == ["0", "1", "80", "pod"]
    fds = users_pod.namespaces
    assert fds.user_fd is not None
    owner = os.fstat(fds.user_fd).st_ino
    for fd in (fds.net_fd, fds.ipc_fd, fds.uts_fd, fds.pid_fd):
        if fd is not None:
            assert _owner(fd) == owner


async def test_standard_streams_can_be_opened_again(users_pod: Pod) -> None:
    await users_pod.create("c", "sh", "-c", "echo hello > /dev/stdout; echo there > /dev/stderr", **_EXTRA)
    await users_pod.shim.start("c")
    assert await users_pod.exit_code("c") == 0
    assert sorted(users_pod.lines("c")) == ["hello", "there"]


async def test_exec_joins_the_user_namespace(users_pod: Pod) -> None:
    await users_pod.create("c", "sleep", "1000", **_EXTRA)
    await users_pod.shim.start("c")
    code, text = await users_pod.execute("c", "cat", "/proc/self/uid_map")
    assert (code, text.split()) == (0, ["0", str(_HOST_ID), str(_SIZE)])


def _owner(fd: int) -> int:
    """Inode of the user namespace that owns the namespace (ioctl_ns(2), NS_GET_USERNS)."""
    user = fcntl.ioctl(fd, 0xB701)
    try:
        return os.fstat(user).st_ino
    finally:
        os.close(user)


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)
