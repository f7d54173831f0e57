"""Results of ADD in all supported versions (CNI 1.1, section 5, Success). Pure.

    0.3.0 .. 0.4.0   ips carry "version": "4" or "6"
    1.0.0            no such key; routes are {dst, gw}
    1.1.0            interfaces add mtu, socketPath, pciID; routes add mtu, advmss, priority, table, scope

A result is parsed to one shape and written in any version; what an older version cannot say is left out.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Final

from cni.config import VERSIONS, Document, rank
from cni.errors import ResultError
from cni.values import Dns, NetworkResult
from oci.values import fresh, frozen

_ROUTE_NUMBERS: Final = ("mtu", "advmss", "priority", "table", "scope")


@frozen
class Interface:
    """`sandbox` is the namespace's path; empty for an interface of the host."""

    name: str
    mac: str = ""
    sandbox: str = ""
    mtu: int = 0
    socket_path: str = ""
    pci_id: str = ""


@frozen
class Address:
    """`interface` is an index into the result's interfaces."""

    address: ipaddress.IPv4Interface | ipaddress.IPv6Interface
    gateway: str = ""
    interface: int | None = None


@frozen
class Route:
    dst: str
    gw: str = ""
    numbers: tuple[tuple[str, int], ...] = ()


@frozen
class Result:
    version: str
    interfaces: tuple[Interface, ...] = ()
    addresses: tuple[Address, ...] = ()
    routes: tuple[Route, ...] = ()
    dns: Dns = fresh(default_factory=Dns)


def parse(document: object) -> Result:
    if not isinstance(document, dict):
        raise ResultError("result", "not a JSON object")
    version = document.get("cniVersion", "")
    if version not in VERSIONS:
        raise ResultError("cniVersion", f"{json.dumps(version)} is none of {', '.join(VERSIONS)}")
    interfaces = tuple(_interface(f, o) for f, o in _objects(document, "interfaces"))
    return Result(
        version=version,
        interfaces=interfaces,
        addresses=tuple(_address(f, o, len(interfaces)) for f, o in _objects(document, "ips")),
        routes=tuple(_route(f, o) for f, o in _objects(document, "routes")),
        dns=_dns(document.get("dns") or {}),
    )


def dump(result: Result, version: str) -> Document:
    document: dict[str, object] = {"cniVersion": version}
    if result.interfaces:
        document["interfaces"] = [_dump_interface(i, version) for i in result.interfaces]
    if result.addresses:
        document["ips"] = [_dump_address(a, version) for a in result.addresses]
    if result.routes:
        document["routes"] = [_dump_route(r, version) for r in result.routes]
    document["dns"] = dump_dns(result.dns)
    return document


def in_version(document: Document, version: str) -> Document:
    """The result as the next plugin of the chain may read it: untouched when its version is right."""
    return document if document.get("cniVersion") == version else dump(parse(document), version)


def network_result(network: str, ifname: str, result: Result) -> NetworkResult:
    """The pod's own addresses: those on its interface, or on any of its namespace, or all where none names one."""
    chosen = [a for a in result.addresses if _is_on(a, result, ifname)]
    if not chosen:
        chosen = [a for a in result.addresses if _is_on(a, result, "")] or list(result.addresses)
    macs = [i.mac for i in result.interfaces if i.sandbox and i.name == ifname]
    return NetworkResult(
        network=network,
        ifname=ifname,
        ips=tuple(str(a.address.ip) for a in chosen),
        gateways=tuple(a.gateway for a in chosen if a.gateway),
        mac=macs[0] if macs else "",
        dns=result.dns,
    )


def _is_on(address: Address, result: Result, ifname: str) -> bool:
    if address.interface is None:
        return False
    interface = result.interfaces[address.interface]
    return bool(interface.sandbox) and ifname in ("", interface.name)


def dump_dns(dns: Dns) -> Document:
    fields: dict[str, object] = {
        "nameservers": list(dns.nameservers),
        "domain": dns.domain,
        "search": list(dns.search),
        "options": list(dns.options),
    }
    return {key: value for key, value in fields.items() if value}


def _objects(document: Document, key: str) -> list[tuple[str, Document]]:
    listed = document.get(key) or []
    if not isinstance(listed, list):
        raise ResultError(key, "not a list")
    for index, item in enumerate(listed):
        if not isinstance(item, dict):
            raise ResultError(f"{key}[{index}]", "not a JSON object")
    return [(f"{key}[{index}]", item) for index, item in enumerate(listed)]


def _text(field_: str, document: Document, key: str) -> str:
    value = document.get(key) or ""
    if not isinstance(value, str):
        raise ResultError(f"{field_}.{key}", "not a string")
    return value


def _number(field_: str, document: Document, key: str) -> int:
    value = document.get(key) or 0
    if not isinstance(value, int) or isinstance(value, bool):
        raise ResultError(f"{field_}.{key}", "not a number")
    return value


def _interface(field_: str, document: Document) -> Interface:
    return Interface(
        name=_text(field_, document, "name"),
        mac=_text(field_, document, "mac"),
        sandbox=_text(field_, document, "sandbox"),
        mtu=_number(field_, document, "mtu"),
        socket_path=_text(field_, document, "socketPath"),
        pci_id=_text(field_, document, "pciID"),
    )


def _address(field_: str, document: Document, interfaces: int) -> Address:
    written = _text(field_, document, "address")
    try:
        address = ipaddress.ip_interface(written)
    except ValueError:
        raise ResultError(f"{field_}.address", f"{json.dumps(written)} is not an address with prefix length") from None
    index = _number(field_, document, "interface") if document.get("interface") is not None else None
    if index is not None and not 0 <= index < interfaces:
        raise ResultError(f"{field_}.interface", f"{index} is none of {interfaces} interfaces")
    return Address(address=address, gateway=_text(field_, document, "gateway"), interface=index)


def _route(field_: str, document: Document) -> Route:
    numbers = tuple((key, _number(field_, document, key)) for key in _ROUTE_NUMBERS if document.get(key) is not None)
    return Route(dst=_text(field_, document, "dst"), gw=_text(field_, document, "gw"), numbers=numbers)


def _dns(document: object) -> Dns:
    if not isinstance(document, dict):
        raise ResultError("dns", "not a JSON object")

    def texts(key: str) -> tuple[str, ...]:
        listed = document.get(key) or []
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            raise ResultError(f"dns.{key}", "not a list of strings")
        return tuple(listed)

    return Dns(
        nameservers=texts("nameservers"),
        domain=_text("dns", document, "domain"),
        search=texts("search"),
        options=texts("options"),
    )


def _dump_interface(interface: Interface, version: str) -> Document:
    document: dict[str, object] = {"name": interface.name}
    if interface.mac:
        document["mac"] = interface.mac
    if interface.sandbox:
        document["sandbox"] = interface.sandbox
    if rank(version) >= rank("1.1.0"):
        more = {"mtu": interface.mtu, "socketPath": interface.socket_path, "pciID": interface.pci_id}
        document |= {key: value for key, value in more.items() if value}
    return document


def _dump_address(address: Address, version: str) -> Document:
    document: dict[str, object] = {"address": str(address.address)}
    if rank(version) < rank("1.0.0"):
        document["version"] = str(address.address.version)
    if address.interface is not None:
        document["interface"] = address.interface
    if address.gateway:
        document["gateway"] = address.gateway
    return document


def _dump_route(route: Route, version: str) -> Document:
    document: dict[str, object] = {"dst": route.dst}
    if route.gw:
        document["gw"] = route.gw
    if rank(version) >= rank("1.1.0"):
        document |= dict(route.numbers)
    return document
