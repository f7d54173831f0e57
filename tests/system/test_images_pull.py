"""Images over the socket: pulls of all kinds, names and digests, lists, removal, joined pulls, what the disk holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from cri.api import runtime_pb2 as pb
from deploy.image import Image, ImageConfig
from e2e.client import Client
from e2e.daemon import Daemon
from e2e.images.catalog import ImageNames, busybox_image, many_files_layer
from e2e.registry import RunningRegistry
from tests.system.pods import Pods


@pytest.fixture
def client(make_daemon: Callable[..., Daemon], shared: Daemon) -> Iterator[Client]:
    """A client of a daemon without images; what a test pulls is removed after it."""
    yield shared.client
    for image in shared.client.images.ListImages(pb.ListImagesRequest()).images:
        remove(shared.client, image.id)
    assert listed(shared.client) == []


@pytest.fixture(scope="module")
def shared(make_daemon: Callable[..., Daemon]) -> Daemon:
    return make_daemon()


def listed(client: Client) -> list[pb.Image]:
    return list(client.images.ListImages(pb.ListImagesRequest()).images)


def status(client: Client, name: str) -> pb.Image | None:
    answer = client.images.ImageStatus(pb.ImageStatusRequest(image=pb.ImageSpec(image=name)))
    return answer.image if answer.HasField("image") else None


def remove(client: Client, name: str) -> None:
    client.images.RemoveImage(pb.RemoveImageRequest(image=pb.ImageSpec(image=name)))


def test_gzip_zstd_and_plain_layers_give_the_same_image(client: Client, images: ImageNames) -> None:
    references = {client.pull(name) for name in (images.busybox, images.busybox_zstd, images.busybox_plain)}
    assert references == {images.busybox_id}
    (image,) = listed(client)
    assert sorted(image.repo_tags) == sorted([images.busybox, images.busybox_zstd, images.busybox_plain])
    assert len(image.repo_digests) == 3


def test_all_names_of_an_image_find_it(client: Client, images: ImageNames) -> None:
    identity = client.pull(images.busybox)
    found = status(client, images.busybox)
    assert found is not None
    assert found.id == identity
    assert found.size > 1_000_000
    for name in (identity, identity.removeprefix("sha256:")[:12], *found.repo_tags, *found.repo_digests):
        assert status(client, name) == found, name


def test_a_pull_by_digest_has_no_tag(client: Client, registry: RunningRegistry) -> None:
    name = f"{registry.address}/test/busybox@{busybox_image().manifest.digest}"
    client.pull(name)
    (image,) = listed(client)
    assert (list(image.repo_tags), list(image.repo_digests)) == ([], [name])


def test_an_index_gives_this_machines_image(client: Client, images: ImageNames) -> None:
    assert client.pull(images.multi) == images.busybox_id


def test_the_users_of_images(client: Client, registry: RunningRegistry) -> None:
    for number, (user, uid, username) in enumerate(
        [("", 0, ""), ("1002", 1002, ""), ("1003:users", 1003, ""), ("www-data", None, "www-data"), ("w:g", None, "w")]
    ):
        image = Image(layers=busybox_image().layers, config=ImageConfig(user=user, labels={"n": str(number)}))
        registry.client.push("test/user", [str(number)], image)
        client.pull(f"{registry.address}/test/user:{number}")
        found = status(client, f"{registry.address}/test/user:{number}")
        assert found is not None
        assert found.username == username
        if username:
            assert not found.HasField("uid")
        else:
            assert found.uid.value == uid


def test_removal_by_any_name_removes_all_and_frees_the_disk(client: Client, images: ImageNames, shared: Daemon) -> None:
    client.pull(images.busybox)
    client.pull(images.busybox_zstd)
    used = usage(client)
    assert used > 0
    remove(client, images.busybox_zstd)
    assert listed(client) == []
    assert status(client, images.busybox) is None
    assert usage(client) < used
    remove(client, images.busybox)


def usage(client: Client) -> int:
    (filesystem,) = client.images.ImageFsInfo(pb.ImageFsInfoRequest()).image_filesystems
    return filesystem.used_bytes.value


def test_a_moved_tag_leaves_the_old_image(client: Client, registry: RunningRegistry) -> None:
    name = f"{registry.address}/test/moving:1"
    identities = []
    for generation in ("a", "b"):
        image = Image(layers=busybox_image().layers, config=ImageConfig(labels={"generation": generation}))
        registry.client.push("test/moving", ["1"], image)
        identities.append(client.pull(name))
    assert len(set(identities)) == 2
    found = status(client, name)
    assert found is not None
    assert found.id == identities[1]
    old = status(client, identities[0])
    assert old is not None
    assert list(old.repo_tags) == []


def test_pulls_of_one_name_at_once_join(client: Client, registry: RunningRegistry) -> None:
    image = Image(layers=[many_files_layer(2000)], config=ImageConfig())
    registry.client.push("test/joined", ["1"], image)
    with ThreadPoolExecutor(8) as callers:
        references = set(callers.map(client.pull, [f"{registry.address}/test/joined:1"] * 8))
    assert references == {image.id}


def test_five_removals_at_once(client: Client, images: ImageNames) -> None:
    identity = client.pull(images.busybox)
    with ThreadPoolExecutor(5) as callers:
        list(callers.map(lambda _: remove(client, identity), range(5)))
    assert status(client, identity) is None


def test_files_of_a_layer_are_all_there(pods: Pods, registry: RunningRegistry) -> None:
    layers = [*busybox_image().layers, many_files_layer(2000)]
    registry.client.push("test/many", ["1"], Image(layers=layers, config=ImageConfig(cmd=("sh",))))
    name = f"{registry.address}/test/many:1"
    pods.client.pull(name)
    script = "find /data -type f | wc -l; cat /data/*/*.txt | wc -c"
    count, size = pods.output("sh", "-c", script, image=name)
    assert int(count) == 2000
    assert int(size) == sum(200 + number % 1500 + number % 4000 for number in range(2000))


def test_the_mountpoint_of_images_is_told(client: Client, shared: Daemon) -> None:
    answer = client.images.ImageFsInfo(pb.ImageFsInfoRequest())
    (filesystem,) = answer.image_filesystems
    assert filesystem.fs_id.mountpoint.startswith(str(shared.root))
    assert filesystem.timestamp > 0
