"""Our proto against the one that Kubernetes publishes, fetched through the Go module client where there is one."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2

from cri.api import runtime_pb2
from tests.cri_facts import facts_of

MODULE = "k8s.io/cri-api@v0.37.2"


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> descriptor_pb2.FileDescriptorProto:
    go = shutil.which("go")
    if go is None:
        pytest.skip("go is not installed")
    if importlib.util.find_spec("grpc_tools") is None:
        pytest.skip("grpcio-tools is not installed")
    download = subprocess.run(
        [go, "mod", "download", "-json", MODULE], cwd=tmp_path_factory.mktemp("go"), capture_output=True, check=False
    )
    if download.returncode != 0:
        pytest.skip(f"go cannot fetch {MODULE}: {download.stdout.decode()[-300:]}{download.stderr.decode()[-300:]}")
    directory = Path(json.loads(download.stdout)["Dir"], "pkg", "apis", "runtime", "v1")
    compiled = tmp_path_factory.mktemp("upstream") / "api.binpb"
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", f"-I{directory}", f"--descriptor_set_out={compiled}", "api.proto"],
        check=True,
    )
    return descriptor_pb2.FileDescriptorSet.FromString(compiled.read_bytes()).file[0]


def ours() -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto()
    runtime_pb2.DESCRIPTOR.CopyToProto(file)
    return file


def secrets(file: descriptor_pb2.FileDescriptorProto) -> set[str]:
    return {
        f"{message.name}.{field.name}"
        for message in file.message_type
        for field in message.field
        if field.options.debug_redact
    }


def test_the_interface_is_the_published_one(upstream: descriptor_pb2.FileDescriptorProto) -> None:
    assert ours().package == upstream.package
    assert facts_of(ours()) == facts_of(upstream)


def test_everything_they_call_secret_is_secret_here(upstream: descriptor_pb2.FileDescriptorProto) -> None:
    assert secrets(upstream) <= secrets(ours())
