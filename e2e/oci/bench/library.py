"""The executor as a library: the engine in a process of its own that is small and frozen, as launcher and shims are.

As a program it is the process: it reads the names of measures from stdin, and answers each with milliseconds.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from oci import cgroups
from oci.engine import Created, CreateRequest, Engine, ExecRequest
from oci.spec import Process, Spec

_WARM_UP = 30


class Library:
    """The contender, seen from the benchmark."""

    def __init__(self, true: Path, pause: Path) -> None:
        self.name = "library"
        self._bundles = (true, pause)
        self._process: subprocess.Popen[str] | None = None

    def open(self) -> None:
        packages = Path(__file__).parents[3]
        code = "import sys; sys.path.insert(0, sys.argv.pop(1)); from e2e.oci.bench.library import serve; serve()"
        command = [sys.executable, "-I", "-S", "-c", code, str(packages), *map(str, self._bundles)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        for name in self.measures():
            for _ in range(_WARM_UP):
                self._ask(name)

    def close(self) -> None:
        assert self._process is not None
        self._process.communicate()

    def measures(self) -> Mapping[str, Callable[[], float]]:
        return {"run": lambda: self._ask("run"), "exec": lambda: self._ask("exec")}

    def _ask(self, name: str) -> float:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(name + "\n")
        process.stdin.flush()
        return float(process.stdout.readline())


def serve() -> None:
    true, pause = (_load(Path(path)) for path in sys.argv[1:3])
    engine, driver = Engine.open(), cgroups.detect()
    running, cgroup = _create(engine, driver, *pause)
    engine.start(running)
    process = Process(cwd="/", args=("/true",), env=("PATH=/",), no_new_privileges=True)
    request = ExecRequest(pid=running.pid, pidfd=running.pidfd, process=process, spec=pause[0], cgroup=cgroup)
    # What writes answers must not be what the containers inherit.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open("/dev/null", os.O_RDWR), 1)
    gc.freeze()
    gc.disable()
    for line in sys.stdin:
        began = time.perf_counter()
        if line.strip() == "run":
            _run(engine, driver, *true)
        else:
            executed = engine.exec_process(request)
            os.waitpid(executed.pid, 0)
            os.close(executed.pidfd)
        answers.write(f"{(time.perf_counter() - began) * 1000}\n")
        answers.flush()
    os.kill(running.pid, 9)
    os.waitpid(running.pid, 0)
    cgroup.remove()


def _run(engine: Engine, driver: cgroups.CgroupDriver, spec: Spec, bundle: str) -> None:
    """What `run` of a command line does, but for the state on disk: cgroup, container, wait, removal."""
    created, cgroup = _create(engine, driver, spec, bundle)
    engine.start(created)
    os.waitpid(created.pid, 0)
    os.close(created.pidfd)
    cgroup.remove()


def _create(engine: Engine, driver: cgroups.CgroupDriver, spec: Spec, bundle: str) -> tuple[Created, cgroups.Cgroup]:
    cgroup = driver.create(spec.linux.cgroups_path or "/", spec.linux.resources)
    return engine.create(CreateRequest(container_id="bench", spec=spec, bundle=bundle, cgroup=cgroup)), cgroup


def _load(bundle: Path) -> tuple[Spec, str]:
    return Spec.from_json(json.loads((bundle / "config.json").read_bytes())), str(bundle)
