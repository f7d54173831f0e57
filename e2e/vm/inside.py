"""Runs in the guest: what the tests want done through the CRI, and what they want to know, as JSON on stdout.

python -m e2e.vm.inside setup             the program, the unit, a registry; nothing is started but the registry
python -m e2e.vm.inside pods N [SLICE]    N pods with a sleeping container each
python -m e2e.vm.inside churn             pulls and creates until somebody stops it, or the power fails
python -m e2e.vm.inside state             pods and containers as the CRI shows them, addresses as the disk has them
python -m e2e.vm.inside limit ID BYTES    another memory limit for a container
python -m e2e.vm.inside clear             removes every pod
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import grpc

from cri.api import runtime_pb2 as pb
from e2e import debian
from e2e.client import Client, container_config, pod_config
from e2e.mirrors import write_mirrors
from e2e.paths import CACHE, ROOT

SOCKET = "unix:///run/coracle/coracle.sock"
REGISTRY = "127.0.0.1:5000"
BUSYBOX = f"{REGISTRY}/test/busybox:1"
CHURNED = Path("/run/bed-churned.json")
#: Not the busybox of other compressions: it is the image of the pods under another name, and would be removed with it.
_CHURNED = ("test/nginx", "test/with-user", "test/pause")
_BED = Path("/etc/bed")
_PROGRAM = """\
#!/bin/sh
PYTHONPATH={root} exec /opt/venv/bin/python -c 'from cri.cli import main; main()' "$@"
"""


def setup() -> None:
    data = Path("/var/lib/coracle")
    data.mkdir(exist_ok=True)
    if not data.is_mount() and Path("/dev/vdb").exists():
        subprocess.run(["mkfs.ext4", "-q", "/dev/vdb"], check=True)
        subprocess.run(["mount", "/dev/vdb", str(data)], check=True)
    program = Path("/usr/local/bin/coracle")
    program.write_text(_PROGRAM.format(root=ROOT))
    program.chmod(0o755)
    # critest loads AppArmor profiles by sudo, whoever it is.
    sudo = Path("/usr/local/bin/sudo")
    sudo.write_text('#!/bin/sh\nexec "$@"\n')
    sudo.chmod(0o755)
    unit = ROOT / "deploy/systemd/coracle.service"
    Path("/etc/systemd/system/coracle.service").write_text(unit.read_text())
    # What an overloaded processor does not get done in two minutes is no hang.
    drop_in = Path("/etc/systemd/system/coracle.service.d/emulated.conf")
    drop_in.parent.mkdir(exist_ok=True)
    drop_in.write_text("[Service]\nWatchdogSec=900\n")
    # Emulated, the kernel's search for equal pages costs more than everything else together.
    Path("/etc/default/coracle").write_text(
        f"CORACLE_RUNTIME_MERGE_MEMORY=false\nCORACLE_REGISTRY_CONFIG_PATH={_BED}/certs.d\n"
    )
    write_mirrors(_BED / "certs.d", {REGISTRY: REGISTRY})
    (_BED / "registry.json").write_text(
        json.dumps(
            {
                "version": "0.1",
                "log": {"level": "warn"},
                "storage": {"filesystem": {"rootdirectory": str(CACHE / "registry")}},
                "http": {"addr": REGISTRY},
            }
        )
    )
    registry = debian.program("docker-registry", "usr/bin/docker-registry")
    Path("/etc/systemd/system/bed-registry.service").write_text(
        f"[Unit]\nRequiresMountsFor={ROOT}\n[Service]\nExecStart={registry} serve {_BED}/registry.json\n"
        "Environment=OTEL_TRACES_EXPORTER=none\nRestart=always\n"
    )
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "start", "bed-registry"], check=True)


def pods(count: int, parent: str = "") -> list[dict[str, object]]:
    made = []
    with Client(SOCKET) as client:
        client.pull(BUSYBOX)
        for number in range(count):
            config = pod_config(f"pod-{os.getpid()}-{number}", logs=Path("/var/log/bed"), cgroup_parent=parent)
            sandbox = client.run_pod(config)
            container = client.create(sandbox, container_config(f"main-{number}", BUSYBOX, "sleep", "100000"), config)
            client.start(container)
            answer = client.runtime.ContainerStatus(pb.ContainerStatusRequest(container_id=container, verbose=True))
            info = json.loads(answer.info["info"])
            made.append({"sandbox": sandbox, "container": container, "cgroup": info["cgroup"], "pid": info["pid"]})
    return made


def churn() -> None:
    """Two threads: one pulls and removes images, one makes pods and ends every other. CHURNED says how many."""
    done = {"pulls": 0, "pods": 0}

    def count(what: str) -> None:
        done[what] += 1
        CHURNED.write_text(json.dumps(done))

    def images() -> None:
        with Client(SOCKET) as client:
            for repository in itertools.cycle(_CHURNED):
                reference = f"{REGISTRY}/{repository}:1"
                try:
                    client.pull(reference)
                    count("pulls")
                    client.images.RemoveImage(pb.RemoveImageRequest(image=pb.ImageSpec(image=reference)))
                except grpc.RpcError as error:
                    print(error, file=sys.stderr)

    threading.Thread(target=images, daemon=True).start()
    for _ in itertools.count():
        (made,) = pods(1)
        count("pods")
        sandbox = str(made["sandbox"])
        if int(sandbox[0], 16) % 2:
            with Client(SOCKET) as client:
                client.stop_pod(sandbox)
                client.remove_pod(sandbox)


def state() -> dict[str, object]:
    with Client(SOCKET) as client:
        sandboxes = {pod.id: pb.PodSandboxState.Name(pod.state) for pod in client.pods()}
        containers = {one.id: pb.ContainerState.Name(one.state) for one in client.containers()}
        images = client.images.ListImages(pb.ListImagesRequest()).images
    leases = [path for path in Path("/var/lib/cni/networks").glob("*/*") if path.name[0].isdigit()]
    return {
        "pods": sandboxes,
        "containers": containers,
        "images": sorted(tag for image in images for tag in image.repo_tags),
        "addresses": {path.name: (path.read_text().split() or ["nobody, the file is empty"])[0] for path in leases},
        "namespaces": sorted(path.name for path in Path("/run/netns").glob("cni-*")),
    }


def limit(container: str, size: int) -> None:
    with Client(SOCKET) as client:
        linux = pb.LinuxContainerResources(memory_limit_in_bytes=size)
        client.runtime.UpdateContainerResources(pb.UpdateContainerResourcesRequest(container_id=container, linux=linux))


def clear() -> None:
    with Client(SOCKET) as client:
        client.remove_all()


def main() -> None:
    verb, *words = sys.argv[1:]
    Path("/var/log/bed").mkdir(exist_ok=True)
    answer: object = None
    if verb == "pods":
        answer = pods(int(words[0]), *words[1:])
    elif verb == "limit":
        limit(words[0], int(words[1]))
    else:
        answer = {"setup": setup, "churn": churn, "state": state, "clear": clear}[verb]()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
