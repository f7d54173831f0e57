"""Every test that docs/security-tests.md names is there."""

from __future__ import annotations

import ast
import re

from tests.architecture.sources import ROOT

TABLE = ROOT / "docs" / "security-tests.md"


def test_every_named_test_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::((?:\w+::)?\w+)`", TABLE.read_text())
    assert len(named) > 50
    known = {path: _tests(path) for path in {path for path, _ in named}}
    assert [f"{path}::{name}" for path, name in named if name not in known[path]] == []


def _tests(path: str) -> set[str]:
    """Functions by name, methods as Class::name."""
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef):
            inside = (each for each in node.body if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef))
            found |= {f"{node.name}::{each.name}" for each in inside}
    return found
