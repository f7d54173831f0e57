"""The seccomp program of a process: the one that came with the request, else compiled from the profile and kept."""

from __future__ import annotations

from typing import Final

from oci.seccomp import FilterCache
from oci.spec import Seccomp

_cache: Final = FilterCache()


def filter_program(program: bytes | None, profile: Seccomp | None) -> bytes | None:
    if program is not None or profile is None:
        return program
    return _cache.get(profile)
