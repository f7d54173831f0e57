"""CRIU's requests and answers as values, and their bytes (criu: images/rpc.proto). Pure.

The numbers below are the field numbers of the message `criu_opts`. What is None, empty or False is left out, so that
CRIU's own defaults and its configuration files decide.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from oci.checkpoint import wire
from oci.values import field_names, frozen


class Request(Enum):
    DUMP = 1
    RESTORE = 2
    CHECK = 3
    NOTIFY = 6
    FEATURE_CHECK = 9
    VERSION = 10
    SINGLE_PRE_DUMP = 13


#: `--manage-cgroups-mode` -> criu_cg_mode.
CGROUP_MODES: Final = {"ignore": 0, "none": 1, "props": 2, "soft": 3, "full": 4, "strict": 5}
#: `--network-lock` -> criu_network_lock_method.
NETWORK_LOCKS: Final = {"iptables": 1, "nftables": 2, "skip": 3}

_NUMBERS: Final = {
    "images_fd": 1,
    "pid": 2,
    "leave_running": 3,
    "ext_unix_sk": 4,
    "tcp_established": 5,
    "shell_job": 7,
    "file_locks": 8,
    "log_level": 9,
    "log_file": 10,
    "notify": 12,
    "root": 13,
    "parent_images": 14,
    "track_memory": 15,
    "auto_dedup": 16,
    "work_fd": 17,
    "link_remap": 18,
    "sibling": 26,
    "cgroup_mode": 34,
    "empty_namespaces": 38,
    "freeze_cgroup": 44,
    "timeout": 45,
    "tcp_skip_in_flight": 46,
    "lazy_pages": 48,
    "status_fd": 49,
    "orphan_pts_master": 50,
    "config_file": 51,
    "tcp_close": 52,
    "lsm_profile": 53,
    "lsm_mount_context": 63,
    "network_lock": 64,
}
_EXTERNAL: Final = 37
_INHERITED: Final = 27
_PAGE_SERVER: Final = 11


@frozen
class Options:
    """`images_fd` and `work_fd` are the requesting process's descriptors, `inherited` (by key) are CRIU's own."""

    images_fd: int = -1
    work_fd: int | None = None
    pid: int | None = None
    leave_running: bool = False
    ext_unix_sk: bool = False
    tcp_established: bool = False
    tcp_skip_in_flight: bool = False
    tcp_close: bool = False
    shell_job: bool = False
    file_locks: bool = False
    link_remap: bool = False
    lazy_pages: bool = False
    auto_dedup: bool = False
    track_memory: bool = False
    parent_images: str | None = None
    page_server: tuple[str, int] | None = None
    status_fd: int | None = None
    log_level: int = 4
    log_file: str | None = None
    config_file: str | None = None
    notify: bool = False
    root: str | None = None
    sibling: bool = False
    cgroup_mode: int | None = None
    empty_namespaces: int | None = None
    freeze_cgroup: str | None = None
    timeout: int | None = None
    orphan_pts_master: bool = False
    lsm_profile: str | None = None
    lsm_mount_context: str | None = None
    network_lock: int | None = None
    external: tuple[str, ...] = ()
    inherited: tuple[tuple[str, int], ...] = ()

    def encode(self) -> bytes:
        fields: list[tuple[int, wire.Value]] = []
        for name in field_names(Options):
            value = getattr(self, name)
            key = _NUMBERS.get(name)
            if key is not None and value is not None and value is not False and value != "":
                fields.append((key, value))
        if self.page_server is not None:
            address, port = self.page_server
            fields.append((_PAGE_SERVER, wire.encode([(1, address), (2, port)])))
        fields += [(_EXTERNAL, name) for name in self.external]
        fields += [(_INHERITED, wire.encode([(1, name), (2, fd)])) for name, fd in self.inherited]
        return wire.encode(fields)


@frozen
class Answer:
    """`script` and `pid` of a notification; `pid` also of what was restored."""

    kind: int
    success: bool
    script: str = ""
    pid: int = 0
    errno: int = 0
    problem: str = ""
    version: tuple[int, int, int] = (0, 0, 0)


def request(kind: Request, options: Options | None) -> bytes:
    fields: list[tuple[int, wire.Value]] = [(1, kind.value)]
    if options is not None:
        fields.append((2, options.encode()))
    return wire.encode(fields)


def notified(*, success: bool) -> bytes:
    """The answer to a notification; CRIU waits for it."""
    return wire.encode([(1, Request.NOTIFY.value), (3, success)])


def answer(data: bytes) -> Answer:
    fields = wire.decode(data)
    restored = wire.message(fields, 4) or {}
    notification = wire.message(fields, 5) or {}
    version = wire.message(fields, 10) or {}
    return Answer(
        kind=wire.number(fields, 1),
        success=bool(wire.number(fields, 2)),
        script=wire.text(notification, 1),
        pid=wire.number(notification, 2) or wire.number(restored, 1),
        errno=wire.number(fields, 7),
        problem=wire.text(fields, 9),
        version=(wire.number(version, 1), wire.number(version, 2), wire.number(version, 4)),
    )
