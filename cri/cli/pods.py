"""`coracle pods`: the pod sandboxes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from cri.cli.options import ADDRESS_KEYS, read_settings, settings_options


@click.command("pods")
@settings_options(ADDRESS_KEYS)
def command(config_file: Path | None, **options: Sequence[str]) -> None:
    """List the pods on this node."""
    from cri.api import runtime_pb2 as api
    from cri.api.runtime_pb2_grpc import RuntimeServiceStub
    from cri.cli.client import QUICK_S, connected
    from cri.cli.tables import age, short_id, show

    settings = read_settings(config_file, **options)
    with connected(settings) as channel:
        answer = RuntimeServiceStub(channel).ListPodSandbox(api.ListPodSandboxRequest(), timeout=QUICK_S)
    rows = [
        (
            f"{pod.metadata.namespace}/{pod.metadata.name}",
            short_id(pod.id),
            "ready" if pod.state == api.SANDBOX_READY else "not ready",
            age(pod.created_at),
            str(pod.metadata.attempt),
            pod.runtime_handler or "coracle",
        )
        for pod in sorted(answer.items, key=lambda pod: -pod.created_at)
    ]
    show(("POD", "ID", "STATE", "AGE", "ATTEMPT", "RUNTIME"), rows)
