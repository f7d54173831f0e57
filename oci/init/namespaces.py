"""Entering and making namespaces, in the child, and what belongs to a fresh one: loopback, names, sysctls, keyring."""

from __future__ import annotations

import errno
import fcntl
import os
import struct

from oci import sockets
from oci import syscalls as sc
from oci.handshake.channel import Kind
from oci.init.context import Context
from oci.plan import operations as op
from oci.plan.namespaces import CLONE_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 0x1


def join_namespace(step: op.JoinNamespace, context: Context) -> None:
    sc.setns(context.namespaces[step.path], CLONE_FLAGS[step.kind])


def await_mappings(step: op.AwaitMappings, context: Context) -> None:
    context.channel.ask(Kind.MAPPINGS)
    _become_root()


def become_namespace_root(step: op.BecomeNamespaceRoot, context: Context) -> None:
    _become_root()


def reclone(step: op.Reclone, context: Context) -> None:
    """The sibling goes on here; it is the parent's child like us, and the parent takes it in our place."""
    flags = 0
    for kind in step.kinds:
        flags |= CLONE_FLAGS[kind]
    # CLONE_PARENT takes the exit signal of the one who calls it.
    pid, pidfd = sc.clone3(flags | sc.CLONE_PARENT, exit_signal=0)
    if pid:
        context.channel.tell(Kind.SIBLING, fd=pidfd)
        os._exit(0)
    context.channel.wait(Kind.GO)
    os.setsid()


def enter_time_namespace(step: op.EnterTimeNamespace, context: Context) -> None:
    sc.unshare(sc.CLONE_NEWTIME)
    if step.offsets:
        lines = "".join(f"{clock} {seconds} {nanoseconds}\n" for clock, seconds, nanoseconds in step.offsets)
        write_proc(context, "self/timens_offsets", lines)
    fd = os.open("thread-self/ns/time_for_children", os.O_RDONLY, dir_fd=context.proc)
    sc.setns(fd, sc.CLONE_NEWTIME)
    os.close(fd)


def hide_from_peers(step: op.HideFromPeers, context: Context) -> None:
    sc.prctl(sc.PR_SET_DUMPABLE, 0)


def join_keyring(step: op.JoinKeyring, context: Context) -> None:
    try:
        sc.join_session_keyring(step.name)
    except OSError as error:
        # A kernel without keyrings, or a filter around ourselves, leaves nothing to protect.
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise


def raise_loopback(step: op.RaiseLoopback, context: Context) -> None:
    with sockets.closing_socket(sockets.AF_INET, sockets.SOCK_DGRAM) as control:
        request = bytearray(struct.pack("=16sH22x", b"lo", 0))
        fcntl.ioctl(control, _SIOCGIFFLAGS, request)
        (flags,) = struct.unpack_from("=H", request, 16)
        struct.pack_into("=H", request, 16, flags | _IFF_UP)
        fcntl.ioctl(control, _SIOCSIFFLAGS, request)


def join_container(step: op.JoinContainer, context: Context) -> None:
    assert context.container_pidfd is not None
    if context.join_mask:
        sc.setns(context.container_pidfd, context.join_mask)
    if context.join_mask & sc.CLONE_NEWUSER:
        _become_root()
        sc.prctl(sc.PR_SET_DUMPABLE, 0)
    context.root = os.open("/", os.O_PATH | os.O_DIRECTORY)


def set_hostname(step: op.SetHostname, context: Context) -> None:
    sc.sethostname(step.name)


def set_domainname(step: op.SetDomainname, context: Context) -> None:
    sc.setdomainname(step.name)


def write_sysctl(step: op.WriteSysctl, context: Context) -> None:
    write_proc(context, f"sys/{step.path}", step.value)


def set_lsm_label(step: op.SetLsmLabel, context: Context) -> None:
    write_proc(context, f"thread-self/attr/{step.attribute}", step.value)


def await_attach(step: op.AwaitAttach, context: Context) -> None:
    context.channel.ask(Kind.ATTACHED)


def enter_cgroup(step: op.EnterCgroup, context: Context) -> None:
    for fd in context.cgroup:
        # Zero is the writer itself, which spares the kernel the lock that stops all forks on the machine.
        os.write(fd, b"0")
        os.close(fd)


def unshare_cgroup(step: op.UnshareCgroup, context: Context) -> None:
    sc.unshare(sc.CLONE_NEWCGROUP)


def write_proc(context: Context, path: str, text: str) -> None:
    """Only ever below our own procfs: a container may have put anything at its /proc."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC, dir_fd=context.proc)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _become_root() -> None:
    try:
        os.setgroups(())
    except PermissionError:
        pass  # setgroups is denied in user namespaces that an unprivileged user made
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
