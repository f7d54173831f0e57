"""The files to change so that the kubelet uses Coracle, for the kind of kubelet that was found.

A flag wins over the configuration file, and the last of equal flags wins. So the endpoint goes where the unit reads its
last flags: into KUBELET_EXTRA_ARGS of an environment file where the unit has that (kubeadm, kind), else into a drop-in
that repeats the command line with our flags. What kubeadm rewrites the kubelet's files from at an upgrade is set as
well, where it names a runtime.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from typing import Final

from deploy.installer import names
from deploy.installer.edits import set_flags, set_key, variable_of, with_flag
from deploy.installer.effects import Effect, MakeDirectory, WriteFile
from deploy.installer.host import Host
from deploy.installer.kubelet.forms import CONFIG, EXTRA_ARGS, INSTANCE_CONFIG, KUBEADM_FLAGS, Kubelet

FLAGS: Final = {
    "--container-runtime-endpoint": names.ENDPOINT,
    "--runtime-cgroups": names.RUNTIME_CGROUP,
}
_DIRECTORIES_OF_DEFAULTS: Final = ("/etc/default/", "/etc/sysconfig/")


def repointing(kubelet: Kubelet, host: Host) -> Iterator[Effect]:
    yield from _flags(kubelet, host)
    yield from _kubeadm_flags(host)
    for path in (CONFIG, INSTANCE_CONFIG):
        text, edits = set_key(host.text(path), "containerRuntimeEndpoint", names.ENDPOINT)
        if edits:
            yield WriteFile(path=path, content=text.encode(), edits=edits)


def _flags(kubelet: Kubelet, host: Host) -> Iterator[Effect]:
    path = _file_of_extra_arguments(kubelet, host)
    if path is None:
        yield from _drop_in(kubelet, host)
        return
    text, edits = set_flags(host.text(path), EXTRA_ARGS, FLAGS)
    if not host.exists(posixpath.dirname(path)):
        yield MakeDirectory(path=posixpath.dirname(path))
    yield WriteFile(path=path, content=text.encode(), edits=edits)


def _file_of_extra_arguments(kubelet: Kubelet, host: Host) -> str | None:
    """Where the unit reads KUBELET_EXTRA_ARGS from, or would; None when no environment file can set it."""
    if not kubelet.unit.uses(EXTRA_ARGS):
        return None
    named = kubelet.unit.file_that_sets(EXTRA_ARGS, host.text)
    if named:
        return named
    if any(name == EXTRA_ARGS for name, _ in kubelet.unit.environment):
        return None  # an environment file would replace what Environment= says, not add to it
    defaults = [path for path in kubelet.unit.environment_files if path.startswith(_DIRECTORIES_OF_DEFAULTS)]
    return defaults[-1] if defaults else None


def _drop_in(kubelet: Kubelet, host: Host) -> Iterator[Effect]:
    command = kubelet.unit.exec_start
    for flag, value in FLAGS.items():
        command = f"{with_flag(command, flag, None)} {flag}={value}"
    text = (
        "# Written by coracle-installer: the unit's own command line, with our runtime as its last flags.\n"
        f"[Service]\nExecStart=\nExecStart={command}\n"
    )
    directory = posixpath.dirname(names.KUBELET_DROP_IN)
    if not host.exists(directory):
        yield MakeDirectory(path=directory)
    yield WriteFile(path=names.KUBELET_DROP_IN, content=text.encode(), unit=True)


def _kubeadm_flags(host: Host) -> Iterator[Effect]:
    text = host.text(KUBEADM_FLAGS)
    if "--container-runtime-endpoint" in variable_of(text, "KUBELET_KUBEADM_ARGS"):
        flags = {"--container-runtime-endpoint": names.ENDPOINT}
        text, edits = set_flags(text, "KUBELET_KUBEADM_ARGS", flags)
        yield WriteFile(path=KUBEADM_FLAGS, content=text.encode(), edits=edits)
