"""The daemon's own log: one line per message on standard error, as key=value text or as JSON.

Owns the form of lines and the thread that writes them. A log that is not read (a full pipe) must never hold up a call,
so lines are formatted where they arise and written by a thread; when more than `LONGEST_QUEUE` wait, further ones are
dropped and counted. Containers' logs are none of this: they are the shims' (`oci.logs`).

A message carries its facts as `extra=fields(sandbox=..., ...)`. Inside a call, `request` and `trace` are added by
themselves. What a value may hold is the caller's duty (`cri.redaction`); that it is not too long is seen to here.
"""

from __future__ import annotations

import collections
import contextvars
import json
import logging
import re
import sys
import threading
import time
import types
from collections.abc import Mapping
from typing import Any, Final, TextIO

from cri.config.schema import LogFormat, LogLevel

LONGEST_MESSAGE: Final = 4096
LONGEST_VALUE: Final = 1024
LONGEST_TRACEBACK: Final = 16384
LONGEST_QUEUE: Final = 10_000
#: How long a line may wait for others to be written with it.
BURST_S: Final = 0.01

_NO_FIELDS: Final[Mapping[str, str]] = types.MappingProxyType({})
#: What every line of the running call carries; set by `cri.rpc`.
call_fields: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("call_fields", default=_NO_FIELDS)

_BARE: Final = re.compile(r"[A-Za-z0-9_./:@+-]+")
_LEVELS: Final = {
    LogLevel.DEBUG: logging.DEBUG,
    LogLevel.INFO: logging.INFO,
    LogLevel.WARNING: logging.WARNING,
    LogLevel.ERROR: logging.ERROR,
}


def fields(**values: object) -> dict[str, Any]:
    """For the `extra` of a log call."""
    return {"fields": values}


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"


class LineFormatter(logging.Formatter):
    """Common to both forms: the facts of a record, in order."""

    def facts(self, record: logging.LogRecord) -> dict[str, object]:
        seconds = int(record.created)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        facts: dict[str, object] = {
            "time": f"{stamp}.{int(record.created * 1000) % 1000:03d}Z",
            "level": record.levelname.lower(),
            "msg": cut(record.getMessage(), LONGEST_MESSAGE),
        }
        facts.update(call_fields.get())
        for name, value in getattr(record, "fields", {}).items():
            facts[name] = value if isinstance(value, bool | int | float) else cut(str(value), LONGEST_VALUE)
        return facts

    def traceback(self, record: logging.LogRecord) -> str:
        """The tail is what matters: it names the error."""
        return self.formatException(record.exc_info)[-LONGEST_TRACEBACK:] if record.exc_info else ""


class TextFormatter(LineFormatter):
    def format(self, record: logging.LogRecord) -> str:
        line = " ".join(f"{name}={_quoted(value)}" for name, value in self.facts(record).items())
        traceback = self.traceback(record)
        return f"{line}\n{traceback}" if traceback else line


class JSONFormatter(LineFormatter):
    def format(self, record: logging.LogRecord) -> str:
        facts = self.facts(record)
        if traceback := self.traceback(record):
            facts["traceback"] = traceback
        return json.dumps(facts, ensure_ascii=False, separators=(",", ":"))


def _quoted(value: object) -> str:
    text = str(value)
    return text if _BARE.fullmatch(text) else json.dumps(text, ensure_ascii=False)


class BackgroundHandler(logging.Handler):
    """Writes lines from a thread, in order. `close` writes what is left."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._lines: collections.deque[str] = collections.deque()
        self._dropped = 0
        self._closing = threading.Event()
        self._ready = threading.Condition()
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # a defect in a log call must not become one of the call that logs
            self.handleError(record)
            return
        with self._ready:
            if len(self._lines) >= LONGEST_QUEUE:
                self._dropped += 1
                return
            self._lines.append(line)
            if len(self._lines) == 1:
                self._ready.notify()

    def _write(self) -> None:
        while True:
            with self._ready:
                while not self._lines and not self._closing.is_set():
                    self._ready.wait()
            # Lines come in bursts: one switch of threads for many of them, not for each.
            self._closing.wait(BURST_S)
            with self._ready:
                lines, dropped = list(self._lines), self._dropped
                self._lines.clear()
                self._dropped = 0
                closing = self._closing.is_set()
            if dropped:
                lines.append(self.format(_dropped(dropped)))
            try:
                self._stream.write("".join(f"{line}\n" for line in lines))
                self._stream.flush()
            except (OSError, ValueError):
                pass  # nobody reads any more; there is no place left to say so
            if closing:
                return

    def close(self) -> None:
        with self._ready:
            self._closing.set()
            self._ready.notify()
        self._thread.join(timeout=2.0)  # longer only if nobody reads the pipe
        super().close()


def _dropped(count: int) -> logging.LogRecord:
    return logging.makeLogRecord(
        {
            "name": __name__,
            "levelname": "WARNING",
            "msg": "log lines were dropped: nobody read them",
            **fields(lines=count),
        }
    )


class Log:
    """The configured log; `change` serves SIGHUP, `close` writes what is left."""

    def __init__(self, level: LogLevel, form: LogFormat, stream: TextIO | None = None) -> None:
        self._handler = BackgroundHandler(stream or sys.stderr)
        root = logging.getLogger()
        self._previous = root.handlers[:]
        root.handlers[:] = [self._handler]
        self.change(level, form)

    def change(self, level: LogLevel, form: LogFormat) -> None:
        self._handler.setFormatter(JSONFormatter() if form is LogFormat.JSON else TextFormatter())
        logging.getLogger().setLevel(_LEVELS[level])
        for library in ("asyncio", "grpc"):
            logging.getLogger(library).setLevel(max(_LEVELS[level], logging.INFO))

    def close(self) -> None:
        logging.getLogger().handlers[:] = self._previous
        self._handler.close()
