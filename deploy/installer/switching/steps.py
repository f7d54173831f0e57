"""What the host does to re-point its kubelet, in order. Each step may be repeated from its beginning."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from deploy.installer import names
from deploy.installer.context import Context
from deploy.installer.effects import Effect, WriteFile, carry_out
from deploy.installer.errors import NotVerified
from deploy.installer.kubelet.forms import recognise
from deploy.installer.kubelet.plan import repointing
from deploy.installer.stages.unit import PROGRAM
from deploy.installer.switching.script import unit_of, write_script
from deploy.installer.switching.state import Request
from deploy.installer.undo import undo

STAGE: Final = "kubelet"
_MANIFESTS: Final = "/etc/kubernetes/manifests"
_PULL_S: Final = 1800.0
_CLEAR_S: Final = 600.0
_CRICTL: Final = (
    f"runtime-endpoint: {names.ENDPOINT}\nimage-endpoint: {names.ENDPOINT}\ntimeout: 10\ndebug: false\n".encode()
)


def describe(context: Context, request: Request) -> list[str]:
    wanted = ", ".join(images(context, request))
    return [
        *([f"pull {wanted}"] if wanted else []),
        f"arm {names.ROLLBACK_TIMER}",
        f"stop {names.KUBELET_UNIT}",
        f"stop and remove the pods at {request.old_endpoint}",
        *(effect.describe() for effect in repointed(context)),
        f"start {names.KUBELET_UNIT}",
        f"wait up to {request.ready_timeout_s} s for a Ready node with {names.RUNTIME_PREFIX}, else roll back",
    ]


def images(context: Context, request: Request) -> list[str]:
    """Of the static pods, which no server can send again while they are down, and those that were asked for."""
    found = []
    for name in context.host.names(_MANIFESTS):
        if name.endswith((".yaml", ".yml", ".json")):
            found += re.findall(r"^\s*-?\s*image:\s*[\"']?([^\s\"']+)", context.host.text(f"{_MANIFESTS}/{name}"), re.M)
    return list(dict.fromkeys([*found, *request.images]))


def pull_images(context: Context, request: Request) -> None:
    """Raises NotVerified: nothing is changed yet, and a static pod without its image would not come back."""
    for image in images(context, request):
        done = context.commands.run((PROGRAM, "pull", "--quiet", image), _PULL_S)
        if done.status:
            raise NotVerified(f"image {image} cannot be pulled: {done.output.strip()}")


def stop_kubelet(context: Context) -> None:
    context.systemd.stop(names.KUBELET_UNIT)


def clear_pods(context: Context, endpoint: str) -> None:
    """A runtime that does not answer has nothing that could be stopped through it."""
    context.commands.run((PROGRAM, "clear", "--listen", endpoint), _CLEAR_S)
    if context.systemd.state("kubepods.slice").active:
        # What the runtime left in them would be in the way of the next one's cgroups.
        context.commands.run(("systemctl", "stop", "kubepods.slice"))


def repointed(context: Context) -> Iterator[Effect]:
    host = context.host
    kubelet = recognise(context.systemd.text(names.KUBELET_UNIT), host.exists, host.text)
    yield from repointing(kubelet, host)
    yield WriteFile(path=names.CRICTL_CONFIG, content=_CRICTL)


def repoint(context: Context, request: Request) -> None:
    if not context.journal.standing(STAGE):
        write_script(context.host, list(repointed(context)), request.old_endpoint)
    for effect in repointed(context):
        carry_out(effect, STAGE, context.doors)


def start_kubelet(context: Context) -> None:
    context.systemd.reload()
    context.systemd.start(names.KUBELET_UNIT, wait=False)


def put_back(context: Context, request: Request) -> list[str]:
    """The kubelet's files as they were, its old runtime running. Answers what the operator has to know."""
    reports = undo(context.journal.standing(STAGE), context.doors)
    old = unit_of(request.old_endpoint)
    if old is not None and not context.systemd.state(old).active:
        context.commands.run(("systemctl", "start", old))
    return reports
