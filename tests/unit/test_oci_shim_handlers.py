"""A bundle for another runtime: what is written into its config.json, and what a runtime's failure says."""

from __future__ import annotations

from pathlib import Path

import pytest

from oci.errors import ContainerError, Unsupported
from oci.protocol.messages import OciRuntime, SandboxNamespaces
from oci.shim.handlers import bundle, program
from oci.spec import VERSION, Linux, Mount, Namespace, Root, Spec


def test_namespaces_volumes_and_version() -> None:
    spec = Spec(
        oci_version=VERSION,
        root=Root(path="elsewhere", readonly=True),
        mounts=(
            Mount(destination="/proc", type="proc", source="proc"),
            Mount(destination="/v", type="bind", options=("ro",)),
        ),
        linux=Linux(namespaces=(Namespace(type="mount"), Namespace(type="network"))),
    )
    adapted = bundle.adapted(spec, {"network": "/n", "ipc": "/i"}, {1: "/b/volumes/1"})
    assert adapted.oci_version == "1.0.2"
    assert adapted.root == Root(path="rootfs", readonly=True)
    assert adapted.mounts == (
        spec.mounts[0],
        Mount(destination="/v", type="bind", source="/b/volumes/1", options=("rbind", "ro")),
    )
    assert {one.type: one.path for one in adapted.linux.namespaces} == {"mount": None, "network": "/n", "ipc": "/i"}


def test_a_pod_with_users_of_its_own_is_refused() -> None:
    with pytest.raises(Unsupported):
        bundle.namespace_paths(SandboxNamespaces(user_fd=3))


def runtime(directory: Path, script: str) -> OciRuntime:
    path = directory / "runtime"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return OciRuntime(path=str(path), root=str(directory / "state"))


def test_a_failure_is_told_in_the_runtimes_words(tmp_path: Path) -> None:
    # --root ROOT --log LOG ...
    line = '{"level":"error","msg":"exec: no such file or directory"}'
    failing = runtime(tmp_path, f'echo \'{line}\' > "$4"; echo \'{{"level":"debug"}}\' >> "$4"; exit 1')
    with pytest.raises(ContainerError) as caught:
        program.run(failing, "exec", ["c"], str(tmp_path))
    assert str(caught.value) == "runtime exec: exec: no such file or directory"
    assert caught.value.not_found is False
    assert [path.name for path in tmp_path.iterdir()] == ["runtime"]


def test_one_without_a_word_is_told_by_its_status(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match="runtime start: ended with status 3"):
        program.run(runtime(tmp_path, "exit 3"), "start", ["c"], str(tmp_path))


def test_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match=r"run /nonexistent: No such file or directory"):
        program.run(OciRuntime(path="/nonexistent", root="/r"), "create", [], str(tmp_path))


def test_nothing_attached_is_nothing_to_detach(tmp_path: Path) -> None:
    bundle.detach(str(tmp_path))
    assert not bundle.is_attached(str(tmp_path))
