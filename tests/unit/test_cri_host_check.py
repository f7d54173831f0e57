"""What a host may lack: one clear sentence for each thing."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri.config import Settings, with_derived
from cri.host_check import CONTROLLERS, NAMESPACES, Host, kernel_version, look, missing

GOOD = Host(
    uid=0,
    kernel="6.1.0-18-amd64",
    overlayfs=True,
    namespaces=NAMESPACES,
    cgroups="",
    controllers=CONTROLLERS,
    seccomp="",
    root="",
    runroot="",
    socket="",
)


def test_a_good_host_lacks_nothing() -> None:
    assert list(missing(GOOD)) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"uid": 1000}, "must run as root, not as user 1000"),
        ({"kernel": "5.4.0"}, "needs Linux 5.10 or newer, this is 5.4.0"),
        ({"overlayfs": False}, "the kernel has no overlayfs"),
        ({"namespaces": NAMESPACES - {"net", "cgroup"}}, "the kernel has no namespaces of type cgroup, net"),
        ({"controllers": frozenset({"cpu"})}, "cgroup controllers memory, pids are not available below"),
        ({"cgroups": "nothing is mounted"}, "nothing is mounted"),
        ({"seccomp": "libseccomp.so.2 cannot be loaded"}, "libseccomp.so.2 cannot be loaded"),
        ({"socket": "another process serves /s"}, "another process serves /s"),
    ],
)
def test_each_lack_is_one_sentence(change: dict[str, object], message: str) -> None:
    [problem] = missing(dataclasses.replace(GOOD, **change))  # type: ignore[arg-type]
    assert message in problem


def test_all_lacks_are_told_at_once() -> None:
    assert len(list(missing(dataclasses.replace(GOOD, uid=1, overlayfs=False, seccomp="s")))) == 3


@given(st.text())
def test_any_release_has_a_version(text: str) -> None:
    assert kernel_version(text) >= (0, 0)


@pytest.mark.parametrize(
    ("release", "version"), [("5.10.0", (5, 10)), ("6.18.44-fc", (6, 18)), ("10.2-rc1", (10, 2)), ("x", (0, 0))]
)
def test_releases(release: str, version: tuple[int, int]) -> None:
    assert kernel_version(release) == version


def settings_below(path: Path) -> Settings:
    return with_derived(Settings(root=path / "root", runroot=path / "run"))


def test_roots_are_made_and_must_be_directories(tmp_path: Path) -> None:
    assert look(settings_below(tmp_path)).root == ""
    assert (tmp_path / "run").is_dir()
    (tmp_path / "file").write_text("")
    assert look(settings_below(tmp_path / "file")).runroot.startswith(f"{tmp_path}/file/run cannot be written to: ")


def test_a_socket_that_is_served_is_taken_and_a_stale_one_is_free(tmp_path: Path) -> None:
    settings = settings_below(tmp_path)
    settings.runroot.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(settings.socket_path))
        assert look(settings).socket == ""
        server.listen()
        assert look(settings).socket == f"another process serves {settings.socket_path}"
    assert look(settings).socket == ""
