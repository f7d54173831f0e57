"""Names and numbers of capabilities (linux/capability.h), and masks of them. Pure: `oci.init.privileges` sets them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

NAMES: Final = (
    "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETGID",
    "CAP_SETUID", "CAP_SETPCAP", "CAP_LINUX_IMMUTABLE", "CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_ADMIN",
    "CAP_NET_RAW", "CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_SYS_MODULE", "CAP_SYS_RAWIO", "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE", "CAP_SYS_PACCT", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_NICE", "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_MKNOD", "CAP_LEASE", "CAP_AUDIT_WRITE", "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP", "CAP_MAC_OVERRIDE", "CAP_MAC_ADMIN", "CAP_SYSLOG", "CAP_WAKE_ALARM", "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ", "CAP_PERFMON", "CAP_BPF", "CAP_CHECKPOINT_RESTORE",
)  # fmt: skip

NUMBERS: Final = {name: number for number, name in enumerate(NAMES)}

SETPCAP: Final = 1 << NUMBERS["CAP_SETPCAP"]
SYS_ADMIN: Final = 1 << NUMBERS["CAP_SYS_ADMIN"]
SYS_RESOURCE: Final = 1 << NUMBERS["CAP_SYS_RESOURCE"]


def mask(names: Iterable[str]) -> int:
    """Bits of the names that are known; see `unknown` for the others."""
    bits = 0
    for name in names:
        number = NUMBERS.get(name)
        if number is not None:
            bits |= 1 << number
    return bits


def unknown(names: Iterable[str]) -> tuple[str, ...]:
    """Names that no kernel known to us has; the specification wants a warning for them, not a failure."""
    return tuple(name for name in names if name not in NUMBERS)
