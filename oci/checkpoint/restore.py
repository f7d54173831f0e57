"""A container's processes out of a directory of images, into a new container's namespaces, cgroup and mounts.

parent                                  child
fork ─────────────────────────────────► enters cgroup and shared namespaces, arranges mounts, becomes CRIU
hooks            ◄── setup-namespaces ── has cloned the container's init
terminal         ◄── orphan-pts-master ─
looks at it all  ◄── pre-resume ──────── processes are whole, and stopped
reaps CRIU       ◄── answer with pid ─── they run; init is the parent's child
"""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Callable, Mapping, Sequence

from oci import syscalls as sc
from oci.checkpoint import criu, external, mount_table, staging, verify
from oci.checkpoint.criu import Session
from oci.checkpoint.dump import ENTERED
from oci.checkpoint.rpc import CGROUP_MODES, Answer, Options, Request
from oci.engine import Stdio
from oci.engine.host import cgroup_hierarchies, open_private_proc, read_cgroup_mounts
from oci.errors import SpecError, Unsupported
from oci.exits import ExitStack
from oci.plan.host import CgroupHierarchy
from oci.plan.mounts import destination
from oci.spec import Spec
from oci.values import fresh, frozen, record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cgroups import Cgroup

RESTORE_LOG = "restore.log"


@frozen
class RestoreRequest:
    """`place` is an empty directory to mount over. `spaces` are the shared namespaces to enter: type -> descriptor; a
    pid namespace among them is joined. `rootfs` and `mounts` are detached mounts, used up. `filtered` says that there
    is a seccomp filter beside the config's. `on_namespaces` gets the pid of the new init before it has anything."""

    container_id: str
    spec: Spec
    bundle: str
    images: str
    work: str
    place: str
    program: str = "criu"
    rootfs: int | None = None
    mounts: Mapping[int, int] = fresh(default_factory=dict)
    stdio: Stdio | None = None
    cgroup: Cgroup | None = None
    spaces: Mapping[str, int] = fresh(default_factory=dict)
    filtered: bool = False
    options: Options = fresh(default_factory=Options)
    on_namespaces: Callable[[int], None] | None = None


@record
class Restored:
    """The init is the caller's child; `console_fd` is the master of its terminal."""

    pid: int = 0
    pidfd: int = -1
    console_fd: int | None = None


@record
class Restoring:
    """A restored container that CRIU still holds: `go` lets it run. `init` is a child of whoever called `begin`."""

    request: RestoreRequest
    session: Session
    restored: Restored
    #: Of a CRIU that asks nobody before it lets them go.
    running: bool = False


def restore(request: RestoreRequest) -> Restored:
    """Raises Unsupported without CRIU, CriuFailed, Distrusted, and what `on_namespaces` raised; nothing runs then."""
    restoring = begin(request)
    try:
        go(restoring)
    except BaseException:
        abort(restoring)
        raise
    restoring.session.close()
    return restoring.restored


def begin(request: RestoreRequest) -> Restoring:
    """Everything up to processes that are whole, stopped, and found to be what the config says."""
    if request.spec.process is None or request.spec.root is None:
        raise SpecError("process" if request.spec.process is None else "root", "is required")
    if any(mount.uid_mappings for mount in request.spec.mounts):
        raise Unsupported(criu.FEATURE, "CRIU restores no idmapped mounts")
    program = criu.need(request.program)
    os.makedirs(request.work, mode=0o700, exist_ok=True)
    restored = Restored()
    with ExitStack() as opened:
        images, work = _directory(request.images, opened), _directory(request.work, opened)
        options = _options(request, images, work, opened)
        fds = [images, work, *(fd for _, fd in options.inherited)]
        if options.status_fd is not None:
            fds.append(options.status_fd)
        session = Session(
            program,
            Request.RESTORE,
            options,
            inherited=fds,
            prepare=lambda: _prepare(request),
            log=criu.fresh_log(request.work, RESTORE_LOG),
        )
        restoring = Restoring(request=request, session=session, restored=restored)
        try:
            _until_whole(restoring)
            restored.pidfd = os.pidfd_open(restored.pid)
        except BaseException:
            abort(restoring)
            raise
    return restoring


def _until_whole(restoring: Restoring) -> None:
    restored, session = restoring.restored, restoring.session
    while True:
        told = session.next()
        if isinstance(told, Answer):
            restored.pid, restoring.running = told.pid, True
            break
        restored.pid = told.pid or restored.pid
        if told.script == "pre-resume":
            break
        if told.script == "orphan-pts-master":
            restored.console_fd = told.take()
        elif told.script == "setup-namespaces" and restoring.request.on_namespaces is not None:
            restoring.request.on_namespaces(told.pid)
        told.close()
        session.go_on()
    _verify(restoring.request, restored.pid, session.pid)


def go(restoring: Restoring) -> None:
    if not restoring.running:
        restoring.session.go_on()
        restoring.session.finish()


def abort(restoring: Restoring) -> None:
    """The end of the container, and of CRIU, which is in its cgroup: all at once, since CRIU lets go of what it holds
    when it dies, and only takes note of a refusal once the processes are whole."""
    request, restored, session = restoring.request, restoring.restored, restoring.session
    if request.cgroup is not None:
        request.cgroup.kill(signal.SIGKILL)
    for pid in (restored.pid, session.pid):
        if pid:
            _kill(pid)
    session.close()
    for fd in (restored.console_fd, restored.pidfd):
        if fd is not None and fd >= 0:
            os.close(fd)
    restored.console_fd, restored.pidfd = None, -1
    if restored.pid:
        try:
            os.waitpid(restored.pid, 0)
        except ChildProcessError:
            pass  # somebody else's by now


def _options(request: RestoreRequest, images: int, work: int, opened: ExitStack) -> Options:
    own = request.options
    supplied = {index: staging.supplied_place(request.place, index) for index in request.mounts}
    inherited = list(own.inherited)
    stdio = request.stdio or Stdio(stdin=0, stdout=1, stderr=2)
    terminal = request.spec.process is not None and request.spec.process.terminal
    if not terminal:
        streams = (stdio.stdin, stdio.stdout, stdio.stderr)
        null = os.open(os.devnull, os.O_RDWR)
        opened.callback(os.close, null)
        inherited += external.inherited(external.read_streams(images), [_above(fd, opened) for fd in streams], null)
    inherited += [
        (name, request.spaces[kind]) for kind, (_, name) in external.NAMESPACES.items() if kind in request.spaces
    ]
    return replace(
        own,
        images_fd=images,
        work_fd=work,
        root=staging.root_place(request.place),
        sibling=True,
        notify=True,
        orphan_pts_master=True,
        external=own.external + external.sources_of(request.spec, request.bundle, supplied, _hierarchies(request)),
        inherited=tuple(inherited),
        cgroup_mode=CGROUP_MODES["ignore"] if own.cgroup_mode is None else own.cgroup_mode,
        lsm_profile=own.lsm_profile or lsm_profile(request.spec),
        lsm_mount_context=own.lsm_mount_context or request.spec.linux.mount_label,
        log_file=RESTORE_LOG,
    )


def lsm_profile(spec: Spec) -> str | None:
    """In CRIU's words: the configuration's label counts, not that of the process when it was dumped."""
    process = spec.process
    if process is not None and process.selinux_label:
        return f"selinux:{process.selinux_label}"
    return f"apparmor:{process.apparmor_profile}" if process is not None and process.apparmor_profile else None


def _hierarchies(request: RestoreRequest) -> Sequence[CgroupHierarchy]:
    if request.cgroup is None:
        return ()
    proc = open_private_proc()
    with sc.closing(proc):
        return cgroup_hierarchies(proc, read_cgroup_mounts(proc), request.cgroup.path)


def _above(fd: int, opened: ExitStack) -> int:
    """CRIU's own 0, 1 and 2 are not ours: a duplicate above them is."""
    if fd > 2:
        return fd
    duplicate = fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    opened.callback(os.close, duplicate)
    return duplicate


def _prepare(request: RestoreRequest) -> None:
    if request.cgroup is not None:
        request.cgroup.attach(os.getpid())
    spec = request.spec
    if any(space.type == "cgroup" and not space.path for space in spec.linux.namespaces):
        sc.unshare(sc.CLONE_NEWCGROUP)  # CRIU leaves cgroups alone, so what it restores stays in this one
    for kind in ENTERED & request.spaces.keys():
        sc.setns(request.spaces[kind])
    staging.build(request.place, spec, request.bundle, request.rootfs, request.mounts)


def _verify(request: RestoreRequest, pid: int, criu_pid: int) -> None:
    """All of the container's processes, or its init where it has no cgroup to list them."""
    spec = request.spec
    host = verify.read_process(os.getpid()).namespaces
    pids = sorted({pid, *_members(request, criu_pid)})
    filtered = request.filtered or spec.linux.seccomp is not None
    verify.check_processes(spec, [verify.read_process(each) for each in pids], host, filtered=filtered)
    entries = mount_table.read(pid)
    table = {entry.id: entry for entry in entries}
    root = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY)
    with sc.closing(root):
        names = {destination(mount): mount for mount in spec.mounts}
        places = {mount_table.mount_point(root, name, table) or name: mount for name, mount in names.items()}
        covered = (*spec.linux.masked_paths, *spec.linux.readonly_paths)
        existing = [path for path in covered if _exists(root, path)]
        hidden = [mount_table.mount_point(root, path, table) or path for path in existing]
    verify.check_mounts(spec, entries, places, hidden)


def _members(request: RestoreRequest, criu_pid: int) -> set[int]:
    """CRIU and its children are in the container's cgroup while they restore; the restored are none of them."""
    if request.cgroup is None:
        return set()
    kin = {criu_pid}
    try:
        with open(f"/proc/{criu_pid}/task/{criu_pid}/children", encoding="ascii") as file:
            kin |= set(map(int, file.read().split()))
    except FileNotFoundError:
        pass  # it has ended
    return set(request.cgroup.pids()) - kin


def _exists(root: int, path: str) -> bool:
    try:
        os.close(sc.openat2(root, path.lstrip("/"), os.O_PATH, resolve=sc.RESOLVE_IN_ROOT | sc.RESOLVE_NO_MAGICLINKS))
    except OSError:
        return False
    return True


def _directory(path: str, opened: ExitStack) -> int:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    opened.callback(os.close, fd)
    return fd


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
