"""`coracle doctor`: does this node have what pods need, and what has to be done where it does not. Changes nothing.

Every check reads the node, decides, and says four things: its name, how it stands, what was seen, what to do. Files are
read through `Node`, which tests give a tree of their own; what only the kernel can answer is a `Probe`.

    result.py      one check's answer                     node.py        the node's files
    probes.py      questions to the kernel                 examine.py     all groups in order
    kernel.py      version, features, modules, security    cgroups.py     hierarchies, controllers, delegation
    sysctls.py     forwarding, limits                      network.py     CNI configuration and plugins
    registries.py  hosts.toml, reachability, TLS           kubelet.py     its settings beside ours
    disks.py       space, inodes, file system              others.py      other runtimes, the clock
"""
