"""The seccomp program of a process: the one that came with the request, else compiled from the profile and kept."""

from __future__ import annotations

from oci.errors import SeccompError
from oci.spec import Seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from oci.seccomp import FilterCache


# crun's: by default names that nobody knows are passed over, since profiles are written for newer kernels as well.
STRICT: Final = "run.oci.seccomp_fail_unknown_syscall"

# This process's one, from the first profile on.
_caches: list[FilterCache] = []


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


def _cache() -> FilterCache:
    if not _caches:
        # Loaded on demand, and in the parent: the shim brings finished programs, and few bundles have a profile.
        from oci.seccomp import FilterCache

        _caches.append(FilterCache())
    return _caches[0]
