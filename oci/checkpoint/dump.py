"""A running container's processes into a directory of images."""

from __future__ import annotations

import os

from oci import syscalls as sc
from oci.checkpoint import criu, external
from oci.checkpoint.rpc import CGROUP_MODES, Options, Request
from oci.errors import StateError
from oci.exits import ExitStack
from oci.plan.namespaces import CLONE_FLAGS
from oci.spec import Spec
from oci.values import fresh, frozen, replace

DUMP_LOG = "dump.log"
#: Shared namespaces that CRIU is put into, so that it takes them for granted: it has no names for those.
ENTERED = frozenset(("ipc", "uts"))


@frozen
class DumpRequest:
    """`outside` are the types of namespaces that the container shares with others (config paths, a pod's); `supplied`
    the indexes of the mounts it was given as descriptors. `options` are the caller's own choices."""

    container_id: str
    pid: int
    spec: Spec
    images: str
    work: str
    program: str = "criu"
    outside: frozenset[str] = frozenset()
    supplied: frozenset[int] = frozenset()
    freezer: str | None = None
    pre_dump: bool = False
    options: Options = fresh(default_factory=Options)


def dump(request: DumpRequest) -> None:
    """Raises Unsupported without CRIU, CriuFailed with its first error."""
    program = criu.need(request.program)
    with ExitStack() as opened:
        images, work = _directory(request.images, opened), _directory(request.work, opened)
        keys = external.streams(request.pid)
        options = _options(request, keys, images, work)
        verb = Request.SINGLE_PRE_DUMP if request.pre_dump else Request.DUMP
        if not request.pre_dump:
            external.write_streams(images, keys)
        spaces = [os.open(f"/proc/{request.pid}/ns/{kind}", os.O_RDONLY) for kind in ENTERED & request.outside]
        opened.enter_context(sc.closing(*spaces))

        def prepare() -> None:
            for space in spaces:
                sc.setns(space)

        log = criu.fresh_log(request.work, DUMP_LOG)
        fds = (images, work) if options.status_fd is None else (images, work, options.status_fd)
        criu.ask(program, verb, options, inherited=fds, prepare=prepare, log=log)


def _options(request: DumpRequest, keys: tuple[str, ...], images: int, work: int) -> Options:
    own = request.options
    names = external.mounts_of(request.spec, request.pid, request.supplied) + external.external_streams(keys)
    names += external.namespaces(request.pid, request.outside)
    return replace(
        own,
        images_fd=images,
        work_fd=work,
        pid=request.pid,
        root=_root(request.pid),
        external=own.external + names,
        orphan_pts_master=True,
        track_memory=own.track_memory or request.pre_dump or own.parent_images is not None,
        cgroup_mode=CGROUP_MODES["ignore"] if own.cgroup_mode is None else own.cgroup_mode,
        freeze_cgroup=request.freezer,
        log_file=DUMP_LOG,
    )


def _root(pid: int) -> str | None:
    """Only for a container without a mount namespace of its own, whose root is a directory for CRIU."""
    if os.stat(f"/proc/{pid}/ns/mnt").st_ino != os.stat("/proc/self/ns/mnt").st_ino:
        return None
    return os.readlink(f"/proc/{pid}/root")


def outside_of(spec: Spec) -> frozenset[str]:
    """Types that the config joins by a path."""
    return frozenset(space.type for space in spec.linux.namespaces if space.path and space.type in CLONE_FLAGS)


def _directory(path: str, opened: ExitStack) -> int:
    os.makedirs(path, mode=0o700, exist_ok=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    opened.callback(os.close, fd)
    return fd


def refuse_strange(spec: Spec, container_id: str) -> None:
    """What no restore could bring back."""
    if any(space.type == "time" and space.path for space in spec.linux.namespaces):
        raise StateError(container_id, "cannot be checkpointed, it shares a time namespace with others")
    if any(space.type == "user" and space.path for space in spec.linux.namespaces):
        raise StateError(container_id, "cannot be checkpointed, it shares a user namespace with others")


def freezer_directory(cgroup_path: str) -> str | None:
    """The directory whose cgroup CRIU freezes, where there is one; else it stops the processes one by one."""
    places = (f"/sys/fs/cgroup/freezer{cgroup_path}", f"/sys/fs/cgroup{cgroup_path}")
    files = ("freezer.state", "cgroup.freeze")
    return next((place for place, file in zip(places, files, strict=True) if os.path.exists(f"{place}/{file}")), None)
