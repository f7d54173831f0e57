"""`python -m e2e.bundle`: builds the bundle twice, compares, then runs it in roots that have less than this machine."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import click

from deploy.bundle.archive import Packing, source_date, write_archive
from deploy.bundle.assemble import Bundle, BundleSettings
from e2e import leaks
from e2e.bundle import checks
from e2e.bundle.node_images import check_images
from e2e.bundle.userland import debian_userland, empty
from e2e.images.catalog import push_test_images
from e2e.paths import CACHE
from e2e.processes import leave_on_termination
from e2e.registry import running_registry

_SUITES = ("bookworm", "trixie")


@click.command()
@click.option("--bundle", "given", type=click.Path(path_type=Path, exists=True), help="Directory of a built one.")
@click.option(
    "--suite", "suites", multiple=True, default=_SUITES, show_default=True, help="Debian releases to run under."
)
def main(given: Path | None, suites: tuple[str, ...]) -> None:
    """Verifies the bundle. Without --bundle it is built twice, in different directories, and the archives compared."""
    if os.geteuid() != 0:
        sys.exit("the checks need root: sudo make verify-bundle")
    leave_on_termination()
    with tempfile.TemporaryDirectory(prefix="bun-") as directory:
        bundle = _given(given) if given else _build_twice(Path(directory))
        before = leaks.snapshot()
        roots = {"nothing at all": empty(Path(directory) / "empty")}
        roots |= {f"debian {suite}": debian_userland(suite) for suite in suites}
        with running_registry(Path(directory) / "registry") as registry:
            images = push_test_images(registry.client)
            for name, root in roots.items():
                with checks.place(root, bundle.root) as where:
                    click.echo(f"{name}: {checks.commands(where)}")
                    click.echo(f"{name}: coracle-oci run: {checks.container(where)}")
                    click.echo(f"{name}: a pod from pull to removal: {checks.pod(where, images.busybox)}")
            for line in check_images(Path(directory), bundle, debian_userland(suites[0]), registry):
                click.echo(line)
        left = leaks.leaked(before)
    for line in left:
        click.echo(f"left behind: {line}")
    sys.exit(bool(left))


def _given(output: Path) -> Bundle:
    bundle = Bundle(BundleSettings(output=output.resolve(), cache=CACHE / "bundle"))
    if not bundle.root.is_dir():
        sys.exit(f"{bundle.root} is not there: make bundle")
    return bundle


def _build_twice(directory: Path) -> Bundle:
    """The second of two builds; ends the program when their archives differ."""
    digests = []
    for number in (1, 2):
        settings = BundleSettings(output=directory / f"build-{number}", cache=CACHE / "bundle")
        bundle = Bundle(settings)
        root = bundle.build()
        target = settings.output / f"{root.name}.tar.gz"
        digests.append(write_archive(root, target, Packing.GZIP, source_date()))
        click.echo(f"build {number}: {target.stat().st_size / 1e6:.1f} MB, sha256 {digests[-1]}")
    if digests[0] != digests[1]:
        sys.exit("two builds of the same sources differ")
    return bundle


if __name__ == "__main__":
    main()
