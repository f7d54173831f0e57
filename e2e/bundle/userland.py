"""Directory trees that stand for machines: an empty one, and what Debian calls its required packages.

Debian's come from debootstrap's first stage, which unpacks and configures nothing: programs, libraries and /etc are
what the bundle could stumble over, and they are there.

    .cache/userland/SUITE/
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from e2e import debian
from e2e.paths import CACHE

_STORE: Final = CACHE / "userland"


class UserlandMissing(Exception):
    """A userland cannot be made here."""

    def __init__(self, suite: str, reason: str) -> None:
        super().__init__(f"userland of debian {suite} cannot be made: {reason}")
        self.suite = suite


def empty(directory: Path) -> Path:
    directory.mkdir()
    return directory


def debian_userland(suite: str) -> Path:
    target = _STORE / suite
    if target.is_dir():
        return target
    _STORE.mkdir(parents=True, exist_ok=True)
    tree = debian.tree("debootstrap")
    partial = _STORE / f".{suite}-{os.getpid()}"
    command = [str(tree / "usr/sbin/debootstrap"), "--foreign", "--variant=minbase", suite, str(partial), _mirror()]
    environment = {**os.environ, "DEBOOTSTRAP_DIR": str(tree / "usr/share/debootstrap"), "LC_ALL": "C"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        shutil.rmtree(partial, ignore_errors=True)
        raise UserlandMissing(suite, (done.stderr or done.stdout).strip()[-1000:])
    for name in ("dev", "proc"):  # in a container debootstrap makes links to the host's
        if (partial / name).is_symlink():
            (partial / name).unlink()
    partial.rename(target)
    return target


def _mirror() -> str:
    """Where this machine takes its own packages from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    if not lines:
        raise UserlandMissing("any", "apt knows no repository")
    return lines[0]
