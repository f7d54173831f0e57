"""The image calls against images that stand still."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.api import coracle_pb2 as own
from cri.api import runtime_pb2 as api
from cri.coracle_service.watch_pulls import watch_pulls
from cri.errors import InvalidArgument
from cri.image_service.image_fs_info import image_fs_info
from cri.image_service.image_status import image_status
from cri.image_service.list_images import list_images
from cri.image_service.pull_image import credentials_of, pull_image
from cri.image_service.remove_image import remove_image
from cri.image_service.stream_images import IMAGES_PER_MESSAGE, stream_images
from cri.image_service.views import user_of
from cri.metrics import Metrics
from cri.rpc import Call
from imagesvc.errors import InvalidReference, RegistryUnavailable
from imagesvc.progress import LayerProgress, Phase, PullProgress
from tests.metric_values import metric

LAYERS = (
    LayerProgress(digest="sha256:" + "7" * 64, phase=Phase.REUSED, fetched_bytes=0, size_bytes=20),
    LayerProgress(digest="sha256:" + "8" * 64, phase=Phase.DONE, fetched_bytes=30, size_bytes=30),
)
PROGRESS = (PullProgress(image="r.test/nginx:1"), PullProgress(image="r.test/nginx:1", layers=LAYERS))

CALL = Call(request_id="r", method="m", metadata={})


@dataclass(frozen=True, kw_only=True)
class FakeConfig:
    user: str = ""
    architecture: str = "amd64"
    os: str = "linux"
    env: tuple[str, ...] = ("PATH=/bin",)
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ("sh",)
    working_dir: str = "/"
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""


@dataclass(frozen=True, kw_only=True)
class FakeImage:
    id: str
    repo_tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    size: int = 1
    pinned: bool = False
    config: FakeConfig = field(default_factory=FakeConfig)


class FakeImages:
    def __init__(self, *images: FakeImage) -> None:
        self.images = images
        self.pulls: list[tuple[str, Any]] = []
        self.removed: list[str] = []
        self.error: Exception | None = None

    def list(self) -> tuple[FakeImage, ...]:
        return self.images

    def find(self, name: str) -> FakeImage | None:
        return next((i for i in self.images if name in (i.id, *i.repo_tags, *i.repo_digests)), None)

    async def pull(self, reference: str, credentials: Any, on_progress: Any) -> FakeImage:
        self.pulls.append((reference, credentials))
        if self.error:
            raise self.error
        for progress in PROGRESS:
            on_progress(progress)
        return self.images[0]

    async def remove(self, name: str) -> None:
        self.removed.append(name)

    def config_document(self, image_id: str) -> bytes:
        return b'{"config":{"Cmd":["sh"]}}' if image_id == NGINX.id else b""

    async def watch_progress(self) -> AsyncIterator[tuple[PullProgress, ...]]:
        for progress in PROGRESS:
            yield (progress, PullProgress(image="r.test/other:1"))

    def usage(self) -> Any:
        return SimpleNamespace(mountpoint="/var/lib/coracle", used_bytes=0, inodes_used=0, timestamp_ns=7)


class FakeDaemon:
    def __init__(self, *images: FakeImage) -> None:
        self.images: Any = FakeImages(*images)
        self.metrics = Metrics()


NGINX = FakeImage(
    id="sha256:" + "1" * 64,
    repo_tags=("r.test/nginx:1", "r.test/nginx:2"),
    repo_digests=("r.test/nginx@sha256:" + "2" * 64,),
    size=1234,
    pinned=True,
    config=FakeConfig(user="1003:group"),
)
BUSYBOX = FakeImage(id="sha256:" + "3" * 64, repo_tags=("r.test/busybox:1",), config=FakeConfig(user="www-data:x"))


def spec(name: str) -> api.ImageSpec:
    return api.ImageSpec(image=name)


async def test_list_shows_everything_or_what_the_filter_names() -> None:
    daemon = FakeDaemon(NGINX, BUSYBOX)
    everything = await list_images(daemon, api.ListImagesRequest(), CALL)
    assert [image.id for image in everything.images] == [NGINX.id, BUSYBOX.id]
    wanted = api.ImageFilter(image=spec("r.test/busybox:1"))
    assert [i.id for i in (await list_images(daemon, api.ListImagesRequest(filter=wanted), CALL)).images] == [
        BUSYBOX.id
    ]
    nothing = api.ImageFilter(image=spec("r.test/absent"))
    assert not (await list_images(daemon, api.ListImagesRequest(filter=nothing), CALL)).images


async def test_an_image_is_the_same_by_each_of_its_names() -> None:
    daemon = FakeDaemon(NGINX, BUSYBOX)
    answers = [
        await image_status(daemon, api.ImageStatusRequest(image=spec(name)), CALL)
        for name in (NGINX.id, *NGINX.repo_tags, *NGINX.repo_digests)
    ]
    assert all(answer == answers[0] for answer in answers)
    image = answers[0].image
    assert (image.size, image.pinned, image.uid.value, image.username) == (1234, True, 1003, "")
    assert list(image.repo_tags) == list(NGINX.repo_tags)


async def test_an_image_that_is_not_here_is_an_empty_answer() -> None:
    answer = await image_status(FakeDaemon(NGINX), api.ImageStatusRequest(image=spec("r.test/absent")), CALL)
    assert not answer.HasField("image")


async def test_verbose_status_tells_the_configuration() -> None:
    answer = await image_status(FakeDaemon(NGINX), api.ImageStatusRequest(image=spec(NGINX.id), verbose=True), CALL)
    assert json.loads(answer.info["info"])["imageSpec"]["config"]["Cmd"] == ["sh"]


@pytest.mark.parametrize("handler", [image_status, pull_image, remove_image])
async def test_a_name_is_required(handler: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"image\.image: is required"):
        await handler(FakeDaemon(NGINX), api.PullImageRequest(), CALL)


@pytest.mark.parametrize(
    ("user", "uid", "name"),
    [
        ("1002", 1002, ""),
        ("0", 0, ""),
        ("1003:users", 1003, ""),
        ("www-data", None, "www-data"),
        ("www-data:users", None, "www-data"),
        ("", None, ""),
        ("+5", None, "+5"),
        ("٣", None, "٣"),
        ("4294967295", None, "4294967295"),
        ("99999999999999999999", None, "99999999999999999999"),
    ],
)
def test_users(user: str, uid: int | None, name: str) -> None:
    assert user_of(user) == (uid, name)


@given(st.text())
def test_any_user_is_a_uid_or_a_name(user: str) -> None:
    uid, name = user_of(user)
    assert (uid is None) or not name
    assert uid is None or str(uid).zfill(len(user.partition(":")[0])) == user.partition(":")[0]


async def test_a_stream_has_messages_of_a_bounded_size_and_none_is_empty() -> None:
    many = [FakeImage(id=f"sha256:{number:064x}") for number in range(IMAGES_PER_MESSAGE + 1)]
    messages = [m async for m in stream_images(FakeDaemon(*many), api.StreamImagesRequest(), CALL)]
    assert [len(message.images) for message in messages] == [IMAGES_PER_MESSAGE, 1]
    assert [m async for m in stream_images(FakeDaemon(), api.StreamImagesRequest(), CALL)] == []


async def test_disk_use_is_present_even_when_it_is_nothing() -> None:
    answer = await image_fs_info(FakeDaemon(), api.ImageFsInfoRequest(), CALL)
    sent = api.ImageFsInfoResponse.FromString(answer.SerializeToString())
    [filesystem] = sent.image_filesystems
    assert filesystem.HasField("used_bytes")
    assert filesystem.HasField("inodes_used")
    assert (filesystem.fs_id.mountpoint, filesystem.timestamp) == ("/var/lib/coracle", 7)


async def test_remove_passes_the_name_on() -> None:
    daemon = FakeDaemon(NGINX)
    await remove_image(daemon, api.RemoveImageRequest(image=spec("r.test/absent")), CALL)
    assert daemon.images.removed == ["r.test/absent"]


async def test_pull_answers_with_the_id_and_counts() -> None:
    daemon = FakeDaemon(NGINX)
    answer = await pull_image(daemon, api.PullImageRequest(image=spec("r.test/nginx:1")), CALL)
    assert answer.image_ref == NGINX.id
    assert daemon.images.pulls == [("r.test/nginx:1", None)]
    daemon.images.error = RegistryUnavailable("r.test/nginx:1", "r.test", "refused")
    with pytest.raises(RegistryUnavailable):
        await pull_image(daemon, api.PullImageRequest(image=spec("r.test/nginx:1")), CALL)
    assert metric(daemon.metrics, "image_pulls_skipped_bytes_total", size="1000") == 20
    assert metric(daemon.metrics, "image_pulls_layer_size_sum") == 30
    assert metric(daemon.metrics, "image_pulls_success_total") == 1
    assert metric(daemon.metrics, "image_pulls_failure_total", error="RegistryUnavailable") == 1


async def test_the_progress_of_a_pull_can_be_watched() -> None:
    daemon = FakeDaemon(NGINX)
    everything = [message async for message in watch_pulls(daemon, own.WatchPullsRequest(), CALL)]
    assert [[pull.image for pull in message.pulls] for message in everything] == [
        ["r.test/nginx:1", "r.test/other:1"]
    ] * 2
    mine = [message async for message in watch_pulls(daemon, own.WatchPullsRequest(image="r.test/nginx:1"), CALL)]
    assert [layer.phase for layer in mine[1].pulls[0].layers] == [own.LayerProgress.REUSED, own.LayerProgress.DONE]
    assert [layer.fetched_bytes for layer in mine[1].pulls[0].layers] == [0, 30]
    with pytest.raises(InvalidReference):
        await anext(watch_pulls(daemon, own.WatchPullsRequest(image="R:::"), CALL))


def test_every_phase_has_a_word_on_the_wire() -> None:
    assert {phase.name for phase in Phase} == set(own.LayerProgress.Phase.keys())


def test_credentials_come_in_several_forms() -> None:
    assert credentials_of(api.AuthConfig()) is None
    assert credentials_of(api.AuthConfig(server_address="r.test")) is None
    plain = credentials_of(api.AuthConfig(username="me", password="a:b", server_address="r.test"))
    assert plain is not None
    assert (plain.username, plain.password, plain.server_address) == ("me", "a:b", "r.test")
    packed = base64.b64encode(b"me:a:b").decode()
    whole = credentials_of(api.AuthConfig(auth=packed))
    assert whole is not None
    assert whole.auth == packed
    token = credentials_of(api.AuthConfig(identity_token="t"))
    assert token is not None
    assert token.identity_token == "t"


@given(st.text(min_size=1).filter(lambda text: not text.isascii()) | st.text("%~ *", min_size=1))
def test_malformed_credentials_are_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        credentials_of(api.AuthConfig(auth=text))
    assert str(caught.value) == "auth.auth: is not base64 of user:password"


@pytest.mark.parametrize("content", [b"no colon", b"\xff\xfe:x"])
def test_well_formed_base64_of_anything_else_is_refused(content: bytes) -> None:
    with pytest.raises(InvalidArgument):
        credentials_of(api.AuthConfig(auth=base64.b64encode(content).decode()))
