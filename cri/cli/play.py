"""`coracle play`: run the pods of a manifest through the daemon, with no cluster; `--down` stops and removes them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from cri.cli.messages import fail
from cri.cli.options import read_settings, settings_options
from cri.config import KEYS

if TYPE_CHECKING:
    import grpc

    from cri.podspec import Plan

_ADDRESS_AND_ROOT: Final = tuple(key for key in KEYS if key.dotted in ("listen", "runroot", "root"))
_PULL_TIMEOUT_S: Final = 1800.0
_CALL_TIMEOUT_S: Final = 120.0


@click.command("play")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False, allow_dash=True))
@click.option("--down", is_flag=True, help="Stop and remove the pods of FILE instead.")
@click.option("-q", "--quiet", is_flag=True, help="No progress and no notices.")
@settings_options(_ADDRESS_AND_ROOT)
def command(file: Path, down: bool, quiet: bool, config_file: Path | None, **options: Sequence[str]) -> None:
    """Run the v1 Pods of the manifest FILE, and print the id and addresses of each.

    Images are pulled as imagePullPolicy says. Volumes may be hostPath and emptyDir; what needs a cluster is refused.
    """
    from cri.cli.client import connected

    settings = read_settings(config_file, **options)
    plans = [_translate(manifest, settings.root / "play") for manifest in _documents(file)]
    with connected(settings) as channel:
        for plan in plans:
            if down:
                _remove(channel, plan)
                continue
            if not quiet:
                for notice in plan.notices:
                    click.echo(f"note: {notice}", err=True)
            _run(channel, plan, quiet=quiet)


def _documents(file: Path) -> Iterator[Mapping[str, object]]:
    import yaml

    with click.open_file(str(file)) as stream:
        try:
            documents = [document for document in yaml.safe_load_all(stream) if document is not None]
        except yaml.YAMLError as error:
            fail(f"{file}: {error}")
    if not documents:
        fail(f"{file}: holds no manifest")
    for document in documents:
        if not isinstance(document, dict):
            fail(f"{file}: holds something that is no manifest: {document!r}")
        yield document


def _translate(manifest: Mapping[str, object], places: Path) -> Plan:
    from cri.podspec import ManifestError, translate

    try:
        return translate(manifest, places)
    except ManifestError as error:
        fail(str(error))


def _run(channel: grpc.Channel, plan: Plan, *, quiet: bool) -> None:
    from cri.api import runtime_pb2 as api
    from cri.api.runtime_pb2_grpc import RuntimeServiceStub

    runtime = RuntimeServiceStub(channel)
    if _find(channel, plan):
        fail(f"pod {_name(plan)} is there already: --down removes it")
    for container in plan.containers:
        _pull(channel, container.config.image.image, container.pull, quiet=quiet)
    for directory in plan.directories:
        _make(directory.path, directory.mode)
    with ExitStack() as undo:
        undo.callback(_remove, channel, plan)
        sandbox = runtime.RunPodSandbox(
            api.RunPodSandboxRequest(config=plan.sandbox, runtime_handler=plan.runtime_handler), timeout=_CALL_TIMEOUT_S
        ).pod_sandbox_id
        for container in plan.containers:
            created = runtime.CreateContainer(
                api.CreateContainerRequest(
                    pod_sandbox_id=sandbox, config=container.config, sandbox_config=plan.sandbox
                ),
                timeout=_CALL_TIMEOUT_S,
            )
            started = api.StartContainerRequest(container_id=created.container_id)
            runtime.StartContainer(started, timeout=_CALL_TIMEOUT_S)
        undo.pop_all()
    network = runtime.PodSandboxStatus(api.PodSandboxStatusRequest(pod_sandbox_id=sandbox)).status.network
    addresses = [network.ip, *(one.ip for one in network.additional_ips)]
    click.echo(" ".join([sandbox, *filter(None, addresses)]))


def _pull(channel: grpc.Channel, image: str, policy: str, *, quiet: bool) -> None:
    import sys

    from cri.api import runtime_pb2 as api
    from cri.api.runtime_pb2_grpc import ImageServiceStub
    from cri.cli.pull import show_progress

    images, spec = ImageServiceStub(channel), api.ImageSpec(image=image)
    if policy != "Always":
        known = images.ImageStatus(api.ImageStatusRequest(image=spec), timeout=_CALL_TIMEOUT_S).HasField("image")
        if known:
            return
        if policy == "Never":
            fail(f"image {image} is not here, and imagePullPolicy is Never")
    pull = images.PullImage.future(api.PullImageRequest(image=spec), timeout=_PULL_TIMEOUT_S)
    if sys.stderr.isatty() and not quiet:
        show_progress(channel, image, pull)
    pull.result()


def _remove(channel: grpc.Channel, plan: Plan) -> None:
    """Containers first get the time they ask for; then the pod goes, and what belonged to it."""
    from cri.api import runtime_pb2 as api
    from cri.api.runtime_pb2_grpc import RuntimeServiceStub

    runtime = RuntimeServiceStub(channel)
    for sandbox in _find(channel, plan):
        mine = api.ContainerFilter(pod_sandbox_id=sandbox)
        for container in runtime.ListContainers(api.ListContainersRequest(filter=mine)).containers:
            stop = api.StopContainerRequest(container_id=container.id, timeout=plan.grace_seconds)
            runtime.StopContainer(stop, timeout=plan.grace_seconds + _CALL_TIMEOUT_S)
        runtime.StopPodSandbox(api.StopPodSandboxRequest(pod_sandbox_id=sandbox), timeout=_CALL_TIMEOUT_S)
        runtime.RemovePodSandbox(api.RemovePodSandboxRequest(pod_sandbox_id=sandbox), timeout=_CALL_TIMEOUT_S)
        click.echo(sandbox)
    if plan.place.exists():
        shutil.rmtree(plan.place)
    try:
        plan.place.parent.rmdir()
    except OSError:
        pass  # other pods have theirs there, or there never was any


def _find(channel: grpc.Channel, plan: Plan) -> list[str]:
    from cri.api import runtime_pb2 as api
    from cri.api.runtime_pb2_grpc import RuntimeServiceStub

    mine = api.PodSandboxFilter(label_selector={"io.kubernetes.pod.uid": plan.sandbox.metadata.uid})
    answer = RuntimeServiceStub(channel).ListPodSandbox(api.ListPodSandboxRequest(filter=mine), timeout=_CALL_TIMEOUT_S)
    return [pod.id for pod in answer.items]


def _make(path: Path, mode: int) -> None:
    """A directory that is there keeps its mode."""
    if not path.is_dir():
        path.mkdir(parents=True)
        path.chmod(mode)


def _name(plan: Plan) -> str:
    return f"{plan.sandbox.metadata.namespace}/{plan.sandbox.metadata.name}"
