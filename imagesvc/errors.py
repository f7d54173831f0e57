"""Everything that can go wrong with images. Owns the error types; decides nothing.

    ImageError
    ├── InvalidReference       a name that means nothing: the caller's fault
    ├── AmbiguousName          an id prefix that fits several images
    ├── ImageNotPresent        a local image that was needed is not (or no longer) there
    ├── RegistryConfigError    a hosts.toml, certificate or Docker config file of this node is broken
    ├── LayerError             a layer cannot be written or mounted on this node
    └── PullError              a pull failed; carries reference, host and cause
        ├── ImageNotFound        the registry has no such image
        ├── Unauthorized         the registry wants (other) credentials
        ├── TooManyRequests      the registry limits us; `retry_after` in seconds where it said so
        ├── RegistryUnavailable  unreachable, hanging, or answering 5xx
        ├── RegistryRefused      any other answer that is no success
        ├── CorruptContent       what came is not what its digest, size or format promises
        ├── UnsupportedImage     a valid document that this node cannot run
        └── WorkerDied           the process that fetched was killed

Operands are attributes; the message is lower case, without a full stop, and names reference, host and cause.
RegistryUnavailable is the exception: the kubelet looks for that word at the beginning of the text.
"""

from __future__ import annotations

from collections.abc import Sequence


class ImageError(Exception):
    """Root of the tree; never raised itself."""


class InvalidReference(ImageError):
    def __init__(self, reference: str, problem: str) -> None:
        shown = reference if len(reference) <= 256 else f"{reference[:256]}..."
        super().__init__(f"invalid image reference {shown!r}: {problem}")
        self.reference = reference
        self.problem = problem


class AmbiguousName(ImageError):
    def __init__(self, name: str, matches: Sequence[str]) -> None:
        super().__init__(f"image id prefix {name!r} is ambiguous: {', '.join(matches)}")
        self.name = name
        self.matches = tuple(matches)


class ImageNotPresent(ImageError):
    def __init__(self, name: str) -> None:
        super().__init__(f"image {name!r} is not present")
        self.name = name


class RegistryConfigError(ImageError):
    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}")
        self.path = path
        self.problem = problem


class LayerError(ImageError):
    def __init__(self, layer: str, problem: str) -> None:
        super().__init__(f"layer {layer}: {problem}")
        self.layer = layer
        self.problem = problem


class PullError(ImageError):
    """`host` is the one that answered, "" where none was asked."""

    def __init__(self, reference: str, host: str, cause: str) -> None:
        super().__init__(self._text(reference, host, cause))
        self.reference = reference
        self.host = host
        self.cause = cause

    @staticmethod
    def _text(reference: str, host: str, cause: str) -> str:
        return f"cannot pull {reference} from {host}: {cause}" if host else f"cannot pull {reference}: {cause}"


class ImageNotFound(PullError):
    pass


class Unauthorized(PullError):
    pass


class TooManyRequests(PullError):
    def __init__(self, reference: str, host: str, cause: str, retry_after: float | None = None) -> None:
        super().__init__(reference, host, cause)
        self.retry_after = retry_after


class RegistryUnavailable(PullError):
    @staticmethod
    def _text(reference: str, host: str, cause: str) -> str:
        return f"RegistryUnavailable: {PullError._text(reference, host, cause)}"


class RegistryRefused(PullError):
    pass


class CorruptContent(PullError):
    pass


class UnsupportedImage(PullError):
    pass


class WorkerDied(PullError):
    pass


PULL_ERRORS: dict[str, type[PullError]] = {
    kind.__name__: kind
    for kind in (
        ImageNotFound,
        Unauthorized,
        TooManyRequests,
        RegistryUnavailable,
        RegistryRefused,
        CorruptContent,
        UnsupportedImage,
        WorkerDied,
    )
}
"""By name: how an error travels from a worker process to the daemon."""
