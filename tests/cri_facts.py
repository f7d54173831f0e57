"""Says what a .proto declares, one declaration a line, so that two of them (or one and a table) compare as sets."""

from __future__ import annotations

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)


def facts_of(file: FileDescriptorProto) -> set[str]:
    facts = {
        f"rpc {service.name}.{method.name} {_short(method.input_type, file)} {_short(method.output_type, file)} "
        + _kind(method.client_streaming, method.server_streaming)
        for service in file.service
        for method in service.method
    }
    facts |= {_enum(enum.name, enum) for enum in file.enum_type}
    for message in file.message_type:
        facts.add(" ".join(["message", message.name, *(_field(field, message, file) for field in message.field)]))
        facts |= {_enum(f"{message.name}.{enum.name}", enum) for enum in message.enum_type}
    return facts


def _kind(client: bool, server: bool) -> str:
    return {(False, False): "unary", (False, True): "server-stream", (True, False): "client-stream"}.get(
        (client, server), "both-stream"
    )


def _short(name: str, file: FileDescriptorProto) -> str:
    return name.removeprefix(f".{file.package}.")


def _enum(name: str, enum: EnumDescriptorProto) -> str:
    return " ".join(["enum", name, *(f"{value.name}={value.number}" for value in enum.value)])


def _field(field: FieldDescriptorProto, message: DescriptorProto, file: FileDescriptorProto) -> str:
    kind = _short(field.type_name, file) or FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()
    label = "[]" if field.label == FieldDescriptorProto.LABEL_REPEATED else ""
    for nested in message.nested_type:
        if nested.options.map_entry and field.type_name.endswith(f".{message.name}.{nested.name}"):
            key, value = (
                FieldDescriptorProto.Type.Name(part.type).removeprefix("TYPE_").lower() for part in nested.field
            )
            kind, label = f"map<{key},{value}>", ""
    return f"{field.name}={field.number}:{kind}{label}{'!' if field.options.deprecated else ''}"
