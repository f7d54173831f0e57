"""ImageService: pulls, names, removal."""

from __future__ import annotations

import json
from collections.abc import Iterator

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import Pods
from e2e.pods import failure, refused


@pytest.fixture
def throwaway(pods: Pods, client: Client) -> Iterator[str]:
    """The name of an image that is there; gone after the test."""
    client.pull(pods.target.throwaway)
    yield pods.target.throwaway
    remove(client, pods.target.throwaway)


def remove(client: Client, name: str) -> None:
    client.images.RemoveImage(pb.RemoveImageRequest(image=pb.ImageSpec(image=name)), timeout=60)


def test_an_absent_image_is_an_empty_answer(pods: Pods) -> None:
    """kubelet: no image is "not present", and an error would be an error."""
    assert pods.image("localhost:1/nobody/has/this:1") is None


def test_a_pulled_image_has_what_the_client_demands(pods: Pods, throwaway: str) -> None:
    """client: id and size not empty. crictl: tags and digests."""
    image = pods.image(throwaway)
    assert image is not None
    assert image.id
    assert image.size > 0
    assert throwaway in image.repo_tags
    assert all("@sha256:" in digest for digest in image.repo_digests)
    assert image.repo_digests


def test_an_image_is_found_by_every_name(pods: Pods, throwaway: str) -> None:
    """kubelet: by the pod's name for it, by digest, and by the id that it got from another call."""
    image = pods.image(throwaway)
    assert image is not None
    for name in (image.id, image.id.removeprefix("sha256:"), image.repo_digests[0]):
        assert pods.image(name) == image


def test_a_pull_by_digest(pods: Pods, client: Client) -> None:
    image = pods.image(pods.images.busybox)
    assert image is not None
    [digest] = [one for one in image.repo_digests if one.startswith(pods.images.busybox.rpartition(":")[0])]
    assert client.pull(digest) == image.id


def test_pulling_again_is_fine(pods: Pods, client: Client) -> None:
    assert client.pull(pods.images.busybox) == client.pull(pods.images.busybox) == pods.images.busybox_id


def test_an_index_gives_this_machines_image(pods: Pods, client: Client) -> None:
    client.pull(pods.images.multi)
    assert pods.output("echo", "runs", image=pods.images.multi) == ["runs"]


def test_the_list_and_its_filter(pods: Pods, client: Client, throwaway: str) -> None:
    """proto: a filter names one image; one that is not there is an empty list. No image is listed twice."""

    def listed(name: str) -> list[str]:
        request = pb.ListImagesRequest(filter=pb.ImageFilter(image=pb.ImageSpec(image=name)))
        return [image.id for image in client.images.ListImages(request, timeout=10).images]

    image = pods.image(throwaway)
    assert image is not None
    everything = client.images.ListImages(pb.ListImagesRequest(), timeout=10).images
    ids = [one.id for one in everything]
    assert image.id in ids
    assert len(set(ids)) == len(ids)
    assert listed(throwaway) == [image.id]
    assert listed("localhost:1/nobody/has/this:1") == []


def test_two_names_are_one_image(pods: Pods, client: Client) -> None:
    """kubelet: garbage collection counts images by id; the same configuration is the same image."""
    client.pull(pods.images.multi)
    image = pods.image(pods.images.multi)
    assert image is not None
    assert {pods.images.busybox, pods.images.multi} <= set(image.repo_tags)
    assert image.id == pods.images.busybox_id


def test_the_images_user_is_shown(pods: Pods) -> None:
    """kubelet: runAsNonRoot is decided on uid or username of the image."""
    image = pods.image(pods.images.with_user)
    assert image is not None
    assert image.uid.value == 1000
    assert image.username == ""
    plain = pods.image(pods.images.busybox)
    assert plain is not None
    assert plain.username in ("", "root")
    assert plain.uid.value == 0


def test_removal_takes_all_names(pods: Pods, client: Client, throwaway: str) -> None:
    """proto, RemoveImage: the image goes with all its tags and digests, in all registries."""
    other = throwaway.removesuffix("1") + "2"
    client.pull(other)
    image = pods.image(throwaway)
    assert image is not None
    assert {throwaway, other} <= set(image.repo_tags)
    remove(client, image.id)
    for name in (image.id, throwaway, other, *image.repo_digests):
        assert pods.image(name) is None


def test_removal_is_idempotent(client: Client, throwaway: str) -> None:
    """proto, RemoveImage: must not fail when the image has already been removed."""
    for _ in range(2):
        remove(client, throwaway)
    remove(client, "sha256:" + "0" * 64)
    remove(client, "localhost:1/nobody/has/this:1")


def test_a_verbose_status_has_the_images_configuration(pods: Pods, client: Client) -> None:
    """crictl inspecti: JSON."""
    request = pb.ImageStatusRequest(image=pb.ImageSpec(image=pods.images.with_user), verbose=True)
    info = client.images.ImageStatus(request, timeout=10).info
    assert json.loads(info["info"])["imageSpec"]["config"]["User"] == "1000:1000"
    request.verbose = False
    assert not client.images.ImageStatus(request, timeout=10).info


def test_a_missing_image_names_itself(pods: Pods, client: Client) -> None:
    registry = pods.images.busybox.partition("/")[0]
    missing = f"{registry}/no/such:1"
    refused(lambda: client.pull(missing), grpc.StatusCode.NOT_FOUND, missing)


@pytest.mark.parametrize("reference", ["", "host.example/UPPER", "a//b", "x@sha256:short", "x:bad tag"])
def test_a_malformed_name_is_an_error(client: Client, reference: str) -> None:
    failure(lambda: client.pull(reference))


def test_wrong_credentials_are_not_hidden_by_a_present_image(pods: Pods, client: Client) -> None:
    """kubelet (KubeletEnsureSecretPulledImages): a pull of a present image really asks the registry."""
    config = pb.AuthConfig(auth="not base64 at all!")
    request = pb.PullImageRequest(image=pb.ImageSpec(image=pods.images.busybox), auth=config)
    failure(lambda: client.images.PullImage(request, timeout=60))
