"""What this daemon on this host can do beyond the plain CRI, as Status tells the kubelet: only what works."""

from __future__ import annotations

from typing import Final

from oci.values import frozen

#: The runtime handlers that are our own executor; of all others nothing is promised.
OWN_HANDLERS: Final = ("", "coracle")


@frozen
class Features:
    """`user_namespaces` promises idmapped mounts as well. `mount_options` is Mount.mount_options of CRI 1.37."""

    recursive_read_only_mounts: bool = False
    user_namespaces: bool = False
    user_namespaces_host_network: bool = False
    supplemental_groups_policy: bool = False
    mount_options: bool = False
