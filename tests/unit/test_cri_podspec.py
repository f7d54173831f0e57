"""Pod manifests as CRI messages: what is translated, what is refused and with which words, what is only noted."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cri.api import runtime_pb2 as api
from cri.podspec import ManifestError, translate
from cri.podspec.quantity import parse, to_bytes, to_millis
from cri.podspec.reader import Reader

EXAMPLE = Path(__file__).parents[2] / "examples" / "web.yaml"
PLACES = Path("/places")


def pod(**spec: object) -> dict[str, Any]:
    containers = [{"name": "main", "image": "registry.example/app:1"}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "p"},
        "spec": {"restartPolicy": "Never", "containers": containers, **spec},
    }


def with_container(**fields: object) -> dict[str, Any]:
    return pod(containers=[{"name": "main", "image": "registry.example/app:1", **fields}])


def test_the_example_translates_whole() -> None:
    plan = translate(yaml.safe_load(EXAMPLE.read_text()), PLACES)
    assert plan.notices == ()
    assert plan.grace_seconds == 5
    web, writer = (container.config for container in plan.containers)
    assert [(one.container_port, one.host_port) for one in plan.sandbox.port_mappings] == [(80, 18080)]
    assert web.linux.resources.memory_limit_in_bytes == 64 << 20
    assert (web.linux.resources.cpu_quota, web.linux.resources.cpu_period) == (50_000, 100_000)
    assert web.linux.resources.cpu_shares == 512
    assert writer.envs[0].key == "GREETING"
    assert writer.linux.security_context.no_new_privs
    assert list(writer.linux.security_context.capabilities.drop_capabilities) == ["ALL"]
    page = plan.place / "volumes" / "page"
    assert [(mount.host_path, mount.container_path, mount.readonly) for mount in web.mounts] == [
        (str(page), "/usr/share/nginx/html", True)
    ]
    assert [(one.path, oct(one.mode)) for one in plan.directories] == [
        (plan.place / "logs", "0o755"),
        (page, "0o777"),
        (Path("/tmp/coracle-demo-site"), "0o755"),
    ]


def test_the_same_name_gives_the_same_pod() -> None:
    assert translate(pod(), PLACES).sandbox.metadata.uid == translate(pod(), PLACES).sandbox.metadata.uid
    other = pod() | {"metadata": {"name": "p", "namespace": "other"}}
    assert translate(pod(), PLACES).sandbox.metadata.uid != translate(other, PLACES).sandbox.metadata.uid


def test_namespaces_of_the_host() -> None:
    plan = translate(pod(hostNetwork=True, hostPID=True, hostIPC=True), PLACES)
    options = plan.sandbox.linux.security_context.namespace_options
    assert (options.network, options.pid, options.ipc) == (api.NODE, api.NODE, api.NODE)
    assert plan.sandbox.hostname == ""
    shared = translate(pod(shareProcessNamespace=True), PLACES).containers[0].config
    assert shared.linux.security_context.namespace_options.pid == api.POD


def test_a_container_overrides_the_pods_user() -> None:
    manifest = with_container(securityContext={"runAsUser": 7})
    manifest["spec"]["securityContext"] = {"runAsUser": 5, "runAsGroup": 6, "fsGroup": 8}
    context = translate(manifest, PLACES).containers[0].config.linux.security_context
    assert (context.run_as_user.value, context.run_as_group.value) == (7, 6)
    assert list(context.supplemental_groups) == [8]


def test_privileged_containers_see_all_of_proc() -> None:
    plan = translate(with_container(securityContext={"privileged": True}), PLACES)
    context = plan.containers[0].config.linux.security_context
    assert context.privileged
    assert not context.masked_paths
    assert not context.readonly_paths


def test_variables_from_the_pods_own_fields() -> None:
    env = [{"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    assert translate(with_container(env=env), PLACES).containers[0].config.envs[0].value == b"p"


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("app", "Always"),
        ("registry.example:5000/app", "Always"),
        ("app:latest", "Always"),
        ("app:1", "IfNotPresent"),
        ("registry.example:5000/app:1", "IfNotPresent"),
        ("app@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_pull_policies_without_a_word(image: str, policy: str) -> None:
    assert translate(with_container(image=image), PLACES).containers[0].pull == policy


@pytest.mark.parametrize(
    ("manifest", "field"),
    [
        ({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "x"}}, "kind"),
        (pod() | {"metadata": {}}, "metadata.name"),
        (pod(containers=[]), "spec.containers"),
        (pod(containers=[{"name": "x"}]), "spec.containers[0].image"),
        (pod(containers=[{"name": "a", "image": "i"}, {"name": "a", "image": "i"}]), "spec.containers[1].name"),
        (pod(containers="none"), "spec.containers"),
        (pod(initContainers=[{"name": "x", "image": "y"}]), "spec.initContainers"),
        (pod(volumes=[{"name": "v", "configMap": {"name": "c"}}]), "spec.volumes[0]"),
        (pod(volumes=[{"name": "v", "hostPath": {"path": "relative"}}]), "spec.volumes[0].hostPath.path"),
        (pod(volumes=[{"name": "v", "hostPath": {"path": "/a/../b"}}]), "spec.volumes[0].hostPath.path"),
        (pod(volumes=[{"name": "v", "hostPath": {"path": "/a", "type": "Wrong"}}]), "spec.volumes[0].hostPath.type"),
        (pod(volumes=[{"name": "v", "emptyDir": {}}] * 2), "spec.volumes[1].name"),
        (with_container(volumeMounts=[{"name": "v", "mountPath": "/x"}]), "spec.containers[0].volumeMounts[0].name"),
        (with_container(resources={"limits": {"memory": "-1"}}), "spec.containers[0].resources.limits.memory"),
        (with_container(resources={"limits": {"cpu": True}}), "spec.containers[0].resources.limits.cpu"),
        (with_container(ports=[{"containerPort": 70000}]), "spec.containers[0].ports[0].containerPort"),
        (with_container(ports=[{"containerPort": 1, "protocol": "ICMP"}]), "spec.containers[0].ports[0].protocol"),
        (with_container(securityContext={"runAsGroup": 1}), "spec.containers[0].securityContext.runAsGroup"),
        (with_container(imagePullPolicy="Sometimes"), "spec.containers[0].imagePullPolicy"),
        (with_container(command="ls"), "spec.containers[0].command"),
        (with_container(env=[{"name": "A", "value": 3}]), "spec.containers[0].env[0].value"),
        (
            with_container(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s"}}}]),
            "spec.containers[0].env[0].valueFrom",
        ),
    ],
)
def test_errors_name_the_field(manifest: dict[str, Any], field: str) -> None:
    with pytest.raises(ManifestError) as caught:
        translate(manifest, PLACES)
    assert caught.value.field == field


def test_what_is_not_understood_is_noted() -> None:
    manifest = with_container(livenessProbe={"exec": {"command": ["true"]}})
    manifest["spec"]["restartPolicy"] = "OnFailure"
    manifest["spec"]["tolerations"] = [{"key": "x"}]
    notices = translate(manifest, PLACES).notices
    assert notices[0].startswith("restartPolicy OnFailure is ignored")
    assert set(notices[1:]) == {"spec.tolerations is ignored", "spec.containers[0].livenessProbe is ignored"}


def test_a_sub_path_stays_in_its_volume() -> None:
    manifest = with_container(volumeMounts=[{"name": "v", "mountPath": "/x", "subPath": "a/b"}])
    manifest["spec"]["volumes"] = [{"name": "v", "hostPath": {"path": "/srv"}}]
    assert translate(manifest, PLACES).containers[0].config.mounts[0].host_path == "/srv/a/b"
    manifest["spec"]["containers"][0]["volumeMounts"][0]["subPath"] = "../b"
    with pytest.raises(ManifestError, match="leads out of the volume"):
        translate(manifest, PLACES)


@pytest.mark.parametrize(
    ("text", "value"),
    [("64Mi", 64 << 20), ("1Gi", 1 << 30), ("1.5k", 1500), ("2e3", 2000), (".5M", 500_000), ("0", 0), ("1m", 1)],
)
def test_quantities_in_bytes(text: str, value: int) -> None:
    assert to_bytes(text) == value


def test_quantities_in_thousandths() -> None:
    assert [to_millis(text) for text in ("500m", "0.5", "2", "0.0001")] == [500, 500, 2000, 1]


@given(st.text(max_size=12))
def test_quantities_parse_or_say_why(text: str) -> None:
    try:
        value = parse(text)
    except ValueError:
        return
    assert value >= 0


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.data())
def test_any_damage_to_a_manifest_is_an_error_that_names_a_field(data: st.DataObject) -> None:
    manifest: Any = copy.deepcopy(yaml.safe_load(EXAMPLE.read_text()))
    place: Any = manifest
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and place[key] and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(_JSON)
        break
    try:
        translate(manifest, PLACES)
    except ManifestError as error:
        field = error.field
    else:
        field = "none: the damage left it valid"
    assert field


def test_a_reader_knows_what_was_not_asked_for() -> None:
    reader = Reader({"a": {"b": 1, "c": 2}, "d": None})
    reader.table("a").number("b")
    assert reader.unread() == ["a.c"]
