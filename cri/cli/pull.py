"""`coracle pull`: fetch an image through the daemon, with a bar per layer on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import click

from cri.cli.messages import fail
from cri.cli.options import ADDRESS_KEYS, read_settings, settings_options

if TYPE_CHECKING:
    import grpc

    from cri.api import coracle_pb2 as own


@click.command("pull")
@click.argument("image")
@click.option("-u", "--username", default="", help="User name at the registry.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@click.option("-q", "--quiet", is_flag=True, help="No progress, only the image's id.")
@settings_options(ADDRESS_KEYS)
def command(
    image: str, username: str, password_stdin: bool, quiet: bool, config_file: Path | None, **options: Sequence[str]
) -> None:
    """Pull IMAGE and print its id.

    Without a user name, the daemon looks for credentials in the Docker configuration files of its settings.
    """
    from cri.api import runtime_pb2 as api
    from cri.api.runtime_pb2_grpc import ImageServiceStub
    from cri.cli.client import connected

    if bool(username) != password_stdin:
        fail("--username and --password-stdin belong together")
    request = api.PullImageRequest(image=api.ImageSpec(image=image))
    if username:
        request.auth.username = username
        request.auth.password = sys.stdin.readline().rstrip("\n")
    settings = read_settings(config_file, **options)
    with connected(settings) as channel:
        pull = ImageServiceStub(channel).PullImage.future(request)
        try:
            if sys.stderr.isatty() and not quiet:
                show_progress(channel, image, pull)
            answer = pull.result()
        except KeyboardInterrupt:
            pull.cancel()  # type: ignore[no-untyped-call]
            fail(f"pull of {image} given up")
    click.echo(answer.image_ref)


class Ends(Protocol):
    def add_done_callback(self, callback: Callable[[Any], None], /) -> None: ...


def show_progress(channel: grpc.Channel, image: str, pull: Ends) -> None:
    """Draws until `pull` has ended; what goes wrong with the progress alone does not matter."""
    import grpc
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    from cri.api import coracle_pb2 as own
    from cri.api.coracle_pb2_grpc import CoracleStub

    tasks: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        updates = CoracleStub(channel).WatchPulls(own.WatchPullsRequest(image=image))
        pull.add_done_callback(lambda done: updates.cancel())  # type: ignore[no-untyped-call]
        try:
            for update in updates:
                for layer in (layer for each in update.pulls for layer in each.layers):
                    if layer.digest not in tasks:
                        tasks[layer.digest] = bars.add_task(layer.digest.removeprefix("sha256:")[:12])
                    bars.update(
                        tasks[layer.digest],
                        total=layer.size_bytes,
                        completed=layer.fetched_bytes,
                        description=_description(layer),
                    )
        except grpc.RpcError:
            pass  # cancelled, because the pull has ended; or a daemon that cannot tell: the pull itself decides


def _description(layer: own.LayerProgress) -> str:
    from cri.api import coracle_pb2 as own

    phase = own.LayerProgress.Phase.Name(layer.phase).lower()
    return f"{layer.digest.removeprefix('sha256:')[:12]} {phase:<8}"
