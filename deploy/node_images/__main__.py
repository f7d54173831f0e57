"""`python -m deploy.node_images`: the installer's image, and kind's node image when a base is given."""

from __future__ import annotations

from pathlib import Path

import click

from deploy.bundle.assemble import PROJECT, Bundle, BundleSettings
from deploy.image import Image, Registry, write_layout
from deploy.node_images.archive import write_image_archive
from deploy.node_images.base_image import read_base
from deploy.node_images.installer import installer_image
from deploy.node_images.kind import kind_image


@click.command()
@click.option("--output", type=click.Path(path_type=Path, file_okay=False), default=PROJECT / "dist", show_default=True)
@click.option("--cache", type=click.Path(path_type=Path, file_okay=False), default=PROJECT / ".cache/bundle")
@click.option("--reuse", is_flag=True, help="Take the bundle that lies in the output directory.")
@click.option("--prefix", default="localhost/", show_default=True, help="What the images' names begin with.")
@click.option("--tag", help="Their tag; the project's version by default.")
@click.option("--kind-base", type=click.Path(path_type=Path, exists=True), help="kindest/node: archive or layout.")
@click.option("--kind-base-name", default="", help="Which image of that archive, where it holds several.")
@click.option("--push", "registry", help="HOST:PORT of a registry without TLS to push to.")
def main(
    output: Path,
    cache: Path,
    reuse: bool,
    prefix: str,
    tag: str | None,
    kind_base: Path | None,
    kind_base_name: str,
    registry: str | None,
) -> None:
    """Builds node images as archives for `kind load image-archive`, `docker load` and `ctr images import`.

    An OCI layout with all of them is written to OUTPUT/images.
    """
    bundle = Bundle(BundleSettings(output=output.resolve(), cache=cache.resolve()))
    if not (reuse and bundle.root.is_dir()):
        bundle.build()
    layers = output / "layers"
    version = bundle.project.version
    images = {"coracle-installer": installer_image(bundle, layers)}
    if kind_base is not None:
        base = read_base(kind_base, cache / "base", bundle.settings.architecture, kind_base_name)
        images["coracle-kind-node"] = kind_image(base, bundle.root, version, layers)
    for name, image in images.items():
        _write(output, name, f"{prefix}{name}:{tag or version}", image)
        if registry is not None:
            descriptor = Registry(registry).push(name, [tag or version], image)
            click.echo(f"{registry}/{name}:{tag or version}@{descriptor.digest}")
    write_layout(output / "images", {f"{name}-{tag or version}": image for name, image in images.items()})


def _write(output: Path, name: str, reference: str, image: Image) -> None:
    target = output / f"{name}-{image.platform.architecture}.tar"
    write_image_archive(target, {reference: image})
    size = sum(layer.size for layer in image.layers)
    click.echo(f"{target}: {reference}, {size / 1e6:.1f} MB in {len(image.layers)} layers, id {image.id}")


if __name__ == "__main__":
    main()
