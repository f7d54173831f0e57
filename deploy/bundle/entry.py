"""The commands in bin/: entry.c as a static program, and the few lines of Python that it runs for each command.

Compiled with Debian's tcc against musl, both fetched and unpacked, so that no compiler has to be installed; another
compiler is taken when one is named.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deploy.bundle.packages import Package, PackageStore

SOURCE: Final = Path(__file__).with_name("entry.c")

# `site` is not run, so where a command's packages are is named here. The installer's image has some more beside the
# bundle (deploy/node_images), which a node's daemon does without.
COMMANDS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "coracle": ("from cri.cli import main\nmain()\n", ("site",)),
    "coracle-oci": ("from oci.cli import main\nmain()\n", ("site",)),
    "coracle-installer": ("from deploy.installer.cli import main\nmain()\n", ("site", "../installer-site")),
}


def start_script(name: str) -> str:
    """What libexec/start/NAME.py holds. The process's name is set: the kernel would call each the loader."""
    code, directories = COMMANDS[name]
    paths = ", ".join(f'f"{{root}}/{directory}"' for directory in directories)
    return (
        "import sys\n"
        f'root = __file__[: -len("/libexec/start/{name}.py")]\n'
        f"sys.path += [{paths}]\n"
        f'sys.argv[0] = "{name}"\n'
        "try:\n"
        '    with open("/proc/self/comm", "w") as comm:\n'
        f'        comm.write("{name}")\n'
        "except OSError:\n"
        "    pass  # no /proc: the name is of no use then\n"
        f"{code}"
    )


def compile_entry(store: PackageStore, target: Path, compiler: str | None = None) -> Package:
    """Writes the static program. `compiler` is a C compiler's command (cc, gcc) that takes its usual options.

    Answers the package of the C library, of which the program contains parts.
    """
    (musl,) = store.get(["musl-dev"])
    library = next(musl.tree.glob("usr/lib/*-linux-musl"))
    headers = musl.tree / "usr/include" / library.name
    if compiler is None:
        tree = store.get(["tcc"])[0].tree
        command = [str(tree / "usr/bin/tcc")]  # without its own library, of which nothing is needed
    else:
        command = [compiler, "-Os", "-fno-stack-protector"]
    objects = [str(library / name) for name in ("crt1.o", "crti.o")] + [str(SOURCE), str(library / "libc.a")]
    include = ["-nostdinc", "-isystem", str(headers)]
    subprocess.run(
        [*command, *include, "-nostdlib", "-static", "-o", str(target), *objects, str(library / "crtn.o")],
        check=True,
        env={**os.environ, "LC_ALL": "C"},
    )
    target.chmod(0o755)
    return musl


def write_commands(root: Path, store: PackageStore, compiler: str | None = None) -> Package:
    """bin/ and libexec/start/. Answers the package that is in the programs."""
    programs, scripts = root / "bin", root / "libexec/start"
    programs.mkdir(parents=True)
    scripts.mkdir(parents=True)
    python = programs / "python3"
    linked = compile_entry(store, python, compiler)
    for name in COMMANDS:
        shutil.copy(python, programs / name)
        (scripts / f"{name}.py").write_text(start_script(name))
    return linked
