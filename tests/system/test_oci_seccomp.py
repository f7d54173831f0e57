"""The default seccomp profile, installed: what the kernel really answers to a confined process."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import subprocess
import threading
from collections.abc import Callable

import pytest

from oci import syscalls
from oci.seccomp import compile_filter, default_profile, installation_flags
from oci.seccomp.names import family, resolve
from oci.spec import Seccomp, SeccompSyscall

PROFILE = default_profile(frozenset(("CAP_CHOWN", "CAP_SYS_CHROOT")))


def confined(act: Callable[[], int], profile: Seccomp = PROFILE) -> int:
    """What `act` returns (below 200) in a child that has the profile; the negated signal when that killed it."""
    program, flags = compile_filter(profile), installation_flags(profile)
    child = os.fork()
    if child == 0:
        status = 255
        try:
            syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)
            syscalls.seccomp_set_filter(program, flags)
            status = act()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def call(name_or_number: str | int, *args: int) -> int:
    """errno of a raw system call, 0 when it succeeds."""
    number = resolve(family()[0], name_or_number).direct if isinstance(name_or_number, str) else name_or_number
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result = libc.syscall(ctypes.c_long(number or 0), *(ctypes.c_ulong(value) for value in args))
    return ctypes.get_errno() if result == -1 else 0


def try_socket(family_number: int) -> int:
    try:
        socket.socket(family_number, socket.SOCK_STREAM).close()
    except OSError as error:
        return error.errno or 0
    return 0


def start_a_thread() -> int:
    done = threading.Event()
    thread = threading.Thread(target=done.set)
    thread.start()
    thread.join()
    return 0 if done.is_set() else 1


def test_ordinary_work_goes_on() -> None:
    assert confined(start_a_thread) == 0
    assert confined(lambda: subprocess.run(["/bin/true"], check=True).returncode) == 0


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("unshare", 0x1000_0000), errno.EPERM),
        (("mount", 0, 0, 0, 0, 0), errno.EPERM),
        (("bpf", 0, 0, 0), errno.EPERM),
        (("clone3", 0, 0), errno.ENOSYS),
        (("personality", 0xFFFF_FFFF), 0),
        (("personality", 0x4_0000), errno.EPERM),
        (("personality", 0x1_0000_0000), errno.EPERM),
        ((2000,), errno.ENOSYS),
    ],
)
def test_calls(arguments: tuple[str | int, ...], answer: int) -> None:
    name, *rest = arguments
    assert confined(lambda: call(name, *map(int, rest))) == answer


def test_sockets_to_the_host_and_to_the_crypto_api_are_denied() -> None:
    assert confined(lambda: try_socket(socket.AF_INET)) == 0
    assert confined(lambda: try_socket(38)) == errno.EPERM
    assert confined(lambda: try_socket(40)) == errno.EPERM


@pytest.mark.parametrize(("action", "signal"), [("SCMP_ACT_KILL_PROCESS", -31), ("SCMP_ACT_TRAP", -31)])
def test_actions_that_end_the_process(action: str, signal: int) -> None:
    deadly = Seccomp(default_action="SCMP_ACT_ALLOW", syscalls=(SeccompSyscall(names=("sync",), action=action),))
    assert confined(lambda: call("sync"), deadly) == signal
