"""coracle-oci as it is installed on a node: a bundle's interpreter and static entry, with the executor alone in it."""

from __future__ import annotations

import shutil
from pathlib import Path

from deploy.bundle.assemble import Bundle, BundleSettings
from deploy.bundle.compile import compile_modules, preload_verbs
from e2e.paths import CACHE


def install() -> Path:
    """The command. The interpreter is kept from one benchmark to the next, the executor is always today's."""
    bundle = Bundle(BundleSettings(output=CACHE / "bench-oci", cache=CACHE / "bundle"))
    library = bundle.root / "lib" / bundle.interpreter.name
    if not (library / "__pycache__").exists():
        bundle.place_interpreter()
        compile_modules(bundle.root, [library], base=bundle.root)
    site = bundle.root / "site"
    shutil.rmtree(site, ignore_errors=True)
    bundle.place_packages(("oci",))
    compile_modules(bundle.root, [site], base=bundle.root)
    preload_verbs(bundle.root)
    return bundle.root / "bin/coracle-oci"
