"""The image service alone, without a daemon: real registries, real mounts, both forms of layers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil

import pytest

from deploy.image import Image, Layer
from e2e.registry import RunningRegistry
from imagesvc import errors
from imagesvc.progress import Phase, PullProgress
from oci import syscalls
from tests.system.faulty_registry import FaultyRegistry
from tests.system.image_node import Node, tree, write


@pytest.mark.parametrize("name", ["gzip", "zstd", "plain"])
async def test_an_image_is_pulled_mounted_and_removed(node: Node, pushed: dict[str, str], name: str) -> None:
    async with node.service() as service:
        image = await service.pull(pushed[name])
        assert image.id == pushed[f"id:{name}"]
        assert image.repo_tags == (pushed[name] + ":latest",)
        assert image.repo_digests == (pushed[f"digest:{name}"],)
        assert image.size > 3000
        assert service.list() == (image,)
        fd = await service.mount_rootfs(image.id, node.path / "c")
        with syscalls.closing(fd):
            seen = tree(fd)
            assert seen["bin/tool"] == seen["bin/link"] == "#!\n#!\n#!\n#!\n#!\n#!\n#!"
            assert seen["tmp"] == "0o1777"
            assert ("etc/config" in seen) == (name != "gzip")
            write(fd)
        assert (node.path / "c/upper/new").read_text() == "written"
        used = await service.container_usage(node.path / "c")
        assert used.inodes_used == 2
        assert used.used_bytes >= 4096
        assert await service.container_usage(node.path / "nowhere") == type(used)(used_bytes=0, inodes_used=0)
        assert service.usage().used_bytes > 0
        shutil.rmtree(node.path / "c")
        await service.remove(image.id)
        assert service.list() == ()
        assert (service.usage().used_bytes, service.usage().inodes_used) == (0, 0)
    node.is_clean()


async def test_names_of_an_image(erofs_node: Node, pushed: dict[str, str]) -> None:
    async with erofs_node.service() as service:
        by_digest = await service.pull(pushed["digest:gzip"])
        assert (by_digest.repo_tags, by_digest.repo_digests) == ((), (pushed["digest:gzip"],))
        for tag in ("1", "2"):
            image = await service.pull(f"{pushed['gzip']}:{tag}")
        other = pushed["gzip"].replace("127.0.0.1", "localhost")
        image = await service.pull(other)
        assert image.id == by_digest.id
        assert image.repo_tags == (pushed["gzip"] + ":1", pushed["gzip"] + ":2", other + ":latest")
        assert len(image.repo_digests) == 2
        for name in (*image.repo_tags, *image.repo_digests, image.id, image.id[7:], image.id[7:20]):
            assert service.find(name) == image
        assert image.config.user == "7"
        assert json.loads(service.config_document(image.id))["config"]["Env"] == ["A=1"]
        await asyncio.gather(*(service.remove(image.repo_tags[1]) for _ in range(5)))
        assert service.find(image.id) is None
        assert service.find(other) is None
        await service.remove(image.id)
    erofs_node.is_clean()


async def test_a_tag_that_moved(erofs_node: Node, registry: RunningRegistry, layers: dict[str, Layer]) -> None:
    name = f"{registry.address}/imagesvc/moving"
    async with erofs_node.service() as service:
        registry.client.push("imagesvc/moving", ["1"], Image(layers=[layers["gzip"]]))
        old = await service.pull(f"{name}:1")
        registry.client.push("imagesvc/moving", ["1"], Image(layers=[layers["upper"]]))
        new = await service.pull(f"{name}:1")
        assert old.id != new.id
        left = service.find(old.id)
        assert left is not None
        assert (left.repo_tags, left.repo_digests) == ((), old.repo_digests)
        assert service.find(f"{name}:1") == new
        await service.remove(old.id)
        await service.remove(new.id)
    erofs_node.is_clean()


async def test_layers_are_shared_and_repeated(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        first = await service.pull(pushed["gzip"])
        heard: list[PullProgress] = []
        twice = await service.pull(pushed["twice"], on_progress=heard.append)
        assert [layer.phase for layer in heard[-1].layers] == [Phase.REUSED] * 3
        assert len(node.files()) == 2
        fd = await service.mount_rootfs(twice.id, node.path / "c")
        with syscalls.closing(fd):
            assert "etc/config" not in tree(fd)
        shutil.rmtree(node.path / "c")
        await service.remove(first.id)
        assert len(node.files()) == 2
        await service.remove(twice.id)
    node.is_clean()


async def test_directories_that_a_layer_implies_keep_their_attributes(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        image = await service.pull(pushed["implied"])
        assert any(name.startswith("layers/cover-") for name in node.files())
        fd = await service.mount_rootfs(image.id, node.path / "c")
        with syscalls.closing(fd):
            seen = tree(fd)
            assert seen["tmp"] == "0o1777"
            assert seen["root"] == "0o700"
            assert os.stat(f"/proc/self/fd/{fd}/root").st_uid == 5
            assert seen["tmp/without-its-directory"] == "x"
        shutil.rmtree(node.path / "c")
        await service.remove(image.id)
    node.is_clean()


async def test_read_only_mounts(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        for name in ("gzip", "zstd"):
            image = await service.pull(pushed[name])
            for fd in (
                await service.mount_image(image.id, node.path / "owner"),
                await service.mount_rootfs(image.id, node.path / "c", read_only=True),
            ):
                with syscalls.closing(fd):
                    assert tree(fd)["tmp"] == "0o1777"
                    with pytest.raises(OSError, match="Read-only"):
                        write(fd)
        empty = await service.pull(pushed["nothing"])
        fd = await service.mount_rootfs(empty.id, node.path / "c2")
        with syscalls.closing(fd):
            assert tree(fd) == {".": "0o755"}
        with pytest.raises(errors.LayerError, match="no layers"):
            await service.mount_image(empty.id)
        with pytest.raises(errors.ImageNotPresent, match="sha256:0"):
            await service.mount_image("sha256:0")


async def test_a_removed_image_does_not_disturb_its_containers(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        image = await service.pull(pushed["gzip"])
        fd = await service.mount_rootfs(image.id, node.path / "c")
        await service.remove(image.id)
        assert service.find(image.id) is None
    async with node.service() as service:  # a restart does not disturb them either
        with syscalls.closing(fd):
            assert tree(fd)["bin/tool"].startswith("#!")
        again = await service.pull(pushed["gzip"])
        assert again.id == image.id
        await service.remove(image.id)
        shutil.rmtree(node.path / "c")
        await service.remove("anything")
    node.is_clean()


async def test_the_registry_is_asked_again_for_an_image_that_is_here(erofs_node: Node, faulty: FaultyRegistry) -> None:
    async with erofs_node.service() as service:
        first = await service.pull(f"{faulty.address}/good:1")
        before = dict(faulty.requests)
        assert await service.pull(f"{faulty.address}/good:1") == first
        asked = {path: count - before.get(path, 0) for path, count in faulty.requests.items()}
        assert {path for path, count in asked.items() if count} == {"/v2/good/manifests/1"}


async def test_concurrent_pulls_of_one_image(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        names = [f"{pushed['big']}:{tag}" for tag in ("1", "2", "latest")] * 3
        images = await asyncio.gather(*(service.pull(name) for name in names))
        assert {image.id for image in images} == {pushed["id:big"]}
        assert len(node.files()) == 2
        (image,) = service.list()
        assert len(image.repo_tags) == 3


async def test_progress(erofs_node: Node, pushed: dict[str, str]) -> None:
    async with erofs_node.service() as service:
        updates = service.watch_progress()
        assert await anext(updates) == ()
        heard: list[PullProgress] = []
        await service.pull(pushed["big"], on_progress=heard.append)
        assert heard[-1].image == pushed["big"] + ":latest"
        assert [layer.phase for layer in heard[-1].layers] == [Phase.DONE, Phase.DONE]
        assert heard[-1].layers[1].fetched_bytes == heard[-1].layers[1].size_bytes > 8 << 20
        assert await anext(updates) == ()


# --- restarts ----------------------------------------------------------------------------------------------------


async def test_everything_is_there_after_a_restart_and_nothing_else(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        image = await service.pull(pushed["implied"])
    (node.path / "root/staging/half").mkdir()
    (node.path / "root/staging/half/file").touch()
    (node.path / "root/staging/other").touch()
    (node.path / "root/layers/orphan").touch()
    async with node.service() as service:
        assert service.list() == (image,)
        assert all(not name.startswith("staging/") and "orphan" not in name for name in node.files())
        fd = await service.mount_rootfs(image.id, node.path / "c")
        with syscalls.closing(fd):
            assert tree(fd)["tmp"] == "0o1777"
        shutil.rmtree(node.path / "c")
    for entry in (node.path / "root/layers").glob("cover-*"):
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    async with node.service() as service:
        assert service.list() == ()
    node.is_clean()


async def test_a_service_that_is_closed_ends_its_pulls(erofs_node: Node, faulty: FaultyRegistry) -> None:
    async with erofs_node.service() as service:
        pull = asyncio.ensure_future(service.pull(f"{faulty.address}/hangs:1"))
        await asyncio.sleep(0.5)
        pids = service.worker_pids
    with pytest.raises(asyncio.CancelledError):
        await pull
    assert pids
    assert not {str(pid) for pid in pids} & set(os.listdir("/proc"))
    erofs_node.is_clean()
