"""The parts of the bundle's builder that need no package: archives, checksums, start scripts, wheels, fields."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from deploy.bundle.archive import Packing, source_date, write_archive
from deploy.bundle.assemble import PROJECT, Project
from deploy.bundle.entry import COMMANDS, start_script
from deploy.bundle.manifest import write_checksums
from deploy.bundle.wheels import Wheel, unpack


def tree(root: Path) -> Path:
    (root / "b/empty").mkdir(parents=True)
    (root / "b/program").write_text("#!/bin/true\n")
    (root / "b/program").chmod(0o755)
    (root / "a").write_text("text\n")
    (root / "link").symlink_to("a")
    return root


@pytest.mark.parametrize("packing", Packing)
def test_an_archive_depends_on_content_and_modes_alone(tmp_path: Path, packing: Packing) -> None:
    digests = set()
    for number, moment in enumerate((1, 2_000_000_000)):
        root = tree(tmp_path / str(number) / "bundle")
        for path in root.rglob("*"):
            os.utime(path, (moment, moment), follow_symlinks=False)
        digests.add(write_archive(root, tmp_path / f"{number}.{packing.value}", packing, 1_700_000_000))
    assert len(digests) == 1


def test_an_archive_holds_the_directory_under_its_name_sorted_and_owned_by_root(tmp_path: Path) -> None:
    write_archive(tree(tmp_path / "bundle"), tmp_path / "out.tar.gz", Packing.GZIP, 77)
    with tarfile.open(tmp_path / "out.tar.gz") as archive:
        entries = archive.getmembers()
    assert [entry.name for entry in entries] == [
        *("bundle", "bundle/a", "bundle/b", "bundle/b/empty", "bundle/b/program", "bundle/link"),
    ]
    assert {(entry.uid, entry.gid, entry.mtime) for entry in entries} == {(0, 0, 77)}
    assert entries[4].mode == 0o755
    assert entries[5].linkname == "a"


def test_source_date_epoch_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "12345")
    assert source_date() == 12345


def test_checksums_are_what_sha256sum_checks(tmp_path: Path) -> None:
    write_checksums(tree(tmp_path / "bundle"))
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path / "bundle", check=True)
    assert done.returncode == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_start_scripts_find_their_bundle_from_their_own_place(name: str) -> None:
    script = start_script(name)
    ast.parse(script)
    place = f"/any/where/libexec/start/{name}.py"
    report = "import json; print(json.dumps([root, sys.path, sys.argv[0]]))"
    code = f"__file__ = {place!r}\n{script.partition('from ')[0]}{report}"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True, capture_output=True, text=True)
    root, entries, called = json.loads(done.stdout)
    assert root == "/any/where"
    assert "/any/where/site" in entries
    assert called == name


def test_wheels_bring_modules_and_licences_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "thing-1-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for name in (
            *("thing/__init__.py", "thing/_speed.so", "thing/stubs.pyi", "thing/tests/test_it.py", "thing/code.c"),
            *("thing-1.dist-info/METADATA", "thing-1.dist-info/entry_points.txt", "thing-1.dist-info/RECORD"),
            *("thing-1.dist-info/licenses/LICENSE", "thing-1.data/platlib/thing/more.py", "thing-1.data/scripts/thing"),
        ):
            archive.writestr(name, "x")
    wheel = Wheel(name="thing", version="1", licence="MIT", sha256="", file=file)
    unpack(wheel, tmp_path / "site", tmp_path / "licences")
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == [
        "licences/thing/LICENSE",
        "site/thing-1.dist-info/METADATA",
        "site/thing-1.dist-info/entry_points.txt",
        "site/thing/__init__.py",
        "site/thing/_speed.so",
        "site/thing/more.py",
        "thing-1-py3-none-any.whl",
    ]
    assert (tmp_path / "site/thing/_speed.so").stat().st_mode & 0o777 == 0o755


def test_the_project_names_its_packages_and_requirements() -> None:
    project = Project.read(PROJECT)
    assert {"cri", "oci", "cni", "imagesvc", "deploy"} <= set(project.packages)
    assert any(requirement.startswith("grpcio") for requirement in project.requirements)
