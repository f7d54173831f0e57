"""What the daemon and the launcher say to each other: short texts, words parted by NUL. Pure.

Not the messages of the shims: the launcher must run next to nothing between two forks. Every page it writes to, the
shims forked before keep a copy of for themselves.

    launcher -> daemon   ready NUL problem NUL problem ...    once, first
    daemon -> launcher   sandbox id NUL directory NUL oom_score_adj or ""    + (listening socket, connected socket)
    launcher -> daemon   pid, or "-" errno

    daemon -> launcher   ping                                                whether it is well
    launcher -> daemon   0

The directory is an absolute path, so it holds no NUL; requests are answered in order.
"""

from __future__ import annotations

from oci.protocol.failures import ProtocolError
from oci.values import frozen

LIMIT = 8192
_READY = b"ready"
PING = b"ping"


@frozen
class ForkShim:
    sandbox_id: str
    directory: str
    oom_score_adj: int | None = None


def pack_ready(problems: list[str]) -> bytes:
    return b"\0".join([_READY, *(problem.encode(errors="replace") for problem in problems)])[:LIMIT]


def unpack_ready(data: bytes) -> list[str]:
    word, *problems = data.split(b"\0")
    if word != _READY:
        raise ProtocolError(f"launcher is not ready: {data[:80]!r}")
    return [problem.decode(errors="replace") for problem in problems]


def pack_request(request: ForkShim) -> bytes:
    adjustment = "" if request.oom_score_adj is None else str(request.oom_score_adj)
    data = b"\0".join(
        (request.sandbox_id.encode(), request.directory.encode(errors="surrogateescape"), adjustment.encode())
    )
    if data.count(b"\0") != 2 or len(data) > LIMIT:
        raise ProtocolError(f"sandbox {request.sandbox_id!r} in {request.directory!r} cannot be told to the launcher")
    return data


def unpack_request(data: bytes) -> ForkShim:
    sandbox_id, directory, adjustment = data.split(b"\0")
    return ForkShim(
        sandbox_id=sandbox_id.decode(),
        directory=directory.decode(errors="surrogateescape"),
        oom_score_adj=int(adjustment) if adjustment else None,
    )


def pack_answer(pid: int) -> bytes:
    """`pid` of the shim, or a negative errno."""
    return b"%d" % pid


def unpack_answer(data: bytes) -> int:
    try:
        return int(data)
    except ValueError:
        raise ProtocolError(f"launcher answered {data[:80]!r}") from None
