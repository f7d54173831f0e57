"""`python -m deploy.bundle`: builds the bundle and its archive below dist/."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from deploy.bundle.archive import Packing, source_date, write_archive
from deploy.bundle.assemble import PROJECT, Bundle, BundleSettings


@click.command()
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=PROJECT / "dist", show_default=True)
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), default=PROJECT / ".cache/bundle")
@click.option("--cc", "compiler", help="A C compiler for bin/ instead of Debian's tcc.")
@click.option(
    "--packing",
    type=click.Choice(["zst", "xz", "gz"]),
    multiple=True,
    default=["zst"],
    help="Of the archive; repeatable.",
)
def main(output: Path, cache: Path, compiler: str | None, packing: tuple[str, ...]) -> None:
    """Builds a relocatable bundle of Coracle for this machine's architecture.

    The parts come from the Debian release and the package index that this machine is set up for.
    """
    settings = BundleSettings(output=output.resolve(), cache=cache.resolve(), compiler=compiler)
    began = time.monotonic()
    root = Bundle(settings).build()
    click.echo(f"{root}: {_megabytes(root):.1f} MB in {sum(1 for _ in root.rglob('*'))} entries")
    for suffix in packing:
        target = output / f"{root.name}.tar.{suffix}"
        digest = write_archive(root, target, Packing(f"tar.{suffix}"), source_date())
        (output / f"{target.name}.sha256").write_text(f"{digest}  {target.name}\n")
        click.echo(f"{target}: {target.stat().st_size / 1e6:.1f} MB, sha256 {digest}")
    click.echo(f"built in {time.monotonic() - began:.0f} s, {sum(os.times()[:4]):.0f} s of CPU")


def _megabytes(root: Path) -> float:
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file()) / 1e6


if __name__ == "__main__":
    main()
