"""One pod in or out of the built-in network. Owns the order of the steps and the sockets they use.

Everything here blocks and runs in one worker thread of the daemon: the kernel takes one change of links at a time
anyway. add() does, with an undo by delete() when a step fails:

    namespace opened -> bridge and table there -> address taken -> veth pair made, its peer born inside the namespace
    -> addresses and routes inside -> host ports

delete() does not delete the link. It takes the link out of the bridge and down, which disconnects the pod at once;
deleting it costs two RCU grace periods under the lock of all links (17 ms), and the end of the pod's namespace does the
same for free. reap() deletes the links whose namespace lives on.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from cni.builtin import bridge, portmap, rtnetlink, ruleset, shaping
from cni.builtin import nftables as nft
from cni.builtin.allocation import AddressRange, IPAddress, plan_ranges
from cni.builtin.foundation import Attached, Foundation
from cni.builtin.host_local import Holding, HostLocal
from cni.builtin.namespace import open_namespace, socket_inside
from cni.builtin.netlink import NetlinkSocket
from cni.config import VERSIONS
from cni.errors import CheckFailed, CniError, NetlinkError
from cni.result import Address, Interface, Result
from cni.values import Attachment, BuiltinNetwork, host_ports
from oci.syscalls import closing

_EEXIST: Final = 17
_OUR_LINK: Final = re.compile(rf"{bridge.HOST_LINK_PREFIX}[0-9a-f]{{10}}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphans:
    ports: list[portmap.Placed]
    links: set[str]
    """Taken down by delete() and not gone yet: no leak, they go with their namespaces."""
    addresses: list[Holding]


class PodNetwork:
    """`recorded` lists what is attached, for the case that somebody deleted the bridge or flushed the table."""

    def __init__(self, settings: BuiltinNetwork, recorded: Callable[[], Iterable[Attached]]) -> None:
        self._settings = settings
        self._ranges: tuple[AddressRange, ...] = plan_ranges(settings.name, settings.subnets)
        self._addresses = HostLocal(settings.data_dir, settings.name, self._ranges)
        self._table = ruleset.table_name(settings.bridge)
        self._links = NetlinkSocket(socket.NETLINK_ROUTE)
        try:
            self._rules = NetlinkSocket(nft.NETLINK_NETFILTER)
        except OSError:
            self._links.close()
            raise
        self._foundation = Foundation(settings, self._ranges, self._links, self._rules, recorded)
        self._detached: set[str] = set()

    def close(self) -> None:
        """Idempotent. Links that wait for their end are deleted."""
        try:
            self.reap()
        finally:
            self._links.close()
            self._rules.close()

    def prepare(self) -> int:
        return self._foundation.prepare()

    def remove_bridge(self) -> None:
        """Of a network without pods; prepare() makes it anew."""
        if bridge.find_link(self._links, self._settings.bridge) is not None:
            self._links.transact([rtnetlink.delete_link(self._settings.bridge)])

    # --- the verbs ----------------------------------------------------------------------------------------------

    def add(self, attachment: Attachment) -> Result:
        netns_fd = open_namespace(attachment.netns_path)
        with closing(netns_fd):
            bridge_index = self.prepare()
            addresses = self._addresses.allocate(attachment.sandbox_id, attachment.ifname)
            try:
                self._connect(attachment, netns_fd, bridge_index, addresses)
                owner = portmap.owner_name(attachment.sandbox_id, attachment.ifname)
                portmap.install(self._rules, self._table, portmap.place(owner, host_ports(attachment), addresses))
            except BaseException as error:
                self._undo(attachment, addresses, error)
                raise
        return self._result(attachment, addresses)

    def delete(self, attachment: Attachment, addresses: Sequence[IPAddress] | None = None) -> None:
        """Idempotent. `addresses` are those that add() returned, where the caller still knows them."""
        if host_ports(attachment) or addresses is None:
            owner = portmap.owner_name(attachment.sandbox_id, attachment.ifname)
            placed = portmap.owned(portmap.dump(self._rules, self._table), owner)
            portmap.remove(self._rules, self._table, placed)
        name = bridge.host_link_name(attachment.sandbox_id, attachment.ifname)
        self._links.transact([rtnetlink.detach(name)])
        self._detached.add(name)
        self._addresses.release(attachment.sandbox_id, attachment.ifname, addresses or ())

    def check(self, attachment: Attachment, addresses: Sequence[IPAddress]) -> None:
        """Raises `CheckFailed` naming the first thing that is not as add() left it."""
        name = bridge.host_link_name(attachment.sandbox_id, attachment.ifname)
        link = bridge.find_link(self._links, name)
        above = bridge.find_link(self._links, self._settings.bridge)
        if above is None:
            raise CheckFailed(attachment.sandbox_id, f"bridge {self._settings.bridge} is gone")
        if link is None or link.master != above.index or not link.up:
            raise CheckFailed(attachment.sandbox_id, f"link {name} is not an active port of {self._settings.bridge}")
        held = self._addresses.owned_by(attachment.sandbox_id, attachment.ifname)
        if missing := [str(address) for address in addresses if address not in held]:
            raise CheckFailed(attachment.sandbox_id, f"address {missing[0]} is not reserved for it")
        self._check_inside(attachment, addresses)
        self._check_ports(attachment, addresses)

    def collect(self, valid: Iterable[tuple[str, str]]) -> tuple[IPAddress, ...]:
        """Release what nobody owns; (container id, interface name) pairs of `valid` and live pods of others stay."""
        kept = set(valid)
        orphans = self.orphans(kept)
        portmap.remove(self._rules, self._table, orphans.ports)
        self._detached |= orphans.links - {bridge.host_link_name(*pair) for pair in kept}
        self.reap()
        return self._addresses.release_stale(orphans.addresses) if orphans.addresses else ()

    def orphans(self, valid: Iterable[tuple[str, str]]) -> Orphans:
        """What collect() would release.

        Another daemon may share the bridge. An attachment is alive when its link is a port of the bridge; one that is
        being made has an address that is young.
        """
        kept = set(valid)
        live, detached = self._survey()

        def gone(container_id: str, ifname: str) -> bool:
            return (container_id, ifname) not in kept and bridge.host_link_name(container_id, ifname) not in live

        holdings = self._addresses.holdings()
        now, uptime = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
        young = {portmap.owner_name(h.container_id, h.ifname) for h in holdings if h.is_young(now, uptime)}
        ports = []
        for name, element in portmap.dump(self._rules, self._table):
            container_id, _, ifname = element.comment.rpartition("/")
            if element.comment not in young and gone(container_id, ifname):
                ports.append((name, element))
        stale = [h for h in holdings if gone(h.container_id, h.ifname) and not h.is_young(now, uptime)]
        return Orphans(ports=ports, links=detached, addresses=stale)

    def reap(self) -> None:
        """Delete the links that delete() only took down; most went with their namespaces."""
        if self._detached:
            names, self._detached = sorted(self._detached), set()
            live, _ = self._survey()
            self._links.transact([rtnetlink.delete_link(name) for name in names if name not in live])

    # --- the steps ----------------------------------------------------------------------------------------------

    def _connect(
        self, attachment: Attachment, netns_fd: int, bridge_index: int, addresses: Sequence[IPAddress]
    ) -> None:
        name = bridge.host_link_name(attachment.sandbox_id, attachment.ifname)
        requests = [
            rtnetlink.make_veth(
                host_name=name,
                bridge_index=bridge_index,
                mtu=self._settings.mtu,
                peer_name=attachment.ifname,
                peer_mac=bridge.pod_mac(addresses),
                netns_fd=netns_fd,
            )
        ]
        if self._settings.hairpin:
            requests.append(rtnetlink.set_hairpin(name))
        ipv6 = any(source.version == 6 for source in self._ranges)
        with socket_inside(netns_fd, attachment.netns_path, enable_ipv6=ipv6) as inside:
            self._detached.discard(name)
            try:
                self._links.transact(requests)
            except NetlinkError as error:
                if error.errno != _EEXIST or bridge.find_link(self._links, name) is None:
                    raise
                self._links.transact([rtnetlink.delete_link(name), *requests])  # left by a delete() just before
            pod_link = bridge.find_link(inside, attachment.ifname)
            if pod_link is None:
                raise NetlinkError(f"look up {attachment.ifname} in {attachment.netns_path}", 19)
            configuration = bridge.pod_configuration(pod_link.index, attachment.ifname, self._ranges, addresses)
            inside.transact(configuration)
            self._limit(attachment, inside, pod_link.index)

    def _limit(self, attachment: Attachment, inside: NetlinkSocket, pod_index: int) -> None:
        wanted = attachment.bandwidth
        if wanted is None:
            return
        name = bridge.host_link_name(attachment.sandbox_id, attachment.ifname)
        host_link = bridge.find_link(self._links, name)
        if wanted.ingress_rate and host_link is not None:
            what = f"what sandbox {attachment.sandbox_id} receives by {name}"
            self._links.transact([shaping.limit(host_link.index, what, wanted.ingress_rate)])
        if wanted.egress_rate:
            what = f"what sandbox {attachment.sandbox_id} sends by {attachment.ifname}"
            inside.transact([shaping.limit(pod_index, what, wanted.egress_rate)])

    def _undo(self, attachment: Attachment, addresses: Sequence[IPAddress], error: BaseException) -> None:
        try:
            self.delete(attachment, addresses)
            name = bridge.host_link_name(attachment.sandbox_id, attachment.ifname)
            self._links.transact([rtnetlink.delete_link(name)])
            self._detached.discard(name)
        except (CniError, OSError) as second:  # the caller hears the first failure; the rest is gc's to repair
            error.add_note(f"undoing it failed as well: {second}")

    def _survey(self) -> tuple[set[str], set[str]]:
        """(links of ours that are ports of a bridge, links of ours that delete() left)."""
        links = [rtnetlink.parse_link(body) for body in self._links.query(rtnetlink.dump_links())]
        ours = [link for link in links if _OUR_LINK.match(link.name)]
        return {link.name for link in ours if link.master}, {
            link.name for link in ours if not link.master and not link.up
        }

    def _check_inside(self, attachment: Attachment, addresses: Sequence[IPAddress]) -> None:
        netns_fd = open_namespace(attachment.netns_path)
        with closing(netns_fd), socket_inside(netns_fd, attachment.netns_path) as inside:
            link = bridge.find_link(inside, attachment.ifname)
            if link is None or not link.up:
                raise CheckFailed(attachment.sandbox_id, f"interface {attachment.ifname} is missing or down")
            present = {
                interface.ip
                for index, interface in rtnetlink.parse_addresses(inside.query(rtnetlink.dump_addresses()))
                if index == link.index
            }
        if missing := [str(address) for address in addresses if address not in present]:
            raise CheckFailed(attachment.sandbox_id, f"interface {attachment.ifname} has lost address {missing[0]}")

    def _check_ports(self, attachment: Attachment, addresses: Sequence[IPAddress]) -> None:
        wanted = portmap.place(
            portmap.owner_name(attachment.sandbox_id, attachment.ifname), host_ports(attachment), addresses
        )
        if wanted:
            present = portmap.dump(self._rules, self._table)
            if any(placed not in present for placed in wanted):
                raise CheckFailed(attachment.sandbox_id, f"a host port is missing in nftables table {self._table}")

    def _result(self, attachment: Attachment, addresses: Sequence[IPAddress]) -> Result:
        """As the bridge plugin would print it."""
        mac, mtu = bridge.pod_mac(addresses), self._settings.mtu
        return Result(
            version=VERSIONS[-1],
            interfaces=(
                Interface(name=self._settings.bridge, mac=bridge.bridge_mac(self._settings.bridge, self._ranges)),
                Interface(name=bridge.host_link_name(attachment.sandbox_id, attachment.ifname), mtu=mtu),
                Interface(name=attachment.ifname, mac=mac, sandbox=attachment.netns_path, mtu=mtu),
            ),
            addresses=tuple(
                Address(address=source.interface(address), gateway=str(source.gateway), interface=2)
                for source, address in zip(self._ranges, addresses, strict=True)
            ),
        )
