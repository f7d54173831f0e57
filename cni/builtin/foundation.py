"""What all pods of the built-in network stand on: the bridge and the nftables table. Makes and repairs both.

Somebody may delete the bridge or flush the ruleset while pods run. prepare() is called before each add and now and
then, costs two questions to the kernel when all is well, and gives live pods their bridge and host ports back.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence

from cni.builtin import bridge, portmap, rtnetlink, ruleset
from cni.builtin import nftables as nft
from cni.builtin.allocation import AddressRange, IPAddress
from cni.builtin.netlink import NetlinkSocket
from cni.builtin.portmap import Placed
from cni.errors import ConfigError
from cni.values import Attachment, BuiltinNetwork, host_ports

Attached = tuple[Attachment, tuple[IPAddress, ...]]


class Foundation:
    """`recorded` lists what is attached, for repairs."""

    def __init__(
        self,
        settings: BuiltinNetwork,
        ranges: Sequence[AddressRange],
        links: NetlinkSocket,
        rules: NetlinkSocket,
        recorded: Callable[[], Iterable[Attached]],
    ) -> None:
        self._settings = settings
        self._ranges = ranges
        self._links = links
        self._rules = rules
        self._recorded = recorded
        self._table = ruleset.table_name(settings.bridge)
        self._table_is_ours = False

    def prepare(self) -> int:
        """Make the bridge and the table, or see that they are there; returns the bridge's interface index."""
        link = bridge.find_link(self._links, self._settings.bridge)
        if link is None or not link.up or not self._table_is_ours:
            self._refuse_overlap(link.index if link else 0)
            index = bridge.ensure_bridge(self._links, self._settings, self._ranges)
            if link is None:
                self._reattach(index)
        else:
            index = link.index
        self._ensure_table()
        return index

    def _ensure_table(self) -> None:
        """Replace the table at first use (its rules may be of an older version of us); repair it when it is gone."""
        exists = bool(self._rules.query(nft.get_table(self._table)))
        if exists and self._table_is_ours:
            return
        placed = portmap.dump(self._rules, self._table) if exists else self._lost_ports()
        requests = [nft.delete_table(self._table)] if exists else []
        requests += ruleset.build(self._settings.bridge, self._ranges, masquerade=self._settings.masquerade)
        requests += [nft.add_elements("restore a host port", self._table, name, [element]) for name, element in placed]
        self._rules.transact(nft.batch(requests))
        self._table_is_ours = True

    def _reattach(self, bridge_index: int) -> None:
        """Pods that outlived their bridge become ports of the new one; those that did not are no longer there."""
        for attachment, _ in self._recorded():
            name = bridge.host_link_name(attachment.sandbox_id, attachment.ifname)
            requests = [rtnetlink.attach(name, bridge_index)]
            if self._settings.hairpin:
                requests.append(rtnetlink.set_hairpin(name))
            if bridge.find_link(self._links, name) is not None:
                self._links.transact(requests)

    def _lost_ports(self) -> list[Placed]:
        """The host ports of the pods that live: after a reboot there are records, but no pods."""
        placed: list[Placed] = []
        for attachment, addresses in self._recorded():
            ports = host_ports(attachment)
            name = bridge.host_link_name(attachment.sandbox_id, attachment.ifname)
            if ports and bridge.find_link(self._links, name) is not None:
                owner = portmap.owner_name(attachment.sandbox_id, attachment.ifname)
                placed += portmap.place(owner, ports, addresses)
        return placed

    def _refuse_overlap(self, own_index: int) -> None:
        """A subnet that the host already uses elsewhere would cut the host off from it."""
        for index, interface in rtnetlink.parse_addresses(self._links.query(rtnetlink.dump_addresses())):
            if index == own_index or interface.is_link_local or interface.is_loopback:
                continue
            for source in self._ranges:
                if source.subnet.overlaps(interface.network):
                    problem = f"{source.subnet} overlaps {interface} that interface {socket.if_indextoname(index)} has"
                    raise ConfigError(self._settings.name, f"subnets[{source.index}]", problem)
