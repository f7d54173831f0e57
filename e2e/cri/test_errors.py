"""Bad input: the code says whose fault it is, the text names the field or the object, nothing is left."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import UNKNOWN_ID, Pods, security
from e2e.pods import failure, refused

INVALID = grpc.StatusCode.INVALID_ARGUMENT
NOT_FOUND = grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("field", ["metadata", "name", "uid", "namespace"])
def test_a_pod_needs_its_metadata(pods: Pods, field: str) -> None:
    config = pods.config()
    if field == "metadata":
        config.ClearField("metadata")
    else:
        config.metadata.ClearField(field)  # type: ignore[arg-type]
    refused(lambda: pods.run(config), INVALID, field)


def test_a_pod_needs_a_configuration(client: Client) -> None:
    failure(lambda: client.runtime.RunPodSandbox(pb.RunPodSandboxRequest(), timeout=20))


def test_a_container_needs_its_metadata(pods: Pods) -> None:
    refused(lambda: pods.create(pods.run(), "true", name=""), INVALID, "metadata")


def test_a_container_needs_an_image(pods: Pods) -> None:
    config = pods.container_config("true")
    config.image.image = ""
    failure(lambda: pods.create_from(pods.run(), config))


def test_an_unknown_image_is_not_found_and_named(pods: Pods) -> None:
    missing = "localhost:1/no/such:1"
    refused(lambda: pods.create(pods.run(), "true", image=missing), NOT_FOUND, missing)


def test_an_unknown_sandbox_is_not_found_and_named(pods: Pods, client: Client) -> None:
    config = pods.container_config("true")
    refused(lambda: client.create(UNKNOWN_ID, config, pods.config()), NOT_FOUND, UNKNOWN_ID)


def test_an_unknown_runtime_handler_is_named(pods: Pods) -> None:
    error = failure(lambda: pods.run(handler="no-such-handler"))
    assert "no-such-handler" in str(error.details())


@pytest.mark.parametrize(
    "limits",
    [{"memory_limit_in_bytes": -5}, {"cpu_shares": -1}, {"cpu_period": -1}, {"cpu_quota": -7}, {"oom_score_adj": 5000}],
)
def test_limits_out_of_range_are_named(pods: Pods, limits: dict[str, int]) -> None:
    wrong = pb.LinuxContainerResources(**limits)  # type: ignore[arg-type]
    refused(lambda: pods.create(pods.run(), "true", resources=wrong), INVALID, *limits)


def test_an_unknown_capability_is_named(pods: Pods) -> None:
    wrong = security(capabilities=pb.Capability(add_capabilities=["FLY"]))
    error = failure(lambda: pods.run_to_end("true", security=wrong))
    assert "FLY" in str(error.details())


def test_a_log_path_stays_in_the_log_directory(pods: Pods) -> None:
    """A pod's author can choose a container's name; the log must not leave the pod's directory."""
    config = pods.container_config("true")
    config.log_path = "../../../escape.log"
    failure(lambda: pods.create_from(pods.run(), config))


def test_lines_in_a_name_do_not_become_lines_in_a_file(pods: Pods) -> None:
    """A hostname or a search domain with a line end could write other lines into the container's files."""
    config = pods.config()
    config.hostname = "a\nb"
    failure(lambda: pods.run(config))


def test_nothing_is_left_of_what_was_refused(pods: Pods, client: Client) -> None:
    pod = pods.run()
    for number in range(3):
        failure(lambda: pods.create(pod, "true", image="localhost:1/x:1", name=f"c{number}"))  # noqa: B023
        failure(lambda: pods.create(pod, "true", name=f"d{number}", security=_wrong()))  # noqa: B023
    assert not [one for one in client.containers() if one.pod_sandbox_id == pod.id]
    assert pods.output("echo", "fine", pod=pod, name="c0") == ["fine"]


def test_no_error_shows_the_insides(client: Client) -> None:
    """A message is for the pod's events: no stack trace of the runtime."""
    calls: list[Any] = [
        lambda: client.status("\0"),
        lambda: client.pull("\0"),
        lambda: client.exec(UNKNOWN_ID, "\0"),
    ]
    for call in calls:
        error = failure(call)
        assert error.code() is not grpc.StatusCode.INTERNAL
        assert "Traceback" not in str(error.details())
        assert "goroutine" not in str(error.details())


def _wrong() -> pb.LinuxContainerSecurityContext:
    return security(run_as_group=pb.Int64Value(value=1000))
