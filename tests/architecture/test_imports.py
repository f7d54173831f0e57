"""The arrows between the packages, read from the sources: who may import whom, and which library only where.

oci        nothing of ours; the launcher's and the shims' code only the standard library
cni        oci.syscalls
imagesvc   oci.syscalls, oci.mounts
cri        everything but deploy and e2e
deploy     itself
e2e        deploy, the generated CRI stubs; oci, which it also measures as a library; all else it tests from outside
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, module_name, python_files

OURS = ("oci", "cni", "imagesvc", "cri", "deploy", "e2e", "tests")

ALLOWED = {
    "oci": ("oci",),
    "cni": ("cni", "oci.syscalls", "oci.values"),
    "imagesvc": ("imagesvc", "oci.syscalls", "oci.mounts"),
    "cri": ("cri", "oci", "cni", "imagesvc"),
    "deploy": ("deploy",),
    "e2e": ("e2e", "deploy", "cri.api", "oci"),
}

# A library and the only packages that may import it.
LIBRARIES = {
    "grpc": ("cri", "e2e"),
    "google": ("cri", "e2e"),
    "prometheus_client": ("cri",),
    "opentelemetry": ("cri",),
    "pyroute2": ("cni",),
    "jeepney": ("oci.cgroups.systemd_bus",),
    "kubernetes": ("deploy", "e2e"),
    "click": ("cri.cli", "deploy", "e2e"),
    "rich": ("cri.cli", "deploy", "e2e"),
    "isal": ("imagesvc",),
    "backports": ("imagesvc", "deploy"),
}

# The executor may use these besides the standard library, and only where no container's process is forked.
OCI_EXCEPTIONS = {"oci.cgroups.systemd_bus": ("jeepney",)}


def imports(path: Path) -> Iterator[str]:
    """Every module that the file imports, wherever in it; `from a import b` yields a and a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_packages_import_only_what_their_arrows_allow(package: str) -> None:
    allowed = ALLOWED[package]
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in python_files(package)
        for name in imports(path)
        # `from oci import syscalls` yields "oci" and "oci.syscalls": the package's name alone says nothing yet.
        if name.split(".")[0] in OURS and name not in OURS and not within(name, allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize("library", sorted(LIBRARIES))
def test_libraries_are_imported_only_where_they_belong(library: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {library}"
        for package in ALLOWED
        for path in python_files(package)
        if any(within(name, (library,)) for name in imports(path)) and not within(module_name(path), LIBRARIES[library])
    ]
    assert wrong == []


def test_the_executor_uses_the_standard_library_only() -> None:
    wrong = []
    for path in python_files("oci"):
        module = module_name(path)
        excepted = [name for package, names in OCI_EXCEPTIONS.items() if within(module, (package,)) for name in names]
        for name in imports(path):
            top = name.split(".")[0]
            if top not in sys.stdlib_module_names and top != "oci" and top not in excepted:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []
