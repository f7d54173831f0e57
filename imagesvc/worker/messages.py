"""What the daemon and a worker tell each other: one JSON object a line, over a stream socket. Pure.

    daemon → worker   ResolveJob | LayerJob
    worker → daemon   Progress*, then one of Resolution, Written, Failed

Credentials travel in here and nowhere else: not in arguments, not in the environment.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from imagesvc import errors
from imagesvc.layer.writer import Seal
from imagesvc.registry.credentials import Credentials

#: A config document of 4 MiB in base64, and room for the rest.
LONGEST_LINE: Final = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How a registry is reached. `avoid` and `authorizations` are keyed by a host's base URL."""

    reference: str
    credentials: Credentials | None
    registry_config_path: str
    docker_config_paths: tuple[str, ...]
    progress_timeout: float
    avoid: tuple[str, ...] = ()
    authorizations: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolveJob:
    """`known` is the digest that the reference had when it was last pulled, "" if it never was."""

    access: Access
    known: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerJob:
    access: Access
    digest: str
    size: int
    media_type: str
    diff_id: str
    form: str
    staged: str
    final: str


Job = ResolveJob | LayerJob


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """`fetched` bytes of the compressed layer so far; `retrying` after an interruption."""

    fetched: int
    retrying: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerSource:
    digest: str
    size: int
    media_type: str
    diff_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """`unchanged`: the registry still means `known`, and the rest is empty."""

    digest: str
    unchanged: bool = False
    config_digest: str = ""
    config: bytes = b""
    layers: tuple[LayerSource, ...] = ()
    authorizations: Mapping[str, str] = field(default_factory=dict, repr=False)
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    size: int
    inodes: int
    implied: tuple[bytes, ...]
    opaque_root: bool
    seal: Seal
    failed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """`kind` is a PullError's class name, "os", "config" or "defect"."""

    kind: str
    reference: str = ""
    host: str = ""
    cause: str = ""
    retry_after: float | None = None
    errno: int = 0
    failed: tuple[str, ...] = ()

    def error(self) -> Exception:
        """The exception that it was in the worker."""
        if self.kind == "os":
            return OSError(self.errno, os.strerror(self.errno), self.cause or None)
        if self.kind == "config":
            return errors.RegistryConfigError(self.host, self.cause)
        if self.kind == errors.TooManyRequests.__name__:
            return errors.TooManyRequests(self.reference, self.host, self.cause, self.retry_after)
        return errors.PULL_ERRORS.get(self.kind, errors.WorkerDied)(self.reference, self.host, self.cause)


Report = Progress | Resolution | Written | Failed

_KINDS: Final = {kind.__name__: kind for kind in (ResolveJob, LayerJob, Progress, Resolution, Written, Failed)}


def encode(message: Job | Report) -> bytes:
    content = asdict(message)
    if isinstance(message, Resolution):
        content["config"] = base64.b64encode(message.config).decode()
    elif isinstance(message, Written):
        content["implied"] = [os.fsdecode(path) for path in message.implied]
    return json.dumps({"is": type(message).__name__, **content}).encode() + b"\n"


def decode(line: bytes) -> Job | Report:
    """Both ends are ours: what does not fit is a defect, and raises."""
    content: dict[str, Any] = json.loads(line)
    kind = _KINDS[content.pop("is")]
    if "access" in content:
        access = content["access"]
        credentials = access.pop("credentials")
        access["credentials"] = None if credentials is None else Credentials(**credentials)
        content["access"] = Access(**_tuples(access))
    if kind is Resolution:
        content["config"] = base64.b64decode(content["config"])
        content["layers"] = [LayerSource(**layer) for layer in content["layers"]]
    elif kind is Written:
        content["implied"] = [os.fsencode(path) for path in content["implied"]]
        content["seal"] = Seal(**content["seal"])
    message: Job | Report = kind(**_tuples(content))
    return message


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}
