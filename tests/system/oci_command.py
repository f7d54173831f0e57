"""The command line as a command, with a state directory and cgroups of its own, for the tests of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from oci.cli.spec_verb import template

REPOSITORY = Path(__file__).parents[2]


class Command:
    """The command line with a state directory and cgroups of its own."""

    def __init__(self, bundle: Path, root: Path) -> None:
        self.bundle = bundle
        self.root = root
        self.prefix = f"coracle-oci-{os.getpid()}"
        self.environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY)}

    def config(self, *args: str, **process: Any) -> None:
        document: dict[str, Any] = template(rootless=False)
        document["process"].update({"args": list(args), "terminal": False} | process)
        document["root"]["readonly"] = False
        document["linux"]["cgroupsPath"] = f"/{self.prefix}/x"
        document["hooks"] = {
            "poststop": [{"path": "/bin/touch", "args": ["touch", str(self.root.parent / "poststop")]}]
        }
        (self.bundle / "config.json").write_text(json.dumps(document))

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "oci.cli", "--root", str(self.root), *arguments]
        # Files, not pipes: the container of a create goes on holding them.
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            status = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=self.bundle, env=self.environment,
                timeout=30, check=False,
            ).returncode  # fmt: skip
            out.seek(0)
            err.seek(0)
            finished = subprocess.CompletedProcess(command, status, out.read(), err.read())
        if check:
            assert finished.returncode == 0, finished.stderr
        return finished

    def state(self, container_id: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self("state", container_id).stdout)
        return document


@contextmanager
def clean_command(bundle: Path, root: Path) -> Iterator[Command]:
    """Nothing that was made with it is left after it."""
    command = Command(bundle, root)
    yield command
    for container_id in command("list", "-q").stdout.split():
        command("delete", "--force", container_id)
    assert command("list", "-q").stdout == ""
    # Not everywhere below: cgroups of others come and go while this looks.
    assert not list(Path("/sys/fs/cgroup").glob(f"*/{command.prefix}/x"))
    for path in Path("/sys/fs/cgroup").glob(f"*/{command.prefix}"):
        path.rmdir()
