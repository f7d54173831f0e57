"""A QEMU guest: its process, its disks, its end. The disks live in a directory of the guest's own.

.cache/vm/guests/<name>/
├── root.qcow2      over the image's disk.raw
├── source.qcow2    over the disk that `payload` made of this checkout: /dev/vda
├── data.qcow2      for the daemon's root: /dev/vdb, so that it can be checked while it is not mounted
├── console.log  qemu.log
└── guest.json      pid, port, image
"""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from e2e.vm import client, recipe
from e2e.vm.client import CommandTimeout, GuestGone
from e2e.vm.image import STORE

#: Where the checkout is inside.
SOURCE: Final = "/srv/coracle"
# Several emulating threads would make the kernel's patching of its own code fall over.
_EMULATION: Final = "tcg,thread=single,tb-size=512"
_MOUNT: Final = f"mkdir -p {SOURCE} && (mountpoint -q {SOURCE} || mount /dev/vda {SOURCE})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What guest.json holds: another process may go on with the guest."""

    pid: int
    port: int
    image: str
    source: str
    memory_mib: int


class Guest:
    def __init__(self, name: str) -> None:
        self.name = name
        self.directory = STORE / "guests" / name

    def start(self, image: Path, source: Path, *, memory_mib: int = 3072, patience: float = 300) -> None:
        """Boots, on the disks it had if there are any, and returns when commands can be run."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for disk, base in (("root", image / "disk.raw"), ("source", source)):
            path = self.directory / f"{disk}.qcow2"
            if not path.exists():
                subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", path], check=True)
        data = self.directory / "data.qcow2"
        if not data.exists():
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", data, "8G"], check=True)
        port = _free_port()
        with (self.directory / "qemu.log").open("ab") as log:
            process = subprocess.Popen(
                self._command(image, port, memory_mib), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip
        facts = Facts(pid=process.pid, port=port, image=str(image), source=str(source), memory_mib=memory_mib)
        (self.directory / "guest.json").write_text(json.dumps(asdict(facts)))
        self._await(process, patience)

    def run(
        self, *argv: str, env: Mapping[str, str] | None = None, cwd: str = SOURCE, stdin: bytes | None = None,
        timeout: float | None = None, show: bool = False, check: bool = True,
    ) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
        """Raises CalledProcessError (with `check`), GuestGone, CommandTimeout."""
        done = client.run(self._facts().port, argv, env=env, cwd=cwd, stdin=stdin, timeout=timeout, show=show)
        if check and done.returncode:
            said = (done.stdout + done.stderr)[-4000:].decode("utf-8", "replace")
            raise AssertionError(f"{' '.join(argv)[:300]}: exit status {done.returncode}\n{said}")
        return done

    def text(self, *argv: str, timeout: float | None = 120) -> str:
        return self.run(*argv, timeout=timeout).stdout.decode()

    def reset_hard(self, patience: float = 300) -> None:
        """A power cut: what the guest had flushed is on its disks, the rest is gone. Then it boots again."""
        facts = self._facts()
        self.kill()
        self.start(Path(facts.image), Path(facts.source), memory_mib=facts.memory_mib, patience=patience)

    def kill(self) -> None:
        """Returns when the process is gone with its locks on the disks: its command line is gone long before."""
        pid = self._facts().pid
        if self._alive(pid):
            process = os.pidfd_open(pid)
            try:
                os.kill(pid, signal.SIGKILL)
                select.select([process], [], [])
            finally:
                os.close(process)
            self._alive(pid)  # reaps it if it is ours

    def remove(self) -> None:
        if (self.directory / "guest.json").exists():
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def console(self) -> str:
        return (self.directory / "console.log").read_text(errors="replace")

    def is_up(self) -> bool:
        return (self.directory / "guest.json").exists() and self._alive(self._facts().pid)

    def _alive(self, pid: int) -> bool:
        """Ours still, and no zombie: a pid may be somebody else's by now."""
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass  # another process started it
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        return f"{self.directory}/root.qcow2".encode() in words

    def _facts(self) -> Facts:
        return Facts(**json.loads((self.directory / "guest.json").read_text()))

    def _command(self, image: Path, port: int, memory_mib: int) -> Sequence[str]:
        return [
            "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
            "-machine", "pc,usb=off,vmport=off", "-cpu", "max,avx2=off",
            "-accel", os.environ.get("VM_ACCEL", _EMULATION),
            "-smp", "2", "-m", str(memory_mib), "-serial", f"file:{self.directory}/console.log",
            "-kernel", str(image / "vmlinux"), "-append", (image / "command-line").read_text(),
            "-device", "virtio-rng-pci",
            # A flush of the guest reaches the file, and need not reach the host's disk.
            *_disk("root", f"{self.directory}/root.qcow2", "nvme"),
            *_disk("source", f"{self.directory}/source.qcow2", "virtio-blk-pci"),
            *_disk("data", f"{self.directory}/data.qcow2", "virtio-blk-pci"),
            "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:{recipe.PORT}",
            "-device", "virtio-net-pci,netdev=net,romfile=",
        ]  # fmt: skip

    def _await(self, process: subprocess.Popen[bytes], patience: float) -> None:
        deadline = time.monotonic() + patience
        while True:
            try:
                self.run("sh", "-c", _MOUNT, cwd="/", timeout=min(60, patience))
                return
            except (GuestGone, CommandTimeout) as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    log = (self.directory / "qemu.log").read_text(errors="replace")
                    self.kill()
                    raise GuestGone(
                        f"guest {self.name} does not come up: {error}\n{log[-500:]}\n{self.console()[-2000:]}"
                    ) from error
                time.sleep(0.5)


def _disk(name: str, path: str, device: str) -> list[str]:
    drive = f"id={name},file={path},if=none,format=qcow2,cache=unsafe,discard=unmap"
    return ["-drive", drive, "-device", f"{device},drive={name},serial={name}"]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
