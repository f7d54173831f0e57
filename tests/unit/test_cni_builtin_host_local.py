"""Who holds which address: never two owners of one, whatever the order of events."""

from __future__ import annotations

import fcntl
import ipaddress
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cni.builtin import host_local
from cni.builtin.allocation import IPAddress, plan_ranges
from cni.builtin.host_local import HostLocal
from cni.errors import AddressesExhausted, NetworkTimeout
from cni.values import BuiltinSubnet

V4 = BuiltinSubnet(subnet="10.1.0.0/29", exclude=("10.1.0.4/32",))
V6 = BuiltinSubnet(subnet="fd00::/64", range_start="fd00::10", range_end="fd00::13")


def opened(directory: Path, *subnets: BuiltinSubnet) -> HostLocal:
    return HostLocal(str(directory), "net", plan_ranges("net", subnets or (V4,)))


def names(directory: Path) -> set[str]:
    return {path.name for path in (directory / "net").iterdir()}


class Allocations(RuleBasedStateMachine):
    """Two instances on one directory, as two daemons or a daemon and the plugin would be."""

    def __init__(self) -> None:
        super().__init__()
        self._temporary = tempfile.TemporaryDirectory()
        self._instances = [opened(Path(self._temporary.name), V4, V6) for _ in range(2)]
        self._held: dict[str, tuple[IPAddress, ...]] = {}

    def teardown(self) -> None:
        self._temporary.cleanup()

    @rule(which=st.integers(0, 1), owner=st.text("abc", min_size=1, max_size=3))
    def allocate(self, which: int, owner: str) -> None:
        if owner in self._held:
            return
        try:
            given = self._instances[which].allocate(owner, "eth0")
        except AddressesExhausted:
            assert len(self._held) == 4  # both ranges have four
            return
        assert not set(given) & {address for held in self._held.values() for address in held}
        assert [address.version for address in given] == [4, 6]
        self._held[owner] = given

    @precondition(lambda self: bool(self._held))
    @rule(which=st.integers(0, 1), data=st.data(), hinted=st.booleans())
    def release(self, which: int, data: st.DataObject, hinted: bool) -> None:
        owner = data.draw(st.sampled_from(sorted(self._held)))
        hint = self._held[owner] if hinted else ()
        given = self._held.pop(owner)
        assert set(self._instances[which].release(owner, "eth0", hint)) == set(given)
        assert self._instances[which].release(owner, "eth0", hint) == ()

    @invariant()
    def the_directory_says_the_same(self) -> None:
        found = {(h.container_id, h.address) for h in self._instances[0].holdings()}
        assert found == {(owner, address) for owner, held in self._held.items() for address in held}
        assert not {ipaddress.ip_address("10.1.0.1"), ipaddress.ip_address("10.1.0.4")} & {a for _, a in found}


Allocations.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
test_allocations = Allocations.TestCase


def test_the_files_are_host_locals(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (address,) = store.allocate("abc", "eth0")
    assert str(address) == "10.1.0.2"
    assert names(tmp_path) == {"10.1.0.2", "last_reserved_ip.0", "lock"}
    assert (tmp_path / "net" / "10.1.0.2").read_bytes() == b"abc\r\neth0"
    assert (tmp_path / "net" / "last_reserved_ip.0").read_text() == "10.1.0.2"
    store.release("abc", "eth0")
    assert [str(a) for a in store.allocate("next", "eth0")] == ["10.1.0.3"]  # not the one just given back


def test_all_ranges_or_none(tmp_path: Path) -> None:
    store = opened(tmp_path, BuiltinSubnet(subnet="10.1.0.0/24"), V6)
    for number in range(4):
        store.allocate(f"c{number}", "eth0")
    with pytest.raises(AddressesExhausted, match=r'no address is left in fd00::10-fd00::13 of network "net"'):
        store.allocate("c4", "eth0")
    assert len(store.holdings()) == 8


def test_an_address_of_somebody_else_is_not_released(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (address,) = store.allocate("mine", "eth0")
    assert store.release("other", "eth0", [address]) == ()
    assert store.release("mine", "net1", [address]) == ()
    (holding,) = store.holdings()
    (tmp_path / "net" / str(address)).write_text("other\r\neth0")
    assert store.release_stale([holding]) == ()


def test_a_wrong_hint_is_not_the_end(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (address,) = store.allocate("mine", "eth0")
    assert store.release("mine", "eth0", [ipaddress.ip_address("10.1.0.6")]) == (address,)


def test_old_and_torn_files(tmp_path: Path) -> None:
    store = opened(tmp_path)
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "10.1.0.2").write_text("old\n")  # before interfaces were noted
    (tmp_path / "net" / "last_reserved_ip.0").write_text("10.1.")
    assert [str(a) for a in store.allocate("new", "eth0")] == ["10.1.0.3"]
    assert [str(a) for a in store.release("old", "eth0")] == ["10.1.0.2"]


def test_nothing_is_made_by_looking(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert (store.holdings(), store.owned_by("a", "b"), store.release("a", "b")) == ((), (), ())
    assert list(tmp_path.iterdir()) == []


def test_threads_never_share_an_address(tmp_path: Path) -> None:
    subnet = BuiltinSubnet(subnet="10.1.0.0/24")
    with ThreadPoolExecutor(4) as pool:
        stores = [opened(tmp_path, subnet) for _ in range(4)]
        given = list(pool.map(lambda n: stores[n % 4].allocate(f"c{n}", "eth0")[0], range(60)))
    assert len(set(given)) == 60


def test_a_lock_that_is_never_given_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_local, "_LOCK_SECONDS", 0.0)
    store = opened(tmp_path)
    store.allocate("a", "eth0")
    fd = os.open(tmp_path / "net" / "lock", os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        with pytest.raises(NetworkTimeout, match=f"lock of {tmp_path}/net"):
            store.allocate("b", "eth0")
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("age", "uptime", "young"),
    [
        (1, 1000, True),
        (59, 1000, True),
        (61, 1000, False),
        (10, 20, True),
        (10, 5, False),  # before the boot
        (-5, 1000, True),  # clocks are adjusted
        (-3600, 1000, False),  # written before the clock was set back
    ],
)
def test_what_is_young_may_be_under_way(tmp_path: Path, age: float, uptime: float, young: bool) -> None:
    addresses = opened(tmp_path)
    (taken,) = addresses.allocate("one", "eth0")
    os.utime(tmp_path / "net" / str(taken), (0, 10_000 - age))
    (holding,) = addresses.holdings()
    assert holding.is_young(10_000, uptime) is young


def test_a_reservation_that_a_power_cut_emptied_is_nobodys_and_can_be_given_back(tmp_path: Path) -> None:
    addresses = opened(tmp_path)
    (taken,) = addresses.allocate("one", "eth0")
    (tmp_path / "net" / str(taken)).write_text("")
    (holding,) = addresses.holdings()
    assert (holding.container_id, holding.ifname) == ("", "")
    assert addresses.release("one", "eth0", [taken]) == ()
    assert addresses.release_stale([holding]) == (taken,)
