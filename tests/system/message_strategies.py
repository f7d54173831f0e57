"""Random messages for every call, derived from the descriptors: any field, any depth, boundary values preferred.

Pure: strategies only. Strings that stand for something of the running daemon (an id, a directory) are tokens like
`@running`; `filled` puts the real ones in, so that what hypothesis draws is the same in every run.

Some fields must stay harmless to the machine that the test runs on: `HARMLESS` draws those from lists (host paths only
below the test's directory, commands that end by themselves, no registry but the test's, no well-known host port).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

_F = FieldDescriptor
_DEEPEST: Final = 6
_TOKEN: Final = re.compile(r"^@[a-z]+(?:-[a-z]+)*")

#: Of the scene that the test keeps: ids in every state, unique and ambiguous beginnings, names that mean nothing.
IDS: Final = (
    "@running", "@created", "@exited", "@pod", "@stopped", "@running-prefix", "@pod-prefix", "", "0", "f" * 64,
    "g" * 64, "\0", "../../etc/passwd", "%s%n", "é" * 70, "x" * 5000,
)  # fmt: skip
TEXTS: Final = (
    "", " ", "a", "\0", "a\nb", "a b", "/", "..", "../..", "/../x", "-", "--help", "é", "\u202e", "0", "-1", "1" * 40,
    "x" * 64, "x" * 300, "y" * 5000, "null", "{}", "a=b", "a,b", "NaN", "@pod", "@running",
)  # fmt: skip
_COMMANDS: Final = ("true", "false", "sleep", "0.01", "/no/such", "", "\0", "echo", "x" * 140_000, "é", "-c", "sh")
_PATHS: Final = ("@tmp", "@tmp/file", "@tmp/none", "@tmp/a/../b", "@tmp/a\0b", "@tmp/" + "d/" * 2500, "", "relative")
_IMAGES: Final = (
    "@image", "@image-id", "@image-digest", "@missing-image", "", "UPPER/x", "a//b", "x@sha256:0", "x:bad tag", "\0",
    "sha256:" + "0" * 64, ":", "@", "/", "x" * 5000 + "//",
)  # fmt: skip

HARMLESS: Final[Mapping[str, tuple[Any, ...]]] = {
    "Mount.host_path": _PATHS,
    "Device.host_path": ("/dev/null", "/dev/zero", *_PATHS),
    "PodSandboxConfig.log_directory": _PATHS,
    "ContainerConfig.log_path": ("main.log", "", "a/b.log", "../x", "/x", "\0", "x" * 300, "."),
    "LinuxPodSandboxConfig.cgroup_parent": ("", "@cgroup", "@cgroup/sub", "../x", "@cgroup/../x", "@cgroup/\0"),
    "LinuxPodSandboxConfig.sysctls": ("net.ipv4.ip_unprivileged_port_start", "kernel.shm_rmid_forced", "kernel.panic",
                                      "", "/", "../x", "net.", "net.x/../y", "\0", "x" * 5000),
    "ContainerConfig.command": _COMMANDS,
    "ContainerConfig.args": _COMMANDS,
    "ExecSyncRequest.cmd": _COMMANDS,
    "ExecRequest.cmd": _COMMANDS,
    "ImageSpec.image": _IMAGES,
    "PortMapping.host_port": (0, -1, 65536, 2**31 - 1, 48211, 48212),
    "ExecSyncRequest.timeout": (0, 1, -1, 2**31, 2**63 - 1, -(2**63)),
    "StopContainerRequest.timeout": (0, 1, -1, 2**31, 2**63 - 1, -(2**63)),
    "CheckpointContainerRequest.location": _PATHS,
    "CheckpointPodRequest.output_path": _PATHS,
    "RestorePodRequest.checkpoint_path": _PATHS,
    "RestorePodRequest.input_path": _PATHS,
    "SecurityProfile.localhost_ref": _PATHS,
    "PodSandboxConfig.annotations": ("kubernetes.io/ingress-bandwidth", "kubernetes.io/egress-bandwidth", "", "k"),
}  # fmt: skip

_INTEGERS: Final[Mapping[int, tuple[int, int]]] = {
    _F.TYPE_INT32: (-(2**31), 2**31 - 1),
    _F.TYPE_INT64: (-(2**63), 2**63 - 1),
    _F.TYPE_UINT32: (0, 2**32 - 1),
    _F.TYPE_UINT64: (0, 2**64 - 1),
}


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 0) -> Message:
    """A message of any of its fields, each with a value that may be nonsense."""
    message: Message = GetMessageClass(descriptor)()
    if descriptor.fields and depth < _DEEPEST:
        fields: tuple[FieldDescriptor, ...] = tuple(descriptor.fields)
        for field in draw(st.lists(st.sampled_from(fields), unique_by=lambda field: field.number, max_size=4)):
            _set(draw, message, field, depth)
    return message


@st.composite
def mutations(draw: st.DrawFn, template: Message) -> Message:
    """`template`, which makes sense, with one to three fields changed somewhere in it."""
    message = type(template)()
    message.CopyFrom(template)
    for _ in range(draw(st.integers(1, 3))):
        _mutate(draw, message, 0)
    return message


def _mutate(draw: st.DrawFn, message: Message, depth: int) -> None:
    fields = tuple(message.DESCRIPTOR.fields)
    if not fields:
        return
    field: FieldDescriptor = draw(st.sampled_from(fields))  # type: ignore[assignment]
    inner = field.type == _F.TYPE_MESSAGE and not field.is_repeated
    if inner and depth < _DEEPEST and draw(st.integers(0, 4)):
        _mutate(draw, getattr(message, field.name), depth + 1)
    elif draw(st.integers(0, 5)) == 0:
        message.ClearField(field.name)
    else:
        _set(draw, message, field, depth)


def _set(draw: st.DrawFn, message: Message, field: FieldDescriptor, depth: int) -> None:
    if (kind := field.message_type) is not None and kind.GetOptions().map_entry:
        _fill_map(draw, message, field, kind.fields_by_name["value"])
    elif kind is not None:
        if field.is_repeated:
            parts = draw(st.lists(messages(kind, depth + 1), max_size=2))
            getattr(message, field.name).extend(parts)
        else:
            getattr(message, field.name).CopyFrom(draw(messages(kind, depth + 1)))
            getattr(message, field.name).SetInParent()
    elif field.is_repeated:
        getattr(message, field.name).extend(draw(st.lists(_scalar(field), max_size=3)))
    else:
        setattr(message, field.name, draw(_scalar(field)))


def _fill_map(draw: st.DrawFn, message: Message, field: FieldDescriptor, value: FieldDescriptor) -> None:
    names = HARMLESS.get(_name(field))
    keys = st.sampled_from(names) if names else _texts()
    assert value.type == _F.TYPE_STRING, "the CRI's maps hold texts"
    getattr(message, field.name).update(draw(st.dictionaries(keys, _texts(), max_size=3)))


def _scalar(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if allowed := HARMLESS.get(_name(field)):
        return st.sampled_from(allowed)
    if field.type == _F.TYPE_STRING:
        return st.sampled_from(IDS) if field.name.endswith("id") else _texts()
    if field.type == _F.TYPE_BYTES:
        return st.binary(max_size=40)
    if field.type == _F.TYPE_BOOL:
        return st.booleans()
    if field.enum_type is not None:
        known = [value.number for value in field.enum_type.values]
        return st.sampled_from([*known, max(known) + 1, -1, 2**31 - 1])
    if field.type in (_F.TYPE_DOUBLE, _F.TYPE_FLOAT):
        return st.floats(width=32)
    low, high = _INTEGERS[field.type]
    edges = [edge for edge in (0, 1, -1, 2, 1000, 65535, 65536, 100_000, 1 << 20, 1 << 31, low, high) if edge >= low]
    return st.sampled_from([edge for edge in edges if edge <= high]) | st.integers(low, high)


def _texts() -> st.SearchStrategy[str]:
    return st.sampled_from(TEXTS) | st.text(st.characters(codec="utf-8"), max_size=20)


def _name(field: FieldDescriptor) -> str:
    return f"{field.full_name.split('.')[-2]}.{field.name}"


def filled(message: Message, tokens: Mapping[str, str]) -> Message:
    """`message` with every token at the beginning of a text replaced; in place."""

    def real(text: str) -> str:
        return _TOKEN.sub(lambda found: tokens.get(found[0], found[0]), text)

    for field, value in message.ListFields():
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            changed = {real(name): real(text) for name, text in value.items()}
            value.clear()
            value.update(changed)
        elif field.type == _F.TYPE_MESSAGE:
            for part in value if field.is_repeated else [value]:
                filled(part, tokens)
        elif field.type == _F.TYPE_STRING:
            if field.is_repeated:
                value[:] = [real(text) for text in value]
            else:
                setattr(message, field.name, real(value))
    return message
