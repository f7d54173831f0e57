"""Pulls that fail, are given up, or lose their worker: the reason is told, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from e2e.registry import RunningRegistry
from imagesvc import errors
from imagesvc.layer.writer import LayerForm
from imagesvc.progress import Phase, PullProgress
from oci import syscalls
from tests.system.faulty_registry import FaultyRegistry
from tests.system.image_node import Node, tree

FAULTS: dict[str, tuple[type[errors.PullError], str]] = {
    "wrong-digest": (errors.CorruptContent, "digest|gzip"),
    "corrupt": (errors.CorruptContent, "checksum"),
    "truncated": (errors.RegistryUnavailable, "broke off after"),
    "short": (errors.CorruptContent, "instead of"),
    "climbs": (errors.CorruptContent, r"entry '\.\./\.\./escaped': it climbs out"),
    "diff-id": (errors.CorruptContent, "uncompressed content has digest"),
    "garbage": (errors.CorruptContent, "not JSON"),
    "locked": (errors.Unauthorized, "401.*the gate is shut"),
    "forbidden": (errors.Unauthorized, "403"),
    "busy": (errors.TooManyRequests, "429"),
    "broken": (errors.RegistryUnavailable, "^RegistryUnavailable: .*500"),
    "hangs": (errors.RegistryUnavailable, "no answer for 1.5 s"),
    "missing": (errors.ImageNotFound, "404: NAME_UNKNOWN"),
}


LAYER_FAULTS = ("wrong-digest", "corrupt", "truncated", "climbs", "diff-id", "hangs")


@pytest.mark.parametrize("fault", LAYER_FAULTS)
async def test_a_failed_layer_says_why_and_leaves_nothing(node: Node, faulty: FaultyRegistry, fault: str) -> None:
    await fails(node, faulty, fault)


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - set(LAYER_FAULTS)))
async def test_a_failed_pull_says_why_and_leaves_nothing(erofs_node: Node, faulty: FaultyRegistry, fault: str) -> None:
    await fails(erofs_node, faulty, fault)


async def fails(node: Node, faulty: FaultyRegistry, fault: str) -> None:
    kind, text = FAULTS[fault]
    async with node.service() as service:
        with pytest.raises(kind, match=text) as caught:
            await service.pull(f"{faulty.address}/{fault}:1")
        assert caught.value.host == faulty.address
        assert f"{faulty.address}/{fault}:1" in str(caught.value)
        assert service.list() == ()
        node.is_clean()


async def test_a_registry_that_is_not_there(erofs_node: Node) -> None:
    async with erofs_node.service() as service:
        with pytest.raises(errors.RegistryUnavailable, match="connection refused") as caught:
            await service.pull("127.0.0.1:1/a/b")
        assert caught.value.host == "127.0.0.1:1"
        with pytest.raises(errors.RegistryUnavailable, match=r"^RegistryUnavailable.*name cannot be resolved"):
            await service.pull("registry.invalid/a/b")
        with pytest.raises(errors.InvalidReference):
            await service.pull("UPPER")
        erofs_node.is_clean()


@pytest.fixture
def tmpfs_node() -> Iterator[Node]:
    path = Path(tempfile.mkdtemp(prefix="coracle-images-"))
    syscalls.mount("tmpfs", path, "tmpfs", 0, "size=4m")
    try:
        yield Node(path=path, form="auto")
    finally:
        syscalls.umount2(path)
        path.rmdir()


async def test_a_full_disk(tmpfs_node: Node, pushed: dict[str, str]) -> None:
    """And EROFS files on tmpfs cannot be mounted: directories are chosen by themselves."""
    async with tmpfs_node.service() as service:
        assert service.form is LayerForm.DIRECTORY
        with pytest.raises(OSError, match="No space left on device") as caught:
            await service.pull(pushed["big"])
        assert str(tmpfs_node.path) in str(caught.value.filename)
        tmpfs_node.is_clean()
        image = await service.pull(pushed["gzip"])
        fd = await service.mount_rootfs(image.id, tmpfs_node.path / "c")
        with syscalls.closing(fd):
            assert tree(fd)["tmp"] == "0o1777"
    tmpfs_node.form = "erofs"
    with pytest.raises(errors.LayerError, match="cannot mount EROFS files here"):
        async with tmpfs_node.service():
            pass


@pytest.mark.parametrize("fault", ["hangs", "locked"])
async def test_a_caller_that_goes_away_ends_its_pull(node: Node, faulty: FaultyRegistry, fault: str) -> None:
    async with node.service() as service:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(service.pull(f"{faulty.address}/{fault}:1"), 0.001)
        with pytest.raises((TimeoutError, errors.Unauthorized)):
            await asyncio.wait_for(service.pull(f"{faulty.address}/{fault}:1"), 0.8)
        node.is_clean()
        assert (await service.pull(f"{faulty.address}/good:1")).repo_tags == (f"{faulty.address}/good:1",)


@asynccontextmanager
async def cutting_proxy(address: str, after: int) -> AsyncIterator[str]:
    """Passes to `address`, and cuts the first answer that has more than `after` bytes; yields HOST:PORT."""
    host, _, port = address.partition(":")
    cut = asyncio.Event()
    running: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None) -> None:
        passed = 0
        while data := await reader.read(65536):
            passed += len(data)
            if limit is not None and passed > limit and not cut.is_set():
                cut.set()
                break
            writer.write(data)
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(host, int(port))
        pumps = [
            asyncio.ensure_future(pump(reader, upstream_writer, None)),
            asyncio.ensure_future(pump(upstream_reader, writer, after)),
        ]
        running.update(pumps)
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        writer.close()
        upstream_writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert cut.is_set()
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def test_a_connection_that_is_cut_is_taken_up_again(
    erofs_node: Node, pushed: dict[str, str], registry: RunningRegistry
) -> None:
    heard: list[PullProgress] = []
    async with cutting_proxy(registry.address, 3 << 20) as address, erofs_node.service() as service:
        image = await service.pull(f"{address}/imagesvc/big:1", on_progress=heard.append)
        assert image.id == pushed["id:big"]
    phases = [progress.layers[1].phase for progress in heard if len(progress.layers) == 2]
    assert Phase.RETRYING in phases
    assert phases[-1] is Phase.DONE


async def test_a_caller_that_goes_away_leaves_the_pull_to_the_others(erofs_node: Node, pushed: dict[str, str]) -> None:
    async with erofs_node.service() as service:
        leaving, staying = (asyncio.ensure_future(service.pull(pushed["big"])) for _ in range(2))
        await asyncio.sleep(0.05)
        leaving.cancel()
        assert (await staying).id == pushed["id:big"]
        assert leaving.cancelled()


async def test_a_worker_that_is_killed_fails_its_pull_only(
    node: Node, faulty: FaultyRegistry, pushed: dict[str, str]
) -> None:
    async with node.service() as service:
        doomed = asyncio.ensure_future(service.pull(f"{faulty.address}/hangs:1"))
        hanging = "/v2/hangs/blobs/"
        for _ in range(2):  # it is tried once more
            before = sum(count for path, count in faulty.requests.items() if path.startswith(hanging))
            while sum(count for path, count in faulty.requests.items() if path.startswith(hanging)) < before + 1:
                await asyncio.sleep(0.02)
                if doomed.done():
                    break
            await asyncio.sleep(0.1)
            other = asyncio.ensure_future(service.pull(pushed["gzip"]))
            assert (await other).id == pushed["id:gzip"]
            for pid in service.worker_pids:
                os.kill(pid, signal.SIGKILL)
        with pytest.raises((errors.WorkerDied, errors.RegistryUnavailable)):
            await doomed
        await service.remove(pushed["id:gzip"])
    node.is_clean()
