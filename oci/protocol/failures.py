"""Errors as values: what went wrong on the other side, as a message, and back to the exception it was. Pure.

The tree of `oci.errors` and `OSError` cross the wire whole, with their operands. Anything else that escapes a request
is a fault in the shim or launcher itself and arrives as `PeerFault`; its traceback is in the other side's own log.

    ProtocolError           a packet that cannot be understood, or is too large: the peer's fault
    PeerFault               the peer failed in a way it did not foresee
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Final

from oci import errors
from oci.spec.codec import I64
from oci.values import fresh, frozen


class ProtocolError(Exception):
    def __init__(self, problem: str) -> None:
        super().__init__(f"shim protocol: {problem}")
        self.problem = problem


class PeerFault(Exception):
    """`kind` is the class name of the exception that nobody foresaw."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"shim failed unexpectedly: {kind}: {message}")
        self.kind = kind
        self.message = message


@frozen
class Failure:
    """`numbers` and `texts` hold the operands by name; `error` is a key of the table below."""

    KIND: ClassVar[str] = "failure"
    FDS: ClassVar[tuple[str, ...]] = ()
    error: str
    texts: Mapping[str, str] = fresh(default_factory=dict)
    numbers: Mapping[str, I64] = fresh(default_factory=dict)


# Operands in the order of the constructor's parameters.
_OPERANDS: Final[dict[type[Exception], tuple[str, ...]]] = {
    errors.SpecError: ("field", "problem"),
    errors.Unsupported: ("feature", "reason"),
    errors.ContainerError: ("stage", "errno", "message"),
    errors.HookError: ("kind", "index", "path", "problem"),
    errors.CgroupError: ("path", "problem", "errno"),
    errors.SeccompError: ("problem",),
    errors.UserLookupError: ("user", "problem"),
    errors.ContainerNotFound: ("container_id",),
    errors.ContainerExists: ("container_id",),
    errors.StateError: ("container_id", "problem"),
    ProtocolError: ("problem",),
    PeerFault: ("kind", "message"),
}
_CLASSES: Final = {cls.__name__: cls for cls in _OPERANDS}


def from_exception(error: Exception) -> Failure:
    if isinstance(error, OSError):
        texts = {"strerror": error.strerror or str(error)}
        if error.filename is not None:
            texts["filename"] = str(error.filename)
        return Failure(error="OSError", texts=texts, numbers={"errno": error.errno or 0})
    for cls in type(error).__mro__:  # a subclass added later still arrives as its nearest known base
        if names := _OPERANDS.get(cls):
            operands = {name: getattr(error, name) for name in names}
            return Failure(
                error=cls.__name__,
                texts={name: value for name, value in operands.items() if isinstance(value, str)},
                numbers={name: value for name, value in operands.items() if isinstance(value, int)},
            )
    return Failure(error="", texts={"kind": type(error).__name__, "message": str(error)})


def to_exception(failure: Failure) -> Exception:
    if failure.error == "OSError":
        number, message = failure.numbers.get("errno", 0), failure.texts.get("strerror", "")
        filename = failure.texts.get("filename")
        return OSError(number, message) if filename is None else OSError(number, message, filename)
    cls = _CLASSES.get(failure.error)
    if cls is None:
        return PeerFault(failure.texts.get("kind", failure.error), failure.texts.get("message", ""))
    operands: dict[str, str | int] = {**failure.texts, **failure.numbers}
    try:
        return cls(*(operands[name] for name in _OPERANDS[cls]))
    except KeyError as missing:
        return ProtocolError(f"failure {failure.error} without its operand {missing}")
