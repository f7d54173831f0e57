"""The command line: `python -m e2e.kubeadm --bin DIRECTORY [PYTEST ARGUMENTS]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from e2e.kube import namespace, tools
from e2e.kube.prepare import prepare
from e2e.kubeadm.images import push_node_images


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--bin", "programs", type=click.Path(path_type=Path, exists=True), required=True)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(programs: Path, arguments: tuple[str, ...]) -> None:
    """Makes a node with kubeadm, in namespaces of its own; ARGUMENTS are pytest's. Needs root."""
    programs = programs.resolve()
    if absent := tools.missing(programs, (*tools.CLUSTER, tools.KUBEADM)):
        sys.exit(tools.how_to_build(programs, absent))
    prepare(lambda registry: push_node_images(registry, programs))
    namespace.enter("e2e.kubeadm", sys.argv[1:], mounts=True)
    # kubeadm hands the proxies of its environment on to the control plane.
    environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--kube-bin={programs}", *arguments]
    os.execve(sys.executable, [*command, str(Path(__file__).parent)], environment)


if __name__ == "__main__":
    main()
