"""The seccomp program of a process: the one that came with the request, else compiled from the profile and kept."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from oci.errors import SeccompError
from oci.spec import Seccomp

if TYPE_CHECKING:
    from oci.seccomp import FilterCache


# crun's: by default names that nobody knows are passed over, since profiles are written for newer kernels as well.
STRICT: Final = "run.oci.seccomp_fail_unknown_syscall"


def filter_program(program: bytes | None, profile: Seccomp | None, *, strict: bool = False) -> bytes | None:
    if program is not None or profile is None:
        return program
    if strict:
        _refuse_unknown(profile)
    return _cache().get(profile)


def _refuse_unknown(profile: Seccomp) -> None:
    from oci.seccomp.names import is_known

    for rule in profile.syscalls:
        for name in rule.names:
            if not is_known(name):
                raise SeccompError(f"{name!r} is not a system call")


@cache
def _cache() -> FilterCache:
    # Loaded on demand, and in the parent: the shim brings finished programs, and few bundles have a profile.
    from oci.seccomp import FilterCache

    return FilterCache()
