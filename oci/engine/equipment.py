"""What an engine keeps between containers: facts about the host, a private procfs, namespaces that hold id mappings."""

from __future__ import annotations

import os

from oci.engine.host import CgroupMount, cgroup_hierarchies, open_private_proc, read_cgroup_mounts, read_host
from oci.engine.userns import IdmapNamespaces
from oci.plan.host import Host
from oci.spec import Spec
from oci.values import frozen, replace


@frozen
class Equipment:
    host: Host
    proc: int
    cgroup_mounts: tuple[CgroupMount, ...]
    idmaps: IdmapNamespaces

    @classmethod
    def gather(cls, *, cgroups: bool = True) -> Equipment:
        """Without `cgroups` no config may mount them."""
        proc = open_private_proc()
        mounts = read_cgroup_mounts(proc) if cgroups else ()
        return cls(host=read_host(), proc=proc, cgroup_mounts=mounts, idmaps=IdmapNamespaces(proc))

    def close(self) -> None:
        os.close(self.proc)
        self.idmaps.close()

    def host_for(self, spec: Spec, cgroup_path: str | None) -> Host:
        """With the cgroup directories of this container, where its config mounts them."""
        if not any(mount.type in ("cgroup", "cgroup2") for mount in spec.mounts):
            return self.host
        return replace(self.host, cgroups=cgroup_hierarchies(self.proc, self.cgroup_mounts, cgroup_path))
