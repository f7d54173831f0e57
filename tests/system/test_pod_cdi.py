"""Devices by CDI name, as device plugins and resource drivers ask for them."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from cri.api import runtime_pb2 as pb
from e2e.client import container_config
from e2e.daemon import Daemon
from e2e.images.catalog import ImageNames
from e2e.pods import Pod, refused
from tests.system.pods import Pods


@pytest.fixture(scope="module")
def specifications() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="coracle-cdi-"))
    (directory / "given").write_text("from the vendor")
    write(directory)
    yield directory
    shutil.rmtree(directory)


def write(directory: Path) -> None:
    edits = {
        "env": ["VENDOR=yes"],
        "deviceNodes": [{"path": "/dev/mine", "hostPath": "/dev/zero", "permissions": "r"}],
        "mounts": [
            {"hostPath": str(directory / "given"), "containerPath": "/opt/given", "options": ["ro", "bind", "nosuid"]}
        ],
        "hooks": [
            {
                "hookName": "createRuntime",
                "path": "/bin/sh",
                "args": ["sh", "-c", f"/bin/cat > {directory}/state"],
            }
        ],
    }
    document = {
        "cdiVersion": "0.6.0",
        "kind": "vendor.test/thing",
        "devices": [{"name": "one", "containerEdits": edits}],
    }
    (directory / "vendor.json").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def daemon(make_daemon: Callable[..., Daemon], images: ImageNames, specifications: Path) -> Daemon:
    started = make_daemon(env={"CORACLE_RUNTIME_CDI_DIRECTORIES": str(specifications)})
    started.client.pull(images.busybox)
    return started


def asked(pods: Pods, name: str, *command: str) -> pb.ContainerConfig:
    config = container_config("main", pods.images.busybox, *command)
    config.CDI_devices.add(name=name)
    return config


def users_pod(pods: Pods) -> Pod:
    config = pods.config()
    mapping = [pb.IDMapping(container_id=0, host_id=500_000, length=65536)]
    users = pb.UserNamespace(mode=pb.POD, uids=mapping, gids=mapping)
    config.linux.security_context.namespace_options.userns_options.CopyFrom(users)
    return pods.run(config)


@pytest.mark.parametrize("users", ["the host's", "its own"])
def test_a_device_is_there_with_all_that_belongs_to_it(pods: Pods, specifications: Path, users: str) -> None:
    pod = pods.run() if users == "the host's" else users_pod(pods)
    script = "head -c 2 /dev/mine | wc -c; echo $VENDOR; cat /opt/given; echo; echo x > /opt/given || echo protected"
    container = pods.create_from(pod, asked(pods, "vendor.test/thing=one", "sh", "-c", script))
    pods.client.start(container.id)
    assert pods.wait_for_exit(container).exit_code == 0
    assert [text for stream, _, text in container.entries() if stream == "stdout"] == [
        "2",
        "yes",
        "from the vendor",
        "protected",
    ]
    assert json.loads((specifications / "state").read_text())["id"] == container.id


def test_an_unknown_device_is_refused_by_name(pods: Pods, specifications: Path) -> None:
    pod = pods.run()
    config = asked(pods, "vendor.test/thing=two", "true")
    words = ("config.CDI_devices", "vendor.test/thing=two", str(specifications))
    refused(lambda: pods.create_from(pod, config), grpc.StatusCode.INVALID_ARGUMENT, *words)
    assert not pods.client.containers()
