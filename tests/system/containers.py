"""Containers straight from the engine: a root filesystem from busybox, configs with changes, output and exit status.

No daemon, no shim, no image: what these find is the executor's own.
"""

from __future__ import annotations

import copy
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oci.cli.spec_verb import template
from oci.engine import Created, CreateRequest, Engine, ExecRequest, Running, Stdio
from oci.spec import Process, Spec

BUSYBOX = "/bin/busybox"


def make_rootfs(directory: Path) -> Path:
    """Applets are hard links: a container that replaces one must not replace all."""
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "mnt"):
        (directory / name).mkdir(parents=True)
    shutil.copy(BUSYBOX, directory / "bin/busybox")
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            os.link(directory / "bin/busybox", directory / "bin" / applet)
    (directory / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/home/guest:/bin/sh\n")
    return directory


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """`output` is stdout and stderr together."""

    status: int
    output: str

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()


@dataclass(slots=True)
class Box:
    """Makes containers of one root filesystem. Everything it started is gone after `close`."""

    rootfs: Path
    engine: Engine = field(default_factory=Engine.open)
    _alive: list[Created] = field(default_factory=list)

    def document(self, *args: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """A config.json; `changes` maps dotted paths ("process.user.uid") to values, None removes."""
        document: dict[str, Any] = copy.deepcopy(template(rootless=False))
        document["process"].update(args=list(args), terminal=False)
        document["root"] = {"path": str(self.rootfs)}
        document["hostname"] = "box"
        for path, value in (changes or {}).items():
            *parents, last = path.split(".")
            place = document
            for name in parents:
                place = place.setdefault(name, {})
            if value is None:
                place.pop(last, None)
            else:
                place[last] = value
        return document

    def spec(self, *args: str, changes: Mapping[str, Any] | None = None) -> Spec:
        return Spec.from_json(self.document(*args, changes=changes))

    def sh(self, script: str, **options: Any) -> Finished:
        return self.run("sh", "-c", script, **options)

    def run(self, *args: str, changes: Mapping[str, Any] | None = None, **request: Any) -> Finished:
        """Raises what create and start raise; the process is reaped in any case."""
        spec = self.spec(*args, changes=changes)
        reader, writer = os.pipe()
        null = os.open("/dev/null", os.O_RDONLY)
        created = None
        try:
            stdio = Stdio(stdin=null, stdout=writer, stderr=writer)
            created = self.create(spec, stdio=stdio, **request)
            self.engine.start(created)
            os.close(writer)
            writer = -1
            output = _drain(reader)
            return Finished(status=self.reap(created), output=output)
        finally:
            if created is not None and created in self._alive:
                self.reap(created)
            for fd in (reader, writer, null):
                if fd >= 0:
                    os.close(fd)

    def create(self, spec: Spec, **request: Any) -> Created:
        made = self.engine.create(
            CreateRequest(container_id="box", spec=spec, bundle=str(self.rootfs.parent), **request)
        )
        self._alive.append(made)
        return made

    def start(self, *args: str, changes: Mapping[str, Any] | None = None, **request: Any) -> Created:
        created = self.create(self.spec(*args, changes=changes), **request)
        self.engine.start(created)
        return created

    def exec_sh(self, container: Created, script: str, changes: Mapping[str, Any] | None = None) -> Finished:
        spec = self.spec("sh", "-c", script, changes=changes)
        assert spec.process is not None
        reader, writer = os.pipe()
        null = os.open("/dev/null", os.O_RDONLY)
        try:
            running = self.exec(container, spec.process, spec, Stdio(stdin=null, stdout=writer, stderr=writer))
            os.close(writer)
            writer = -1
            output = _drain(reader)
            _, status = os.waitpid(running.pid, 0)
            os.close(running.pidfd)
            return Finished(status=os.waitstatus_to_exitcode(status), output=output)
        finally:
            for fd in (reader, writer, null):
                if fd >= 0:
                    os.close(fd)

    def exec(self, container: Created, process: Process, spec: Spec, stdio: Stdio | None = None) -> Running:
        request = ExecRequest(pid=container.pid, pidfd=container.pidfd, process=process, spec=spec, stdio=stdio)
        return self.engine.exec_process(request)

    def reap(self, created: Created) -> int:
        self._alive.remove(created)
        _, status = os.waitpid(created.pid, 0)
        os.close(created.pidfd)
        created.channel.close()
        if created.console_fd is not None:
            os.close(created.console_fd)
        return os.waitstatus_to_exitcode(status)

    def close(self) -> None:
        for created in self._alive:
            try:
                os.kill(created.pid, 9)
            except ProcessLookupError:
                pass
        # Backwards: the init of a pid namespace cannot end before those who joined it were reaped.
        for created in reversed(list(self._alive)):
            self.reap(created)


def read_terminal(fd: int) -> str:
    """Until the other side is closed, which a terminal's master reports as EIO."""
    output = b""
    while True:
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        if not data:
            break
        output += data
    return output.decode().replace("\r\n", "\n")


def namespaces(*kinds: str, **joined: str) -> list[dict[str, str]]:
    return [{"type": kind} for kind in kinds] + [{"type": kind, "path": path} for kind, path in joined.items()]


def _drain(fd: int) -> str:
    output = b""
    while data := os.read(fd, 65536):
        output += data
    return output.decode(errors="replace")


def with_mount(box: Box, *mounts: dict[str, Any]) -> dict[str, Any]:
    """The change that adds `mounts` to those which every box has."""
    return {"mounts": [*box.document("true")["mounts"], *mounts]}
