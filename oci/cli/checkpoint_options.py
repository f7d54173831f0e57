"""What checkpoint and restore have in common on the command line: flags, and the options for CRIU they become."""

from __future__ import annotations

from typing import Final

from oci.checkpoint.criu import config_file
from oci.checkpoint.rpc import CGROUP_MODES, NETWORK_LOCKS, Options
from oci.cli.options import Option, Parsed, UsageError, switch, value
from oci.plan.namespaces import CLONE_FLAGS
from oci.spec import Spec

OPTIONS: Final[tuple[Option, ...]] = (
    value("image-path", "DIR", "directory of the images; default: ./checkpoint"),
    value("work-path", "DIR", "directory for logs; default: the images'"),
    switch("tcp-established", "with open TCP connections"),
    switch("ext-unix-sk", "with unix sockets that lead outside"),
    switch("shell-job", "with a terminal of the caller's"),
    switch("file-locks", "with file locks"),
    switch("lazy-pages", "leave memory to a userfaultfd server"),
    switch("auto-dedup", "punch holes in images of memory that is there again"),
    value("manage-cgroups-mode", "MODE", "ignore (default), soft, full or strict"),
    value("empty-ns", "TYPE", "namespace that is made empty; only network"),
    value("status-fd", "N", "descriptor that is written to once lazy pages can be served"),
    value("criu", "PATH", "the program criu; default: the one in PATH"),
)


def common(parsed: Parsed, spec: Spec) -> Options:
    mode = parsed.text("manage-cgroups-mode", "ignore")
    if mode not in CGROUP_MODES:
        raise UsageError(f"--manage-cgroups-mode is ignore, soft, full or strict, not {mode!r}")
    lock = parsed.text("network-lock")
    if lock and lock not in NETWORK_LOCKS:
        raise UsageError(f"--network-lock is iptables, nftables or skip, not {lock!r}")
    empty = parsed.text("empty-ns")
    if empty not in ("", "network"):
        raise UsageError(f"--empty-ns is network, not {empty!r}")
    return Options(
        tcp_established=parsed.switch("tcp-established"),
        tcp_skip_in_flight=parsed.switch("tcp-skip-in-flight"),
        tcp_close=parsed.switch("tcp-close"),
        ext_unix_sk=parsed.switch("ext-unix-sk"),
        shell_job=parsed.switch("shell-job"),
        file_locks=parsed.switch("file-locks"),
        link_remap=parsed.switch("link-remap"),
        leave_running=parsed.switch("leave-running"),
        lazy_pages=parsed.switch("lazy-pages"),
        auto_dedup=parsed.switch("auto-dedup"),
        parent_images=parsed.text("parent-path") or None,
        page_server=_page_server(parsed.text("page-server")),
        status_fd=parsed.number("status-fd") or None,
        cgroup_mode=CGROUP_MODES[mode],
        empty_namespaces=CLONE_FLAGS["network"] if empty else None,
        lsm_profile=parsed.text("lsm-profile") or None,
        lsm_mount_context=parsed.text("lsm-mount-context") or None,
        network_lock=NETWORK_LOCKS.get(lock),
        config_file=config_file(spec.annotations),
    )


def _page_server(text: str) -> tuple[str, int] | None:
    if not text:
        return None
    address, _, port = text.rpartition(":")
    if not address or not (port.isascii() and port.isdigit()):
        raise UsageError(f"--page-server is ADDRESS:PORT, not {text!r}")
    return address, int(port)
