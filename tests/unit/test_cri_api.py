"""The CRI as declared here: every fact of the interface holds, and the generated modules are those of the sources."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from cri.api import coracle_pb2, runtime_pb2
from cri.api import generate as generation
from tests.cri_facts import facts_of

FACTS = Path(__file__).with_name("cri_v1_facts.txt")
SECRETS = {
    "AuthConfig.password",
    "AuthConfig.auth",
    "AuthConfig.identity_token",
    "AuthConfig.registry_token",
    "KeyValue.value",
}


def our_file() -> descriptor_pb2.FileDescriptorProto:
    ours = descriptor_pb2.FileDescriptorProto()
    runtime_pb2.DESCRIPTOR.CopyToProto(ours)
    return ours


def test_every_fact_of_the_interface_holds() -> None:
    facts = {line for line in FACTS.read_text().splitlines() if not line.startswith("#")}
    assert facts_of(our_file()) == facts


def test_the_interface_has_43_calls_in_package_runtime_v1() -> None:
    ours = our_file()
    assert ours.package == "runtime.v1"
    assert sum(len(service.method) for service in ours.service) == 43


def test_the_files_have_names_of_their_own_in_the_descriptor_pool() -> None:
    assert runtime_pb2.DESCRIPTOR.name == "cri/api/runtime.proto"
    assert coracle_pb2.DESCRIPTOR.name == "cri/api/coracle.proto"


def test_secrets_are_marked() -> None:
    marked = {
        f"{message.name}.{field.name}"
        for message in our_file().message_type
        for field in message.field
        if field.options.debug_redact
    }
    assert marked == SECRETS


def test_an_environment_value_need_not_be_text() -> None:
    pair = runtime_pb2.KeyValue(key="BLOB", value=b"\xff\x00")
    assert runtime_pb2.KeyValue.FromString(pair.SerializeToString()).value == b"\xff\x00"


@pytest.mark.skipif(
    importlib.util.find_spec("grpc_tools") is None or importlib.util.find_spec("mypy_protobuf") is None,
    reason="grpcio-tools and mypy-protobuf are not installed",
)
def test_the_generated_modules_are_up_to_date() -> None:
    assert generation.stale() == ()
