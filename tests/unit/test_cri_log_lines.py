"""Log lines: both forms, facts of the call, lengths, a reader that does not read."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cri import log_lines
from cri.config.schema import LogFormat, LogLevel
from cri.log_lines import BackgroundHandler, JSONFormatter, Log, TextFormatter, call_fields, fields


def record(message: str, *, raised: BaseException | None = None, **facts: object) -> logging.LogRecord:
    info = (type(raised), raised, raised.__traceback__) if raised else None
    made = logging.LogRecord("cri.test", logging.INFO, "file.py", 1, message, (), info)
    made.created = 1700000000.5
    made.fields = facts
    return made


@pytest.fixture(name="in_call")
def _in_call() -> Iterator[None]:
    token = call_fields.set({"request": "r-1"})
    yield
    call_fields.reset(token)


@pytest.mark.usefixtures("in_call")
def test_text_lines() -> None:
    line = TextFormatter().format(record("call answered", sandbox="s1", ms=1.5, error='a "b"\nc'))
    assert line == (
        'time=2023-11-14T22:13:20.500Z level=info msg="call answered" request=r-1 sandbox=s1 ms=1.5 '
        'error="a \\"b\\"\\nc"'
    )


@pytest.mark.usefixtures("in_call")
def test_json_lines() -> None:
    line = JSONFormatter().format(record("call answered", sandbox="s1", ms=1.5))
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.500Z",
        "level": "info",
        "msg": "call answered",
        "request": "r-1",
        "sandbox": "s1",
        "ms": 1.5,
    }


@given(st.text(), st.text())
def test_whatever_is_logged_stays_one_line(message: str, value: str) -> None:
    made = record("%s", value=value)
    made.args = (message,)
    assert "\n" not in TextFormatter().format(made)
    line = JSONFormatter().format(made)
    assert "\n" not in line
    assert json.loads(line)["value"] == value


def test_long_messages_and_values_are_cut() -> None:
    line = json.loads(JSONFormatter().format(record("m" * 100_000, value="v" * 100_000)))
    assert line["msg"].endswith("mmm... (100000 characters)")
    assert line["value"].endswith("vvv... (100000 characters)")
    assert len(line["msg"]) + len(line["value"]) < 6000


def test_tracebacks_are_kept() -> None:
    error = ValueError("the reason")
    assert TextFormatter().format(record("m", raised=error)).endswith("\nValueError: the reason")
    assert json.loads(JSONFormatter().format(record("m", raised=error)))["traceback"].endswith("ValueError: the reason")


def test_a_log_writes_what_its_level_lets_through() -> None:
    stream = io.StringIO()
    log = Log(LogLevel.WARNING, LogFormat.JSON, stream)
    logger = logging.getLogger("cri.test")
    logger.info("unseen")
    logger.warning("seen", extra=fields(key="value"))
    log.change(LogLevel.DEBUG, LogFormat.TEXT)
    logger.debug("seen, too")
    log.close()
    first, second = stream.getvalue().splitlines()
    assert (json.loads(first)["msg"], json.loads(first)["key"]) == ("seen", "value")
    assert second.endswith('level=debug msg="seen, too"')


class Stuck(io.StringIO):
    """Takes nothing until it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.go = threading.Event()

    def write(self, text: str) -> int:
        self.entered.set()
        self.go.wait()
        return super().write(text)


def test_a_log_that_nobody_reads_loses_lines_and_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_lines, "LONGEST_QUEUE", 3)
    stream = Stuck()
    handler = BackgroundHandler(stream)
    handler.setFormatter(JSONFormatter())
    handler.emit(record("first"))
    stream.entered.wait()
    for number in range(5):
        handler.emit(record(f"{number}"))
    stream.go.set()
    handler.close()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [line["msg"] for line in lines[:4]] == ["first", "0", "1", "2"]
    assert (lines[4]["msg"], lines[4]["lines"]) == ("log lines were dropped: nobody read them", 2)


def test_a_reader_that_went_away_is_no_error() -> None:
    stream = io.StringIO()
    handler = BackgroundHandler(stream)
    stream.close()
    handler.emit(record("m"))
    handler.close()


def test_the_default_is_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    log = Log(LogLevel.INFO, LogFormat.TEXT, sys.stderr)
    logging.getLogger("cri.test").info("hello")
    log.close()
    assert "msg=hello" in capsys.readouterr().err
