"""What holds for every file of the tree: sizes, docstrings, names, and things that no file may hold."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from pathlib import Path

import pytest

from tests.architecture.sources import GENERATED, ROOT, files, python_files

PACKAGES = ("oci", "cni", "imagesvc", "cri", "deploy", "e2e")
SOFT_LINES, HARD_LINES = 450, 700
MAY_PRINT = ("cri/cli/", "oci/cli", "deploy/", "e2e/", "cri/api/generate.py")
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "manager", "base", "common", "misc"}

# The hosts of package registries: versions are pinned by name, where they come from is each machine's own setting.
REGISTRY_HOSTS = re.compile(
    r"pypi\.org|pythonhosted\.org|deb\.debian\.org|proxy\.golang\.org|crates\.io|registry\.npmjs\.org|repo1?\.maven"
)
# Directories that only this machine has: where the checkout lies, an interpreter that is not the system's. They are
# looked up rather than listed, so that the test itself names none.
MACHINE_PATHS = [
    str(path) for path in (ROOT, Path(sys.base_prefix)) if len(path.parts) > 2 or path.parts[1:] != ("usr",)
]

TEXT = {".py", ".pyi", ".md", ".toml", ".yaml", ".yml", ".txt", ".sh", ".proto", ".json", ".cfg", ".c", ".service", ""}


def names(paths: tuple[Path, ...]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in python_files(package)]


def texts() -> list[tuple[Path, str]]:
    return [
        (path, path.read_text(errors="replace"))
        for path in files()
        if path.suffix in TEXT and not path.name.endswith(GENERATED)
    ]


def test_files_are_small_rooms() -> None:
    too_long = []
    for path in [*modules(), *python_files("tests")]:
        lines = path.read_text().count("\n")
        if lines > HARD_LINES:
            too_long.append(f"{path.relative_to(ROOT)}: {lines} lines")
        elif lines > SOFT_LINES:
            warnings.warn(f"{path.relative_to(ROOT)} has {lines} lines: is it one thing?", stacklevel=1)
    assert too_long == []


def test_every_module_says_what_it_owns() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules()
        if path.read_text().strip() and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert silent == []


def test_no_module_has_a_vague_name() -> None:
    vague = [name for path in modules() if VAGUE_NAMES & set((name := str(path.relative_to(ROOT)))[:-3].split("/"))]
    assert vague == []


def test_only_command_lines_print() -> None:
    loud = [
        f"{name}:{node.lineno}"
        for path in modules()
        if not (name := str(path.relative_to(ROOT))).startswith(MAY_PRINT)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert loud == []


def test_no_file_names_a_package_registry() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path, text in texts()
        if path.resolve() != Path(__file__).resolve()
        for match in REGISTRY_HOSTS.finditer(text)
    ]
    assert found == []


def test_no_file_names_a_directory_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {place}"
        for path, text in texts()
        for place in MACHINE_PATHS
        if re.search(rf"(?<![\w.])(?:{re.escape(place)})(?:/|\b(?![\w-]))", text)
    ]
    assert found == []


def test_constraints_hold_names_and_versions_only() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    wrong = [line for line in lines if line and not re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line)]
    assert wrong == []


@pytest.mark.parametrize("script", [name for name in names(files()) if name.endswith(".sh") or name == ".ci/run"])
def test_scripts_stop_at_the_first_error(script: str) -> None:
    assert re.search(r"^set -euo? ?(pipefail|-o pipefail)?|^set -eu", (ROOT / script).read_text(), re.MULTILINE)


def test_every_make_target_is_explained() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE)
    explained = re.findall(r"^([a-z][a-z-]*):.*## ", makefile, re.MULTILINE)
    assert sorted(targets) == sorted(explained)
