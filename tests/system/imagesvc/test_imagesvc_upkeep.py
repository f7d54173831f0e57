"""Damage to layers: found byte by byte, mended from the registry, and never mended at the cost of who runs on them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from imagesvc import errors
from imagesvc.layer.files import LayerId
from imagesvc.service import ImageService
from oci import syscalls
from tests.system.image_node import Node, tree

HEADER = 4096


def layer_paths(node: Node) -> list[Path]:
    return [node.path / "root" / name for name in node.files()]


async def problems(service: ImageService) -> dict[LayerId, str]:
    found = {layer: await service.upkeep.problem(layer) for layer in service.layer_ids()}
    return {layer: problem for layer, problem in found.items() if problem}


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))


async def test_what_was_just_pulled_is_whole(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        for name in ("gzip", "twice", "implied", "nothing", "big"):
            image = await service.pull(pushed[name])
            assert service.upkeep.image_problem(image.id) == ""
        assert await problems(service) == {}
        assert service.upkeep.strays() == ()
    async with node.service() as service:  # the seals are on disk
        assert await problems(service) == {}


@pytest.mark.parametrize("where", ["superblock", "content", "metadata", "end"])
async def test_one_bit_anywhere_in_a_file_is_found_and_mended(
    erofs_node: Node, pushed: dict[str, str], where: str
) -> None:
    async with erofs_node.service() as service:
        image = await service.pull(pushed["zstd"])
        (path,) = layer_paths(erofs_node)
        size = path.stat().st_size
        flip(path, {"superblock": 1024, "content": HEADER + 512, "metadata": size - HEADER, "end": size - 1}[where])
        ((layer, _),) = (await problems(service)).items()
        assert [one.id for one in service.upkeep.images_of(layer)] == [image.id]
        await service.upkeep.repair(layer)
        assert await problems(service) == {}
        fd = await service.mount_image(image.id)
        with syscalls.closing(fd):
            assert tree(fd)["etc/config"] == "lower"
        await service.remove(image.id)
    erofs_node.is_clean()


async def test_a_file_that_is_short_or_gone(erofs_node: Node, pushed: dict[str, str]) -> None:
    async with erofs_node.service() as service:
        await service.pull(pushed["zstd"])
        (path,) = layer_paths(erofs_node)
        os.truncate(path, 100)
        (problem,) = (await problems(service)).values()
        assert problem.startswith("it has 100 bytes, fewer than the")
        path.unlink()
        ((layer, problem),) = (await problems(service)).items()
        assert problem == f"{path} is gone"
        await service.upkeep.repair(layer)
        assert await problems(service) == {}


async def test_who_runs_on_a_damaged_file_is_not_disturbed_by_its_repair(
    erofs_node: Node, pushed: dict[str, str]
) -> None:
    async with erofs_node.service() as service:
        image = await service.pull(pushed["zstd"])
        running = await service.mount_rootfs(image.id, erofs_node.path / "c")
        with syscalls.closing(running):
            before = tree(running)
            (path,) = layer_paths(erofs_node)
            flip(path, path.stat().st_size - 1)
            ((layer, _),) = (await problems(service)).items()
            await service.upkeep.repair(layer)
            assert tree(running) == before
        new = await service.mount_rootfs(image.id, erofs_node.path / "d")
        with syscalls.closing(new):
            assert tree(new) == before


@pytest.mark.parametrize("harm", ["content", "mode", "extra", "missing", "xattr"])
async def test_any_change_in_a_directory_is_found(directory_node: Node, pushed: dict[str, str], harm: str) -> None:
    async with directory_node.service() as service:
        image = await service.pull(pushed["zstd"])
        (path,) = layer_paths(directory_node)
        config = path / "etc/config"
        times = config.stat().st_mtime_ns, (path / "etc").stat().st_mtime_ns
        if harm == "content":
            config.write_text("LOWER")
        elif harm == "mode":
            config.chmod(0o600)
        elif harm == "extra":
            (path / "etc/more").touch()
        elif harm == "missing":
            config.unlink()
        else:
            os.setxattr(config, "trusted.x", b"1")
        for changed, time in zip((config, path / "etc"), times, strict=True):
            if changed.exists():
                os.utime(changed, ns=(time, time))
        ((layer, problem),) = (await problems(service)).items()
        assert problem == "its files are not those that were written"
        fd = await service.mount_rootfs(image.id, directory_node.path / "c")
        os.close(fd)
        with pytest.raises(errors.LayerError, match="containers stand on it") as refused:
            await service.upkeep.repair(layer)
        assert str(directory_node.path / "c") in str(refused.value)
        shutil.rmtree(directory_node.path / "c")
        await service.pull(pushed["big"])
        await service.remove(pushed["big"])  # owners that are gone are let go with it
        await service.upkeep.repair(layer)
        assert await problems(service) == {}
        assert config.read_text() == "lower"


async def test_a_damaged_cover_is_made_again(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        await service.pull(pushed["implied"])
        (cover,) = [path for path in layer_paths(node) if path.name.startswith("cover-")]
        if cover.is_dir():
            (cover / "tmp").chmod(0o777)
        else:
            flip(cover, cover.stat().st_size - 1)
        ((layer, _),) = (await problems(service)).items()
        assert layer.startswith("cover:")
        await service.upkeep.repair(layer)
        assert await problems(service) == {}


async def test_a_repair_that_fails_leaves_what_there_was(
    erofs_node: Node, pushed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with erofs_node.service() as service:
        image = await service.pull(pushed["zstd"])
        (path,) = layer_paths(erofs_node)
        flip(path, HEADER + 512)
        ((layer, problem),) = (await problems(service)).items()

        async def refuse(*args: object) -> None:
            raise errors.RegistryUnavailable("it", "127.0.0.1", "is down")

        monkeypatch.setattr(service.upkeep._puller, "refetch", refuse)
        with pytest.raises(errors.RegistryUnavailable, match="is down"):
            await service.upkeep.repair(layer)
        assert await problems(service) == {layer: problem}
        assert [one.id for one in service.list()] == [image.id]
        assert layer_paths(erofs_node) == [path]


async def test_strays_among_the_layers_are_seen(erofs_node: Node, pushed: dict[str, str]) -> None:
    async with erofs_node.service() as service:
        await service.pull(pushed["zstd"])
        stray = erofs_node.path / "root/layers/unknown.erofs"
        stray.touch()
        assert service.upkeep.strays() == (stray,)
