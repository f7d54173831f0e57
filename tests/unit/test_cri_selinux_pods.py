"""Pods and containers on a host with SELinux, as the CRI's caller sees them; the kernel's part is faked."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from cri.api import runtime_pb2 as api
from cri.daemon import Daemon
from cri.errors import FailedPrecondition, InvalidArgument
from cri.exec_process import exec_process
from cri.image_volumes import open_image_volumes
from cri.runtime_service.create_container import create_container
from cri.runtime_service.remove_pod_sandbox import remove_pod_sandbox
from cri.runtime_service.run_pod_sandbox import run_pod_sandbox
from cri.runtime_service.stop_pod_sandbox import stop_pod_sandbox
from cri.selinux import pods
from cri.selinux.labels import Label
from cri.state.records import ContainerRecord, SandboxRecord
from imagesvc.config import ImageConfig
from oci import spec, syscalls
from oci.protocol.messages import SandboxNamespaces, SandboxSetup
from tests.unit.cri_daemon import CALL, FakeShim, add_pod, container_config, make_daemon, pod_config, until
from tests.unit.test_cri_selinux_labels import POLICY

FIELD = "config.linux.security_context.selinux_options"
FILES = "system_u:object_r:container_file_t"
ITS_OWN = api.NamespaceOption(network=api.NODE, ipc=api.POD, pid=api.CONTAINER)

Labelled = dict[str, str]


@pytest.fixture
def labelled(monkeypatch: pytest.MonkeyPatch) -> Labelled:
    """What was labelled, by real path."""
    found: Labelled = {}

    def set_label(path: Any, name: str, value: bytes, *, follow_symlinks: bool) -> None:
        place = os.path.realpath(os.path.dirname(path)) + "/" + os.path.basename(path)
        found[os.path.realpath(path) if follow_symlinks else place] = value.decode()

    def get_label(path: Any, name: str, *, follow_symlinks: bool) -> bytes:
        raise OSError(errno.ENODATA, "no data")

    monkeypatch.setattr(os, "setxattr", set_label)
    monkeypatch.setattr(os, "getxattr", get_label)
    return found


@pytest.fixture
def mounted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Options of the tmpfs that were mounted for pods."""
    found: list[str] = []
    monkeypatch.setattr(syscalls, "mount", lambda source, target, fstype, flags, data: found.append(data))
    monkeypatch.setattr(syscalls, "umount2", lambda target, flags: None)

    async def answers(self: FakeShim, setup: SandboxSetup) -> SandboxNamespaces:
        self.is_alive = True
        return SandboxNamespaces()

    monkeypatch.setattr(FakeShim, "setup", answers, raising=False)
    return found


@pytest.fixture
async def daemon(tmp_path: Path, mounted: list[str], labelled: Labelled) -> AsyncIterator[Daemon]:
    made = make_daemon(tmp_path)
    made.selinux = replace(POLICY, knows=lambda label: "unheard_of_t" not in label)
    yield made
    await made.reconciler.close()


async def run(
    daemon: Daemon, name: str = "web", namespaces: api.NamespaceOption = ITS_OWN, **options: Any
) -> SandboxRecord:
    config = pod_config(name)
    context = config.linux.security_context
    context.namespace_options.CopyFrom(namespaces)
    if options:
        context.selinux_options.CopyFrom(api.SELinuxOption(**options))
    context.privileged = True
    answer = await run_pod_sandbox(daemon, api.RunPodSandboxRequest(config=config), CALL)
    return daemon.sandboxes.need(answer.pod_sandbox_id)


async def create(
    daemon: Daemon,
    pod: SandboxRecord,
    name: str = "main",
    *,
    changes: api.ContainerConfig | None = None,
    **options: Any,
) -> tuple[ContainerRecord, spec.Spec]:
    config = container_config(name)
    config.linux.security_context.namespace_options.CopyFrom(ITS_OWN)
    if options:
        config.linux.security_context.selinux_options.CopyFrom(api.SELinuxOption(**options))
    if changes is not None:
        config.MergeFrom(changes)
    request = api.CreateContainerRequest(pod_sandbox_id=pod.id, config=config)
    record = daemon.containers.need((await create_container(daemon, request, CALL)).container_id)
    document = json.loads((daemon.paths.bundle(record.id) / "config.json").read_bytes())
    return record, spec.Spec.from_json(document)


def process_label(made: spec.Spec) -> str:
    assert made.process is not None
    return made.process.selinux_label or ""


def level(label: str) -> str:
    return Label.parse(label).level


# --- pods -------------------------------------------------------------------------------------------------------------


async def test_a_pods_files_and_shm_have_its_label(daemon: Daemon, mounted: list[str], labelled: Labelled) -> None:
    pod = await run(daemon)
    categories = pod.mount_label.removeprefix(f"{FILES}:s0:").split(",")
    assert len(categories) == 2
    assert pod.process_label == f"system_u:system_r:container_t:{level(pod.mount_label)}"
    directory = daemon.paths.sandbox(pod.id)
    assert labelled == {str(directory / name): pod.mount_label for name in ("hostname", "resolv.conf", "hosts")}
    assert mounted[0].endswith(f',context="{pod.mount_label}"')


async def test_so_has_the_root_of_its_init(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[SandboxSetup] = []

    async def answers(self: FakeShim, setup: SandboxSetup) -> SandboxNamespaces:
        asked.append(setup)
        return SandboxNamespaces()

    monkeypatch.setattr(FakeShim, "setup", answers, raising=False)
    pod = await run(daemon, namespaces=api.NamespaceOption(network=api.NODE, ipc=api.POD, pid=api.POD))
    assert [(setup.shared_pid, setup.mount_label) for setup in asked] == [(True, pod.mount_label)]


async def test_each_pod_has_a_level_of_its_own_until_it_is_removed(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("secrets.randbelow", lambda count: 5)
    first, second = await asyncio.gather(run(daemon, "one"), run(daemon, "two"))
    assert level(first.mount_label) != level(second.mount_label)
    await remove_pod_sandbox(daemon, api.RemovePodSandboxRequest(pod_sandbox_id=first.id), CALL)
    assert level((await run(daemon, "three")).mount_label) == level(first.mount_label)


async def test_a_level_that_somebody_asked_for_is_nobody_elses(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.randbelow", lambda count: 0)
    asked = await run(daemon, "asked", level="s0:c0,c1")
    assert level((await run(daemon, "other")).mount_label) == "s0:c0,c2"
    await create(daemon, asked, level="s0:c1,c2")
    assert level((await run(daemon, "third")).mount_label) == "s0:c0,c3"


async def test_labels_outlive_the_daemon(daemon: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.randbelow", lambda count: 5)
    pod = await run(daemon, type="other_t")
    after = Daemon(daemon.settings, cast(Any, daemon.metrics), daemon._database)
    after.selinux = daemon.selinux
    assert after.sandboxes.need(pod.id) == pod
    assert pods.labels_of_pod(after, pod_config("new")).mount != pod.mount_label


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"level": "s0,c4,c5"}, f"{FIELD}.level"),
        ({"type": "a:b"}, f"{FIELD}.type"),
        ({"role": "r\n"}, f"{FIELD}.role"),
        ({"user": "u,v"}, f"{FIELD}.user"),
        ({"type": "unheard_of_t"}, FIELD),
    ],
)
async def test_options_that_make_no_label_are_refused(daemon: Daemon, options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgument) as failure:
        await run(daemon, **options)
    assert failure.value.field == field
    assert list(daemon.sandboxes) == []
    pod = await run(daemon)
    with pytest.raises(InvalidArgument) as failure:
        await create(daemon, pod, **options)
    assert failure.value.field == field
    assert list(daemon.containers) == []


# --- containers -------------------------------------------------------------------------------------------------------


async def test_containers_share_their_pods_labels(daemon: Daemon) -> None:
    pod = await run(daemon)
    for name in ("one", "two"):
        _, made = await create(daemon, pod, name)
        assert (process_label(made), made.linux.mount_label) == (pod.process_label, pod.mount_label)
    assert cast(Any, daemon.images).labels == [pod.mount_label] * 2


async def test_options_of_a_pod_are_its_containers_too(daemon: Daemon) -> None:
    pod = await run(daemon, type="mine_t")
    _, made = await create(daemon, pod)
    assert process_label(made) == f"system_u:system_r:mine_t:{level(pod.mount_label)}"


async def test_a_level_of_its_own_and_files_that_all_of_the_pod_can_read(daemon: Daemon, labelled: Labelled) -> None:
    pod = await run(daemon)
    labelled.clear()
    _, made = await create(daemon, pod, type="svirt_lxc_net_t", level="s0:c4,c5")
    assert process_label(made) == "system_u:system_r:svirt_lxc_net_t:s0:c4,c5"
    assert made.linux.mount_label == f"{FILES}:s0:c4,c5"
    assert set(labelled.values()) == {f"{FILES}:s0"}
    assert {os.path.basename(path) for path in labelled} == {"hostname", "resolv.conf", "hosts"}


def context(**changes: Any) -> api.ContainerConfig:
    made = api.LinuxContainerSecurityContext(**changes)
    return api.ContainerConfig(linux=api.LinuxContainerConfig(security_context=made))


@pytest.mark.parametrize(
    "changes", [context(privileged=True), context(namespace_options=api.NamespaceOption(pid=api.NODE))]
)
async def test_privileged_and_host_pid_are_unconfined(daemon: Daemon, changes: api.ContainerConfig) -> None:
    pod = await run(daemon)
    _, made = await create(daemon, pod, changes=changes)
    assert process_label(made) == "system_u:system_r:spc_t:s0"
    assert made.linux.mount_label == pod.mount_label


async def test_the_hosts_ipc_too_and_its_shm_keeps_its_label(daemon: Daemon, mounted: list[str]) -> None:
    pod = await run(daemon, namespaces=api.NamespaceOption(network=api.NODE, ipc=api.NODE, pid=api.CONTAINER))
    _, made = await create(daemon, pod)
    assert process_label(made) == "system_u:system_r:spc_t:s0"
    assert mounted == []


async def test_an_init_has_its_type(daemon: Daemon) -> None:
    pod = await run(daemon)
    _, made = await create(daemon, pod, changes=api.ContainerConfig(command=["/sbin/init"]))
    assert process_label(made) == f"system_u:system_r:container_init_t:{level(pod.mount_label)}"


async def test_what_is_executed_in_a_container_has_its_label(daemon: Daemon) -> None:
    """Also when a daemon that was started later reads it from the bundle."""
    pod = await run(daemon)
    record, _ = await create(daemon, pod)
    assert exec_process(daemon, record, ("ls",)).selinux_label == pod.process_label
    daemon.live_containers[record.id].process = None
    assert exec_process(daemon, record, ("ls",)).selinux_label == pod.process_label


async def test_image_volumes_have_the_containers_label(daemon: Daemon, tmp_path: Path) -> None:
    asked: list[str] = []

    async def mount_image(image_id: str, directory: Path, *, owners: object, label: str) -> int:
        asked.append(label)
        return os.open(tmp_path, os.O_PATH)

    cast(Any, daemon.images).mount_image = mount_image
    config = container_config()
    config.mounts.add(container_path="/data", image=api.ImageSpec(image="data"), readonly=True)
    mounts = (spec.Mount(destination="/data", type="bind"),)
    for label in ("u:r:t:s0:c1,c2", None):
        made = spec.Spec(oci_version="1.3.0", mounts=mounts, linux=spec.Linux(mount_label=label))
        for fd in (await open_image_volumes(daemon, config, made, tmp_path, None)).values():
            os.close(fd)
    assert asked == ["u:r:t:s0:c1,c2", ""]


# --- volumes ----------------------------------------------------------------------------------------------------------


def volume(path: Path | str, *, relabel: bool = True) -> api.ContainerConfig:
    mount = api.Mount(container_path="/data", host_path=str(path), selinux_relabel=relabel)
    return api.ContainerConfig(mounts=[mount])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("x")
    return tmp_path / "data"


async def test_a_marked_volume_gets_the_containers_label(daemon: Daemon, data: Path, labelled: Labelled) -> None:
    pod = await run(daemon)
    labelled.clear()
    await create(daemon, pod, "unmarked", changes=volume(data, relabel=False))
    assert labelled == {}
    await create(daemon, pod, changes=volume(data))
    assert labelled == {str(data): pod.mount_label, str(data / "file"): pod.mount_label}


async def test_a_pod_that_is_unconfined_leaves_volumes_alone(daemon: Daemon, data: Path, labelled: Labelled) -> None:
    pod = await run(daemon, type="spc_t")
    labelled.clear()
    await create(daemon, pod, changes=volume(data))
    assert labelled == {}
    await create(daemon, pod, "confined", changes=volume(data), type="container_t")
    assert labelled[str(data)] == pod.mount_label


async def test_one_unconfined_container_leaves_them_for_the_others(
    daemon: Daemon, data: Path, labelled: Labelled
) -> None:
    """The kubelet marks a volume for the first container of a pod only."""
    pod = await run(daemon)
    marked = volume(data)
    marked.linux.security_context.privileged = True
    await create(daemon, pod, changes=marked)
    assert labelled[str(data)] == pod.mount_label


@pytest.mark.parametrize("path", ["/", "/etc", "/usr", "/proc/self"])
async def test_the_host_is_not_relabelled(daemon: Daemon, labelled: Labelled, path: str) -> None:
    pod = await run(daemon)
    labelled.clear()
    with pytest.raises(InvalidArgument, match="is the host's: it is not relabelled") as failure:
        await create(daemon, pod, changes=volume(path))
    assert failure.value.field == "config.mounts[0].host_path"
    assert labelled == {}
    with pytest.raises(InvalidArgument):
        await create(daemon, pod, changes=volume(daemon.settings.root))


async def test_a_missing_volume_is_left_to_the_mount(daemon: Daemon, tmp_path: Path) -> None:
    pod = await run(daemon)
    await create(daemon, pod, changes=volume(tmp_path / "nowhere"))


async def test_what_cannot_be_labelled_is_named(daemon: Daemon, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pod = await run(daemon)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(FailedPrecondition, match=rf"{data} cannot be labelled {FILES}.*: Read-only file system"):
        await create(daemon, pod, changes=volume(data))
    assert list(daemon.containers) == []


@pytest.mark.parametrize("answers", [True, False])
async def test_a_pod_that_stops_waits_for_no_volume(
    daemon: Daemon, data: Path, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """Neither for one that never answers, whose thread stays until it does."""
    entered, goes_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    ended: list[bool] = []

    def relabel(path: str, label: str, own: object, check: Callable[[], None]) -> None:
        loop.call_soon_threadsafe(entered.set)
        try:
            while not goes_on.wait(0.001):
                if answers:
                    check()
        finally:
            ended.append(True)

    monkeypatch.setattr(pods, "relabel", relabel)
    monkeypatch.setattr(pods, "_LOOK_S", 0.01)
    pod = await run(daemon)
    creating = asyncio.ensure_future(create(daemon, pod, changes=volume(data)))
    await entered.wait()
    await stop_pod_sandbox(daemon, api.StopPodSandboxRequest(pod_sandbox_id=pod.id), CALL)
    with pytest.raises(FailedPrecondition, match=f"sandbox {pod.id} is"):
        await creating
    assert list(daemon.containers) == []
    if not answers:
        assert not ended
        goes_on.set()
    await until(lambda: ended)


async def test_copies_of_image_volumes_are_labelled(
    daemon: Daemon, data: Path, labelled: Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def make(*_: object, **__: object) -> dict[str, str]:
        return {"/cache": str(data)}

    monkeypatch.setattr("cri.declared_volumes.make", make)
    pod = await run(daemon)
    await create(daemon, pod)
    assert labelled[str(data / "file")] == pod.mount_label


# --- without ----------------------------------------------------------------------------------------------------------


async def test_without_selinux_nobody_looks_at_the_options(
    daemon: Daemon, data: Path, mounted: list[str], labelled: Labelled, monkeypatch: pytest.MonkeyPatch
) -> None:
    daemon.selinux = None
    monkeypatch.setattr(pods, "_levels", None)
    pod = await run(daemon, level="nonsense", type="a:b")
    assert (pod.process_label, pod.mount_label) == ("", "")
    _, made = await create(daemon, pod, changes=volume(data), level="nonsense")
    assert (process_label(made), made.linux.mount_label) == ("", None)
    assert labelled == {}
    assert "context" not in mounted[0]
    assert cast(Any, daemon.images).labels == [""]


async def test_a_pod_that_was_made_without_labels_goes_on_without(daemon: Daemon) -> None:
    pod, _ = add_pod(daemon)
    config = container_config()
    assert pods.labels_of_container(daemon, pod, config, ImageConfig()) is None
