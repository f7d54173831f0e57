"""The command line: `python -m e2e.kube --bin DIRECTORY [PYTEST ARGUMENTS]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from e2e.kube import namespace, tools
from e2e.kube.images import push_health_server, push_shell
from e2e.kube.prepare import prepare


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--bin", "programs", type=click.Path(path_type=Path), required=True, help="Directory of the programs.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(programs: Path, arguments: tuple[str, ...]) -> None:
    """Runs the tests of this package in a network namespace; ARGUMENTS are pytest's. Needs root."""
    if absent := tools.missing(programs, (*tools.CLUSTER, tools.METRICS)):
        sys.exit(tools.how_to_build(programs, absent))
    prepare(push_shell, lambda registry: push_health_server(registry, programs))
    namespace.enter("e2e.kube", sys.argv[1:])
    selected = any(not word.startswith("-") and Path(word.partition("::")[0]).exists() for word in arguments)
    where = [] if selected else [str(Path(__file__).parent)]
    command = [sys.executable, "-m", "pytest", f"--kube-bin={programs}", *arguments, *where]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    main()
