"""Which address of a range comes next. Pure: no files, no clock.

The rules are host-local's, so that both may work on one directory: a range without ends spans the first to the last
usable address of its subnet (the last is the one before the broadcast address, for IPv4), the gateway is the first
address unless set, and the search starts behind the address that was given out last and goes round once.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from cni.errors import ConfigError
from cni.values import BuiltinSubnet
from oci.values import frozen

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network
IPInterface = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@frozen
class AddressRange:
    """`index` is the place in the network's list and names the file that remembers the last address given out."""

    index: int
    subnet: IPNetwork
    first: IPAddress
    last: IPAddress
    gateway: IPAddress
    exclude: tuple[IPNetwork, ...] = ()

    @property
    def version(self) -> int:
        return self.subnet.version

    def allows(self, address: IPAddress) -> bool:
        if address.version != self.version or not int(self.first) <= int(address) <= int(self.last):
            return False
        return address != self.gateway and not any(address in excluded for excluded in self.exclude)

    def interface(self, address: IPAddress) -> IPInterface:
        return ipaddress.ip_interface((address, self.subnet.prefixlen))

    @property
    def gateway_interface(self) -> IPInterface:
        return self.interface(self.gateway)

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def candidates(source: AddressRange, last_given: IPAddress | None) -> Iterator[IPAddress]:
    """Every address that may be given out, each once, beginning behind `last_given`."""
    low, high = int(source.first), int(source.last)
    make = ipaddress.IPv4Address if source.version == 4 else ipaddress.IPv6Address
    span = high - low + 1
    start = low
    if last_given is not None and last_given.version == source.version and low <= int(last_given) <= high:
        start = int(last_given) + 1
    number = start - low
    blocks = [(int(block.network_address), int(block.broadcast_address)) for block in source.exclude]
    seen = 0
    while seen < span:
        value = low + number % span
        block_end = max((end for begin, end in blocks if begin <= value <= end), default=None)
        if block_end is not None:  # an excluded block may be huge (IPv6): one leap
            leap = min(block_end, high) - value + 1
            number, seen = number + leap, seen + leap
            continue
        number, seen = number + 1, seen + 1
        address = make(value)
        if address != source.gateway:
            yield address


def plan_ranges(name: str, subnets: tuple[BuiltinSubnet, ...]) -> tuple[AddressRange, ...]:
    """The ranges of a network as configured; raises `ConfigError` for what contradicts itself."""
    if not subnets:
        raise ConfigError(name, "subnets", "at least one is needed")
    ranges = tuple(_plan_range(name, index, subnet) for index, subnet in enumerate(subnets))
    for one in ranges:
        for other in ranges[one.index + 1 :]:
            if one.subnet.overlaps(other.subnet):
                raise ConfigError(name, "subnets", f"{one.subnet} and {other.subnet} overlap")
    if len({r.version for r in ranges}) != len(ranges):
        raise ConfigError(name, "subnets", "one of each address family at most")
    return ranges


def _plan_range(name: str, index: int, given: BuiltinSubnet) -> AddressRange:
    where = f"subnets[{index}]"
    try:
        subnet = ipaddress.ip_network(given.subnet)
        exclude = tuple(ipaddress.ip_network(text) for text in given.exclude)
        first_usable = subnet.network_address + 1
        last_usable = subnet.broadcast_address - 1 if subnet.version == 4 else subnet.broadcast_address
        first = ipaddress.ip_address(given.range_start) if given.range_start else first_usable
        last = ipaddress.ip_address(given.range_end) if given.range_end else last_usable
        gateway = ipaddress.ip_address(given.gateway) if given.gateway else first_usable
    except ValueError as error:
        raise ConfigError(name, where, str(error)) from error
    if subnet.prefixlen > subnet.max_prefixlen - 2:
        raise ConfigError(name, where, f"{subnet} is too small")
    for field, address in (("range start", first), ("range end", last), ("gateway", gateway)):
        if address not in subnet:
            raise ConfigError(name, where, f"{field} {address} is not in {subnet}")
    if int(first) > int(last):
        raise ConfigError(name, where, f"range start {first} lies behind range end {last}")
    return AddressRange(index=index, subnet=subnet, first=first, last=last, gateway=gateway, exclude=exclude)
