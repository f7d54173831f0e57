"""System call numbers by name, for each architecture that a host can run. Owns the binding to libseccomp.

libseccomp carries the tables for every architecture and gets them from the distribution; that is all it is used for
here (why not for the filter as well: `oci.seccomp.program`).
"""

from __future__ import annotations

import ctypes
import platform
from dataclasses import dataclass
from functools import cache

from oci.errors import SeccompError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

X32_BIT: Final = 0x4000_0000
# Calls that only one architecture has lie above the common ones.
_ARM_PRIVATE: Final = 0x0F_0000
_X32_PRIVATE: Final = 0x200


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)  # compared by identity: a key that costs no hashing
class Architecture:
    """`token` is libseccomp's name for it, `audit_arch` the kernel's; `wide` when arguments have 64 bits.

    The ordinary numbers are those from `first` up to `end`, exclusive.
    """

    name: str
    token: int
    audit_arch: int
    wide: bool = True
    first: int = 0
    end: int = X32_BIT


_X86_64: Final = Architecture(name="SCMP_ARCH_X86_64", token=0xC000_003E, audit_arch=0xC000_003E)
_X32: Final = Architecture(
    name="SCMP_ARCH_X32",
    token=0x4000_003E,
    audit_arch=0xC000_003E,
    wide=False,
    first=X32_BIT,
    end=X32_BIT | _X32_PRIVATE,
)
_X86: Final = Architecture(name="SCMP_ARCH_X86", token=0x4000_0003, audit_arch=0x4000_0003, wide=False)
_AARCH64: Final = Architecture(name="SCMP_ARCH_AARCH64", token=0xC000_00B7, audit_arch=0xC000_00B7)
_ARM: Final = Architecture(
    name="SCMP_ARCH_ARM", token=0x4000_0028, audit_arch=0x4000_0028, wide=False, end=_ARM_PRIVATE
)

# The first is the machine's own; the others are what its kernel may run as well.
FAMILIES: Final = {"x86_64": (_X86_64, _X86, _X32), "aarch64": (_AARCH64, _ARM)}

# What runtime-spec lists: a profile may name architectures that this host never reports.
KNOWN: Final = frozenset(
    f"SCMP_ARCH_{name}"
    for name in (
        "X86", "X86_64", "X32", "ARM", "AARCH64", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32",
        "PPC", "PPC64", "PPC64LE", "S390", "S390X", "PARISC", "PARISC64", "RISCV64", "LOONGARCH64", "M68K", "SH",
        "SHEB",
    )
)  # fmt: skip

# Newer than many a distribution's libseccomp. Since 2018 a call has one number on all architectures.
_NEW: Final = {
    "futex_waitv": 449, "set_mempolicy_home_node": 450, "cachestat": 451, "fchmodat2": 452, "map_shadow_stack": 453,
    "futex_wake": 454, "futex_wait": 455, "futex_requeue": 456, "statmount": 457, "listmount": 458,
    "lsm_get_self_attr": 459, "lsm_set_self_attr": 460, "lsm_list_modules": 461, "mseal": 462, "setxattrat": 463,
    "getxattrat": 464, "listxattrat": 465, "removexattrat": 466, "open_tree_attr": 467, "file_getattr": 468,
    "file_setattr": 469,
}  # fmt: skip
_NEW_X86_64: Final = {"uretprobe": 335, "uprobe": 336}

# i386 has these both as calls of their own and inside socketcall(2) or ipc(2); libseccomp names only the latter.
_X86_DIRECT: Final = {
    "socket": 359, "socketpair": 360, "bind": 361, "connect": 362, "listen": 363, "accept4": 364, "getsockopt": 365,
    "setsockopt": 366, "getsockname": 367, "getpeername": 368, "sendto": 369, "sendmsg": 370, "recvfrom": 371,
    "recvmsg": 372, "shutdown": 373, "semget": 393, "semctl": 394, "shmget": 395, "shmctl": 396, "shmat": 397,
    "shmdt": 398, "msgget": 399, "msgsnd": 400, "msgrcv": 401, "msgctl": 402,
    "recvmmsg": 337, "sendmmsg": 345,
}  # fmt: skip
_UNKNOWN: Final = -1
_X86_SOCKETCALL: Final = 102
_X86_IPC: Final = 117


@dataclass(frozen=True, slots=True)
class Multiplexed:
    """The call `number` with `selector` as its first argument."""

    number: int
    selector: int


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a name stands for on one architecture; both None when it has no such call."""

    direct: int | None
    multiplexed: Multiplexed | None = None


def family() -> tuple[Architecture, ...]:
    architectures = FAMILIES.get(platform.machine())
    if architectures is None:
        raise SeccompError(f"machine {platform.machine()} is not supported")
    return architectures


@cache
def _library() -> ctypes.CDLL:
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError as error:
        raise SeccompError(f"libseccomp.so.2 cannot be loaded: {error}")
    library.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    library.seccomp_syscall_resolve_name_arch.restype = ctypes.c_int
    return library


def is_known(name: str) -> bool:
    """Whether any architecture of any kernel known to us or to libseccomp has the call."""
    if name in _NEW or name in _NEW_X86_64:
        return True
    token = family()[0].token
    return name.isascii() and int(_library().seccomp_syscall_resolve_name_arch(token, name.encode())) != _UNKNOWN


@cache
def resolve(architecture: Architecture, name: str) -> Numbers:
    try:
        encoded = name.encode("ascii")
    except UnicodeEncodeError:
        return Numbers(None)
    number = int(_library().seccomp_syscall_resolve_name_arch(architecture.token, encoded))
    if number >= 0:
        return Numbers(number)
    if architecture is _X86 and -300 < number <= -100:
        call, base = (_X86_SOCKETCALL, -100) if number > -200 else (_X86_IPC, -200)
        return Numbers(_X86_DIRECT.get(name), Multiplexed(call, base - number))
    if number != _UNKNOWN:
        return Numbers(None)  # known, and not on this architecture
    newer = _NEW.get(name) or (_NEW_X86_64.get(name) if architecture is _X86_64 else None)
    return Numbers(None if newer is None else architecture.first | newer)
