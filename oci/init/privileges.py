"""Limits, ids, capabilities and filters of the process, in the child. Capabilities that the runtime lacks cannot be
given and are left out, as the specification wants."""

from __future__ import annotations

import errno
import os
import stat
import struct

from oci import capabilities
from oci import syscalls as sc
from oci.handshake.channel import Kind
from oci.init.context import Context
from oci.plan import operations as op
from oci.signals import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# 32 and 33 belong to the threads library. make(1) starts its commands with both ignored, so a container might, too.
_LIBC: Final = (32, 33)
_SETTABLE: Final = tuple(n for n in range(1, signal.NSIG) if n not in (signal.SIGKILL, signal.SIGSTOP, *_LIBC))


def set_rlimit(step: op.SetRlimit, context: Context) -> None:
    try:
        sc.set_limit(0, step.number, step.soft, step.hard)
    except PermissionError:
        raise PermissionError(errno.EPERM, f"a hard limit of {step.hard} needs CAP_SYS_RESOURCE")


def set_personality(step: op.SetPersonality, context: Context) -> None:
    sc.personality(step.persona)


def set_scheduler(step: op.SetScheduler, context: Context) -> None:
    sc.sched_setattr(step.policy, step.flags, step.nice, step.priority, step.runtime, step.deadline, step.period)


def set_io_priority(step: op.SetIOPriority, context: Context) -> None:
    sc.ioprio_set(step.value)


def set_memory_policy(step: op.SetMemoryPolicy, context: Context) -> None:
    sc.set_mempolicy(step.mode, step.nodes)


def reset_affinity(step: op.ResetAffinity, context: Context) -> None:
    """All processors; the kernel keeps those the cpuset allows. Without any in common nothing changes."""
    try:
        os.sched_setaffinity(0, step.cpus or range(os.sysconf("SC_NPROCESSORS_CONF")))
    except OSError as error:
        if step.cpus or error.errno != errno.EINVAL:
            raise


def set_privileges(step: op.SetPrivileges, context: Context) -> None:
    sc.prctl(sc.PR_SET_KEEPCAPS, 1)
    effective, permitted, inheritable = sc.capget()
    if effective & capabilities.SETPCAP:
        for number in range(len(capabilities.NAMES)):
            if not step.bounding >> number & 1:
                _drop_bounding(number)
    _set_groups(step)
    os.setresgid(step.gid, step.gid, step.gid)
    os.setresuid(step.uid, step.uid, step.uid)
    os.umask(step.umask)
    granted = step.permitted & permitted
    inherited = step.inheritable & (permitted | inheritable)
    sc.capset(step.effective & granted, granted, inherited)
    sc.prctl(sc.PR_CAP_AMBIENT, sc.PR_CAP_AMBIENT_CLEAR_ALL)
    ambient = step.ambient & granted & inherited
    for number in range(len(capabilities.NAMES)):
        if ambient >> number & 1:
            sc.prctl(sc.PR_CAP_AMBIENT, sc.PR_CAP_AMBIENT_RAISE, number)


def set_stdio(step: op.SetStdio, context: Context) -> None:
    if context.terminal is not None:
        for number in range(3):
            os.dup2(context.terminal, number)
        return
    if context.stdio is not None:
        wanted = (context.stdio.stdin, context.stdio.stdout, context.stdio.stderr)
        # Copies first: one of them may have a number that is about to be overwritten.
        copies = [os.dup(fd) for fd in wanted]
        for number, copy in enumerate(copies):
            os.dup2(copy, number)
            os.close(copy)
    for number in range(3):
        _give(number, step.uid, step.gid)


def change_directory(step: op.ChangeDirectory, context: Context) -> None:
    if not context.directory_pending:
        return
    try:
        os.chdir(step.path)
    except PermissionError:
        if step.as_user:
            raise
        return
    context.directory_pending = False
    # A descriptor of the host that leaked to here would make a working directory outside of the container's root
    # (/proc/self/fd/7); the kernel's answer then has no path from the root.
    try:
        inside = os.getcwd().startswith("/")
    except FileNotFoundError:
        inside = False
    if not inside:
        raise OSError(errno.EPERM, "the working directory is outside of the container's root filesystem", step.path)


def set_no_new_privileges(step: op.SetNoNewPrivileges, context: Context) -> None:
    sc.prctl(sc.PR_SET_NO_NEW_PRIVS, 1)


def install_seccomp(step: op.InstallSeccomp, context: Context) -> None:
    assert context.seccomp is not None
    if not step.notify:
        sc.seccomp_set_filter(context.seccomp, step.flags)
        return
    # The filter may trap the very call that would report the listener, so its number is announced before: it will be
    # the lowest free one. The parent takes it from us by pidfd.
    number = os.dup(0)
    os.close(number)
    context.channel.tell(Kind.LISTENER, struct.pack("!i", number))
    sc.seccomp_set_filter(
        context.seccomp, (step.flags & ~sc.SECCOMP_FILTER_FLAG_TSYNC) | sc.SECCOMP_FILTER_FLAG_NEW_LISTENER
    )
    context.channel.wait(Kind.GO)


def close_descriptors(step: op.CloseDescriptors, context: Context) -> None:
    sc.close_range(3, flags=sc.CLOSE_RANGE_CLOEXEC)
    for fd in step.keep:
        os.set_inheritable(fd, True)


def reset_signals(step: op.ResetSignals, context: Context) -> None:
    for number in _SETTABLE:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    for number in _LIBC:
        sc.default_signal(number)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _drop_bounding(number: int) -> None:
    try:
        sc.prctl(sc.PR_CAPBSET_DROP, number)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a capability this kernel does not have
            raise


def _set_groups(step: op.SetPrivileges) -> None:
    if step.keep_groups:
        return
    try:
        os.setgroups(step.groups)
    except PermissionError:
        if not step.may_lack_setgroups:
            raise


def _give(fd: int, uid: int, gid: int) -> None:
    """The process may reopen its own stdout (/dev/stdout) only if it owns it. Where that cannot be, it stays as is."""
    try:
        status = os.fstat(fd)
        if status.st_uid == uid or (stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3)):
            return
        # A terminal's group is tty, which is what lets write(1) reach it.
        os.fchown(fd, uid, -1 if stat.S_ISCHR(status.st_mode) else gid)
    except OSError:
        pass
