"""config.json as values: round trip, strictness, names."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.errors import SpecError
from oci.spec import Process, Resources, Spec, linux, process, resources, to_json
from oci.spec import config as top
from oci.spec.codec import json_name

_TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
_MODULES = (top, linux, process, resources)
_SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "str": _TEXT,
    "bool": st.booleans(),
    "int": st.integers(-(1 << 31), (1 << 31) - 1),
    "U16": st.integers(0, (1 << 16) - 1),
    "U32": st.integers(0, (1 << 32) - 1),
    "U64": st.integers(0, (1 << 64) - 1),
    "I64": st.integers(-(1 << 63), (1 << 63) - 1),
}


def _strategy(annotation: str) -> st.SearchStrategy[Any]:
    if annotation.endswith(" | None"):
        return st.none() | _strategy(annotation.removesuffix(" | None"))
    if annotation.startswith("tuple["):
        return st.lists(_strategy(annotation[6:-6]), max_size=2).map(tuple)
    if annotation.startswith("Mapping[str, "):
        return st.dictionaries(_TEXT, _strategy(annotation[13:-1]), max_size=2)
    return _SCALARS[annotation] if annotation in _SCALARS else _instances(annotation)


def _instances(name: str) -> st.SearchStrategy[Any]:
    cls: Any = next(vars(module)[name] for module in _MODULES if name in vars(module))
    return st.builds(cls, **{item.name: _strategy(str(item.type)) for item in dataclasses.fields(cls)})


@given(_instances("Spec"))
def test_a_spec_survives_the_way_through_json(spec: Spec) -> None:
    assert Spec.from_json(json.loads(json.dumps(to_json(spec)))) == spec


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["process", "root", "mounts", "hooks", "linux", "annotations", "ociVersion"]), _JSON)
def test_any_document_gives_a_spec_or_an_error_that_names_the_field(name: str, value: object) -> None:
    document = {"ociVersion": "1.3.0", name: value}
    failed = None
    try:
        Spec.from_json(document)
    except SpecError as error:
        failed = error.field
    assert failed is None or failed.startswith(name)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({}, "ociVersion"),
        ({"ociVersion": 1}, "ociVersion"),
        ({"ociVersion": "1", "process": {}}, "process.cwd"),
        ({"ociVersion": "1", "process": {"cwd": "/", "user": {"uid": -1}}}, "process.user.uid"),
        ({"ociVersion": "1", "process": {"cwd": "/", "user": {"uid": 1 << 32}}}, "process.user.uid"),
        ({"ociVersion": "1", "process": {"cwd": "/", "user": {"uid": True}}}, "process.user.uid"),
        ({"ociVersion": "1", "process": {"cwd": "/", "user": {"uid": "0"}}}, "process.user.uid"),
        ({"ociVersion": "1", "process": {"cwd": "/", "args": ["a", "b\0c"]}}, "process.args[1]"),
        ({"ociVersion": "1", "mounts": [{"destination": "/a"}, {}]}, "mounts[1].destination"),
        ({"ociVersion": "1", "linux": {"sysctl": {"a": 1}}}, "linux.sysctl['a']"),
        ([], ""),
    ],
)
def test_errors_name_the_field(document: object, field: str) -> None:
    with pytest.raises(SpecError) as failure:
        Spec.from_json(document)
    assert failure.value.field == field


def test_null_and_unknown_properties_are_absent() -> None:
    spec = Spec.from_json({"ociVersion": "1.3.0", "process": None, "linux": {"seccomp": None}, "zos": {"x": 1}})
    assert spec == Spec(oci_version="1.3.0")


@pytest.mark.parametrize(
    ("python", "json_"),
    [
        ("oci_version", "ociVersion"),
        ("no_new_privileges", "noNewPrivileges"),
        ("container_id", "containerID"),
        ("exec_cpu_affinity", "execCPUAffinity"),
        ("throttle_read_iops_device", "throttleReadIOPSDevice"),
        ("disable_oom_killer", "disableOOMKiller"),
        ("l3_cache_schema", "l3CacheSchema"),
        ("io_priority", "ioPriority"),
        ("class_", "class"),
    ],
)
def test_names(python: str, json_: str) -> None:
    assert json_name(python) == json_


def test_parts_are_read_alone() -> None:
    assert Process.from_json({"cwd": "/", "args": ["x"]}).args == ("x",)
    assert Resources.from_json({"pids": {"limit": 0}}).pids == resources.PidsResources(limit=0)
