"""Runs in a guest with SELinux: labelled pods, made through the CRI, and what the kernel says of them, as JSON.

python -m e2e.vm.labels state                what the daemon says about SELinux
python -m e2e.vm.labels processes            the labels of processes, by pod and container
python -m e2e.vm.labels refused              the answers to options that no label can be made of
python -m e2e.vm.labels files                the labels of files in a pod, and of volumes
python -m e2e.vm.labels forget               removes the image
python -m e2e.vm.labels pod                  a pod that stays, and its label
python -m e2e.vm.labels again SANDBOX        one container more in it, and its label
python -m e2e.vm.labels strangers            what a pod may do with another pod's volume
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import grpc

from cri.api import runtime_pb2 as pb
from e2e.client import Client, container_config, pod_config
from e2e.vm.inside import BUSYBOX, SOCKET

_LOGS: Final = Path("/var/log/bed")
_VOLUMES: Final = Path("/var/lib/coracle/bed-volumes")
_LABEL: Final = "security.selinux"
#: What anybody's root directory has, and what the kernel mounts there.
_SEEN: Final = (
    *("/", "/bin/busybox", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/dev", "/dev/null", "/dev/shm"),
    *("/dev/mqueue", "/dev/mqueue/made", "/made", "/dev/shm/made"),
)
_USERS: Final = (pb.IDMapping(host_id=1 << 20, container_id=0, length=65536),)


class Bed:
    def __init__(self, client: Client) -> None:
        self.client = client
        self._count = 0

    def pod(self, options: pb.SELinuxOption | None = None, **more: object) -> tuple[str, pb.PodSandboxConfig]:
        """`more` are fields of its security context and of its namespaces."""
        self._count += 1
        config = pod_config(f"labelled-{os.getpid()}-{self._count}", logs=_LOGS)
        context = config.linux.security_context
        for name, value in more.items():
            setattr(context if name == "privileged" else context.namespace_options, name, value)
        if options:
            context.selinux_options.CopyFrom(options)
        return self.client.run_pod(config), config

    def container(
        self,
        pod: tuple[str, pb.PodSandboxConfig],
        options: pb.SELinuxOption | None = None,
        *,
        mounts: tuple[pb.Mount, ...] = (),
        command: tuple[str, ...] = ("sleep", "100000"),
    ) -> str:
        of_pod = pod[1].linux.security_context
        context = pb.LinuxContainerSecurityContext(
            privileged=of_pod.privileged, namespace_options=of_pod.namespace_options, selinux_options=options
        )
        self._count += 1
        config = container_config(f"main-{self._count}", BUSYBOX, *command, mounts=mounts, security=context)
        made = self.client.create(pod[0], config, pod[1])
        self.client.start(made)
        return made

    def pid(self, container: str) -> int:
        answer = self.client.runtime.ContainerStatus(pb.ContainerStatusRequest(container_id=container, verbose=True))
        return int(json.loads(answer.info["info"])["pid"])

    def says(self, container: str, script: str) -> str:
        """Both outputs of a command that may fail."""
        answer = self.client.exec(container, "sh", "-c", script)
        return (answer.stdout + answer.stderr).decode("utf-8", "replace").strip("\n\0")

    def label(self, container: str) -> list[str]:
        """Of its first process, as the host sees it, and of one that was executed in it, as it sees itself."""
        first = Path(f"/proc/{self.pid(container)}/attr/current").read_text()
        return [first.strip("\n\0"), self.says(container, "cat /proc/self/attr/current")]

    def files(self, container: str, *more: str) -> dict[str, str]:
        root = f"/proc/{self.pid(container)}/root"
        return {path: file_label(root + path) for path in (*_SEEN, *more)}


def file_label(path: str) -> str:
    try:
        return os.getxattr(path, _LABEL, follow_symlinks=False).rstrip(b"\0").decode()
    except OSError as error:
        return str(error.strerror)


def state(bed: Bed) -> object:
    answer = bed.client.runtime.Status(pb.StatusRequest(verbose=True))
    return json.loads(answer.info["host"])["selinux"]


def processes(bed: Bed) -> object:
    level = pb.SELinuxOption(level="s0:c5,c9")
    plain, other = bed.pod(), bed.pod()
    asked = bed.pod(pb.SELinuxOption(user="root", type="container_kvm_t", level="s0:c3.c7"))
    users = pb.UserNamespace(mode=pb.POD, uids=_USERS, gids=_USERS)
    mapped = pod_config("labelled-mapped", logs=_LOGS)
    mapped.linux.security_context.namespace_options.userns_options.CopyFrom(users)
    made = {
        "plain": (plain, None),
        "plain's second": (plain, None),
        "plain's own level": (plain, level),
        "other": (other, None),
        "asked": (asked, None),
        "asked, and the container": (asked, pb.SELinuxOption(type="container_t", level="s0:c8")),
        "privileged": (bed.pod(privileged=True), None),
        "privileged, with a type": (bed.pod(pb.SELinuxOption(type="container_kvm_t"), privileged=True), None),
        "the host's pids": (bed.pod(pid=pb.NODE), None),
        "the host's ipc": (bed.pod(ipc=pb.NODE), None),
        "the host's network": (bed.pod(network=pb.NODE), None),
        "a user namespace": ((bed.client.run_pod(mapped), mapped), None),
    }
    return {name: bed.label(bed.container(pod, options)) for name, (pod, options) in made.items()}


def refused(bed: Bed) -> object:
    pod = bed.pod()
    wrong = {
        "level": pb.SELinuxOption(level="s0:c1,x"),
        "category": pb.SELinuxOption(level="s0:c1024"),
        "type": pb.SELinuxOption(type="no such"),
        "unknown type": pb.SELinuxOption(type="unheard_of_t"),
        "unknown user": pb.SELinuxOption(user="nobody_u"),
        "unknown role": pb.SELinuxOption(role="nobody_r"),
        "unknown level": pb.SELinuxOption(level="s1"),
    }
    answers: dict[str, list[str]] = {}
    for name, options in wrong.items():
        answers[name] = [_answer(lambda: bed.pod(options)), _answer(lambda: bed.container(pod, options))]  # noqa: B023
    return answers


def _answer(call: Callable[[], object]) -> str:
    try:
        call()
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    return "OK"


def files(bed: Bed) -> object:
    """Before and after a second container with a level of its own; and what the pod's volumes have become."""
    marked, kept = _volume("marked"), _volume("kept")
    unmarked = file_label(str(kept))
    pod = bed.pod()
    mounts = (
        pb.Mount(container_path="/marked", host_path=str(marked), selinux_relabel=True),
        pb.Mount(container_path="/kept", host_path=str(kept)),
        pb.Mount(container_path="/image", image=pb.ImageSpec(image=BUSYBOX), readonly=True),
    )
    container = bed.container(pod, mounts=mounts)
    bed.says(container, "touch /made /dev/shm/made /dev/mqueue/made /marked/made")
    volumes = ("/marked", "/marked/below/file", "/marked/link", "/marked/made", "/kept", "/kept/below/file")
    seen = (*volumes, "/image", "/image/bin/busybox")
    before = bed.files(container, *seen)
    own = bed.container(pod, pb.SELinuxOption(level="s0:c5,c9"))
    bed.says(own, "touch /made")
    hosts = {path: file_label(path) for path in ("/etc", "/etc/hosts", os.path.realpath("/etc/os-release"))}
    etc = pb.Mount(container_path="/host", host_path="/etc", selinux_relabel=True)
    return {
        "process": bed.label(container)[0],
        "before": before,
        "after": bed.files(container, *seen),
        "own": bed.files(own),
        "volumes": unmarked,
        "etc": _answer(lambda: bed.container(pod, mounts=(etc,))),
        "what must not change": "unchanged" if hosts == {path: file_label(path) for path in hosts} else hosts,
    }


def forget(bed: Bed) -> object:
    """So that the next pull unpacks it anew."""
    bed.client.images.RemoveImage(pb.RemoveImageRequest(image=pb.ImageSpec(image=BUSYBOX)))
    return None


def _volume(name: str) -> Path:
    volume = _VOLUMES / name
    shutil.rmtree(volume, ignore_errors=True)
    (volume / "below").mkdir(parents=True)
    (volume / "below/file").write_text(f"{name}\n")
    (volume / "link").symlink_to("/etc/os-release")
    return volume


def pod(bed: Bed) -> object:
    made = bed.pod()
    return {"sandbox": made[0], "label": bed.label(bed.container(made))[0]}


def again(bed: Bed, sandbox: str) -> object:
    """The daemon has the pod's configuration; of this one it takes nothing."""
    return bed.label(bed.container((sandbox, pod_config("labelled", logs=_LOGS))))


def strangers(bed: Bed) -> object:
    volume = _volume("strangers")
    mine, theirs = bed.pod(), bed.pod()
    mount = pb.Mount(container_path="/volume", host_path=str(volume), selinux_relabel=True)
    unmarked = pb.Mount(container_path="/volume", host_path=str(volume))
    owner, stranger = bed.container(mine, mounts=(mount,)), bed.container(theirs, mounts=(unmarked,))
    verbs: Mapping[str, str] = {
        "read": "cat /volume/below/file",
        "write": "echo more >> /volume/below/file && echo written",
        "own files": "echo mine > /made && cat /made /etc/hosts > /dev/shm/made && echo written",
    }
    return {
        "enforce": Path("/sys/fs/selinux/enforce").read_text(),
        "owner": {verb: bed.says(owner, script) for verb, script in verbs.items()},
        "stranger": {verb: bed.says(stranger, script) for verb, script in verbs.items()},
        "volume": file_label(str(volume / "below/file")),
    }


def main() -> None:
    _LOGS.mkdir(exist_ok=True)
    verb, *words = sys.argv[1:]
    verbs: Mapping[str, Any] = {
        one.__name__: one for one in (state, processes, refused, files, forget, pod, again, strangers)
    }
    with Client(SOCKET) as client:
        client.pull(BUSYBOX)
        print(json.dumps(verbs[verb](Bed(client), *words)))


if __name__ == "__main__":
    main()
