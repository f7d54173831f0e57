"""Containers of a shim to disk and back, by CRIU, without the daemon: what goes on, and what a hostile archive gets."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cri.shims import Checkpoint, ContainerCreate, ContainerHandles, Launcher
from oci.checkpoint import criu
from oci.errors import ContainerError, StateError
from tests.system.criu_here import reason_against
from tests.system.shim_pods import Pod, make_rootfs, pod, traces, until

pytestmark = pytest.mark.skipif(bool(reason_against()), reason=reason_against())

MADE: list[str] = []
COUNTER = ("sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.02; done")


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rootfs(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture
async def launcher() -> AsyncIterator[Launcher]:
    one = Launcher()
    await one.start()
    yield one
    await one.close()
    # By name: what others leave meanwhile is theirs.
    assert not [trace for trace in traces() if any(name in trace for name in MADE)]


@asynccontextmanager
async def a_pod(launcher: Launcher, rootfs: Path) -> AsyncIterator[Pod]:
    async with pod(launcher, rootfs) as made:
        MADE.append(made.directory.name)
        yield made


async def checkpoint(of: Pod, container_id: str, images: Path) -> None:
    await of.shim.checkpoint(Checkpoint(container_id=container_id, images=str(images), criu=criu.find() or ""))


async def bring_back(into: Pod, container_id: str, images: Path, *, terminal: bool = False) -> ContainerHandles:
    handles = await into.shim.create(
        ContainerCreate(
            container_id=container_id,
            bundle=into.bundle(container_id, COUNTER, terminal, {}),
            log_path=str(into.log(container_id)),
            cgroup_path=f"{into.cgroup}/{container_id}",
            checkpoint=str(images),
            criu=criu.find() or "",
        )
    )
    into.handles[container_id] = handles
    return handles


async def test_a_container_goes_on_after_its_checkpoint_and_its_copy_goes_on_from_there(
    launcher: Launcher, rootfs: Path, tmp_path: Path
) -> None:
    async with a_pod(launcher, rootfs) as first:
        await first.run("c", *COUNTER)
        await until(lambda: len(first.lines("c")) > 5)
        await checkpoint(first, "c", tmp_path)
        at = len(first.lines("c"))
        await until(lambda: len(first.lines("c")) > at + 5)
        assert first.exit_of("c") is None
        async with a_pod(launcher, rootfs) as second:
            handles = await bring_back(second, "d", tmp_path)
            assert second.lines("d") == []
            network = os.stat(f"/proc/{handles.pid}/ns/net").st_ino
            assert network == os.fstat(second.namespaces.net_fd or -1).st_ino
            await second.shim.start("d")
            await until(lambda: len(second.lines("d")) > 5)
            numbers = [int(line) for line in second.lines("d")]
            assert 5 < numbers[0] <= at + 1
            assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
            assert await second.execute("d", "hostname") == (0, "pod\n")
            await second.shim.kill("d", signal.SIGKILL)
            assert await second.exit_code("d") == 137


async def test_a_terminal_is_made_anew(launcher: Launcher, rootfs: Path, tmp_path: Path) -> None:
    async with a_pod(launcher, rootfs) as one:
        await one.run("c", *COUNTER, terminal=True)
        await until(lambda: len(one.lines("c")) > 2)
        await checkpoint(one, "c", tmp_path)
        handles = await bring_back(one, "d", tmp_path, terminal=True)
        assert handles.console_fd is not None
        await one.shim.start("d")
        await until(lambda: len(one.lines("d")) > 2)
        await one.shim.resize("d", width=90, height=25)


async def test_what_is_not_started_ends_when_it_is_killed(launcher: Launcher, rootfs: Path, tmp_path: Path) -> None:
    async with a_pod(launcher, rootfs) as one:
        await one.run("c", *COUNTER)
        await checkpoint(one, "c", tmp_path)
        await bring_back(one, "d", tmp_path)
        await one.shim.kill("d", signal.SIGKILL)
        assert await one.exit_code("d") == 137
        assert one.lines("d") == []


async def test_more_than_the_config_gives_is_not_let_run(launcher: Launcher, rootfs: Path, tmp_path: Path) -> None:
    """The images are those of a container with CAP_NET_BIND_SERVICE; the one to be has no such capability."""
    async with a_pod(launcher, rootfs) as one:
        await one.run("c", *COUNTER)
        await checkpoint(one, "c", tmp_path)
        bundle = Path(one.bundle("d", COUNTER, False, {}))
        config = (bundle / "config.json").read_text().replace('"CAP_NET_BIND_SERVICE"', '"CAP_AUDIT_WRITE"')
        (bundle / "config.json").write_text(config)
        with pytest.raises(ContainerError, match="has capabilities beyond its config's"):
            await one.shim.create(
                ContainerCreate(
                    container_id="d",
                    bundle=str(bundle),
                    cgroup_path=f"{one.cgroup}/d",
                    log_path=str(one.log("d")),
                    checkpoint=str(tmp_path),
                    criu=criu.find() or "",
                )
            )
        assert one.lines("d") == []
        assert "d" not in os.listdir(f"/sys/fs/cgroup/pids{one.cgroup}")


async def test_an_annotation_does_not_choose_what_criu_executes(
    launcher: Launcher, rootfs: Path, tmp_path: Path
) -> None:
    """A configuration of CRIU may name programs, which run as root of the host."""
    script, config = tmp_path / "script", tmp_path / "criu.conf"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/executed\n")
    script.chmod(0o755)
    config.write_text(f"action-script={script}\n")
    (tmp_path / "images").mkdir()
    async with a_pod(launcher, rootfs) as one:
        await one.run("c", *COUNTER)
        bundle = one.directory / "bundles" / "c" / "config.json"
        bundle.write_text(json.dumps(json.loads(bundle.read_text()) | {"annotations": {criu.ANNOTATION: str(config)}}))
        await checkpoint(one, "c", tmp_path / "images")
    assert sorted(os.listdir(tmp_path)) == ["criu.conf", "images", "script"]


async def test_images_that_are_none_are_an_error(launcher: Launcher, rootfs: Path, tmp_path: Path) -> None:
    (tmp_path / "inventory.img").write_bytes(os.urandom(4096))
    async with a_pod(launcher, rootfs) as one:
        with pytest.raises(ContainerError, match="restore: criu: "):
            await bring_back(one, "d", tmp_path)


async def test_only_what_runs_can_be_checkpointed(launcher: Launcher, rootfs: Path, tmp_path: Path) -> None:
    async with a_pod(launcher, rootfs) as one:
        await one.create("c", *COUNTER)
        with pytest.raises(StateError, match="it is created"):
            await checkpoint(one, "c", tmp_path)
