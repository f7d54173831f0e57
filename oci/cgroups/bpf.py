"""Loading device programs into the kernel and attaching them to v2 cgroups. Owns the layouts of bpf(2)'s arguments."""

from __future__ import annotations

import ctypes
import os
import struct

from oci import syscalls
from oci.errors import CgroupError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_PROG_LOAD: Final = 5
_PROG_ATTACH: Final = 8
_PROG_DETACH: Final = 9
_PROG_GET_FD_BY_ID: Final = 13
_PROG_QUERY: Final = 16
_TYPE_CGROUP_DEVICE: Final = 15
_ATTACH_CGROUP_DEVICE: Final = 6
_F_ALLOW_MULTI: Final = 2
_MOST_PROGRAMS: Final = 64  # BPF_CGROUP_MAX_PROGS
_QUERY_BYTES: Final = 64  # bpf_attr.query with `revision`, its last field, at offset 56
_LICENSE: Final = b"Apache-2.0\0"
_NAME: Final = b"coracle_devices\0"


def replace_device_program(directory: str, program: bytes | None) -> None:
    """Make `program` the only device program attached to the cgroup itself; None leaves it without.

    The new one is attached before the old ones go, so at no moment is more allowed than either allows.
    """
    cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        old = _attached(cgroup)
        if program is not None:
            loaded = load(program)
            try:
                syscalls.bpf(_PROG_ATTACH, _attach_arguments(cgroup, loaded, _F_ALLOW_MULTI))
            finally:
                os.close(loaded)
        for number in old:
            fd = syscalls.bpf(_PROG_GET_FD_BY_ID, bytearray(struct.pack("=III", number, 0, 0)))
            try:
                syscalls.bpf(_PROG_DETACH, _attach_arguments(cgroup, fd, 0))
            finally:
                os.close(fd)
    except OSError as error:
        raise CgroupError(directory, f"device rules cannot be attached: {error.strerror}", error.errno or 0)
    finally:
        os.close(cgroup)


def load(program: bytes) -> int:
    """Verify and load; returns the program's descriptor, close-on-exec as the kernel makes them all."""
    code = ctypes.create_string_buffer(program, len(program))
    license_text = ctypes.create_string_buffer(_LICENSE)
    attributes = struct.pack(
        "=IIQQIIQII16s",
        _TYPE_CGROUP_DEVICE,
        len(program) // 8,
        ctypes.addressof(code),
        ctypes.addressof(license_text),
        0,  # log_level
        0,  # log_size
        0,  # log_buf
        0,  # kern_version
        0,  # prog_flags
        _NAME,
    )
    return syscalls.bpf(_PROG_LOAD, bytearray(attributes))


def _attached(cgroup: int) -> tuple[int, ...]:
    numbers = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    # Whole, although we read no further than the count: Linux 6.17 writes the revision back even where the caller's
    # buffer ends before it, over whatever lies behind. Earlier kernels take the longer buffer, as its tail is zero.
    arguments = bytearray(_QUERY_BYTES)
    struct.pack_into(
        "=IIIIQI", arguments, 0, cgroup, _ATTACH_CGROUP_DEVICE, 0, 0, ctypes.addressof(numbers), _MOST_PROGRAMS
    )
    syscalls.bpf(_PROG_QUERY, arguments)
    (count,) = struct.unpack_from("=I", arguments, 24)
    return tuple(numbers[:count])


def _attach_arguments(cgroup: int, program: int, flags: int) -> bytearray:
    return bytearray(struct.pack("=IIII", cgroup, program, _ATTACH_CGROUP_DEVICE, flags))
