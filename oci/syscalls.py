"""The one door to the kernel: a short function for each system call that Python's `os` does not offer.

Every function here does one call, names its constants as the kernel headers do, and reports failure as an
`OSError` that carries the operand. Policy, retries and sequences of calls belong to the callers. Nothing else
in Coracle calls libc (libseccomp, a library with an interface of its own, is bound in `oci.seccomp`).

Why not `os.unshare` and friends: they exist only from Python 3.12 on, and Coracle runs on 3.11.

The module is imported by the launcher before it is frozen, so every symbol is looked up at import time: a
container's init process runs inside a foreign root filesystem and must never load anything (design, 3).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final, NoReturn

# PyDLL keeps the interpreter lock held during the call. That is required for clone3 (the child must own the lock)
# and cheaper for calls that never block. CDLL releases it, for calls that may.
_py: Final = ctypes.PyDLL(None, use_errno=True)
_c: Final = ctypes.CDLL(None, use_errno=True)

EBADF_FD: Final = -errno.EBADF
AT_FDCWD: Final = -100
AT_SYMLINK_NOFOLLOW: Final = 0x100
AT_EMPTY_PATH: Final = 0x1000
AT_RECURSIVE: Final = 0x8000

# linux/sched.h
CLONE_FILES: Final = 0x0000_0400
CLONE_PIDFD: Final = 0x0000_1000
CLONE_PARENT: Final = 0x0000_8000
CLONE_NEWTIME: Final = 0x0000_0080
CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWCGROUP: Final = 0x0200_0000
CLONE_NEWUTS: Final = 0x0400_0000
CLONE_NEWIPC: Final = 0x0800_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000
CLONE_INTO_CGROUP: Final = 0x2_0000_0000

# sys/mount.h
MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_SYNCHRONOUS: Final = 16
MS_REMOUNT: Final = 32
MS_MANDLOCK: Final = 64
MS_DIRSYNC: Final = 128
MS_NOSYMFOLLOW: Final = 256
MS_NOATIME: Final = 1024
MS_NODIRATIME: Final = 2048
MS_BIND: Final = 4096
MS_MOVE: Final = 8192
MS_REC: Final = 16384
MS_SILENT: Final = 32768
MS_UNBINDABLE: Final = 1 << 17
MS_PRIVATE: Final = 1 << 18
MS_SLAVE: Final = 1 << 19
MS_SHARED: Final = 1 << 20
MS_RELATIME: Final = 1 << 21
MS_I_VERSION: Final = 1 << 23
MS_STRICTATIME: Final = 1 << 24
MS_LAZYTIME: Final = 1 << 25
MNT_DETACH: Final = 2
UMOUNT_NOFOLLOW: Final = 8

# linux/mount.h
OPEN_TREE_CLONE: Final = 1
OPEN_TREE_CLOEXEC: Final = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH: Final = 0x4
MOVE_MOUNT_T_EMPTY_PATH: Final = 0x40
MOVE_MOUNT_T_SYMLINKS: Final = 0x10
MOVE_MOUNT_BENEATH: Final = 0x200
FSOPEN_CLOEXEC: Final = 1
FSMOUNT_CLOEXEC: Final = 1
FSCONFIG_SET_FLAG: Final = 0
FSCONFIG_SET_STRING: Final = 1
FSCONFIG_SET_FD: Final = 5
FSCONFIG_CMD_CREATE: Final = 6
FSCONFIG_CMD_RECONFIGURE: Final = 7
MOUNT_ATTR_RDONLY: Final = 0x1
MOUNT_ATTR_NOSUID: Final = 0x2
MOUNT_ATTR_NODEV: Final = 0x4
MOUNT_ATTR_NOEXEC: Final = 0x8
MOUNT_ATTR__ATIME: Final = 0x70
MOUNT_ATTR_RELATIME: Final = 0x0
MOUNT_ATTR_NOATIME: Final = 0x10
MOUNT_ATTR_STRICTATIME: Final = 0x20
MOUNT_ATTR_NODIRATIME: Final = 0x80
MOUNT_ATTR_IDMAP: Final = 0x0010_0000
MOUNT_ATTR_NOSYMFOLLOW: Final = 0x0020_0000

# linux/openat2.h
RESOLVE_NO_XDEV: Final = 0x01
RESOLVE_NO_MAGICLINKS: Final = 0x02
RESOLVE_NO_SYMLINKS: Final = 0x04
RESOLVE_BENEATH: Final = 0x08
RESOLVE_IN_ROOT: Final = 0x10

# linux/magic.h
PROC_SUPER_MAGIC: Final = 0x9FA0
CGROUP2_SUPER_MAGIC: Final = 0x6367_7270
CGROUP_SUPER_MAGIC: Final = 0x27_E0EB
TMPFS_MAGIC: Final = 0x0102_1994
OVERLAYFS_SUPER_MAGIC: Final = 0x794C_7630

# linux/prctl.h
PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_KEEPCAPS: Final = 8
PR_SET_NAME: Final = 15
PR_SET_SECCOMP: Final = 22
PR_CAPBSET_READ: Final = 23
PR_CAPBSET_DROP: Final = 24
PR_SET_SECUREBITS: Final = 28
PR_SET_CHILD_SUBREAPER: Final = 36
PR_SET_NO_NEW_PRIVS: Final = 38
PR_CAP_AMBIENT: Final = 47
PR_CAP_AMBIENT_RAISE: Final = 2
PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
SECCOMP_SET_MODE_FILTER: Final = 1
SECCOMP_FILTER_FLAG_TSYNC: Final = 1
SECCOMP_FILTER_FLAG_LOG: Final = 2
SECCOMP_FILTER_FLAG_SPEC_ALLOW: Final = 4
SECCOMP_FILTER_FLAG_NEW_LISTENER: Final = 8
SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV: Final = 32

# fcntl.h, linux/fcntl.h
CLOSE_RANGE_CLOEXEC: Final = 4
F_ADD_SEALS: Final = 1033
F_SEAL_SEAL: Final = 1
F_SEAL_SHRINK: Final = 2
F_SEAL_GROW: Final = 4
F_SEAL_WRITE: Final = 8
MFD_EXEC: Final = 0x10

# linux/pidfd.h
PIDFD_INFO_EXIT: Final = 1 << 3
_PIDFD_GET_INFO_64: Final = (3 << 30) | (64 << 16) | (0xFF << 8) | 11

# asm-generic/mman-common.h
MAP_PRIVATE: Final = 2
_MAP_FAILED: Final = (1 << 64) - 1
MADV_MERGEABLE: Final = 12

# linux/keyctl.h
KEYCTL_JOIN_SESSION_KEYRING: Final = 1

# System calls newer than 2018 have the same number on every architecture.
_SYS_open_tree: Final = 428
_SYS_move_mount: Final = 429
_SYS_fsopen: Final = 430
_SYS_fsconfig: Final = 431
_SYS_fsmount: Final = 432
_SYS_clone3: Final = 435
_SYS_close_range: Final = 436
_SYS_openat2: Final = 437
_SYS_pidfd_getfd: Final = 438
_SYS_mount_setattr: Final = 442

_OLD_NUMBERS: Final = {
    "x86_64": {"pivot_root": 155, "seccomp": 317, "capget": 125, "capset": 126, "keyctl": 250, "bpf": 321,
               "sched_setattr": 314, "ioprio_set": 251, "set_mempolicy": 238, "rt_sigaction": 13},
    "aarch64": {"pivot_root": 41, "seccomp": 277, "capget": 90, "capset": 91, "keyctl": 219, "bpf": 280,
                "sched_setattr": 274, "ioprio_set": 30, "set_mempolicy": 237, "rt_sigaction": 134},
}  # fmt: skip


def _old(name: str) -> int:
    numbers = _OLD_NUMBERS.get(os.uname().machine)
    if numbers is None:
        raise RuntimeError(f"coracle supports x86_64 and aarch64, not {os.uname().machine}")
    return numbers[name]


_SYS_pivot_root: Final = _old("pivot_root")
_SYS_seccomp: Final = _old("seccomp")
_SYS_capget: Final = _old("capget")
_SYS_capset: Final = _old("capset")
_SYS_keyctl: Final = _old("keyctl")
_SYS_rt_sigaction: Final = _old("rt_sigaction")
_SYS_sched_setattr: Final = _old("sched_setattr")
_SYS_ioprio_set: Final = _old("ioprio_set")
_SYS_set_mempolicy: Final = _old("set_mempolicy")
_SYS_bpf: Final = _old("bpf")

_syscall: Final = _c.syscall
_syscall.restype = ctypes.c_long
_py.syscall.restype = ctypes.c_long
_prctl: Final = _c.prctl
_prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]
_mount: Final = _c.mount
_mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_umount2: Final = _c.umount2
_umount2.argtypes = [ctypes.c_char_p, ctypes.c_int]
_madvise: Final = _c.madvise
_madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_mmap: Final = _c.mmap
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
_mmap.restype = ctypes.c_void_p
_unshare: Final = _c.unshare
_setns: Final = _c.setns
_fstatfs: Final = _c.fstatfs
_before_fork: Final = ctypes.pythonapi.PyOS_BeforeFork
_after_fork_parent: Final = ctypes.pythonapi.PyOS_AfterFork_Parent
_after_fork_child: Final = ctypes.pythonapi.PyOS_AfterFork_Child


def _fail(call: str, operand: object = None) -> OSError:
    """The error of the call that just failed, as an `OSError` naming the call and its operand."""
    number = ctypes.get_errno()
    message = f"{call}: {os.strerror(number)}"
    if number == errno.ENOSYS:
        message += f" (kernel {os.uname().release} lacks it, or a seccomp filter forbids it)"
    if operand is None:
        return OSError(number, message)
    return OSError(number, message, os.fspath(operand) if isinstance(operand, os.PathLike) else str(operand))


def _bytes(path: str | bytes | os.PathLike[str] | None) -> bytes | None:
    return None if path is None else os.fsencode(path)


# --- processes and namespaces -------------------------------------------------------------------------------------


class _CloneArgs(ctypes.Structure):
    """struct clone_args (linux/sched.h)."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls",
            "set_tid", "set_tid_size", "cgroup",
        )
    ]  # fmt: skip


def clone3(flags: int, *, cgroup_fd: int | None = None, exit_signal: int = 17) -> tuple[int, int]:
    """Fork with `flags`; returns (pid, pidfd) in the parent and (0, -1) in the child.

    The child must never return into the caller's loop: leave it by `os.execve` or `os._exit`. The caller has one
    thread only, as for any fork of a Python process. A pidfd is always made and is close-on-exec.
    """
    pidfd = ctypes.c_int(-1)
    args = _CloneArgs(
        flags=flags | CLONE_PIDFD | (CLONE_INTO_CGROUP if cgroup_fd is not None else 0),
        pidfd=ctypes.addressof(pidfd),
        exit_signal=exit_signal,
        cgroup=cgroup_fd or 0,
    )
    _before_fork()
    pid = _py.syscall(_SYS_clone3, ctypes.byref(args), ctypes.sizeof(args))
    if pid == 0:
        _after_fork_child()
        return 0, -1
    number = ctypes.get_errno()
    _after_fork_parent()
    if pid < 0:
        ctypes.set_errno(number)
        raise _fail("clone3", f"flags {flags:#x}")
    return int(pid), pidfd.value


def unshare(flags: int) -> None:
    if _unshare(flags) < 0:
        raise _fail("unshare", f"flags {flags:#x}")


def setns(fd: int, kind: int = 0) -> None:
    """Enter the namespace that `fd` names (a /proc/PID/ns file or, with `kind` as a mask, a pidfd)."""
    if _setns(fd, kind) < 0:
        raise _fail("setns", f"fd {fd} kind {kind:#x}")


def prctl(option: int, a: int = 0, b: int = 0, c: int = 0, d: int = 0) -> int:
    result = int(_prctl(option, a, b, c, d))
    if result < 0:
        raise _fail("prctl", f"option {option} argument {a}")
    return result


_plain_prctl: Final = _py["prctl"]
_plain_prctl.restype = None


def become_subreaper() -> None:
    """PR_SET_CHILD_SUBREAPER, which cannot fail; without the conversions of ctypes, which write to 25 pages."""
    _plain_prctl(PR_SET_CHILD_SUBREAPER, 1)


def set_process_name(name: str) -> None:
    """What ps and top show as the command; the kernel keeps 15 bytes."""
    buffer = ctypes.create_string_buffer(name.encode())
    prctl(PR_SET_NAME, ctypes.addressof(buffer))


def pidfd_exit_status(pidfd: int) -> int | None:
    """Wait status of a process that has exited, whether or not it is our child; None where it cannot be had.

    Linux >= 6.15 (PIDFD_INFO_EXIT). Readable once somebody has reaped the process, as long as the pidfd is open.
    """
    buffer = (ctypes.c_char * 64)()
    struct.pack_into("<Q", buffer, 0, PIDFD_INFO_EXIT)
    if _c.ioctl(pidfd, ctypes.c_ulong(_PIDFD_GET_INFO_64), buffer) < 0:
        return None
    (mask,) = struct.unpack_from("<Q", buffer, 0)
    if not mask & PIDFD_INFO_EXIT:
        return None
    (status,) = struct.unpack_from("<i", buffer, 60)
    return int(status)


def pidfd_knows_exit(pidfd: int) -> bool:
    """Whether `pidfd_exit_status` may have an answer once the process, alive now or not, has been reaped."""
    buffer = (ctypes.c_char * 64)()
    struct.pack_into("<Q", buffer, 0, PIDFD_INFO_EXIT)
    if _c.ioctl(pidfd, ctypes.c_ulong(_PIDFD_GET_INFO_64), buffer) >= 0:
        return True
    return ctypes.get_errno() == errno.ESRCH


def default_signal(number: int) -> None:
    """SIG_DFL also for the signals that libc keeps to itself (32 and 33), which its own sigaction(2) refuses."""
    action = bytes(32)  # struct kernel_sigaction: handler SIG_DFL, no flags, empty mask
    if _syscall(_SYS_rt_sigaction, number, action, None, ctypes.c_size_t(8)) < 0:
        raise _fail("rt_sigaction", f"signal {number}")


def sethostname(name: str) -> None:
    encoded = name.encode()
    if _c.sethostname(encoded, ctypes.c_size_t(len(encoded))) < 0:
        raise _fail("sethostname", name)


def setdomainname(name: str) -> None:
    encoded = name.encode()
    if _c.setdomainname(encoded, ctypes.c_size_t(len(encoded))) < 0:
        raise _fail("setdomainname", name)


def personality(persona: int) -> None:
    if _c.personality(ctypes.c_ulong(persona)) < 0:
        raise _fail("personality", f"{persona:#x}")


def join_session_keyring(name: str) -> None:
    if _syscall(_SYS_keyctl, ctypes.c_long(KEYCTL_JOIN_SESSION_KEYRING), name.encode(), 0, 0, 0) < 0:
        raise _fail("keyctl(JOIN_SESSION_KEYRING)", name)


def close_range(first: int, last: int = 0xFFFF_FFFF, flags: int = 0) -> None:
    if _syscall(_SYS_close_range, ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(flags)) < 0:
        raise _fail("close_range", first)


def execve(path: str | bytes, args: Sequence[bytes], env: Sequence[bytes]) -> NoReturn:
    """execve(2) with exactly these strings; os.execve would drop duplicates and refuse entries without "="."""
    argv = (ctypes.c_char_p * (len(args) + 1))(*args, None)
    envp = (ctypes.c_char_p * (len(env) + 1))(*env, None)
    _c.execve(os.fsencode(path), argv, envp)
    raise _fail("execve", os.fsdecode(path))


def pidfd_getfd(pidfd: int, target: int) -> int:
    """A copy of another process's descriptor; close-on-exec."""
    fd = int(_syscall(_SYS_pidfd_getfd, pidfd, target, 0))
    if fd < 0:
        raise _fail("pidfd_getfd", f"fd {target}")
    return fd


class _Rlimit(ctypes.Structure):
    _fields_ = [("soft", ctypes.c_uint64), ("hard", ctypes.c_uint64)]


def limit(pid: int, number: int) -> tuple[int, int]:
    """Soft and hard limit of a process (0: ours); -1 is unlimited."""
    now = _Rlimit()
    if _c.prlimit(pid, number, None, ctypes.byref(now)) < 0:
        raise _fail("prlimit", f"process {pid} limit {number}")
    return _signed(now.soft), _signed(now.hard)


def set_limit(pid: int, number: int, soft: int, hard: int) -> None:
    """-1 is unlimited."""
    wanted = _Rlimit(soft & _ALL_BITS, hard & _ALL_BITS)
    if _c.prlimit(pid, number, ctypes.byref(wanted), None) < 0:
        raise _fail("prlimit", f"process {pid} limit {number} to {soft}:{hard}")


_ALL_BITS: Final = (1 << 64) - 1


def _signed(value: int) -> int:
    return -1 if value == _ALL_BITS else value


def sched_setattr(
    policy: int, flags: int, nice: int, priority: int, runtime: int, deadline: int, period: int
) -> None:  # fmt: skip
    """struct sched_attr (linux/sched/types.h) of the calling thread; times in nanoseconds."""
    attributes = struct.pack("=IIQiIQQQ", 48, policy, flags, nice, priority, runtime, deadline, period)
    if _syscall(_SYS_sched_setattr, 0, attributes, 0) < 0:
        raise _fail("sched_setattr", f"policy {policy}")


def ioprio_set(value: int) -> None:
    """I/O priority of the calling thread; class << 13 | level (linux/ioprio.h)."""
    if _syscall(_SYS_ioprio_set, 1, 0, value) < 0:
        raise _fail("ioprio_set", f"{value:#x}")


def set_mempolicy(mode: int, nodes: int) -> None:
    """NUMA policy of the calling thread; `nodes` is a bit mask, 0 for none."""
    words = [nodes >> shift & 0xFFFF_FFFF_FFFF_FFFF for shift in range(0, 1024, 64)]
    mask = struct.pack("=16Q", *words)
    if _syscall(_SYS_set_mempolicy, mode, mask if nodes else None, ctypes.c_ulong(1025 if nodes else 0)) < 0:
        raise _fail("set_mempolicy", f"mode {mode:#x} nodes {nodes:#x}")


def mmap(length: int, protection: int, fd: int) -> int:
    """The address of a private mapping of the file, for as long as the process lives."""
    address = _mmap(None, length, protection, MAP_PRIVATE, fd, 0)
    if address is None or address == _MAP_FAILED:
        raise _fail("mmap", f"fd {fd} length {length}")
    return int(address)


def madvise(address: int, length: int, advice: int) -> None:
    if _madvise(address, length, advice) < 0:
        raise _fail("madvise", f"{address:#x} length {length}")


# --- files --------------------------------------------------------------------------------------------------------


def openat2(dirfd: int, path: str | bytes, flags: int, *, resolve: int, mode: int = 0) -> int:
    """Open `path` below `dirfd` with the resolution rules of openat2(2); the descriptor is close-on-exec.

    The kernel answers EAGAIN when a rename raced with RESOLVE_IN_ROOT or RESOLVE_BENEATH; the call is then repeated,
    128 times at most.
    """
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    for _ in range(128):
        fd = int(_syscall(_SYS_openat2, dirfd, name, how, ctypes.c_size_t(len(how))))
        if fd >= 0:
            return fd
        if ctypes.get_errno() != errno.EAGAIN:
            break
    raise _fail("openat2", os.fsdecode(name))


def filesystem_type(fd: int) -> int:
    """f_type of the file system that `fd` lies on (statfs(2), linux/magic.h)."""
    buffer = (ctypes.c_long * 32)()
    if _fstatfs(fd, buffer) < 0:
        raise _fail("fstatfs", f"fd {fd}")
    return int(buffer[0])


def syncfs(fd: int) -> None:
    """Write back the file system that `fd` lies on, and wait for it."""
    if _c.syncfs(fd) < 0:
        raise _fail("syncfs", f"fd {fd}")


SYNC_FILE_RANGE_WRITE: Final = 2
_c.sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


def sync_file_range(fd: int, offset: int, length: int, flags: int = SYNC_FILE_RANGE_WRITE) -> None:
    """Begin to write back a part of a file; a hint for the disk, no promise of durability."""
    if _c.sync_file_range(fd, offset, length, flags) < 0:
        raise _fail("sync_file_range", f"fd {fd}")


# --- watching files -----------------------------------------------------------------------------------------------

# sys/inotify.h
IN_CLOSE_WRITE: Final = 0x0000_0008
IN_MOVED_FROM: Final = 0x0000_0040
IN_MOVED_TO: Final = 0x0000_0080
IN_CREATE: Final = 0x0000_0100
IN_DELETE: Final = 0x0000_0200
IN_DELETE_SELF: Final = 0x0000_0400
IN_MOVE_SELF: Final = 0x0000_0800
IN_ONLYDIR: Final = 0x0100_0000
IN_NONBLOCK: Final = os.O_NONBLOCK
IN_CLOEXEC: Final = os.O_CLOEXEC


def inotify_init1(flags: int = IN_NONBLOCK | IN_CLOEXEC) -> int:
    fd = int(_c.inotify_init1(flags))
    if fd < 0:
        raise _fail("inotify_init1")
    return fd


def inotify_add_watch(fd: int, path: str | os.PathLike[str], mask: int) -> int:
    watch = int(_c.inotify_add_watch(fd, os.fsencode(path), ctypes.c_uint32(mask)))
    if watch < 0:
        raise _fail("inotify_add_watch", path)
    return watch


def inotify_rm_watch(fd: int, watch: int) -> None:
    if _c.inotify_rm_watch(fd, watch) < 0:
        raise _fail("inotify_rm_watch", f"watch {watch}")


# --- mounts -------------------------------------------------------------------------------------------------------


def mount(
    source: str | None, target: str | os.PathLike[str], fstype: str | None, flags: int = 0, data: str | None = None
) -> None:
    if _mount(_bytes(source), _bytes(target), _bytes(fstype), flags, _bytes(data)) < 0:
        raise _fail(f"mount {fstype or source or ''}".rstrip(), target)


def umount2(target: str | os.PathLike[str], flags: int = 0) -> None:
    if _umount2(_bytes(target), flags) < 0:
        raise _fail("umount2", target)


def pivot_root(new: str, old: str) -> None:
    if _syscall(_SYS_pivot_root, new.encode(), old.encode()) < 0:
        raise _fail("pivot_root", new)


def open_tree(dirfd: int, path: str, flags: int) -> int:
    fd = int(_syscall(_SYS_open_tree, dirfd, os.fsencode(path), ctypes.c_uint(flags | OPEN_TREE_CLOEXEC)))
    if fd < 0:
        raise _fail("open_tree", path or f"fd {dirfd}")
    return fd


def move_mount(from_fd: int, to_fd: int, to_path: str = "", *, from_path: str = "", flags: int | None = None) -> None:
    """Attach the mount `from_fd` at `to_fd`/`to_path`; an empty path means the descriptor itself."""
    if flags is None:
        flags = (0 if from_path else MOVE_MOUNT_F_EMPTY_PATH) | (0 if to_path else MOVE_MOUNT_T_EMPTY_PATH)
    arguments = (from_fd, os.fsencode(from_path), to_fd, os.fsencode(to_path), ctypes.c_uint(flags))
    if _syscall(_SYS_move_mount, *arguments) < 0:
        raise _fail("move_mount", to_path or f"fd {to_fd}")


def fsopen(fstype: str) -> int:
    fd = int(_syscall(_SYS_fsopen, fstype.encode(), FSOPEN_CLOEXEC))
    if fd < 0:
        raise _fail("fsopen", fstype)
    return fd


def fsconfig(fs_fd: int, command: int, key: str | None = None, value: str | int | None = None) -> None:
    """One fsconfig(2) step; an integer value is a descriptor (FSCONFIG_SET_FD)."""
    text = value.encode() if isinstance(value, str) else None
    aux = value if isinstance(value, int) else 0
    if _syscall(_SYS_fsconfig, fs_fd, command, None if key is None else key.encode(), text, aux) < 0:
        error = _fail("fsconfig", f"{key or 'create'}={value}" if value is not None else key or "create")
        if detail := _fs_log(fs_fd):
            error = OSError(error.errno, f"{error.strerror}: {detail}", error.filename)
        raise error


def _fs_log(fs_fd: int) -> str:
    """What the file system said about the failure ("e overlay: ..."); reading it clears it."""
    lines = []
    for _ in range(8):
        try:
            lines.append(os.read(fs_fd, 1024).decode(errors="replace").strip())
        except OSError:  # ENODATA: no more messages
            break
    return "; ".join(lines)


def fsmount(fs_fd: int, attributes: int = 0) -> int:
    fd = int(_syscall(_SYS_fsmount, fs_fd, FSMOUNT_CLOEXEC, ctypes.c_uint(attributes)))
    if fd < 0:
        raise _fail("fsmount", f"fd {fs_fd}")
    return fd


def mount_setattr(
    dirfd: int, path: str = "", flags: int = AT_EMPTY_PATH, *, set: int = 0, clear: int = 0, propagation: int = 0,
    userns_fd: int = 0,
) -> None:  # fmt: skip
    """mount_setattr(2), Linux >= 5.12; `flags` may hold AT_EMPTY_PATH and AT_RECURSIVE."""
    attributes = struct.pack("=QQQQ", set, clear, propagation, userns_fd)
    if _syscall(_SYS_mount_setattr, dirfd, os.fsencode(path), ctypes.c_uint(flags), attributes, len(attributes)) < 0:
        raise _fail("mount_setattr", path or f"fd {dirfd}")


# --- privileges ---------------------------------------------------------------------------------------------------

_CAPABILITY_HEADER: Final = struct.pack("=Ii", 0x2008_0522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread


def capget() -> tuple[int, int, int]:
    """(effective, permitted, inheritable) of this thread as bit masks."""
    header = ctypes.create_string_buffer(_CAPABILITY_HEADER, len(_CAPABILITY_HEADER))
    data = ctypes.create_string_buffer(24)
    if _syscall(_SYS_capget, header, data) < 0:
        raise _fail("capget")
    low = struct.unpack_from("=III", data, 0)
    high = struct.unpack_from("=III", data, 12)
    effective, permitted, inheritable = (a | b << 32 for a, b in zip(low, high, strict=True))
    return effective, permitted, inheritable


def capset(effective: int, permitted: int, inheritable: int) -> None:
    header = ctypes.create_string_buffer(_CAPABILITY_HEADER, len(_CAPABILITY_HEADER))
    words = [mask >> shift & 0xFFFF_FFFF for shift in (0, 32) for mask in (effective, permitted, inheritable)]
    data = ctypes.create_string_buffer(struct.pack("=6I", *words), 24)
    if _syscall(_SYS_capset, header, data) < 0:
        raise _fail("capset", f"effective {effective:#x} permitted {permitted:#x}")


class _SockFprog(ctypes.Structure):
    """struct sock_fprog (linux/filter.h)."""

    _fields_ = [("len", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def seccomp_set_filter(program: bytes, flags: int) -> int:
    """Install a BPF program (8 bytes an instruction) on this thread; returns the listener with NEW_LISTENER, else 0."""
    fprog = _SockFprog(len(program) // 8, program)
    result = int(_syscall(_SYS_seccomp, SECCOMP_SET_MODE_FILTER, ctypes.c_uint(flags), ctypes.byref(fprog)))
    if result < 0:
        raise _fail("seccomp(SET_MODE_FILTER)", f"{len(program) // 8} instructions, flags {flags:#x}")
    return result


def bpf(command: int, attributes: bytearray) -> int:
    """bpf(2); `attributes` is the part of union bpf_attr that the command reads, and holds its answer afterwards."""
    buffer = (ctypes.c_char * len(attributes)).from_buffer(attributes)
    result = int(_syscall(_SYS_bpf, ctypes.c_int(command), buffer, ctypes.c_uint(len(attributes))))
    if result < 0:
        raise _fail("bpf", f"command {command}")
    return result


# --- small conveniences that every caller needs --------------------------------------------------------------------


class closing:
    """Close the descriptors on the way out, whatever happens."""

    __slots__ = ("_descriptors",)

    def __init__(self, *descriptors: int) -> None:
        self._descriptors = descriptors

    def __enter__(self) -> None:
        return None

    def __exit__(self, *error: object) -> None:
        for fd in self._descriptors:
            if fd >= 0:
                os.close(fd)
