"""The network that Coracle brings along: bridge, host-local addresses and host ports, without any plugin binary.

    network.py      one pod in or out: the order of the steps and their undoing (blocking; runs in one worker thread)
    foundation.py   what all pods stand on, made and repaired: the bridge and the table
    bridge.py       the bridge itself, and what a pod's link, addresses and routes look like as netlink requests
    host_local.py   who holds which address: the on-disk format of the host-local plugin
    allocation.py   which address comes next (pure)
    portmap.py      host ports of pods: elements of nftables maps
    ruleset.py      the static nftables table of one bridge (pure)
    loopback.py     lo of a pod
    namespace.py    sockets inside a pod's network namespace
    netlink.py      netlink messages and a plain blocking socket
    rtnetlink.py    link, address and route messages (pure)
    nftables.py     nftables messages (pure)
    expressions.py  nftables expressions (pure)
    conntrack.py    connection tracking messages (pure)

Why netlink is encoded here and not by pyroute2: importing it costs the daemon 13 MB and 80 ms, a message costs 35 to
120 us, and it knows no nftables maps. The tests decode every message with pyroute2 to prove the encoding.
"""
