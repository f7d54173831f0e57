"""The labels of the daemon's pods and containers, and of what they mount.

A pod's labels are in its record, so they outlive the daemon; a level is free again once the record is gone. Everything
here is for daemons with a policy: callers look at `daemon.selinux` first, or get None.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cri.api import runtime_pb2 as api
from cri.errors import FailedPrecondition, InvalidArgument
from cri.pod_files import label_pod_files
from cri.selinux.files import Check, Refused, label_tree, relabel
from cri.selinux.labels import Label, Labels, Policy, check_options, for_everybody, runs_init
from cri.selinux.policy import UNCONFINED
from cri.specgen.process import container_args
from cri.state.records import SandboxRecord
from imagesvc.config import ImageConfig
from oci import syscalls

if TYPE_CHECKING:
    from cri.daemon import Daemon

_FIELD: Final = "config.linux.security_context.selinux_options"
_LOOK_S = 1.0  #: between two looks at whether the pod is to go, while a volume is labelled


def labels_of_pod(daemon: Daemon, config: api.PodSandboxConfig) -> Labels:
    """For a pod to be made: no other may come to be before it is recorded. Empty without SELinux."""
    if daemon.selinux is None:
        return Labels(process="", mount="")
    options = config.linux.security_context.selinux_options
    check_options(_FIELD, options)
    return _known(daemon.selinux, options, daemon.selinux.of_pod(options, _levels(daemon), secrets.randbelow))


def _levels(daemon: Daemon) -> frozenset[str]:
    """All that somebody has, or asked for."""
    pods = (Label.parse(pod.mount_label).level for pod in daemon.sandboxes if pod.mount_label)
    asked = (container.config.linux.security_context.selinux_options.level for container in daemon.containers)
    return frozenset((*pods, *asked))


def labels_of_container(
    daemon: Daemon, sandbox: SandboxRecord, config: api.ContainerConfig, image: ImageConfig
) -> Labels | None:
    """None without SELinux, and in a pod that was made without."""
    if daemon.selinux is None or not sandbox.mount_label:
        return None
    context = config.linux.security_context
    options, of_pod = context.selinux_options, sandbox.config.linux.security_context.selinux_options
    check_options(_FIELD, options)
    labels = daemon.selinux.of_container(
        Labels(process=sandbox.process_label, mount=sandbox.mount_label),
        options,
        privileged=context.privileged,
        shares_host=api.NODE in (context.namespace_options.pid, sandbox.namespaces.ipc),
        typed=bool(options.type or of_pod.type),
        init=runs_init(container_args(config, image.entrypoint, image.cmd)),
    )
    return _known(daemon.selinux, options, labels)


def _known(policy: Policy, options: api.SELinuxOption, labels: Labels) -> Labels:
    """What nobody asked for was looked at when the daemon started."""
    if options.ByteSize():
        for label in filter(None, (labels.process, labels.mount)):
            if not policy.knows(label):
                raise InvalidArgument(_FIELD, f"this host's policy has no label {label}")
    return labels


async def label_mounts(
    daemon: Daemon,
    sandbox: SandboxRecord,
    config: api.ContainerConfig,
    labels: Labels,
    copies: Iterable[str],
    check: Check,
) -> None:
    """Before a container mounts them: the volumes that the kubelet marked, `copies` that are the container's alone, and
    the pod's files where a container's level is another than the pod's. `check` raises when the pod is to go."""
    if labels.mount != sandbox.mount_label:
        label_pod_files(daemon.paths.sandbox(sandbox.id), for_everybody(sandbox.mount_label))
    for copy in copies:
        await asyncio.to_thread(_label_copy, copy, labels.mount)
    if {Label.parse(label).type for label in (sandbox.process_label, labels.process) if label} == {UNCONFINED}:
        return  # any label will do for this pod: its volumes may be large, and somebody else's
    own = (daemon.settings.root, daemon.settings.runroot)
    for index, mount in enumerate(config.mounts):
        if mount.selinux_relabel and mount.host_path:
            field = f"config.mounts[{index}].host_path"
            await _apart(partial(_relabel, field, mount.host_path, labels.mount, own, check), check)


async def _apart(work: Callable[[], None], check: Check) -> None:
    """In a thread of its own: a volume may hold millions of files, or never answer, which is no other pod's trouble."""
    done: Future[None] = Future()

    def run() -> None:
        try:
            work()
        except BaseException as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    threading.Thread(target=run, name="relabel", daemon=True).start()
    waiting = asyncio.wrap_future(done)
    while not (await asyncio.wait([waiting], timeout=_LOOK_S))[0]:
        check()
    waiting.result()


def _relabel(field: str, path: str, label: str, own: Iterable[Path], check: Check) -> None:
    try:
        relabel(path, label, own, check)
    except FileNotFoundError:
        return  # making the container says so
    except Refused as error:
        raise InvalidArgument(field, str(error)) from error
    except OSError as error:
        raise FailedPrecondition(f"{field}: {path} cannot be labelled {label}: {error.strerror}") from error


def _label_copy(path: str, label: str) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    with syscalls.closing(fd):
        label_tree(fd, label)
