"""What a container is made of: namespaces, process, privileges, limits, errors, exec, terminal."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oci.errors import ContainerError, HookError, SpecError
from tests.descriptors import open_descriptors
from tests.system.containers import Box, make_rootfs, namespaces, read_terminal

ALL = ("mount", "pid", "ipc", "uts", "cgroup", "network")
USER_MAP = [{"containerID": 0, "hostID": 200_000, "size": 65_536}]
IN_USERNS = {
    "linux.namespaces": namespaces(*ALL, "user"),
    "linux.uidMappings": USER_MAP,
    "linux.gidMappings": USER_MAP,
}


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("bundle") / "rootfs")


@pytest.fixture
def box(rootfs: Path) -> Iterator[Box]:
    before = _inventory()
    made = Box(rootfs)
    yield made
    made.close()
    made.engine.close()
    assert _inventory() == before


def _inventory() -> tuple[list[str], int, int]:
    """Descriptors, mounts and children of this process."""
    with open("/proc/self/mountinfo") as mounts, open(f"/proc/self/task/{os.getpid()}/children") as children:
        return open_descriptors(), len(mounts.readlines()), len(children.read().split())


# --- namespaces -----------------------------------------------------------------------------------------------------


def test_new_namespaces_are_not_ours(box: Box) -> None:
    names = ("mnt", "pid", "ipc", "uts", "cgroup", "net")
    lines = box.sh("for n in mnt pid ipc uts cgroup net; do readlink /proc/self/ns/$n; done").lines
    assert len(lines) == len(names)
    for name, link in zip(names, lines, strict=True):
        assert link != os.readlink(f"/proc/self/ns/{name}"), name


def test_namespaces_that_are_not_named_are_inherited(box: Box) -> None:
    changes = {"linux.namespaces": namespaces("mount", "pid"), "hostname": None}
    assert box.sh("readlink /proc/self/ns/net", changes=changes).lines == [os.readlink("/proc/self/ns/net")]


def test_namespaces_are_joined_by_path(box: Box) -> None:
    first = box.start("sleep", "100")
    kinds = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}
    joined = {kind: f"/proc/{first.pid}/ns/{name}" for kind, name in kinds.items()}
    script = "hostname; ps | grep -c 'sleep 100'; " + "; ".join(f"readlink /proc/self/ns/{n}" for n in kinds.values())
    finished = box.sh(script, changes={"linux.namespaces": namespaces("mount", **joined), "hostname": None})
    hostname, sleeps, *links = finished.lines
    assert hostname == "box"
    assert int(sleeps) >= 1
    assert links == [os.readlink(path) for path in joined.values()]
    # We ourselves still have children in our own pid namespace.
    assert os.readlink("/proc/self/ns/pid_for_children") == os.readlink("/proc/self/ns/pid")


def test_a_path_to_another_kind_of_namespace_is_refused(box: Box) -> None:
    with pytest.raises(SpecError, match=r"linux\.namespaces\[1\]\.path: /proc/self/ns/net is not a uts namespace"):
        box.run("true", changes={"linux.namespaces": namespaces("mount", uts="/proc/self/ns/net"), "hostname": None})


def test_user_namespace_with_mappings(box: Box) -> None:
    lines = box.sh("id -u; cat /proc/self/uid_map; : > /dev/null; stat -c %t,%T /dev/null", changes=IN_USERNS).lines
    assert lines[0] == "0"
    assert lines[1].split() == ["0", "200000", "65536"]
    assert lines[2] == "1,3"


def test_a_user_namespace_is_joined_and_owns_the_new_ones(box: Box) -> None:
    first = box.start("sleep", "100", changes=IN_USERNS)
    joined = namespaces("mount", "pid", "ipc", "uts", user=f"/proc/{first.pid}/ns/user")
    lines = box.sh("cat /proc/self/uid_map; echo $$; mount -t tmpfs x /mnt && echo mounted", changes={
        "linux.namespaces": [*joined, {"type": "network", "path": f"/proc/{first.pid}/ns/net"}],
        "process.capabilities": {k: ["CAP_SYS_ADMIN"] for k in ("bounding", "effective", "permitted")},
    }).lines  # fmt: skip
    assert lines[0].split() == ["0", "200000", "65536"]
    assert lines[1:] == ["1", "mounted"]


def test_time_namespace_is_offset(box: Box) -> None:
    changes = {
        "linux.namespaces": namespaces(*ALL, "time"),
        "linux.timeOffsets": {"boottime": {"secs": 10_000_000}},
    }
    uptime = float(box.sh("cat /proc/uptime", changes=changes).output.split()[0])
    assert uptime > 10_000_000 + time.clock_gettime(time.CLOCK_BOOTTIME) - 100


def test_loopback_is_up_in_a_new_network_namespace(box: Box) -> None:
    assert "UP" in box.sh("ip link show lo").output


def test_names_and_sysctls(box: Box) -> None:
    changes = {"domainname": "example", "linux.sysctl": {"kernel.msgmax": "4242", "net.ipv4.ip_default_ttl": "42"}}
    script = "hostname; cat /proc/sys/kernel/domainname /proc/sys/kernel/msgmax /proc/sys/net/ipv4/ip_default_ttl"
    assert box.sh(script, changes=changes).lines == ["box", "example", "4242", "42"]


def test_sysctls_of_the_host_are_refused_also_in_a_joined_namespace(box: Box) -> None:
    with pytest.raises(SpecError, match="would change the host"):
        box.run("true", changes={"linux.sysctl": {"kernel.core_pattern": "|/tmp/x"}})
    changes = {
        "linux.namespaces": namespaces("mount", "pid", network="/proc/self/ns/net"),
        "hostname": None,
        "linux.sysctl": {"net.ipv4.ip_forward": "1"},
    }
    with pytest.raises(SpecError, match="needs a network namespace"):
        box.run("true", changes=changes)


# --- the process ----------------------------------------------------------------------------------------------------


def test_ids_groups_umask_and_home(box: Box) -> None:
    changes = {"process.user": {"uid": 1000, "gid": 1001, "additionalGids": [5, 6], "umask": 0o077}}
    lines = box.sh("id -u; id -g; grep Groups /proc/self/status; umask; echo $HOME", changes=changes).lines
    assert lines == ["1000", "1001", "Groups:\t5 6 ", "0077", "/home/guest"]


def test_environment_is_exactly_the_configs(box: Box) -> None:
    env = ["PATH=/bin", "HOME=/x", "EMPTY=", "ODD", "TWICE=1", "TWICE=2"]
    raw = box.run("cat", "/proc/self/environ", changes={"process.env": env}).output
    assert raw.split("\0")[:-1] == env


def test_working_directory_is_made_and_entered(box: Box) -> None:
    assert box.run("pwd", changes={"process.cwd": "/tmp/made/here"}).lines == ["/tmp/made/here"]


def test_only_three_descriptors(box: Box) -> None:
    spare = os.open("/", os.O_RDONLY)
    os.set_inheritable(spare, True)
    try:
        # The fourth is the one that ls reads the directory with.
        assert box.sh("ls /proc/self/fd").lines == ["0", "1", "2", "3"]
    finally:
        os.close(spare)


def test_signals_have_their_defaults(box: Box) -> None:
    # Without a shell, which ignores some signals itself.
    status = dict(line.split(":\t") for line in box.run("grep", "-E", "Sig(Ign|Blk)", "/proc/self/status").lines)
    assert {int(mask, 16) for mask in status.values()} == {0}


def test_rlimits(box: Box) -> None:
    changes = {"process.rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]}
    assert box.sh("ulimit -Sn; ulimit -Hn", changes=changes).lines == ["100", "200"]


def test_oom_score_is_raised_and_a_low_one_is_clamped(box: Box) -> None:
    assert box.sh("cat /proc/self/oom_score_adj", changes={"process.oomScoreAdj": 321}).lines == ["321"]
    lowered = int(box.sh("cat /proc/self/oom_score_adj", changes={"process.oomScoreAdj": -900}).output)
    assert lowered <= 0


def test_capabilities_in_five_sets(box: Box) -> None:
    sets = ("bounding", "effective", "permitted", "inheritable", "ambient")
    changes = {
        "process.user": {"uid": 1000, "gid": 1000},
        "process.capabilities": {name: ["CAP_KILL", "CAP_CHOWN"] for name in sets},
    }
    status = dict(line.split(":\t") for line in box.sh("grep Cap /proc/self/status", changes=changes).lines)
    assert {int(mask, 16) for mask in status.values()} == {0b100001}


def test_capabilities_that_nobody_knows_only_warn(box: Box) -> None:
    created = box.create(box.spec("true", changes={"process.capabilities": {"bounding": ["CAP_MAGIC"]}}))
    assert created.warnings == ("capability CAP_MAGIC is unknown and ignored",)
    box.engine.start(created)
    assert box.reap(created) == 0


def test_no_capabilities_without_the_property(box: Box) -> None:
    status = dict(
        line.split(":\t") for line in box.sh("grep Cap /proc/self/status", changes={"process.capabilities": None}).lines
    )
    assert {int(mask, 16) for mask in status.values()} == {0}


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_seccomp_and_no_new_privileges(box: Box, no_new_privileges: bool) -> None:
    changes = {
        "process.noNewPrivileges": no_new_privileges,
        "linux.seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}],
        },
    }
    lines = box.sh("grep -E 'NoNewPrivs|Seccomp:' /proc/self/status; mkdir /tmp/no", changes=changes).lines
    assert lines[0] == f"NoNewPrivs:\t{int(no_new_privileges)}"
    assert lines[1] == "Seccomp:\t2"
    assert "No space left" in lines[2]


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_a_seccomp_agent_gets_the_listener(box: Box, tmp_path: Path, no_new_privileges: bool) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": str(tmp_path / "agent"),
        "listenerMetadata": "for the agent",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    }
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "agent"))
        server.listen()
        agent = os.fork()
        if agent == 0:
            try:
                _refuse_one_call(server)
            finally:
                os._exit(1)
        changes = {"process.noNewPrivileges": no_new_privileges, "linux.seccomp": profile}
        assert "No space left" in box.sh("mkdir /tmp/no", changes=changes).output
        assert os.waitstatus_to_exitcode(os.waitpid(agent, 0)[1]) == 0


def _refuse_one_call(server: socket.socket) -> None:
    """As an agent: check the message, answer the first call with ENOSPC (linux/seccomp.h)."""
    peer, _ = server.accept()
    message, (listener,), _, _ = socket.recv_fds(peer, 4096, 1)
    document = json.loads(message)
    notification = bytearray(80)
    fcntl.ioctl(listener, 0xC050_2100, notification)
    (number,) = struct.unpack_from("=Q", notification)
    fcntl.ioctl(listener, 0xC018_2101, bytearray(struct.pack("=QqiI", number, 0, -28, 0)))
    os._exit(0 if (document["fds"], document["metadata"]) == (["seccompFd"], "for the agent") else 2)


def test_without_pivot_root(box: Box) -> None:
    finished = box.sh("ls -d /bin /usr 2>/dev/null; hostname", no_pivot=True)
    assert finished.lines == ["/bin", "box"]


def test_scheduling(box: Box) -> None:
    changes: dict[str, Any] = {
        "process.scheduler": {"policy": "SCHED_BATCH", "nice": 7},
        "process.ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
    }
    fields = box.sh("cat /proc/self/stat; ionice -p $$", changes=changes).lines
    assert fields[0].rsplit(")", 1)[1].split()[16] == "7"
    assert fields[1] == "best-effort: prio 6"


def test_personality(box: Box) -> None:
    assert box.run("uname", "-m", changes={"linux.personality": {"domain": "LINUX32"}}).output != os.uname().machine


# --- errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("program", "text"),
    [
        ("foo", 'exec: "foo": executable file not found in $PATH'),
        ("/no/such", 'exec: "/no/such": stat /no/such: no such file or directory'),
        ("/tmp", 'exec: "/tmp": is a directory'),
        ("/etc/passwd", 'exec: "/etc/passwd": permission denied'),
    ],
)
def test_programs_that_cannot_be_executed(box: Box, program: str, text: str) -> None:
    with pytest.raises(ContainerError) as failure:
        box.run(program)
    assert str(failure.value) == text


def test_a_missing_bind_source_is_named(box: Box, tmp_path: Path) -> None:
    mounts = [{"destination": "/mnt", "source": str(tmp_path / "none"), "type": "bind", "options": ["bind"]}]
    with pytest.raises(ContainerError, match=f"bind mount {tmp_path}/none on /mnt: .*No such file or directory"):
        box.run("true", changes={"mounts": mounts})


def test_an_init_that_is_killed_while_it_waits(box: Box) -> None:
    created = box.create(box.spec("true"))
    os.kill(created.pid, 9)
    with pytest.raises(ContainerError):
        box.engine.start(created)


def test_an_abandoned_init_goes_away(box: Box) -> None:
    created = box.create(box.spec("true"))
    created.channel.close()
    assert box.reap(created) == 1


# --- hooks ------------------------------------------------------------------------------------------------------------


def test_hooks_run_in_order_in_their_namespaces_with_their_own_environment(box: Box, tmp_path: Path) -> None:
    log = tmp_path / "log"

    def hook(name: str) -> list[dict[str, Any]]:
        words = f"{name} $(readlink /proc/self/ns/mnt) ${{ONLY}} ${{LEAK-none}}"
        script = f"read s; echo {words} >> {log}; echo $s >> {log}.json"
        return [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["ONLY=1", "PATH=/bin:/usr/bin"]}]

    mounts = [
        *box.document("true")["mounts"],
        {"destination": str(tmp_path), "source": str(tmp_path), "type": "bind", "options": ["bind"]},
    ]
    os.environ["LEAK"] = "leaked"
    try:
        kinds = ("prestart", "createRuntime", "createContainer", "startContainer")
        changes = {"hooks": {kind: hook(kind) for kind in kinds}, "mounts": mounts}
        assert box.run("true", changes=changes).status == 0
    finally:
        del os.environ["LEAK"]
    lines = [line.split() for line in log.read_text().splitlines()]
    assert [line[0] for line in lines] == list(kinds)
    ours = os.readlink("/proc/self/ns/mnt")
    assert [line[1] == ours for line in lines] == [True, True, False, False]
    assert {(line[2], line[3]) for line in lines} == {("1", "none")}
    assert '"status": "creating"' in Path(f"{log}.json").read_text()


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer"])
def test_a_failing_hook_fails_the_container(box: Box, kind: str) -> None:
    hooks = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", "exit 3"]}]}
    with pytest.raises((HookError, ContainerError), match=f"{kind} hook failed with exit code 3: /bin/sh"):
        box.run("true", changes={"hooks": hooks})


def test_a_hook_that_hangs_is_killed(box: Box) -> None:
    hooks = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]}
    with pytest.raises(HookError, match="timed out after 1 s"):
        box.run("true", changes={"hooks": hooks})


# --- exec and terminals ---------------------------------------------------------------------------------------------


def test_exec_enters_everything(box: Box) -> None:
    container = box.start("sleep", "100")
    script = (
        "for n in mnt pid ipc uts cgroup net; do readlink /proc/self/ns/$n; done; grep NoNew /proc/self/status; pwd"
    )
    *links, privileges, directory = box.exec_sh(container, script, {"process.cwd": "/tmp"}).lines
    assert links == [
        os.readlink(f"/proc/{container.pid}/ns/{n}") for n in ("mnt", "pid", "ipc", "uts", "cgroup", "net")
    ]
    assert privileges == "NoNewPrivs:\t1"
    assert directory == "/tmp"
    assert box.exec_sh(container, "exit 7").status == 7


def test_exec_leaks_no_descriptor(box: Box) -> None:
    container = box.start("sleep", "100")
    assert box.exec_sh(container, "ls /proc/self/fd").lines == ["0", "1", "2", "3"]


def test_exec_in_a_user_namespace(box: Box) -> None:
    container = box.start("sleep", "100", changes=IN_USERNS)
    lines = box.exec_sh(container, "id -u; cat /proc/self/uid_map").lines
    assert lines[0] == "0"
    assert lines[1].split() == ["0", "200000", "65536"]


def test_exec_errors(box: Box) -> None:
    container = box.start("sleep", "100")
    with pytest.raises(ContainerError, match='exec: "nope": executable file not found in \\$PATH'):
        box.exec(container, box.spec("nope").process, box.spec("nope"))  # type: ignore[arg-type]
    os.kill(container.pid, 9)
    os.waitid(os.P_PID, container.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ContainerError):
        box.exec_sh(container, "true")


def test_terminal_is_the_containers_own(box: Box) -> None:
    changes = {"process.terminal": True, "process.consoleSize": {"height": 33, "width": 77}}
    script = "tty; stty size; stat -c %t,%T /dev/console; ps -o tty | tail -1"
    created = box.create(box.spec("sh", "-c", script, changes=changes))
    box.engine.start(created)
    assert created.console_fd is not None
    output = read_terminal(created.console_fd).splitlines()
    assert output[:2] == ["/dev/pts/0", "33 77"]
    assert output[2] == "88,0"
    assert box.reap(created) == 0


def test_exec_with_a_terminal(box: Box) -> None:
    container = box.start("sleep", "100")
    spec = box.spec("tty", changes={"process.terminal": True})
    assert spec.process is not None
    running = box.exec(container, spec.process, spec)
    assert running.console_fd is not None
    assert read_terminal(running.console_fd) == "/dev/pts/0\n"
    os.waitpid(running.pid, 0)
    os.close(running.pidfd)
    os.close(running.console_fd)


def test_idmapped_mount_translates_owners(box: Box, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    tmp_path.chmod(0o755)
    mapping = {"containerID": 0, "hostID": 7, "size": 10}
    mounts = [
        *box.document("true")["mounts"],
        {
            "destination": "/mnt",
            "source": str(tmp_path),
            "type": "bind",
            "options": ["bind", "idmap"],
            "uidMappings": [mapping],
            "gidMappings": [mapping],
        },
    ]
    assert box.sh("stat -c %u:%g /mnt/file", changes={"mounts": mounts}).lines == ["7:7"]
