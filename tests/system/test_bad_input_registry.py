"""Registries that lie, break and hang: the pull fails with host, reference and cause, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.daemon import Daemon
from tests.system.faulty_registry import FaultyRegistry, faulty_registry


@pytest.fixture(scope="module")
def faulty() -> Iterator[FaultyRegistry]:
    with faulty_registry() as registry:
        yield registry


@pytest.fixture(scope="module")
def puller(make_daemon: Callable[..., Daemon], faulty: FaultyRegistry) -> Daemon:
    return make_daemon(flags=("--images-pull-progress-timeout=2",))


def contents(daemon: Daemon) -> list[str]:
    """Files of the daemon's root but its database and locks: layers, and what pulls leave."""
    return sorted(
        str(path.relative_to(daemon.root))
        for path in daemon.root.rglob("*")
        if path.is_file() and not path.name.startswith("state.db") and "lock" not in path.name
    )


FAULTS = {
    "wrong-digest": ("digest",),
    "corrupt": (),
    "truncated": (),
    "short": (),
    "climbs": ("..",),
    "diff-id": (),
    "garbage": (),
    "locked": ("401",),
    "forbidden": ("403",),
    "busy": ("429",),
    "broken": ("500",),
    "hangs": (),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
@pytest.mark.timeout(120)
def test_a_fault_is_told_and_leaves_nothing(puller: Daemon, faulty: FaultyRegistry, fault: str) -> None:
    before, mounts = contents(puller), Path("/proc/self/mountinfo").read_text().count(str(puller.root))
    with pytest.raises(grpc.RpcError) as caught:
        puller.client.pull(f"{faulty.address}/{fault}:1")
    assert isinstance(caught.value, grpc.Call)
    message = caught.value.details() or ""
    for word in (faulty.address, fault, *FAULTS[fault]):
        assert word in message
    images = puller.client.images.ListImages(pb.ListImagesRequest()).images
    assert [name for image in images for name in image.repo_tags if fault in name] == []
    assert contents(puller) == before
    assert Path("/proc/self/mountinfo").read_text().count(str(puller.root)) == mounts


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ("missing", grpc.StatusCode.NOT_FOUND),
        ("locked", grpc.StatusCode.UNAUTHENTICATED),
        ("broken", grpc.StatusCode.UNKNOWN),
    ],
)
def test_codes_say_whose_fault_it_is(puller: Daemon, faulty: FaultyRegistry, fault: str, code: grpc.StatusCode) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        puller.client.pull(f"{faulty.address}/{fault}:1")
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is code, caught.value.details()


def test_no_registry_at_all(puller: Daemon) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        puller.client.pull("127.0.0.1:9/app:1")
    assert isinstance(caught.value, grpc.Call)
    assert caught.value.code() is grpc.StatusCode.UNKNOWN
    assert "127.0.0.1:9" in (caught.value.details() or "")


def test_after_all_that_a_good_image_is_pulled(puller: Daemon, faulty: FaultyRegistry) -> None:
    reference = puller.client.pull(f"{faulty.address}/good:1")
    assert reference.startswith("sha256:")
    removal = pb.RemoveImageRequest(image=pb.ImageSpec(image=reference))
    puller.client.images.RemoveImage(removal)
    assert puller.client.images.ListImages(pb.ListImagesRequest()).images == []
