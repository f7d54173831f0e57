"""The command line: `python -m e2e.installer --bin DIRECTORY --helm HELM --image ARCHIVE [PYTEST ARGUMENTS]`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from e2e.installer.image import push_installer
from e2e.kube import namespace, tools
from e2e.kube.prepare import prepare

_PROGRAM = click.Path(path_type=Path, exists=True)


@click.command(context_settings={"ignore_unknown_options": True})
@click.option("--bin", "programs", type=_PROGRAM, required=True, help="Directory of the cluster's programs.")
@click.option("--helm", type=_PROGRAM, required=True)
@click.option("--image", type=_PROGRAM, required=True, help="coracle-installer-*.tar, as `make node-images` leaves it.")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def main(programs: Path, helm: Path, image: Path, arguments: tuple[str, ...]) -> None:
    """Installs the chart on a node of plain processes, in a network namespace; ARGUMENTS are pytest's. Needs root."""
    if absent := tools.missing(programs, tools.CLUSTER):
        sys.exit(tools.how_to_build(programs, absent))
    # Pushing once fills the cache with what needs the outer network.
    prepare(lambda registry: push_installer(registry, image))
    namespace.enter("e2e.installer", sys.argv[1:])
    options = [f"--kube-bin={programs.resolve()}", f"--helm={helm.resolve()}", f"--image={image.resolve()}"]
    where = str(Path(__file__).parent)
    os.execv(sys.executable, [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, *arguments, where])


if __name__ == "__main__":
    main()
