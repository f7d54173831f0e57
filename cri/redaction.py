"""What of a request may stand in a log.

Fields marked debug_redact in the .proto (credentials, values of environment variables) never do; bytes are replaced by
their length; long texts and lists are cut. `identity` is the short form for every line, `loggable` the whole request
for the debug level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

HIDDEN: Final = "<hidden>"
_LONGEST_TEXT: Final = 256
_MOST_ITEMS: Final = 16

Extract = Callable[[Any], str]


def loggable(message: Message) -> dict[str, object]:
    """The fields that are set, as plain values fit for a log."""
    return {field.name: _field(field, value) for field, value in message.ListFields()}


def _field(field: FieldDescriptor, value: Any) -> object:
    if field.GetOptions().debug_redact:
        return HIDDEN
    if isinstance(value, Mapping):
        return {_text(str(key)): _value(field, item) for key, item in list(value.items())[:_MOST_ITEMS]}
    if field.is_repeated:
        items = [_value(field, item) for item in value[:_MOST_ITEMS]]
        return [*items, f"and {len(value) - _MOST_ITEMS} more"] if len(value) > _MOST_ITEMS else items
    return _value(field, value)


def _value(field: FieldDescriptor, value: Any) -> object:
    if isinstance(value, Message):
        return loggable(value)
    if isinstance(value, bytes):
        return f"<{len(value)} bytes>"
    if isinstance(value, str):
        return _text(value)
    if field.enum_type is not None:
        known = field.enum_type.values_by_number.get(value)
        return known.name if known else value
    return cast(object, value)


def _text(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}... ({len(text)} characters)"


def identity(request: Descriptor) -> Callable[[Any], dict[str, str]]:
    """A function from requests of this type to the few texts that say what they are about.

    The ids at the top, the image's name, and the names in the metadata: `sandbox`, `container`, `image`, `pod`, `name`.
    """
    extracts: list[tuple[str, Extract]] = []
    for field in request.fields:
        if field.name in ("pod_sandbox_id", "container_id"):
            extracts.append((field.name.removesuffix("_id").removeprefix("pod_"), _get(field.name)))
        elif field.message_type is not None and field.message_type.name == "ImageSpec" and not field.is_repeated:
            extracts.append(("image", _get(field.name, "image")))
        elif field.message_type is not None and field.message_type.name == "PodSandboxConfig":
            extracts.append(("pod", _pod_of(field.name)))
        elif field.message_type is not None and field.message_type.name == "ContainerConfig" and not field.is_repeated:
            extracts.append(("name", _get(field.name, "metadata", "name")))

    def of(message: Any) -> dict[str, str]:
        return {name: text for name, extract in extracts if (text := extract(message))}

    return of


def _get(*path: str) -> Extract:
    def extract(message: Any) -> str:
        for name in path:
            message = getattr(message, name)
        return cast(str, message)

    return extract


def _pod_of(field: str) -> Extract:
    def extract(message: Any) -> str:
        metadata = getattr(message, field).metadata
        return f"{metadata.namespace}/{metadata.name}" if metadata.name else ""

    return extract
