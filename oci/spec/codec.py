"""JSON to dataclasses and back, driven by the classes' own annotations. Owns the type checks and the error paths.

It does not know any property of the specification: the classes of this package do. Annotations are read as text (all
modules here have `from __future__ import annotations`), which is what lets `U32` mean "a 32-bit unsigned integer" here
and plain `int` to everybody else, and costs no evaluation at import.

Rules: unknown properties are ignored (runtime-spec, Extensibility); null is absent; a value of the wrong type or out of
range raises `SpecError` with the property's path; a field without default is required. When writing, what equals its
default is left out.
"""

from __future__ import annotations

import sys

from oci.errors import SpecError
from oci.values import default_of, field_names, frozen, missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, Final, TypeAlias, TypeVar

    Decode: TypeAlias = Callable[[Any, str], Any]
    T = TypeVar("T")

U16: TypeAlias = int
U32: TypeAlias = int
U64: TypeAlias = int
I64: TypeAlias = int

_RANGES: Final = {
    "U16": (0, 0xFFFF),
    "U32": (0, 0xFFFF_FFFF),
    "U64": (0, 0xFFFF_FFFF_FFFF_FFFF),
    "I64": (-(1 << 63), (1 << 63) - 1),
    "int": (-(1 << 31), (1 << 31) - 1),
}

# Python name -> JSON name, where camel case alone does not give it.
_NAMES: Final = {
    "class_": "class",
    "container_id": "containerID",
    "host_id": "hostID",
    "kernel_tcp": "kernelTCP",
    "disable_oom_killer": "disableOOMKiller",
    "block_io": "blockIO",
    "clos_id": "closID",
    "class_id": "classID",
    "exec_cpu_affinity": "execCPUAffinity",
    "throttle_read_iops_device": "throttleReadIOPSDevice",
    "throttle_write_iops_device": "throttleWriteIOPSDevice",
}


@frozen
class _Field:
    name: str
    json_name: str
    decode: Decode
    required: bool
    default: Any


_tables: dict[type, tuple[_Field, ...]] = {}


def decode(cls: type[T], document: object, path: str = "") -> T:
    """An instance of `cls` from a parsed JSON document; `path` is the prefix of the field names in errors."""
    if not isinstance(document, dict):
        raise SpecError(path, f"expected an object, got {_kind(document)}")
    values = {}
    for item in _table(cls):
        value = document.get(item.json_name)
        if value is None:
            if item.required:
                raise SpecError(_join(path, item.json_name), "is required")
        else:
            values[item.name] = item.decode(value, _join(path, item.json_name))
    return cls(**values)


def encode(value: object) -> Any:
    """The JSON document of a spec object; inverse of `decode` up to unknown properties and spelled-out defaults."""
    if isinstance(value, (str, int, float)) or value is None:
        return value
    if isinstance(value, tuple):
        return [encode(entry) for entry in value]
    if isinstance(value, dict):
        return {key: encode(entry) for key, entry in value.items()}
    document = {}
    for item in _table(type(value)):
        entry = getattr(value, item.name)
        if item.required or entry != item.default:
            document[item.json_name] = encode(entry)
    return document


def _table(cls: type) -> tuple[_Field, ...]:
    table = _tables.get(cls)
    if table is None:
        table = _tables[cls] = tuple(_build(cls))
    return table


def _build(cls: type) -> list[_Field]:
    namespace = vars(sys.modules[cls.__module__])
    table = []
    for name in field_names(cls):
        default = default_of(cls, name)
        table.append(
            _Field(
                name=name,
                json_name=json_name(name),
                decode=_decoder(cls.__annotations__[name], namespace),
                required=missing(default),
                default=default,
            )
        )
    return table


def json_name(name: str) -> str:
    if special := _NAMES.get(name):
        return special
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _decoder(annotation: str, namespace: Mapping[str, Any]) -> Decode:
    annotation = annotation.removesuffix(" | None")
    if annotation.startswith("tuple["):
        return _sequence(_decoder(annotation[6 : -len(", ...]")], namespace))
    if annotation.startswith("Mapping[str, "):
        return _mapping(_decoder(annotation[13:-1], namespace))
    if annotation == "str":
        return _string
    if annotation == "bool":
        return _boolean
    if bounds := _RANGES.get(annotation):
        return _integer(*bounds)
    cls = namespace[annotation]
    return lambda value, path: decode(cls, value, path)


def _sequence(entry: Decode) -> Decode:
    def read(value: Any, path: str) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)):
            raise SpecError(path, f"expected an array, got {_kind(value)}")
        return tuple([entry(item, f"{path}[{index}]") for index, item in enumerate(value)])

    return read


def _mapping(entry: Decode) -> Decode:
    def read(value: Any, path: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise SpecError(path, f"expected an object, got {_kind(value)}")
        return {str(key): entry(item, f"{path}[{key!r}]") for key, item in value.items()}

    return read


def _string(value: Any, path: str) -> str:
    if not isinstance(value, str):
        raise SpecError(path, f"expected a string, got {_kind(value)}")
    # The kernel's strings end at NUL: what follows would silently be lost, so it is refused for every property.
    if "\0" in value:
        raise SpecError(path, "contains a NUL character")
    if not value.isascii():
        try:
            value.encode(errors="surrogateescape")  # how bytes that are no text arrive, in a Secret's variable
        except UnicodeEncodeError:
            raise SpecError(path, "contains half of a surrogate pair")
    return value


def _boolean(value: Any, path: str) -> bool:
    if not isinstance(value, bool):
        raise SpecError(path, f"expected true or false, got {_kind(value)}")
    return value


def _integer(low: int, high: int) -> Decode:
    def read(value: Any, path: str) -> int:
        # 1e3 and 5.0 are integers in JSON's own terms, and some generators write them so.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise SpecError(path, f"expected an integer, got {_kind(value)}")
        if not low <= value <= high:
            raise SpecError(path, f"{value} is not between {low} and {high}")
        return value

    return read


def _kind(value: object) -> str:
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    return "null" if value is None else names.get(type(value), type(value).__name__)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
