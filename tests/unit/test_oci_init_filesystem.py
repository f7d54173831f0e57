"""How labels get onto what a container's init mounts; nothing is mounted here."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from oci import mounts, syscalls
from oci.engine import Stdio
from oci.init import filesystem
from oci.init.context import Context
from oci.plan import operations as op
from oci.plan.mount_options import MountOptions
from oci.spec import Device

LABEL = "system_u:object_r:container_file_t:s0:c1,c2"


Made = list[tuple[str, tuple[str, ...]]]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Made:
    """Type and parameters of what was mounted: nothing really is."""
    (tmp_path / "here").mkdir()
    made: Made = []

    def make_filesystem(fstype: str, source: str, parameters: Any = (), *, attributes: int = 0) -> int:
        made.append((fstype, tuple(parameters)))
        return os.open(tmp_path / "here", os.O_RDONLY)

    monkeypatch.setattr(mounts, "make_filesystem", make_filesystem)
    monkeypatch.setattr(mounts, "set_attributes", lambda *_, **__: None)
    monkeypatch.setattr(syscalls, "move_mount", lambda *_: None)
    return made


@pytest.fixture
def context(made: Made, tmp_path: Path) -> Iterator[Context]:
    root, old = os.open(tmp_path, os.O_RDONLY), os.open("/", os.O_RDONLY)
    stdio = Stdio(stdin=0, stdout=1, stderr=2)
    yield Context(channel=cast(Any, None), proc=old, args=(), env=[], stdio=stdio, root=root, old_root=old)
    os.close(root)
    os.close(old)


@pytest.mark.parametrize(("label", "parameters"), [(LABEL, (f"context={LABEL}",)), ("", ())])
def test_what_masks_a_directory_has_the_label(
    made: Made, context: Context, label: str, parameters: tuple[str, ...]
) -> None:
    filesystem.mask_path(op.MaskPath(path="/here", label=label), context)
    assert made == [("tmpfs", ("mode=755", "size=4k", *parameters))]


def mount(context: Context, fstype: str, label: str = "", data: tuple[str, ...] = ()) -> None:
    options = MountOptions(data=data)
    step = op.MountFilesystem(destination="/here", fstype=fstype, source=fstype, options=options, label=label)
    filesystem.mount_filesystem(step, context)


def test_a_label_is_set_on_the_root_of_the_mount(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    labels: list[tuple[str, bytes]] = []
    monkeypatch.setattr(os, "setxattr", lambda target, name, value: labels.append((name, value)))
    mount(context, "mqueue")
    assert labels == []
    mount(context, "mqueue", LABEL)
    assert labels == [("security.selinux", LABEL.encode())]


@pytest.mark.parametrize(("number", "passes"), [(errno.ENOTSUP, True), (errno.EACCES, False)])
def test_only_a_file_system_without_labels_is_let_pass(
    context: Context, monkeypatch: pytest.MonkeyPatch, number: int, passes: bool
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "setxattr", refuse)
    if passes:
        mount(context, "mqueue", LABEL)
    else:
        with pytest.raises(OSError, match=os.strerror(number)):
            mount(context, "mqueue", LABEL)


def test_quotes_are_for_the_old_system_call_alone(
    made: Made, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fsconfig takes a value as it is; mount(2) would split it at its commas."""
    given: list[str] = []
    monkeypatch.setattr(syscalls, "mount", lambda source, target, fstype, flags, data: given.append(data))
    monkeypatch.setattr(os, "fchdir", lambda fd: None)
    mount(context, "tmpfs", data=("mode=755", f"context={LABEL}"))
    assert made == [("tmpfs", ("mode=755", f"context={LABEL}"))]
    mount(context, "tmpfs", data=("x=" + "y" * 256, f"context={LABEL}"))
    assert given == ["x=" + "y" * 256 + f',context="{LABEL}"']


@pytest.mark.parametrize(("label", "parameters"), [(LABEL, (f"context={LABEL}",)), ("", ())])
def test_device_nodes_of_a_user_namespace_have_the_label(
    made: Made, context: Context, monkeypatch: pytest.MonkeyPatch, label: str, parameters: tuple[str, ...]
) -> None:
    monkeypatch.setattr(os, "mknod", lambda *_, **__: None)
    monkeypatch.setattr(os, "chown", lambda *_, **__: None)
    monkeypatch.setattr(mounts, "clone_tree", lambda *_, **__: -1)
    node = op.MakeDevice(device=Device(path="/dev/x", type="c", major=1, minor=3), bind=True, owner=(1, 1))
    filesystem.open_sources(op.OpenSources(root=None, binds=(), nodes=(node,), label=label), context)
    assert made == [("tmpfs", ("mode=700", *parameters))]
