"""The fuzz target for config.json: with atheris where it is installed, with hypothesis everywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.fuzz_config import check, edited, whole_config


def test_the_whole_config_is_one() -> None:
    import json

    assert check(json.dumps(whole_config()).encode())


@given(st.data(), st.integers(1, 6))
@settings(max_examples=300, deadline=None)
def test_edited_configs_end_with_a_plan_or_an_error_of_ours(data: st.DataObject, edits: int) -> None:
    check(edited(lambda below: data.draw(st.integers(0, below - 1)), lambda: data.draw(st.text(max_size=20)), edits))


@given(st.binary(max_size=200))
def test_bytes_end_with_an_error_of_ours(content: bytes) -> None:
    check(content)


def test_deep_nesting_is_an_error_of_ours() -> None:
    check(b"[" * 100_000)


def test_atheris_finds_nothing_in_a_few_thousand_runs() -> None:
    pytest.importorskip("atheris", reason="atheris is not installed (pip install atheris)")
    repository = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.fuzz.fuzz_config", "-runs=3000"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
