"""A guest for the session, with the daemon under systemd. Minutes: `make e2e-vm`, never a part of `make test`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from e2e.vm.guest import Guest
from e2e.vm.image import build
from e2e.vm.payload import archive, source_disk


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("vm", "a virtual machine")
    group.addoption("--vm-critest", type=Path, help="a critest binary for the tests that run it")
    group.addoption("--vm-crun", type=Path, help="a checkout of containers/crun for the tests that run its suite")
    group.addoption("--vm-bundle", type=Path, help="an archive of `make bundle ARGS='--packing gz'` for the installer")
    group.addoption("--vm-cuts", type=int, default=10, help="how many power cuts (10)")
    group.addoption("--vm-name", help="a guest that runs already (python -m e2e.vm up); its sources are refreshed")
    group.addoption("--vm-keep", action="store_true", help="leave the guest running at the end")


class Node:
    """A guest that runs coracle.service."""

    def __init__(self, guest: Guest) -> None:
        self.guest = guest

    def inside(self, *words: str, timeout: float = 300) -> Any:
        """A verb of e2e.vm.inside, and its answer."""
        command = ["/opt/venv/bin/python", "-m", "e2e.vm.inside", *words]
        done = self.guest.run(*command, env={"E2E_SLOWNESS": "10"}, timeout=timeout, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr.decode()[-2000:]}\n{self.journal()[-6000:]}"
        return json.loads(done.stdout.splitlines()[-1])

    def shell(self, script: str, *, timeout: float = 120, check: bool = True) -> str:
        return self.guest.run("sh", "-c", script, timeout=timeout, check=check).stdout.decode()

    def start(self) -> None:
        self.shell("systemctl start coracle", timeout=900)

    def property(self, name: str, unit: str = "coracle.service") -> str:
        return self.shell(f"systemctl show -P {name} {unit}").strip()

    def journal(self) -> str:
        return self.shell("journalctl -b --no-pager -u coracle.service")

    def until(self, script: str, *, patience: float = 300) -> None:
        """Waits for a command to succeed."""
        deadline = time.monotonic() + patience
        while self.guest.run("sh", "-c", script, check=False, timeout=120).returncode:
            assert time.monotonic() < deadline, f"{script}: not within {patience:.0f} s\n{self.journal()[-3000:]}"
            time.sleep(1)


@pytest.fixture(scope="session")
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    options = request.config
    more: dict[str, Path] = {}
    if critest := options.getoption("--vm-critest"):
        more[".cache/critest"] = critest
    if crun := options.getoption("--vm-crun"):
        more[".cache/crun/tests"] = crun / "tests"
    if bundle := options.getoption("--vm-bundle"):
        more[".cache/bundle.tar.gz"] = bundle
    existing = options.getoption("--vm-name")
    guest = Guest(existing or f"tests-{os.getpid()}")
    if existing:
        guest.run("tar", "-x", stdin=archive(), timeout=900)
        guest.run("systemctl", "try-restart", "coracle", timeout=900, check=False)  # the first time there is none
    else:
        guest.start(build(), source_disk(more))
    try:
        running = Node(guest)
        running.inside("setup")
        running.start()
        running.shell("sync")  # what was compiled at the first start is worth a minute after each power cut
        yield running
    finally:
        if not existing and not options.getoption("--vm-keep"):
            guest.remove()
