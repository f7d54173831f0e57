"""Volumes as pods see them: from objects, in memory, of the host, from images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from e2e.images.catalog import ImageNames
from e2e.kube.api import until
from e2e.kube.manifests import config_map, container, pod, secret
from e2e.kube.workload import Workload


def _mounts(**where: str) -> dict[str, Any]:
    return {"volumeMounts": [{"name": name, "mountPath": path} for name, path in where.items()]}


def test_config_map_and_secret_follow_their_objects(work: Workload, images: ImageNames) -> None:
    work.make(config_map("settings", colour="blue"))
    work.make(secret("key", token="opens"))
    main = container("main", images.busybox, **_mounts(settings="/settings", key="/key"))
    main["env"] = [{"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}}]
    main["envFrom"] = [{"secretRef": {"name": "key"}}]
    volumes = [
        {"name": "settings", "configMap": {"name": "settings"}},
        {"name": "key", "secret": {"secretName": "key", "defaultMode": 0o400}},
    ]
    work.run(pod("reads", main, volumes=volumes))
    script = "cat /settings/colour /key/token; echo $COLOUR $token; stat -L -c %a /key/token"
    assert work.exec("reads", "sh", "-c", script) == "blueopensblue opens\n400\n"
    assert "tmpfs" in work.exec("reads", "grep", " /key ", "/proc/mounts")
    work.api.patch(work.path("ConfigMap", "settings"), {"data": {"colour": "green"}})
    until("the new content", lambda: work.exec("reads", "cat", "/settings/colour") == "green", seconds=120, every=2)


def test_projected_volume_with_a_token_that_the_server_takes(work: Workload, images: ImageNames) -> None:
    main = container("main", images.busybox, **_mounts(all="/all"))
    fields = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    work.make(config_map("part", one="1"))
    sources = [
        {"configMap": {"name": "part"}},
        {"downwardAPI": {"items": fields}},
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
    ]
    volumes = [{"name": "all", "projected": {"sources": sources}}]
    work.run(pod("gathers", main, labels={"made": "here"}, volumes=volumes))
    assert work.exec("gathers", "cat", "/all/one", "/all/labels") == '1made="here"'
    token = work.exec("gathers", "cat", "/all/token")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    status = work.api.post("/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
    assert status["user"]["username"] == f"system:serviceaccount:{work.namespace}:default"
    assert work.exec("gathers", "ls", "/var/run/secrets/kubernetes.io/serviceaccount").split() == [
        "ca.crt",
        "namespace",
        "token",
    ]


def test_empty_directories_on_disk_and_in_memory(work: Workload, images: ImageNames) -> None:
    main = container("main", images.busybox, **_mounts(disk="/disk", memory="/memory"))
    other = container("other", images.busybox, **_mounts(disk="/elsewhere"))
    volumes = [
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "8Mi"}},
    ]
    work.run(pod("scratch", main, other, volumes=volumes))
    work.exec("scratch", "sh", "-c", "echo shared > /disk/file", container="main")
    assert work.exec("scratch", "cat", "/elsewhere/file", container="other") == "shared\n"
    line = work.exec("scratch", "grep", " /memory ", "/proc/mounts", container="main")
    assert line.startswith("tmpfs ")
    assert "size=8192k" in line
    filled = work.exec(
        "scratch", "sh", "-c", "dd if=/dev/zero of=/memory/f bs=1M count=9 2>&1 || true", container="main"
    )
    assert "No space left" in filled


def test_host_paths_read_only_and_with_propagation(work: Workload, images: ImageNames, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("of the host\n")
    main = container("main", images.busybox)
    main["volumeMounts"] = [
        {"name": "host", "mountPath": "/host"},
        {"name": "host", "mountPath": "/fixed", "readOnly": True, "recursiveReadOnly": "Enabled"},
        {"name": "host", "mountPath": "/one", "subPath": "file"},
        {"name": "made", "mountPath": "/made"},
    ]
    volumes = [
        {"name": "host", "hostPath": {"path": str(tmp_path), "type": "Directory"}},
        {"name": "made", "hostPath": {"path": f"{tmp_path}/made", "type": "DirectoryOrCreate"}},
    ]
    work.run(pod("host", main, volumes=volumes))
    script = "cat /host/file /one; echo back > /host/new; touch /fixed/x || echo refused"
    assert work.exec("host", "sh", "-c", f"{script} 2>/dev/null") == "of the host\nof the host\nrefused\n"
    assert (tmp_path / "new").read_text() == "back\n"
    assert (tmp_path / "made").is_dir()


def test_image_volume(work: Workload, images: ImageNames) -> None:
    main = container("main", images.busybox)
    main["volumeMounts"] = [
        {"name": "image", "mountPath": "/image"},
        {"name": "image", "mountPath": "/page", "subPath": "usr/share/nginx/html"},
    ]
    volumes = [{"name": "image", "image": {"reference": images.nginx, "pullPolicy": "IfNotPresent"}}]
    work.run(pod("image", main, volumes=volumes))
    assert "Coracle" in work.exec("image", "cat", "/image/usr/share/nginx/html/index.html")
    assert "Coracle" in work.exec("image", "cat", "/page/index.html")
    refused = work.exec("image", "sh", "-c", "touch /image/x 2>&1 || true")
    assert "Read-only file system" in refused


def test_image_volume_that_is_not_there(work: Workload, images: ImageNames) -> None:
    main = container("main", images.busybox, **_mounts(image="/image"))
    absent = images.nginx.replace("test/nginx", "test/absent")
    work.make(pod("lost", main, volumes=[{"name": "image", "image": {"reference": absent}}]))

    def waits(pod: dict[str, Any]) -> bool:
        return "ErrImagePull" in json.dumps(pod["status"]) or "ImagePullBackOff" in json.dumps(pod["status"])

    work.when("lost", waits, "waiting for its volume")
    work.remove("Pod", "lost", grace=0)


def test_groups_own_volumes_and_users_are_as_asked(work: Workload, images: ImageNames) -> None:
    main = container("main", images.busybox, **_mounts(disk="/disk"))
    security = {"runAsUser": 1234, "runAsGroup": 2345, "fsGroup": 3456, "supplementalGroups": [4567]}
    work.run(pod("owned", main, volumes=[{"name": "disk", "emptyDir": {}}], securityContext=security))
    script = "id -u; id -G; touch /disk/x && stat -c %g /disk/x"
    assert work.exec("owned", "sh", "-c", script) == "1234\n2345 3456 4567\n3456\n"
