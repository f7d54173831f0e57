"""Mounts: volumes from the host and from images."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import Client
from e2e.cri.pods import Pods
from e2e.pods import failure, until

PRIVATE = pb.MountPropagation.PROPAGATION_PRIVATE
TO_CONTAINER = pb.MountPropagation.PROPAGATION_HOST_TO_CONTAINER
BOTH = pb.MountPropagation.PROPAGATION_BIDIRECTIONAL


def test_directories_and_files(pods: Pods, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("from the host\n")
    mounts = [
        pb.Mount(container_path="/data", host_path=str(tmp_path)),
        pb.Mount(container_path="/etc/one", host_path=str(tmp_path / "file"), readonly=True),
    ]
    script = "cat /data/file /etc/one; echo back > /data/new; echo x 2> /dev/null > /etc/one || echo kept"
    lines = pods.output("sh", "-c", script, mounts=mounts)
    assert lines[:2] == ["from the host"] * 2
    assert lines[-1] == "kept"
    assert (tmp_path / "new").read_text() == "back\n"


def test_a_link_of_the_host_is_followed(pods: Pods, tmp_path: Path) -> None:
    """proto, Mount.host_path: a symbolic link is followed."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("there\n")
    (tmp_path / "link").symlink_to("real")
    mount = pb.Mount(container_path="/data", host_path=str(tmp_path / "link"))
    assert pods.output("cat", "/data/file", mounts=[mount]) == ["there"]


def test_a_missing_source_is_made(pods: Pods, tmp_path: Path) -> None:
    """As a directory. The proto wants an error (Mount.host_path), but no runtime gives one, and workloads know it."""
    missing = tmp_path / "not" / "there"
    command = ("sh", "-c", "stat -c '%F %a %u' /data; touch /data/new")
    mounts = [pb.Mount(container_path="/data", host_path=str(missing))]
    assert pods.output(*command, mounts=mounts) == ["directory 755 0"]
    assert (missing / "new").exists()


def test_a_mount_hides_what_the_runtime_would_put_there(pods: Pods, tmp_path: Path) -> None:
    """kubelet: it mounts an /etc/hosts of its own, and /dev/shm for a memory volume."""
    (tmp_path / "hosts").write_text("10.0.0.1 mine\n")
    mount = pb.Mount(container_path="/etc/hosts", host_path=str(tmp_path / "hosts"))
    assert pods.output("cat", "/etc/hosts", mounts=[mount]) == ["10.0.0.1 mine"]


def test_mounts_in_mounts_are_made_parents_first(pods: Pods, tmp_path: Path) -> None:
    for name in ("outer", "inner"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text("")
    (tmp_path / "outer" / "in").mkdir()
    mounts = [
        pb.Mount(container_path="/data/in", host_path=str(tmp_path / "inner")),
        pb.Mount(container_path="/data", host_path=str(tmp_path / "outer")),
    ]
    assert pods.output("sh", "-c", "ls /data/in", mounts=mounts) == ["inner"]


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Path]:
    """A mount point on the host whose mounts propagate."""
    directory = tmp_path / "shared"
    directory.mkdir()
    subprocess.run(["mount", "--bind", str(directory), str(directory)], check=True)
    subprocess.run(["mount", "--make-shared", str(directory)], check=True)
    (directory / "sub").mkdir()
    yield directory
    subprocess.run(["umount", "--lazy", str(directory / "sub")], check=False, capture_output=True)
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.mark.parametrize(("propagation", "seen"), [(PRIVATE, False), (TO_CONTAINER, True), (BOTH, True)])
def test_mounts_of_the_host_propagate_as_asked(
    pods: Pods, client: Client, shared: Path, propagation: pb.MountPropagation.ValueType, seen: bool
) -> None:
    """proto, MountPropagation."""
    mount = pb.Mount(container_path="/data", host_path=str(shared), propagation=propagation)
    container = pods.start(pods.run(), mounts=[mount])
    subprocess.run(["mount", "-t", "tmpfs", "late", str(shared / "sub")], check=True)
    (shared / "sub" / "file").write_text("")
    try:
        assert (client.exec(container.id, "ls", "/data/sub").stdout == b"file\n") is seen
    finally:
        subprocess.run(["umount", str(shared / "sub")], check=True)


def test_mounts_of_a_container_propagate_as_asked(pods: Pods, client: Client, shared: Path) -> None:
    """proto, MountPropagation bidirectional: CSI drivers mount volumes from inside a container."""
    config = pods.config()
    config.linux.security_context.privileged = True
    mount = pb.Mount(container_path="/data", host_path=str(shared), propagation=BOTH)
    context = pb.LinuxContainerSecurityContext(privileged=True)
    container = pods.start(pods.run(config), mounts=[mount], security=context)
    assert client.exec(container.id, "mount", "-t", "tmpfs", "mine", "/data/sub").exit_code == 0
    until(lambda: f" {shared}/sub " in Path("/proc/self/mountinfo").read_text())
    client.exec(container.id, "umount", "/data/sub")


def test_bidirectional_needs_a_shared_source(pods: Pods, tmp_path: Path) -> None:
    """On a private mount it could not do what it promises: refused."""
    private = tmp_path / "private"
    private.mkdir()
    subprocess.run(["mount", "--bind", str(private), str(private)], check=True)
    try:
        subprocess.run(["mount", "--make-private", str(private)], check=True)
        mount = pb.Mount(container_path="/data", host_path=str(private), propagation=BOTH)
        failure(lambda: pods.run_to_end("true", mounts=[mount]))
    finally:
        subprocess.run(["umount", "--lazy", str(private)], check=True)


def test_recursive_read_only(pods: Pods, shared: Path) -> None:
    """proto, recursive_read_only: submounts are read-only too; a plain read-only mount leaves them as they are."""
    subprocess.run(["mount", "-t", "tmpfs", "below", str(shared / "sub")], check=True)
    try:
        plain = pb.Mount(container_path="/plain", host_path=str(shared), readonly=True)
        recursive = pb.Mount(container_path="/rro", host_path=str(shared), readonly=True, recursive_read_only=True)
        script = "touch /plain/sub/x && echo written; touch /rro/sub/y 2>&1; true"
        lines = pods.output("sh", "-c", script, mounts=[plain, recursive])
        assert lines[0] == "written"
        assert "Read-only file system" in lines[1]
    finally:
        subprocess.run(["umount", str(shared / "sub")], check=True)


@pytest.mark.parametrize("wrong", [{"readonly": False}, {"readonly": True, "propagation": TO_CONTAINER}])
def test_recursive_read_only_needs_read_only_and_private(pods: Pods, tmp_path: Path, wrong: dict[str, object]) -> None:
    """proto: anything else must fail."""
    mount = pb.Mount(
        container_path="/data", host_path=str(tmp_path), recursive_read_only=True, **wrong  # type: ignore[arg-type]
    )  # fmt: skip
    failure(lambda: pods.run_to_end("true", mounts=[mount]))


def test_a_whole_image_as_a_volume(pods: Pods) -> None:
    """KEP-4639: read-only, the image's files as they are."""
    image = pb.ImageSpec(image=pods.images.with_user)
    mount = pb.Mount(container_path="/image", image=image, readonly=True)
    lines = pods.output("sh", "-c", "ls -d /image/bin; touch /image/x 2>&1; true", mounts=[mount])
    assert lines[0] == "/image/bin"
    assert "Read-only file system" in lines[1]


def test_a_directory_of_an_image_as_a_volume(pods: Pods) -> None:
    """proto, image_sub_path (1.33)."""
    image = pb.ImageSpec(image=pods.images.with_user)
    mount = pb.Mount(container_path="/here", image=image, image_sub_path="etc", readonly=True)
    assert pods.output("ls", "/here/passwd", mounts=[mount]) == ["/here/passwd"]


def test_a_missing_directory_of_an_image_is_named(pods: Pods) -> None:
    """kubelet: an error that begins with ImageVolumeMountFailed becomes the container's reason."""
    image = pb.ImageSpec(image=pods.images.with_user)
    mount = pb.Mount(container_path="/here", image=image, image_sub_path="no/such", readonly=True)
    error = failure(lambda: pods.run_to_end("true", mounts=[mount]))
    assert str(error.details()).startswith("ImageVolumeMountFailed")


def test_an_image_and_a_host_path_exclude_each_other(pods: Pods, tmp_path: Path) -> None:
    """proto, Mount."""
    image = pb.ImageSpec(image=pods.images.with_user)
    mount = pb.Mount(container_path="/x", image=image, host_path=str(tmp_path), readonly=True)
    failure(lambda: pods.run_to_end("true", mounts=[mount]))
