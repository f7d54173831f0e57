"""Nothing marked secret gets into what is logged of a request."""

from __future__ import annotations

from typing import cast

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from cri.api import runtime_pb2 as api
from cri.redaction import HIDDEN, identity, loggable


@given(st.text(min_size=12), st.binary(min_size=12))
def test_credentials_and_environment_values_are_hidden(secret: str, blob: bytes) -> None:
    auth = api.AuthConfig(username="me", password=secret, auth=secret, identity_token=secret, registry_token=secret)
    pull = api.PullImageRequest(image=api.ImageSpec(image="r.test/a"), auth=auth)
    assert loggable(pull) == {
        "image": {"image": "r.test/a"},
        "auth": {
            "username": "me",
            "password": HIDDEN,
            "auth": HIDDEN,
            "identity_token": HIDDEN,
            "registry_token": HIDDEN,
        },
    }
    config = api.ContainerConfig(envs=[api.KeyValue(key="A", value=blob)])
    assert loggable(config) == {"envs": [{"key": "A", "value": HIDDEN}]}


def test_long_things_are_cut() -> None:
    request = api.ExecSyncRequest(container_id="c", cmd=["x" * 1000] + ["y"] * 99)
    command = loggable(request)["cmd"]
    assert isinstance(command, list)
    assert command[0] == "x" * 256 + "... (1000 characters)"
    assert command[-1] == "and 84 more"


def test_enums_maps_and_bytes_are_readable() -> None:
    status = api.ContainerStatus(state=api.CONTAINER_EXITED, labels={"a": "b"})
    assert loggable(status) == {"state": "CONTAINER_EXITED", "labels": {"a": "b"}}
    assert loggable(api.ExecSyncResponse(stdout=b"secret output")) == {"stdout": "<13 bytes>"}
    assert loggable(api.Metric(value=api.UInt64Value(value=3))) == {"value": {"value": 3}}


def of(message: Message) -> dict[str, str]:
    return identity(cast(Descriptor, message.DESCRIPTOR))(message)


def test_a_request_is_told_by_its_ids_and_names() -> None:
    pod = api.PodSandboxConfig(metadata=api.PodSandboxMetadata(name="web", namespace="shop"))
    container = api.ContainerConfig(metadata=api.ContainerMetadata(name="nginx"))
    create = api.CreateContainerRequest(pod_sandbox_id="s1", config=container, sandbox_config=pod)
    assert of(create) == {"sandbox": "s1", "name": "nginx", "pod": "shop/web"}
    assert of(api.StopContainerRequest(container_id="c1", timeout=3)) == {"container": "c1"}
    assert of(api.PullImageRequest(image=api.ImageSpec(image="r.test/a:1"))) == {"image": "r.test/a:1"}
    assert of(api.ListContainersRequest()) == {}
