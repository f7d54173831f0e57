"""The command line: `python -m e2e.kube.conformance --bin DIRECTORY`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import click

from e2e.critest import report
from e2e.kube import namespace, runtimes, tools
from e2e.kube.cluster import Cluster
from e2e.kube.conformance import selection
from e2e.kube.conformance.images import push_images, registries
from e2e.kube.prepare import prepare
from e2e.processes import leave_on_termination
from e2e.registry import RunningRegistry, running_registry
from e2e.runtime import Runtime


@click.command()
@click.option("--bin", "programs", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--runtime", type=click.Choice(runtimes.RUNTIMES), default="coracle", show_default=True)
@click.option("--focus", default=selection.FOCUS, show_default=True, help="Specs that match this regular expression.")
@click.option("--skip", default="|".join(selection.left_out()), help="No specs that match this one.")
@click.option("--processes", default=8, show_default=True, help="Specs that run at the same time.")
@click.option("--proxy-mode", default="nftables", type=click.Choice(["nftables", "iptables"]))
@click.option("--keep", type=click.Path(path_type=Path), help="Keep logs and the JSON report in this directory.")
def main(
    programs: Path, runtime: str, focus: str, skip: str, processes: int, proxy_mode: str, keep: Path | None
) -> None:
    """Runs Kubernetes' e2e.test on a cluster with the runtime. Needs root."""
    programs = programs.resolve()
    if absent := tools.missing(programs, (*tools.CLUSTER, *tools.CONFORMANCE)):
        sys.exit(tools.how_to_build(programs, absent))
    prepare(lambda registry: push_images(registry, programs))
    namespace.enter("e2e.kube.conformance", sys.argv[1:])
    leave_on_termination()
    namespace.furnish()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coracle-kube-")))
        results = (keep or directory / "results").resolve()
        results.mkdir(parents=True, exist_ok=True)
        registry = stack.enter_context(running_registry(directory / "registry"))
        click.echo(f"{push_images(registry.client, programs)} image names in the registry at {registry.address}")
        subject = _runtime(runtime, directory, registry)
        cluster = Cluster(programs, directory, subject, proxy_mode=proxy_mode, quick_restarts=False)
        stack.callback(subject.clean)
        stack.callback(subject.stop)
        subject.start()
        stack.callback(runtimes.remove_pods, subject)
        stack.callback(cluster.stop)
        stack.callback(cluster.copy_logs, results)
        cluster.start()
        click.echo(f"a node with {subject.name} {subject.version()}")
        for pattern, reason in selection.left_out().items():
            click.echo(f"left out: {pattern}: {reason}")
        repositories = directory / "repositories.yaml"
        repositories.write_text(json.dumps(registries(registry.address)))
        specs = _run(cluster, results, repositories, focus, skip, processes)
    selected = [spec for spec in specs if spec.reason != "not selected by this run" or spec.state != "skipped"]
    for line in report.summary(selected):
        click.echo(line)
    sys.exit(any(spec.state not in ("passed", "skipped", "pending") for spec in selected))


def _runtime(name: str, directory: Path, registry: RunningRegistry) -> Runtime:
    return runtimes.coracle(directory) if name == "coracle" else runtimes.containerd(directory, registry)


def _run(
    cluster: Cluster, results: Path, repositories: Path, focus: str, skip: str, processes: int
) -> list[report.Spec]:
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    environment |= {"KUBE_TEST_REPO_LIST": str(repositories), "KUBECONFIG": str(cluster.config("admin"))}
    environment["PATH"] = f"{cluster.programs}:{environment['PATH']}"
    command = [
        str(cluster.programs / "ginkgo"),
        *(
            f"--procs={processes}",
            "--no-color",
            "--timeout=6h",
            f"--focus={focus}",
            *([f"--skip={skip}"] if skip else []),
        ),
        *("--json-report=report.json", f"--output-dir={results}", "--silence-skips"),
        str(cluster.programs / "e2e.test"),
        *("--", "--provider=skeleton", f"--kubeconfig={cluster.config('admin')}", "--disable-log-dump"),
        *("--minStartupPods=0", "--allowed-not-ready-nodes=0", f"--report-dir={results}/junit"),
    ]
    began = time.monotonic()
    with (results / "e2e.log").open("wb") as log:
        subprocess.run(command, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    click.echo(f"the suite took {time.monotonic() - began:.0f} s")
    return report.read(results / "report.json")


if __name__ == "__main__":
    main()
