"""What a call can answer instead of a result, and the only place where gRPC status codes are chosen.

    CriError
    ├── InvalidArgument        the request cannot mean anything: the caller's fault; names the field
    ├── NotFound               the named object does not exist
    ├── AlreadyExists          the name is taken by something else
    ├── FailedPrecondition     the object is not in a state that allows the request
    ├── ResourceExhausted      a limit of this node is reached (descriptors, memory, disk)
    ├── DeadlineExceeded       the caller's deadline or the request's own timeout passed
    ├── Unavailable            not now: a repetition may succeed
    ├── Unimplemented          this runtime does not offer the call
    └── Unknown                for the kubelet, which looks at the beginning of the text and only if the code is UNKNOWN
        └── ImageVolumeMountFailed

Handlers raise these, or let the errors of `oci`, `cni` and `imagesvc` pass: `status_of` knows them all. An exception
that it does not know is a defect of Coracle: INTERNAL, with a short text that holds nothing of the exception's own,
since that may be anything; the traceback goes to the log, under the request's id.
"""

from __future__ import annotations

import asyncio
import errno
from typing import ClassVar

import grpc

import cni.errors
import imagesvc.errors
import oci.errors
from cri.shims.connection import ShimGone, ShimHung
from oci.values import frozen

#: gRPC sends the text as a trailer, percent-encoded; clients refuse trailers beyond 8 KiB.
LONGEST_TEXT = 2000


class CriError(Exception):
    """Root of the tree; never raised itself."""

    code: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL


class InvalidArgument(CriError):
    """`field` is the path of the field in the request, like `config.linux.resources.cpu_period`."""

    code = grpc.StatusCode.INVALID_ARGUMENT

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


class NotFound(CriError):
    """`kind` is what was looked for, like `container`; `name` is the id or name as the caller gave it."""

    code = grpc.StatusCode.NOT_FOUND

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(f"{kind} {name!r} not found")
        self.kind = kind
        self.name = name


class AlreadyExists(CriError):
    code = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(CriError):
    code = grpc.StatusCode.FAILED_PRECONDITION


class ResourceExhausted(CriError):
    code = grpc.StatusCode.RESOURCE_EXHAUSTED


class DeadlineExceeded(CriError):
    code = grpc.StatusCode.DEADLINE_EXCEEDED


class Unavailable(CriError):
    code = grpc.StatusCode.UNAVAILABLE


class Unimplemented(CriError):
    """`method` is the bare name of the call. The kubelet's tests know exactly this text."""

    code = grpc.StatusCode.UNIMPLEMENTED

    def __init__(self, method: str) -> None:
        super().__init__(f"method {method} not implemented")
        self.method = method


class Unknown(CriError):
    code = grpc.StatusCode.UNKNOWN


class ImageVolumeMountFailed(Unknown):
    """The kubelet shows it as the reason of a container that waits."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"ImageVolumeMountFailed: {problem}")
        self.problem = problem


@frozen
class Status:
    """What the caller is told. `unexpected` asks for a traceback in the log: the error is Coracle's own fault."""

    code: grpc.StatusCode
    text: str
    unexpected: bool = False


_C = grpc.StatusCode

#: Errors of the other packages: the first class that fits decides.
_FOREIGN: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (oci.errors.SpecError, _C.INVALID_ARGUMENT),
    (oci.errors.UserLookupError, _C.INVALID_ARGUMENT),
    (oci.errors.SeccompError, _C.INVALID_ARGUMENT),
    (oci.errors.Unsupported, _C.FAILED_PRECONDITION),
    (oci.errors.ContainerNotFound, _C.NOT_FOUND),
    (oci.errors.ContainerExists, _C.ALREADY_EXISTS),
    (oci.errors.StateError, _C.FAILED_PRECONDITION),
    (oci.errors.OciError, _C.UNKNOWN),
    (cni.errors.InvalidAttachment, _C.INVALID_ARGUMENT),
    (cni.errors.NetworkNotReady, _C.UNAVAILABLE),
    (cni.errors.AddressesExhausted, _C.RESOURCE_EXHAUSTED),
    (cni.errors.PortConflict, _C.FAILED_PRECONDITION),
    (cni.errors.NetworkTimeout, _C.DEADLINE_EXCEEDED),
    (cni.errors.CniError, _C.UNKNOWN),
    (ShimGone, _C.UNAVAILABLE),
    (ShimHung, _C.UNAVAILABLE),
    (imagesvc.errors.InvalidReference, _C.INVALID_ARGUMENT),
    (imagesvc.errors.AmbiguousName, _C.INVALID_ARGUMENT),
    (imagesvc.errors.ImageNotPresent, _C.NOT_FOUND),
    (imagesvc.errors.ImageNotFound, _C.NOT_FOUND),
    (imagesvc.errors.Unauthorized, _C.UNAUTHENTICATED),
    (imagesvc.errors.TooManyRequests, _C.RESOURCE_EXHAUSTED),
    (imagesvc.errors.CorruptContent, _C.DATA_LOSS),
    (imagesvc.errors.UnsupportedImage, _C.FAILED_PRECONDITION),
    # RegistryUnavailable is among these: the kubelet takes the word for the pod's reason, if the code is UNKNOWN.
    (imagesvc.errors.ImageError, _C.UNKNOWN),
)

_OUT_OF = {
    errno.ENOSPC: "no space left",
    errno.EDQUOT: "disk quota exceeded",
    errno.EMFILE: "too many open files in this process",
    errno.ENFILE: "too many open files on this host",
    errno.ENOMEM: "out of memory",
    errno.EAGAIN: "out of processes or memory",
}


def status_of(error: BaseException) -> Status:
    """The status that answers a call which ended with `error`."""
    if isinstance(error, CriError):
        return Status(code=error.code, text=shortened(str(error)))
    for kind, code in _FOREIGN:
        if isinstance(error, kind):
            return Status(code=code, text=shortened(str(error)))
    if isinstance(error, asyncio.CancelledError):
        return Status(code=_C.CANCELLED, text="the call was cancelled")
    if isinstance(error, TimeoutError) and error.errno is None:
        return Status(code=_C.DEADLINE_EXCEEDED, text=shortened(str(error)) or "the deadline passed")
    if isinstance(error, OSError):
        return _status_of_os_error(error)
    if isinstance(error, MemoryError):
        return Status(code=_C.RESOURCE_EXHAUSTED, text="the daemon is out of memory", unexpected=True)
    return Status(code=_C.INTERNAL, text=f"internal error ({type(error).__name__})", unexpected=True)


def _status_of_os_error(error: OSError) -> Status:
    """A refusal of the kernel that nobody foresaw; its text (the errno's and the path) is safe to show."""
    where = f": {error.filename}" if error.filename is not None else ""
    if error.errno in _OUT_OF:
        return Status(code=_C.RESOURCE_EXHAUSTED, text=shortened(f"{_OUT_OF[error.errno]}{where}"))
    return Status(code=_C.INTERNAL, text=shortened(f"{error.strerror or type(error).__name__}{where}"), unexpected=True)


def shortened(text: str, limit: int = LONGEST_TEXT) -> str:
    """`text` within `limit` characters: the middle goes, since causes stand at the end."""
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
