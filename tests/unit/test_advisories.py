"""Lines of other runtimes' advisories that one pure function decides; the table is in docs/security-tests.md."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

from cri.api import runtime_pb2 as api
from cri.paths import Paths
from cri.specgen import ContainerInputs, HostFacts, PodFiles, container_spec
from imagesvc.config import ImageConfig
from oci.cli.spec_verb import template
from oci.plan.container import KEEP_GROUPS
from oci.spec import to_json
from oci.users import ResolvedUser

INPUTS = ContainerInputs(
    config=api.ContainerConfig(),
    hostname="web",
    host_network=False,
    host_pid=False,
    pid_namespace="",
    image=ImageConfig(cmd=("sh",), env=("PATH=/bin",)),
    user=ResolvedUser(uid=5, gid=6, additional_gids=(6,), home="/"),
    cgroup="/pods/c",
    files=PodFiles(hostname="/f/hostname", hosts="/f/hosts", resolv_conf="/f/resolv.conf", shm="/f/shm"),
    host=HostFacts(cgroup_v2=True, capabilities=("CAP_CHOWN",), apparmor=False),
    default_capabilities=("CHOWN",),
)


def document(**changes: Any) -> dict[str, Any]:
    return to_json(container_spec(replace(INPUTS, **changes)))


def test_labels_of_an_image_reach_nothing() -> None:
    """CVE-2026-53488: a label of an image became a label of the container, and that the program that took its log."""
    hostile = {"io.containerd.runc.v2.log": "binary:///bin/sh", "org.systemd.property.ExecStart": "'/bin/sh'"}
    assert document(image=replace(INPUTS.image, labels=hostile)) == document()


def test_annotations_of_a_pod_change_nothing() -> None:
    """CVE-2024-3154, CVE-2023-6476: an annotation became a property of a systemd unit, or took limits away."""
    hostile = {"org.systemd.property.ExecStart": "'/bin/sh'", "io.kubernetes.cri-o.UnifiedCgroup.x": "memory.max=max"}
    spec = document(config=api.ContainerConfig(annotations=hostile))
    assert spec.pop("annotations") == hostile  # what they are for: hooks and plugins may read them
    plain = document()
    plain.pop("annotations", None)
    assert spec == plain


def test_annotations_that_the_executor_heeds_are_not_the_pods_to_set() -> None:
    """CVE-2023-25173: the groups of the runtime stayed with the container's processes."""
    assert not document(config=api.ContainerConfig(annotations={KEEP_GROUPS: "1"})).get("annotations")


def test_the_environment_of_one_container_is_not_that_of_the_next() -> None:
    """CVE-2021-21334: containers of one image shared the list that theirs was added to."""
    secret = api.ContainerConfig(envs=[api.KeyValue(key="SECRET", value=b"x")])
    assert "SECRET=x" in document(config=secret)["process"]["env"]
    assert document()["process"]["env"] == document(config=api.ContainerConfig())["process"]["env"]
    assert not any("SECRET" in entry for entry in document()["process"]["env"])
    assert INPUTS.image.env == ("PATH=/bin",)


def test_the_capabilities_of_a_container_are_never_inheritable() -> None:
    """CVE-2022-29162, CVE-2022-27652."""
    for config in (api.ContainerConfig(), api.ContainerConfig()):
        config.linux.security_context.capabilities.add_capabilities.append("CHOWN")
        assert not document(config=config)["process"]["capabilities"].get("inheritable")


def test_side_channels_and_powercap_are_masked_by_default() -> None:
    """GHSA-6fw5-f8r9-fgfm, GHSA-jq35-85cj-fj4p, and the list that all runtimes have."""
    linux: Any = template(rootless=False)["linux"]
    assert {
        "/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
        "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware",
        "/sys/devices/virtual/powercap",
    } <= set(linux["maskedPaths"])  # fmt: skip
    assert {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"} <= set(linux["readonlyPaths"])


def test_no_directory_of_the_daemon_can_be_looked_into(tmp_path: Path) -> None:
    """CVE-2021-41103, CVE-2024-25621: directories that everybody could walk through led to set-uid programs."""
    paths = Paths(root=tmp_path / "root", runroot=tmp_path / "run")
    for path in (paths.root, paths.runroot / "bundles"):
        path.mkdir(parents=True, mode=0o777)
        path.chmod(0o777)
    paths.make()
    for path in (paths.root, paths.runroot):
        assert stat.S_IMODE(path.stat().st_mode) == 0o711
        assert [stat.S_IMODE(below.stat().st_mode) for below in path.iterdir()] == [0o700] * len(list(path.iterdir()))
