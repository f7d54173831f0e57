"""Big messages: the kubelet's client sends without a limit and receives up to 16 MiB."""

from __future__ import annotations

from e2e.client import Client
from e2e.cri.pods import Pods


def test_a_request_of_several_megabytes(pods: Pods, client: Client) -> None:
    """gRPC's own default, 4 MiB, is too small: annotations alone may be large, and there are many."""
    config = pods.config()
    for number in range(20):
        config.annotations[f"note-{number}"] = "x" * 250_000
    pod = pods.run(config)
    assert len(client.pod_status(pod.id).annotations["note-19"]) == 250_000


def test_a_list_of_several_megabytes(pods: Pods, client: Client) -> None:
    """A node with many pods: the answer is larger than gRPC's default."""
    made = []
    for _ in range(3):
        config = pods.config()
        config.annotations["note"] = "y" * 1_500_000
        made.append(pods.run(config).id)
    assert set(made) <= {pod.id for pod in client.pods()}


def test_a_large_environment_and_many_labels(pods: Pods, client: Client) -> None:
    """Up to what execve takes: 128 KiB for one string."""
    pod = pods.run()
    config = pods.container_config("sh", "-c", "echo ${#LARGE}; env | grep -c ^V")
    config.envs.add(key="LARGE", value=b"z" * 100_000)
    for number in range(1000):
        config.envs.add(key=f"V{number}", value=str(number).encode())
        config.labels[f"label-{number}"] = "v"
    container = pods.create_from(pod, config)
    client.start(container.id)
    pods.wait_for_exit(container)
    assert container.text() == ["100000", "1000"]
    assert len(client.status(container.id).labels) == 1000


def test_secrets_need_not_be_text(pods: Pods, client: Client) -> None:
    """proto (2026): KeyValue.value is bytes."""
    pod = pods.run()
    config = pods.container_config("sh", "-c", 'printf %s "$SECRET" | od -An -tx1')
    config.envs.add(key="SECRET", value=b"\xff\xfe\x80")
    container = pods.create_from(pod, config)
    client.start(container.id)
    pods.wait_for_exit(container)
    assert "".join(container.text()).split() == ["ff", "fe", "80"]
