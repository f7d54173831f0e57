"""The seccomp program of a process: the one that came with the request, else compiled from the profile and kept."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from oci.spec import Seccomp

if TYPE_CHECKING:
    from oci.seccomp import FilterCache


def filter_program(program: bytes | None, profile: Seccomp | None) -> bytes | None:
    if program is not None or profile is None:
        return program
    return _cache().get(profile)


@cache
def _cache() -> FilterCache:
    # Loaded on demand, and in the parent: the shim brings finished programs, and few bundles have a profile.
    from oci.seccomp import FilterCache

    return FilterCache()
