"""What test images are made with: linkage read from ELF files, the pause program; and the figures of benchmarks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from deploy.bundle.elf import NotElf, linkage
from e2e.bench.goals import MEASURES, Better, Measure
from e2e.bench.report import Value
from e2e.images.pause import pause_program


def test_a_dynamic_program_names_its_loader_and_libraries() -> None:
    links = linkage(Path(sys.executable).resolve())
    assert links.interpreter.startswith("/lib")
    assert any(name.startswith("libc.so") for name in links.needed)


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_the_pause_program_is_a_static_executable(tmp_path: Path, architecture: str) -> None:
    path = tmp_path / "pause"
    path.write_bytes(pause_program(architecture))
    assert linkage(path) == ("", ())
    assert path.stat().st_size < 256


def test_what_is_no_program_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "script"
    path.write_text("#!/bin/sh\n")
    with pytest.raises(NotElf, match=str(path)):
        linkage(path)


def test_measures_have_names_of_their_own() -> None:
    names = [measure.name for measure in MEASURES]
    assert len(names) == len(set(names))


def test_goals_know_which_way_is_better() -> None:
    latency = Measure(name="x", title="x", unit="ms", goal=5)
    rate = Measure(name="y", title="y", unit="1/s", goal=5, better=Better.HIGHER)
    assert (latency.met(4), latency.met(6)) == (True, False)
    assert (rate.met(4), rate.met(6)) == (False, True)
    assert Measure(name="z", title="z", unit="s").met(1) is None


def test_a_series_becomes_its_median_and_its_ninth_decile() -> None:
    assert Value.of_series([float(number) for number in range(1, 11)]) == Value(value=5.5, p90=10.0)
    assert Value.of_series([3.0]) == Value(value=3.0, p90=3.0)
