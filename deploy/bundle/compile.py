"""The bundle's modules compiled by its own interpreter, the same bytes each time.

The compiled files are "unchecked": no time and no hash of the source is looked at, so that they hold wherever and
whenever the bundle is unpacked. One process compiles them in one order with one hash seed: what the compiler writes
depends on all three.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# Runs in the bundle's interpreter: the directory that paths shall be relative to, then directories to walk.
_CODE: Final = """\
import os, py_compile, sys
base = sys.argv[1]
mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
failed = 0
for top in sys.argv[2:]:
    for directory, names, files in os.walk(top):
        names.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                path = f"{directory}/{name}"
                shown = os.path.relpath(path, base)
                try:
                    py_compile.compile(path, dfile=shown, doraise=True, invalidation_mode=mode)
                except py_compile.PyCompileError as error:
                    failed += 1
                    print(error.msg, file=sys.stderr)
sys.exit(failed > 0)
"""


# Runs in the bundle's interpreter: root, verb, cgroup driver. What oci/cli/preload.py keeps beside the modules, made
# here because a bundle may lie where nobody writes: unchecked, with no times and no path of the builder in it.
_PRELOAD: Final = """\
import sys
root, verb, driver = sys.argv[1:]
sys.path.append(f"{root}/site")
from oci.cli import PRELOADED
from oci.cli.preload import prepare
if verb in PRELOADED:
    prepare(verb, driver)
"""
_DRIVERS: Final = ("v1", "v2")


class CompilationFailed(Exception):
    """A module is no Python that the bundle's interpreter understands."""

    def __init__(self, output: str) -> None:
        super().__init__(f"modules do not compile: {output.strip()[-1000:]}")


def compile_modules(root: Path, directories: Sequence[Path], *, base: Path) -> None:
    """Writes __pycache__ for every module in `directories`, with the interpreter of the bundle at `root`.

    A traceback shows paths relative to `base` until the module's own place is known. Raises CompilationFailed.
    """
    _run(root, _CODE, str(base), *map(str, directories))


def preload_verbs(root: Path) -> None:
    """The files from which coracle-oci takes a verb's modules. Raises CompilationFailed."""
    verbs = sorted(path.name.removesuffix("_verb.py") for path in (root / "site/oci/cli").glob("*_verb.py"))
    for verb in verbs:
        for driver in _DRIVERS:
            _run(root, _PRELOAD, str(root), verb, driver)


def _run(root: Path, code: str, *arguments: str) -> None:
    # -E is not given: the interpreter is told its hash seed by the environment alone.
    command = [str(root / "bin/python3"), "-s", "-P", "-S", "-c", code, *arguments]
    done = subprocess.run(command, env={"PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8"}, capture_output=True, text=True)
    if done.returncode:
        raise CompilationFailed(done.stderr)
