"""`coracle clear`: stop and remove every pod at a CRI socket, Coracle's own or another runtime's.

What a node needs before its kubelet is given another runtime: the old pods would hold ports, addresses and cgroups.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from cri.cli.options import ADDRESS_KEYS, read_settings, settings_options

if TYPE_CHECKING:
    from cri.api.runtime_pb2_grpc import RuntimeServiceStub

_AT_ONCE: Final = 8


@click.command("clear")
@settings_options(ADDRESS_KEYS)
@click.option("--grace", type=click.IntRange(0), default=30, show_default=True, metavar="SECONDS")
def command(grace: int, config_file: Path | None, **options: Sequence[str]) -> None:
    """Stop and remove all pods on this node, of whatever runtime answers at --listen.

    Containers get SIGTERM and GRACE seconds. One pod that cannot be removed does not keep the others; the exit status
    is 1 when any is left.
    """
    from cri.api import runtime_pb2 as api
    from cri.api.runtime_pb2_grpc import RuntimeServiceStub
    from cri.cli.client import QUICK_S, connected

    settings = read_settings(config_file, **options)
    with connected(settings) as channel:
        stub = RuntimeServiceStub(channel)
        pods = stub.ListPodSandbox(api.ListPodSandboxRequest(), timeout=QUICK_S).items
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            problems = [problem for problem in pool.map(lambda pod: _remove(stub, pod.id, grace), pods) if problem]
    for problem in problems:
        click.echo(f"coracle: {problem}", err=True)
    click.echo(f"{len(pods) - len(problems)} of {len(pods)} pods removed")
    if problems:
        sys.exit(1)


def _remove(stub: RuntimeServiceStub, pod: str, grace: int) -> str:
    """What went wrong, or nothing."""
    import grpc

    from cri.api import runtime_pb2 as api

    patience = grace + 60.0
    try:
        wanted = api.ListContainersRequest(filter=api.ContainerFilter(pod_sandbox_id=pod))
        for container in stub.ListContainers(wanted, timeout=patience).containers:
            if container.state == api.CONTAINER_RUNNING:
                stop = api.StopContainerRequest(container_id=container.id, timeout=grace)
                stub.StopContainer(stop, timeout=patience)
        stub.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=pod), timeout=patience)
        stub.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=pod), timeout=patience)
    except grpc.RpcError as error:
        return f"pod {pod[:13]} stays: {error.details()}"
    return ""
