"""Errors of the command line: on stderr, and in the log file in the form that callers (containerd) parse."""

from __future__ import annotations

import os
import sys
import time

from oci.json_text import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cli.dispatch import Settings


def report(settings: Settings, error: BaseException) -> None:
    log(settings, "error", text(error))
    print(f"coracle-oci: {text(error)}", file=sys.stderr)  # noqa: T201


def warn(settings: Settings, message: str) -> None:
    log(settings, "warning", message)
    print(f"coracle-oci: warning: {message}", file=sys.stderr)  # noqa: T201


def log(settings: Settings, level: str, message: str) -> None:
    if not settings.log:
        return
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if settings.log_json:
        line = dumps({"level": level, "msg": message, "time": now})
    else:
        line = f'time="{now}" level={level} msg={dumps(message)}'
    try:
        fd = os.open(settings.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    except OSError as error:
        print(f"coracle-oci: log {settings.log}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(line + "\n")


def text(error: BaseException) -> str:
    if isinstance(error, OSError) and error.errno:
        return f"{error.filename}: {error.strerror}" if error.filename is not None else str(error.strerror)
    return str(error)
