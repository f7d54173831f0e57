"""One id for an image in every call: the kubelet's garbage collection compares them."""

from __future__ import annotations

import pytest

from e2e.client import Client
from e2e.cri.pods import Pods


@pytest.mark.parametrize("name", ["tag", "id", "digest"])
def test_a_container_shows_the_images_id_however_it_was_named(pods: Pods, client: Client, name: str) -> None:
    """proto: Image.id == Container.image_id == ContainerStatus.image_id == PullImageResponse.image_ref."""
    image = pods.image(pods.images.busybox)
    assert image is not None
    reference = {"tag": pods.images.busybox, "id": image.id, "digest": image.repo_digests[0]}[name]
    container = pods.create(pods.run(), "true", image=reference)
    [entry] = [one for one in client.containers() if one.id == container.id]
    assert image.id == entry.image_id == client.status(container.id).image_id == client.pull(pods.images.busybox)


def test_the_pull_answers_with_the_id(pods: Pods, client: Client) -> None:
    image = pods.image(pods.images.busybox)
    assert image is not None
    assert client.pull(pods.images.busybox) == image.id


def test_the_reference_of_a_container_is_a_digest(pods: Pods, client: Client) -> None:
    """kubelet: imageID in the pod's status is image_ref; people pin images by it."""
    container = pods.create(pods.run(), "true")
    image = pods.image(pods.images.busybox)
    assert image is not None
    assert client.status(container.id).image_ref in image.repo_digests
