"""A verb's modules from one file: the same modules, remade when a source changes, never needed."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT

_CODE = """
import sys
root, verb = sys.argv[1:]
sys.path.insert(0, root)
from oci.cli.preload import load
load(verb)
loaded = sorted(name for name in sys.modules if name == "oci" or name.startswith("oci."))
ordinary = [name for name in loaded if sys.modules[name].__spec__ is not None]
__import__("oci.cli.%s_verb" % verb)
everything = sorted(sys.modules)
import json
print(json.dumps({"loaded": loaded, "ordinary": ordinary, "all": everything}))
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("packages")
    shutil.copytree(ROOT / "oci", directory / "oci", ignore=shutil.ignore_patterns("__pycache__"))
    return directory


@pytest.fixture
def packages(copy: Path) -> Path:
    """Our packages in a place of their own, where no verb has been used yet."""
    for path in files(copy):
        path.unlink()
    return copy


def loaded(packages: Path, verb: str) -> dict[str, list[str]]:
    command = [sys.executable, "-I", "-S", "-c", _CODE, str(packages), verb]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, list[str]] = json.loads(done.stdout)
    return answer


def files(packages: Path) -> list[Path]:
    return list((packages / "oci/cli/__pycache__").glob("*.modules"))


def test_the_second_time_a_verb_comes_from_one_file(packages: Path) -> None:
    first, second = loaded(packages, "run"), loaded(packages, "run")
    assert first["loaded"] == second["loaded"]
    assert "oci.engine.container" in first["ordinary"]
    assert second["ordinary"] == ["oci", "oci.cli", "oci.cli.preload"]
    assert len(files(packages)) == 1


def test_a_changed_source_is_noticed(packages: Path) -> None:
    loaded(packages, "state")
    state = packages / "oci/cli/state_verb.py"
    before = state.read_text()
    state.write_text(before + "\nCHANGED = True\n")
    assert "oci.cli.state_verb" in loaded(packages, "state")["ordinary"]
    assert "oci.cli.state_verb" not in loaded(packages, "state")["ordinary"]
    state.write_text(before)


@pytest.mark.parametrize("content", [b"", b"junk", b"\xe9\x01\x00\x00\x00"])
def test_a_damaged_file_is_replaced(packages: Path, content: bytes) -> None:
    loaded(packages, "state")
    (file,) = files(packages)
    file.write_bytes(content)
    assert "oci.state" in loaded(packages, "state")["ordinary"]
    assert "oci.state" not in loaded(packages, "state")["ordinary"]


def test_what_is_no_verb_makes_no_file(packages: Path) -> None:
    code = _CODE.replace('__import__("oci.cli.%s_verb" % verb)', "")
    for verb in ("", "../evil", "nothing"):
        subprocess.run([sys.executable, "-I", "-S", "-c", code, str(packages), verb], check=True, capture_output=True)
    assert files(packages) == []


# Each of them, with what it brings along, costs more than ten of our own modules.
_HEAVY = {
    "argparse",
    "collections",
    "contextlib",
    "dataclasses",
    "enum",
    "functools",
    "inspect",
    "json",
    "re",
    "signal",
}
_HEAVY |= {"socket", "subprocess", "typing", "logging", "importlib"}


@pytest.mark.parametrize("verb", ["create", "delete", "exec", "kill", "run", "start", "state"])
def test_verbs_load_no_heavy_module_of_the_standard_library(packages: Path, verb: str) -> None:
    loaded(packages, verb)  # to write the file takes more
    assert _HEAVY.intersection(loaded(packages, verb)["all"]) == set()
