"""Where everything of one daemon lies. Two daemons with different roots share nothing.

<root>                            persistent
  state.db                        cri.state.database
  layers/ staging/ ...            imagesvc
  containers/<container>/         upper/ and work/ of the writable layer
  cni/                            results of CNI ADD
<runroot>                         gone after a boot
  coracle.sock
  sandboxes/<sandbox>/            hostname hosts resolv.conf shm/ shim.sock, <container>.exit
  bundles/<container>/            config.json; oci.shim.handlers.bundle has more for another runtime
  handlers/<name>/                state of the other runtimes
/run/netns/cni-<uuid>             network namespaces, where CNI plugins and `ip netns` expect them
"""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

NETNS_DIRECTORY = Path("/run/netns")


@dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    root: Path
    runroot: Path

    @property
    def database(self) -> Path:
        return self.root / "state.db"

    def sandbox(self, sandbox_id: str) -> Path:
        return self.runroot / "sandboxes" / sandbox_id

    def bundle(self, container_id: str) -> Path:
        return self.runroot / "bundles" / container_id

    def container(self, container_id: str) -> Path:
        return self.root / "containers" / container_id

    def handler(self, name: str, root: Path) -> Path:
        """The state directory of another runtime: the one that is configured, else one of ours."""
        return self.runroot / "handlers" / name if root == Path() else root

    def exit_record(self, sandbox_id: str, container_id: str) -> Path:
        return self.sandbox(sandbox_id) / f"{container_id}.exit"

    @property
    def netns_mark(self) -> str:
        """How the names of this daemon's network namespaces begin: other runtimes' lie in the same directory."""
        return f"cni-{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:8]}-"

    def new_netns(self) -> Path:
        """A name that is nobody's: a UUID of version 8, whose first part is our mark (RFC 9562, 5.8)."""
        unique = secrets.token_hex(12)
        tail = f"{unique[:4]}-8{unique[5:8]}-{'89ab'[int(unique[8], 16) % 4]}{unique[9:12]}-{unique[12:]}"
        return NETNS_DIRECTORY / f"{self.netns_mark}{tail}"

    def make(self) -> None:
        """The directories that everything else stands in: nobody but root may look in."""
        for path in (self.root, self.runroot):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o711)
        for path in (self.runroot / "sandboxes", self.runroot / "bundles", self.root / "containers"):
            path.mkdir(exist_ok=True)
            path.chmod(0o700)
