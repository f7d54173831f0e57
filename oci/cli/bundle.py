"""Bundles, and what the verbs that make containers do alike: config, cgroup, state on disk; undone when a step fails.

`create` and `run` do all of it, `restore` the parts that do not start from nothing.
"""

from __future__ import annotations

import errno
import os
import time

from oci import sockets
from oci.cli.containers import only_word, open_descriptors, parse_config
from oci.cli.options import Option, Parsed, switch, value
from oci.cli.report import log, warn
from oci.engine import Created, CreateRequest, Engine
from oci.errors import CgroupError
from oci.exits import ExitStack
from oci.spec import Process, Spec
from oci.state import START_SOCKET, ContainerState, StateDirectory, hook_outputs, process_start
from oci.values import record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cgroups import Cgroup
    from oci.cli.dispatch import Settings


BUNDLE_OPTIONS: tuple[Option, ...] = (
    value("bundle b", "DIR", "directory with config.json; default: the current one"),
    value("config f", "FILE", "config to use instead of the bundle's config.json"),
    value("console-socket", "PATH", "unix socket that is sent the terminal's master"),
    value("pid-file", "FILE", "file to write the process's pid to"),
)
CREATE_OPTIONS: tuple[Option, ...] = (
    *BUNDLE_OPTIONS,
    value("pidfd-socket", "PATH", "unix socket that is sent a pidfd of the process"),
    value("preserve-fds", "N", "descriptors from 3 on that stay open for the container"),
    switch("no-pivot", "do not use pivot_root, for a host whose root is an initramfs"),
    switch("no-new-keyring", "keep the session keyring"),
    switch("no-subreaper", "accepted for compatibility"),
    switch("dry-run", "show the steps instead of taking them"),
)


@record
class Made:
    """A container that waits to be started by us, or by whoever connects to its socket."""

    state: ContainerState
    spec: Spec
    created: Created
    cgroup: Cgroup | None


def read_bundle(parsed: Parsed) -> tuple[str, bytes, Spec]:
    bundle = os.path.abspath(parsed.text("bundle") or ".")
    path = os.path.join(bundle, parsed.text("config") or "config.json")
    with open(path, "rb") as file:
        content = file.read()
    return bundle, content, parse_config(content, path)


def plan_lines(container_id: str, parsed: Parsed) -> tuple[str, ...]:
    bundle, _, spec = read_bundle(parsed)
    return Engine.open().plan(CreateRequest(container_id=container_id, spec=spec, bundle=bundle)).describe()


def make(settings: Settings, parsed: Parsed, undo: ExitStack, *, started_elsewhere: bool) -> Made:
    """Everything up to a waiting init. What removes it again is left in `undo`, to be popped when all went well."""
    container_id = only_word(parsed)
    listening = int(os.environ.get("LISTEN_FDS") or 0)
    preserved = open_descriptors(parsed.number("preserve-fds") + listening)
    bundle, content, spec = read_bundle(parsed)
    if listening:
        spec = _with_environment(spec, f"LISTEN_FDS={listening}", "LISTEN_PID=1")
    directory = StateDirectory(settings.root)
    path = directory.claim(container_id)
    undo.callback(directory.remove, container_id)
    if os.environ.get("NOTIFY_SOCKET"):
        from oci.cli.notify import offer

        spec = offer(spec, path)
    cgroup = make_cgroup(settings, container_id, spec)
    if cgroup is not None:
        undo.callback(cgroup.remove)
    group = None
    if spec.linux.intel_rdt is not None:
        from oci.resctrl import prepare

        group = prepare(spec.linux.intel_rdt, container_id)
        undo.callback(group.remove)
    listener = _listen(path) if started_elsewhere else None
    request = CreateRequest(
        container_id=container_id,
        spec=spec,
        bundle=bundle,
        cgroup=cgroup,
        preserved=preserved,
        no_pivot=parsed.switch("no-pivot"),
        no_new_keyring=parsed.switch("no-new-keyring"),
        check_program=True,
        resctrl=group,
        hook_outputs=hook_outputs(spec.annotations),
        listener_fd=None if listener is None else listener.fileno(),
    )
    engine = Engine.open(cgroups=any(mount.type in ("cgroup", "cgroup2") for mount in spec.mounts))
    if settings.debug:
        for line in engine.plan(request).describe():
            log(settings, "debug", line)
    created = engine.create(request)
    undo.callback(end, created.pid)
    if cgroup is not None:
        cgroup.occupied()
    for message in created.warnings:
        warn(settings, message)
    state = state_of(
        settings, container_id, created.pid, spec, bundle, cgroup, resctrl=() if group is None else group.made
    )
    directory.write(state, content)
    return Made(state=state, spec=spec, created=created, cgroup=cgroup)


def make_cgroup(settings: Settings, container_id: str, spec: Spec) -> Cgroup | None:
    if settings.cgroup_manager == "disabled":
        return None
    from oci import cgroups

    path = spec.linux.cgroups_path
    if settings.cgroup_manager == "systemd":
        path = path or f":coracle:{container_id}"
    else:
        path = os.path.normpath(f"/{path or container_id}")
    try:
        return cgroups.detect(settings.cgroup_manager).create(path, spec.linux.resources)
    except CgroupError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS) or not _rootless(settings):
            raise
        if spec.linux.resources is None and not spec.linux.cgroups_path:
            return None  # nothing was asked for that a cgroup would be needed for
        advice = "limits need a delegated cgroup: --systemd-cgroup in a user session, or a config without them"
        raise CgroupError(error.path, f"{error.problem}; {advice}", error.errno)


def state_of(
    settings: Settings,
    container_id: str,
    pid: int,
    spec: Spec,
    bundle: str,
    cgroup: Cgroup | None,
    *,
    resctrl: tuple[str, ...] = (),
) -> ContainerState:
    """Of a container that has just come to be; `pid` is its init."""
    seconds, fraction = divmod(time.time_ns(), 10**9)
    return ContainerState(
        container_id=container_id,
        pid=pid,
        process_start=process_start(pid) or 0,
        bundle=bundle,
        rootfs="" if spec.root is None else os.path.join(bundle, spec.root.path),
        created=time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09}Z",
        cgroup_path=None if cgroup is None else cgroup.path,
        cgroup_manager=settings.cgroup_manager,
        annotations=dict(spec.annotations),
        resctrl=resctrl,
    )


def end(pid: int) -> None:
    """Kill and reap a child that was to be a container's init."""
    try:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def _rootless(settings: Settings) -> bool:
    if settings.rootless != "auto":
        return settings.rootless == "true"
    if os.geteuid():
        return True
    # Root of a user namespace only.
    with open("/proc/self/uid_map", "rb") as file:
        return file.read().split() != [b"0", b"0", b"4294967295"]


def _listen(directory: str) -> sockets.Socket:
    """Bound through the directory's descriptor: a path may be longer than a socket address."""
    listener = sockets.Socket(sockets.AF_UNIX, sockets.SOCK_SEQPACKET)
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{fd}/{START_SOCKET}")
    finally:
        os.close(fd)
    listener.listen(1)
    return listener


def _with_environment(spec: Spec, *entries: str) -> Spec:
    process: Process | None = spec.process
    return spec if process is None else replace(spec, process=replace(process, env=(*process.env, *entries)))
