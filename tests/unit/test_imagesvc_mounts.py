"""What overlays are asked for: the kernel is not, since most have no SELinux."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imagesvc.mounts import LayerMounts, Way
from oci import mounts, syscalls

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parameters of both system calls, as they would reach the kernel."""
    asked: list[str] = []
    monkeypatch.setattr(syscalls, "fsopen", lambda fstype: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(syscalls, "fsmount", lambda fs, attributes: os.open("/dev/null", os.O_RDONLY))
    monkeypatch.setattr(syscalls, "fsconfig", lambda fs, command, key="", value="", *_: asked.append(f"{key}={value}"))
    monkeypatch.setattr(syscalls, "mount", lambda source, target, fstype, flags, data="": asked.append(data))
    monkeypatch.setattr(syscalls, "umount2", lambda target, flags: None)
    monkeypatch.setattr(mounts, "clone_tree", lambda fd, path: os.open("/dev/null", os.O_RDONLY))
    return asked


def overlay(directory: Path, way: Way, label: str = "") -> None:
    layers = LayerMounts(directory, directory / "run", way)
    for name in ("upper", "work"):
        (directory / name).mkdir()
    os.close(layers.overlay([0], upper=directory / "upper", work=directory / "work", label=label))


@pytest.mark.parametrize(("way", "form"), [(Way.DETACHED, f"context={LABEL}"), (Way.ATTACHED, f',context="{LABEL}"')])
def test_a_label_has_quotes_only_where_commas_end_an_option(
    asked: list[str], tmp_path: Path, way: Way, form: str
) -> None:
    overlay(tmp_path, way, label=LABEL)
    assert [each for each in asked if form in each]
    assert ('"' in "".join(asked)) == (way is Way.ATTACHED)


@pytest.mark.parametrize("way", list(Way))
def test_without_a_label_the_kernel_hears_nothing_of_one(asked: list[str], tmp_path: Path, way: Way) -> None:
    overlay(tmp_path, way)
    assert asked
    assert "context" not in "".join(asked)
