"""joined, progress, worker.messages: the small machinery between callers, pulls and workers."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import fields

import pytest

from imagesvc import errors
from imagesvc.joined import Joined
from imagesvc.layer.writer import Seal
from imagesvc.progress import LayerProgress, Phase, ProgressBoard, PullProgress
from imagesvc.registry.credentials import Credentials
from imagesvc.worker.messages import (
    Access,
    Failed,
    Job,
    LayerJob,
    LayerSource,
    Progress,
    Report,
    Resolution,
    ResolveJob,
    Written,
    decode,
    encode,
)


class Work:
    def __init__(self) -> None:
        self.started = 0
        self.cleaned = 0
        self.go = asyncio.Event()

    async def __call__(self) -> str:
        self.started += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            self.cleaned += 1
            raise
        return f"result {self.started}"


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_callers_of_one_key_share_the_work() -> None:
    joined: Joined[str, str] = Joined()
    work = Work()
    callers = [asyncio.ensure_future(joined.run("k", work)) for _ in range(3)]
    await settle()
    work.go.set()
    assert await asyncio.gather(*callers) == ["result 1"] * 3
    assert len(joined) == 0
    assert await joined.run("k", work) == "result 2"


async def test_a_caller_may_leave_and_the_last_one_ends_the_work() -> None:
    joined: Joined[str, str] = Joined()
    work = Work()
    first, second = (asyncio.ensure_future(joined.run("k", work)) for _ in range(2))
    await settle()
    first.cancel()
    await settle()
    assert first.cancelled()
    assert work.cleaned == 0
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    assert work.cleaned == 1  # before the caller's cancellation ended
    assert len(joined) == 0


async def test_a_caller_that_comes_during_the_cleaning_starts_afresh() -> None:
    joined: Joined[str, str] = Joined()
    work = Work()
    first = asyncio.ensure_future(joined.run("k", work))
    await settle()
    first.cancel()
    await asyncio.sleep(0)
    second = asyncio.ensure_future(joined.run("k", work))
    work.go.set()
    assert await second == "result 2"
    assert work.cleaned == 1


async def test_a_failure_reaches_every_caller() -> None:
    joined: Joined[str, str] = Joined()

    async def fail() -> str:
        await asyncio.sleep(0)
        raise ValueError("no")

    outcomes = await asyncio.gather(*(joined.run("k", fail) for _ in range(2)), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["no", "no"]


async def test_close_ends_all_work() -> None:
    joined: Joined[str, str] = Joined()
    work = Work()
    caller = asyncio.ensure_future(joined.run("k", work))
    await settle()
    await joined.close()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert work.cleaned == 1


async def test_watchers_see_pulls_begin_move_and_end() -> None:
    board = ProgressBoard()
    updates = board.watch()
    assert await anext(updates) == ()
    pull = board.begin("r/a:1")
    heard: list[PullProgress] = []
    pull.listeners.append(heard.append)
    assert await anext(updates) == (PullProgress(image="r/a:1"),)
    moved = LayerProgress(digest="d", phase=Phase.FETCHING, fetched_bytes=1, size_bytes=2)
    pull.set(0, moved)
    pull.set(1, moved)
    seen = PullProgress(image="r/a:1", layers=(moved, moved))
    assert await anext(updates) == (seen,)
    assert heard[-1] == seen
    board.end(pull)
    assert await anext(updates) == ()
    waiting = asyncio.ensure_future(anext(updates))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    waiting.cancel()


ACCESS = Access(
    reference="r/a:1",
    credentials=Credentials(username="u", password="p"),
    registry_config_path="",
    docker_config_paths=("a", "b"),
    progress_timeout=1.5,
    avoid=("x",),
    authorizations={"x": "y"},
)

MESSAGES: list[Job | Report] = [
    ResolveJob(access=ACCESS, known="d"),
    ResolveJob(access=Access(**{**{f.name: getattr(ACCESS, f.name) for f in fields(ACCESS)}, "credentials": None})),
    LayerJob(access=ACCESS, digest="d", size=1, media_type="m", diff_id="i", form="erofs", staged="s", final="f"),
    Progress(fetched=5, retrying=True),
    Resolution(
        digest="d",
        config_digest="c",
        config=b"\xff{}",
        layers=(LayerSource(digest="d", size=1, media_type="m", diff_id="i"),),
        authorizations={"a": "b"},
        failed=("h",),
    ),
    Written(size=1, inodes=2, implied=(b"", b"a\xff"), opaque_root=True, seal=Seal(content_end=4096, digest="ab")),
    Failed(kind="ImageNotFound", reference="r", host="h", cause="c"),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_messages_survive_the_way(message: Job | Report) -> None:
    line = encode(message)
    assert line.count(b"\n") == 1
    assert decode(line) == message


def test_errors_survive_the_way() -> None:
    error = Failed(kind="TooManyRequests", reference="r", host="h", cause="c", retry_after=3).error()
    assert isinstance(error, errors.TooManyRequests)
    assert (error.reference, error.host, error.cause, error.retry_after) == ("r", "h", "c", 3)
    full = Failed(kind="os", errno=errno.ENOSPC, cause="/x").error()
    assert isinstance(full, OSError)
    assert (full.errno, full.filename) == (errno.ENOSPC, "/x")
    assert isinstance(Failed(kind="config", host="/f", cause="c").error(), errors.RegistryConfigError)
    assert isinstance(Failed(kind="defect", reference="r", cause="c").error(), errors.WorkerDied)
    for name, kind in errors.PULL_ERRORS.items():
        assert type(Failed(kind=name, reference="r", host="h", cause="c").error()) is kind
