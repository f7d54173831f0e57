"""What a child carries from the parent into its steps: descriptors and bytes, all made before the clone."""

from __future__ import annotations

from oci.engine.requests import Stdio
from oci.handshake.channel import ChildChannel
from oci.plan import operations as op
from oci.spec import Hooks, IdMapping
from oci.values import fresh, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Mappings = tuple[tuple[IdMapping, ...], tuple[IdMapping, ...]]


@record
class Context:
    """`proc` is a private procfs of the parent's pid namespace, the only way to write below /proc. `root` is the root
    filesystem once it is attached, `old_root` the runtime's root until the pivot.

    `join_mask` are the CLONE_NEW bits an exec'ed process enters through `container_pidfd`. `directory_pending` is set
    when the working directory could not be entered as root and has to be tried again as the user.
    """

    channel: ChildChannel
    proc: int
    args: tuple[str, ...]
    env: list[str]
    rootfs: int | None = None
    mounts: Mapping[int, int] = fresh(default_factory=dict)
    namespaces: Mapping[str, int] = fresh(default_factory=dict)
    idmaps: Mapping[Mappings, int] = fresh(default_factory=dict)
    cgroup: Sequence[int] = ()
    sources: dict[op.Operation, int] = fresh(default_factory=dict)
    stdio: Stdio | None = None
    seccomp: bytes | None = None
    hooks: Hooks = fresh(default_factory=Hooks)
    state: bytes = b"{}"
    container_pidfd: int | None = None
    join_mask: int = 0
    root: int = -1
    old_root: int = -1
    null: int = -1
    empty: int = -1
    directory: tuple[str, int] = ("", -1)
    terminal: int | None = None
    directory_pending: bool = True
    program: str = ""
