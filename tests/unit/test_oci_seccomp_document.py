"""Profiles in files: both formats, and what may be wrong with them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oci.errors import SeccompError, SpecError
from oci.seccomp.document import load_profile, parse_profile
from oci.spec import Seccomp


def parse(document: object, *capabilities: str, machine: str = "x86_64", kernel: str = "6.1.0-25-amd64") -> Seccomp:
    return parse_profile(json.dumps(document).encode(), frozenset(capabilities), machine=machine, kernel=kernel)


def names(profile: Seccomp) -> list[str]:
    return [name for rule in profile.syscalls for name in rule.names]


def ruled(**conditions: object) -> dict[str, object]:
    rule = {"names": ["acct"], "action": "SCMP_ACT_ALLOW", **conditions}
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}


def test_the_plain_format() -> None:
    profile = parse(
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [
                {
                    "names": ["socket"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 1, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"}],
                }
            ],
        }
    )
    assert (profile.default_errno_ret, profile.architectures) == (38, ("SCMP_ARCH_X86_64",))
    (argument,) = profile.syscalls[0].args
    assert (argument.value, argument.value_two) == (1, 2)


def test_dockers_format() -> None:
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
            {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": None},
        ],
        "syscalls": [{"name": "read", "action": "SCMP_ACT_ALLOW", "comment": "old style", "args": None}],
    }
    profile = parse(document)
    assert profile.architectures == ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86")
    assert names(profile) == ["read"]
    assert parse(document, machine="aarch64").architectures == ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM")


@pytest.mark.parametrize(
    ("conditions", "applies"),
    [
        ({"includes": {"caps": ["CAP_SYS_PACCT"]}}, True),
        ({"includes": {"caps": ["CAP_SYS_PACCT", "CAP_SYS_TIME"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_TIME", "CAP_SYS_PACCT"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_TIME"]}}, True),
        ({"includes": {"arches": ["arm64", "amd64"]}}, True),
        ({"includes": {"arches": ["s390x"]}}, False),
        ({"excludes": {"arches": ["amd64"]}}, False),
        ({"includes": {"minKernel": "4.8"}}, True),
        ({"includes": {"minKernel": "6.1"}}, True),
        ({"includes": {"minKernel": "6.2"}}, False),
        ({"excludes": {"minKernel": "6.0"}}, False),
        ({"includes": {}, "excludes": {}}, True),
        ({"includes": {"arches": ["amd64"]}, "excludes": {"caps": ["CAP_SYS_PACCT"]}}, False),
    ],
)
def test_conditions(conditions: dict[str, object], applies: bool) -> None:
    assert bool(parse(ruled(**conditions), "CAP_SYS_PACCT").syscalls) == applies


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "must be an object"),
        ({}, "defaultAction"),
        ({"defaultAction": 5}, "defaultAction"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}}, "syscalls"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [5]}, r"syscalls\[0\]"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "archMap": [{}], "architectures": ["SCMP_ARCH_X86"]}, "together"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "archMap": 5}, "archMap"),
        (ruled(includes=[]), "includes"),
        (ruled(includes={"caps": "CAP_SYS_PACCT"}), "caps"),
        (ruled(includes={"minKernel": "six"}), "minKernel"),
        (ruled(name="read"), "both name and names"),
    ],
)
def test_bad_documents_name_the_place(document: object, words: str) -> None:
    with pytest.raises(SpecError, match=words):
        parse(document)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["defaultAction", "syscalls", "archMap", "includes", "excludes", "caps", "arches", "minKernel", "names",
             "name", "action", "args", "architecture", "subArchitectures", "architectures"]
        ),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(json_values)
def test_any_document_is_a_profile_or_an_error(document: object) -> None:
    try:
        parse(document)
    except (SpecError, SeccompError):
        pass


def test_files(tmp_path: Path) -> None:
    good = tmp_path / "good.json"
    good.write_text(json.dumps(ruled()))
    assert names(load_profile(str(good))) == ["acct"]
    contents = {"text": b"{", "deep": b"[" * 200_000, "large": b" " * (1 << 20) + b"{}", "bytes": b"\xff"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SeccompError, match=str(tmp_path / name)):
            load_profile(str(tmp_path / name))
    os.mkfifo(tmp_path / "fifo")
    for bad in ("fifo", "missing", "."):
        with pytest.raises(SeccompError, match="profile"):
            load_profile(str(tmp_path / bad))
