"""Debian's docker-registry on loopback: a real registry for tests, the demo and the benchmarks.

Owns the process and its configuration. Its storage is a directory that the caller chooses and removes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deploy.image import Registry
from e2e import debian
from e2e.processes import Program, answers, free_port

_NOTE: Final = "filled.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningRegistry:
    address: str
    """HOST:PORT"""
    pid: int
    client: Registry
    filled: dict[str, str] | None = None
    """What `remember` said of a storage that was filled elsewhere: nothing has to be pushed."""


@contextmanager
def running_registry(directory: Path, *, port: int | None = None) -> Iterator[RunningRegistry]:
    """A registry that stores below `directory` and ends with the block."""
    program = debian.program("docker-registry", "usr/bin/docker-registry")
    port = port or free_port()
    address = f"127.0.0.1:{port}"
    directory.mkdir(parents=True, exist_ok=True)
    # A machine that is slow at filling one keeps it from run to run, and is given one that was filled elsewhere.
    storage = Path(os.environ.get("E2E_REGISTRY_STORAGE") or directory / "blobs")
    configuration = directory / "registry.yml"
    # JSON is YAML: no writer of our own.
    configuration.write_text(
        json.dumps(
            {
                "version": "0.1",
                "log": {"level": "warn"},
                "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
                "http": {"addr": address},
            }
        )
    )
    process = Program(
        "docker-registry",
        [str(program), "serve", str(configuration)],
        directory / "registry.log",
        # Exporters read OTEL_* and REGISTRY_* from the environment: a caller's settings must not reach it.
        env={"OTEL_TRACES_EXPORTER": "none"},
    )
    try:
        process.wait_until(lambda: answers("127.0.0.1", port))
        yield RunningRegistry(address=address, pid=process.pid, client=Registry(address), filled=_remembered(storage))
    finally:
        process.stop()


def remember(storage: Path, facts: dict[str, str]) -> None:
    """Notes that everything is in `storage` that its users want."""
    (storage / _NOTE).write_text(json.dumps(facts))


def _remembered(storage: Path) -> dict[str, str] | None:
    try:
        facts: dict[str, str] = json.loads((storage / _NOTE).read_text())
    except FileNotFoundError:
        return None
    return facts
