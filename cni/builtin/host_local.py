"""Who holds which address of a network. Owns one directory, in the format of the host-local plugin:

    <data dir>/<network>/
        10.88.0.7                "<container id>\\r\\n<interface name>": the owner of that address
        last_reserved_ip.0       the address given out last, one file for each range
        lock                     flock(2) on this file guards the directory

An address is taken by creating its file exclusively, so no race gives one address to two owners, whoever else works on
the directory. Nothing is synced: what a power failure loses belongs to pods that it ended as well.
"""

from __future__ import annotations

import fcntl
import ipaddress
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cni.builtin.allocation import AddressRange, IPAddress, candidates
from cni.errors import AddressesExhausted, NetworkTimeout
from cni.values import YOUNG_SECONDS
from oci.values import frozen

_LOCK_SECONDS: Final = 10.0
_LOCK_PAUSE: Final = 0.005
_LINE_BREAK: Final = "\r\n"


@frozen
class Holding:
    """`ifname` is empty in files of very old versions of host-local, both names are in a file that a power cut emptied.

    `written` is the time of the write in seconds since the epoch, as the clock said then.
    """

    address: IPAddress
    container_id: str
    ifname: str
    written: float

    def is_young(self, now: float, uptime: float) -> bool:
        """Whether an add() of somebody may be under way: not from before the boot, nor dated into the future by a clock
        that has been set back since."""
        return max(now - YOUNG_SECONDS, now - uptime) < self.written < now + YOUNG_SECONDS


class HostLocal:
    """Blocking. Safe for use by several processes on one directory, and by several threads."""

    def __init__(self, data_dir: str, network: str, ranges: tuple[AddressRange, ...]) -> None:
        self._directory = Path(data_dir) / network
        self._network = network
        self._ranges = ranges

    def allocate(self, container_id: str, ifname: str) -> tuple[IPAddress, ...]:
        """One address of each range; all or none."""
        owner = f"{container_id}{_LINE_BREAK}{ifname}"
        taken: list[IPAddress] = []
        with self._locked():
            try:
                for source in self._ranges:
                    taken.append(self._take(source, owner))
            except BaseException:
                for address in taken:
                    self._path(address).unlink(missing_ok=True)
                raise
        return tuple(taken)

    def release(self, container_id: str, ifname: str, hint: Iterable[IPAddress] = ()) -> tuple[IPAddress, ...]:
        """Give back what the attachment holds. `hint` are the addresses it is known to have: then no scan is needed."""
        hinted = tuple(hint)
        if not self._directory.is_dir():
            return ()
        with self._locked():
            found = [h for address in hinted if (h := self._holding(address)) and _owns(h, container_id, ifname)]
            if len(found) < len(hinted) or not hinted:
                found = [h for h in self._scan() if _owns(h, container_id, ifname)]
            return self._drop(found)

    def release_stale(self, holdings: Iterable[Holding]) -> tuple[IPAddress, ...]:
        """Give back these addresses, each only if the same owner still holds it."""
        with self._locked():
            return self._drop([h for h in holdings if self._same_owner(h)])

    def holdings(self) -> tuple[Holding, ...]:
        return tuple(self._scan()) if self._directory.is_dir() else ()

    def owned_by(self, container_id: str, ifname: str) -> tuple[IPAddress, ...]:
        return tuple(h.address for h in self.holdings() if _owns(h, container_id, ifname))

    def _take(self, source: AddressRange, owner: str) -> IPAddress:
        memory = self._directory / f"last_reserved_ip.{source.index}"
        for address in candidates(source, _read_address(memory)):
            try:
                fd = os.open(self._path(address), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            except FileExistsError:
                continue
            try:
                os.write(fd, owner.encode())
            finally:
                os.close(fd)
            memory.write_text(str(address))
            return address
        raise AddressesExhausted(self._network, str(source))

    def _drop(self, holdings: Iterable[Holding]) -> tuple[IPAddress, ...]:
        dropped = []
        for holding in holdings:
            self._path(holding.address).unlink(missing_ok=True)
            dropped.append(holding.address)
        return tuple(dropped)

    def _same_owner(self, holding: Holding) -> bool:
        now = self._holding(holding.address)
        return now is not None and (now.container_id, now.ifname) == (holding.container_id, holding.ifname)

    def _scan(self) -> Iterator[Holding]:
        for name in os.listdir(self._directory):
            try:
                address = ipaddress.ip_address(name)
            except ValueError:  # lock and last_reserved_ip.N
                continue
            if holding := self._holding(address):
                yield holding

    def _holding(self, address: IPAddress) -> Holding | None:
        try:
            with open(self._path(address)) as file:
                content = file.read(4096)
                written = os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return None
        container_id, _, ifname = content.strip().partition("\n")  # text mode has made \r\n one \n
        return Holding(address=address, container_id=container_id.strip(), ifname=ifname.strip(), written=written)

    def _path(self, address: IPAddress) -> Path:
        return self._directory / str(address)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        fd = os.open(self._directory / "lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            self._wait_for(fd)
            yield
        finally:
            os.close(fd)

    def _wait_for(self, fd: int) -> None:
        """flock with a deadline: a plugin that hangs while it holds the lock must not hang us."""
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise NetworkTimeout(self._network, f"lock of {self._directory}", _LOCK_SECONDS) from None
                time.sleep(_LOCK_PAUSE)


def _owns(holding: Holding, container_id: str, ifname: str) -> bool:
    return holding.container_id == container_id and holding.ifname in ("", ifname)


def _read_address(path: Path) -> IPAddress | None:
    """None where nothing was given out yet, or where the file was torn: the search then starts at the beginning."""
    try:
        return ipaddress.ip_address(path.read_text().strip())
    except (FileNotFoundError, ValueError):
        return None
