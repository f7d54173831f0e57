"""One run of the suite against one fresh runtime.

A run differs from another by its `Variant`: the streaming transport, and how many of ginkgo's processes share the
specs. The runtime starts before it and is gone after it; pods that the suite left are removed and named.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import grpc

from e2e.client import Client
from e2e.critest import report
from e2e.runtime import Runtime

_WEBSOCKET = ("-websocket-exec", "-websocket-attach", "-websocket-portforward")


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    websocket: bool = False
    processes: int = 1

    def __str__(self) -> str:
        order = f"{self.processes} processes" if self.processes > 1 else "sequential"
        return f"{'WebSocket' if self.websocket else 'SPDY'}, {order}"

    def flags(self) -> tuple[str, ...]:
        parallel = (f"-parallel={self.processes}",) if self.processes > 1 else ()
        return (*parallel, *(_WEBSOCKET if self.websocket else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    program: Path
    """critest"""
    ginkgo: Path | None
    """ginkgo's own program, which critest starts by name for more than one process."""
    focus: str
    skip: str
    flags: tuple[str, ...]
    """Flags of critest for every run."""

    def run(self, subject: Runtime, flags: Sequence[str], results: Path) -> list[report.Spec]:
        """What became of each spec; critest's output, ginkgo's report and the runtime's log are put into `results`."""
        results.mkdir(parents=True, exist_ok=True)
        output = results / "report.json"
        command = self._command(subject, results, output, flags)
        subject.start()
        try:
            click.echo(f"critest against {subject.name} {subject.version()}")
            began = time.monotonic()
            with (results / "critest.log").open("wb") as log:
                subprocess.run(command, env=self._environment(), stdout=log, stderr=subprocess.STDOUT, check=False)
            click.echo(f"the suite took {time.monotonic() - began:.0f} s")
            if not output.exists():
                raise click.ClickException(
                    f"critest wrote no report: see {results / 'critest.log'} (--keep DIR keeps it)"
                )
            return report.read(output)
        finally:
            _clear(subject)
            subject.stop()
            shutil.copy(subject.log, results)
            subject.clean()

    def _command(self, subject: Runtime, results: Path, output: Path, flags: Sequence[str]) -> list[str]:
        configuration = results / "crictl.yaml"
        configuration.write_text(f"runtime-endpoint: {subject.endpoint}\n")
        return [
            str(self.program),
            f"-runtime-endpoint={subject.endpoint}",
            f"-image-endpoint={subject.endpoint}",
            f"-config={configuration}",
            f"-ginkgo.json-report={output}",
            *([f"-ginkgo.focus={self.focus}"] if self.focus else []),
            *([f"-ginkgo.skip={self.skip}"] if self.skip else []),
            *self.flags,
            *flags,
        ]

    def _environment(self) -> dict[str, str]:
        # The suite's HTTP client takes a proxy even for pod addresses.
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        if self.ginkgo:
            environment["PATH"] = f"{self.ginkgo.parent}:{environment['PATH']}"
        return environment


def _clear(subject: Runtime) -> None:
    """Removes what the suite left; a pod that cannot be removed is reported and must not keep the rest from ending."""
    with Client(subject.endpoint) as client:
        for pod in client.pods():
            try:
                client.stop_pod(pod.id)
                client.remove_pod(pod.id)
            except grpc.RpcError as error:
                click.echo(f"pod {pod.metadata.name} cannot be removed: {error}")
