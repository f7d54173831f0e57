"""python -m e2e.vm: a guest with systemd, cgroup v2 and AppArmor, by hand. The tests drive the same modules."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from e2e.vm.guest import Guest
from e2e.vm.image import build
from e2e.vm.payload import archive, source_disk

_NAME = click.option("--name", default="hand", show_default=True, help="Which guest.")
_SELINUX = click.option("--selinux", is_flag=True, help="SELinux instead of AppArmor.")


@click.group()
def main() -> None:
    """Builds the guest's image, starts guests, and runs commands in them."""


@main.command("build")
@_SELINUX
@click.option("--mirror", help="A Debian mirror; by default the one that apt uses here.")
def build_image(mirror: str | None, selinux: bool) -> None:
    """Build the image and the disk with this checkout."""
    click.echo(build(mirror=mirror, selinux=selinux))
    click.echo(source_disk())


@main.command()
@_NAME
@_SELINUX
@click.option("--memory", default=3072, show_default=True, help="MiB")
@click.option("--add", multiple=True, metavar="NAME=PATH", help="A further file or tree, by its path in the checkout.")
def up(name: str, memory: int, selinux: bool, add: tuple[str, ...]) -> None:
    """Start a guest that stays, on the disks it had if there are any."""
    more = {entry.partition("=")[0]: Path(entry.partition("=")[2]) for entry in add}
    Guest(name).start(build(selinux=selinux), source_disk(more), memory_mib=memory)


@main.command("exec", context_settings={"ignore_unknown_options": True})
@_NAME
@click.option("--timeout", type=float)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def execute(name: str, timeout: float | None, command: tuple[str, ...]) -> None:
    """Run a command; its exit status is ours."""
    sys.exit(Guest(name).run(*command, timeout=timeout, show=True, check=False).returncode)


@main.command()
@_NAME
def refresh(name: str) -> None:
    """Bring the checkout inside up to date."""
    Guest(name).run("tar", "-x", stdin=archive(), timeout=300)


@main.command("reset-hard")
@_NAME
def reset_hard(name: str) -> None:
    """A power cut, and a boot after it."""
    Guest(name).reset_hard()


@main.command()
@_NAME
def down(name: str) -> None:
    """End the guest and forget its disks."""
    Guest(name).remove()


if __name__ == "__main__":
    main()
