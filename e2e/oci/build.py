"""The suites' own programs, compiled once from their checkouts and kept below .cache/oci-suite/."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from e2e import debian
from e2e.paths import CACHE

_STORE: Final = CACHE / "oci-suite"
# What crun's configure script would find out about a Debian machine.
_CONFIG: Final = "#define HAVE_SECCOMP 1\n#define HAVE_ERROR_H 1\n#define HAVE_LINUX_IOPRIO_H 1\n"


def crun_init(checkout: Path) -> Path:
    """The static program that crun's cases run inside their containers."""
    target = _STORE / "init"
    source = checkout / "tests/init.c"
    if not target.exists() or target.stat().st_mtime < source.stat().st_mtime:
        _STORE.mkdir(parents=True, exist_ok=True)
        (_STORE / "config.h").write_text(_CONFIG)
        seccomp = debian.tree("libseccomp-dev") / "usr"
        library = next(seccomp.glob("lib/*/libseccomp.a"))
        include = ["-I", str(_STORE), "-I", str(seccomp / "include")]
        _run(["cc", "-O2", "-static", "-w", *include, "-o", str(target), str(source), str(library)], checkout)
    return target


def validation_programs(checkout: Path) -> tuple[Path, ...]:
    """runtime-tools' programs, and the one that they run inside (`runtimetest`, beside the checkout's rootfs)."""
    inside = checkout / "runtimetest"
    if not inside.exists():
        flags = ["-tags", "netgo osusergo", "-ldflags", "-extldflags -static"]
        _run(["go", "build", "-mod=vendor", *flags, "-o", str(inside), "./cmd/runtimetest"], checkout)
    programs = []
    for source in sorted(checkout.glob("validation/*/*.go")):
        if source.parent.name == "util":
            continue
        program = source.with_suffix(".t")
        if not program.exists():
            _run(["go", "build", "-mod=vendor", "-o", str(program), str(source)], checkout)
        programs.append(program)
    return tuple(programs)


def runtime_wrapper(directory: Path, command: list[str]) -> Path:
    """Both suites take one executable without arguments."""
    if len(command) == 1 and (found := shutil.which(command[0])):
        return Path(found)
    wrapper = directory / "runtime"
    words = " ".join("'" + word.replace("'", "'\\''") + "'" for word in command)
    wrapper.write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    wrapper.chmod(0o755)
    return wrapper


def _run(command: list[str], directory: Path) -> None:
    subprocess.run(command, cwd=directory, check=True, env={**os.environ, "CGO_ENABLED": "0"})
