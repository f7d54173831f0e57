"""`coracle ps`: the containers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from cri.cli.options import ADDRESS_KEYS, read_settings, settings_options


@click.command("ps")
@click.option("-a", "--all", "everything", is_flag=True, help="Those that do not run, too.")
@settings_options(ADDRESS_KEYS)
def command(everything: bool, config_file: Path | None, **options: Sequence[str]) -> None:
    """List the running containers."""
    from cri.api import runtime_pb2 as api
    from cri.api.runtime_pb2_grpc import RuntimeServiceStub
    from cri.cli.client import QUICK_S, connected
    from cri.cli.tables import age, short_id, show

    settings = read_settings(config_file, **options)
    with connected(settings) as channel:
        stub = RuntimeServiceStub(channel)
        containers = stub.ListContainers(api.ListContainersRequest(), timeout=QUICK_S).containers
        pods = stub.ListPodSandbox(api.ListPodSandboxRequest(), timeout=QUICK_S).items
    names = {pod.id: f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in pods}
    rows = [
        (
            container.metadata.name,
            short_id(container.id),
            names.get(container.pod_sandbox_id, short_id(container.pod_sandbox_id)),
            api.ContainerState.Name(container.state).removeprefix("CONTAINER_").lower(),
            age(container.created_at),
            str(container.metadata.attempt),
            container.image.user_specified_image or container.image.image,
        )
        for container in sorted(containers, key=lambda container: -container.created_at)
        if everything or container.state == api.CONTAINER_RUNNING
    ]
    show(("CONTAINER", "ID", "POD", "STATE", "AGE", "ATTEMPT", "IMAGE"), rows)
