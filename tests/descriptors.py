"""The descriptors this process has open, for tests that compare them before and after."""

from __future__ import annotations

import gc
import os


def open_descriptors() -> list[str]:
    """The numbers of the open descriptors, sorted.

    What an earlier test left in a reference cycle (a refused connection's socket) is collected first: otherwise the
    collector closes it at a moment of its own, between the two counts.
    """
    return [each.split(" ", 1)[0] for each in open_files()]


def open_files() -> list[str]:
    """What the open descriptors lead to, each as ``number target``."""
    gc.collect()
    found = []
    for fd in sorted(os.listdir("/proc/self/fd")):
        try:
            found.append(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        except FileNotFoundError:  # the listing's own
            continue
    return found
