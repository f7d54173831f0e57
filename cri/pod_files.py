"""The files of a pod that its containers see: hostname, hosts, resolv.conf, and the shared /dev/shm.

They lie in the sandbox's directory and are bind-mounted by each container. The kubelet mounts an /etc/hosts of its own
over ours; people with crictl, and host-network pods, use this one.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from cri.api import runtime_pb2 as api
from cri.selinux.files import label_file
from cri.specgen import PodFiles
from oci import syscalls

SHM_BYTES = 64 * 1024 * 1024
_FILE_LIMIT = 1 << 20
_FILES = ("hostname", "resolv.conf", "hosts")


def pod_files(directory: Path, *, host_ipc: bool) -> PodFiles:
    return PodFiles(
        hostname=str(directory / "hostname"),
        hosts=str(directory / "hosts"),
        resolv_conf=str(directory / "resolv.conf"),
        shm="/dev/shm" if host_ipc else str(directory / "shm"),
    )


def write_pod_files(
    directory: Path,
    config: api.PodSandboxConfig,
    hostname: str,
    *,
    host_network: bool,
    host_ipc: bool,
    owner: int = 0,
    label: str = "",
) -> None:
    """Everything but the addresses in hosts, which are not known yet (`write_hosts`). `owner` is the pod's root,
    `label` the SELinux label of its files, "" without SELinux."""
    directory.mkdir(mode=0o700)
    (directory / "hostname").write_text(hostname + "\n")
    (directory / "resolv.conf").write_text(resolv_conf(config.dns_config))
    (directory / "hosts").write_text(_read("/etc/hosts") if host_network else hosts(hostname, ()))
    for name in _FILES:
        os.chown(directory / name, owner, owner)
    if label:
        label_pod_files(directory, label)
    if not host_ipc:
        (directory / "shm").mkdir()
        flags = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
        options = f"mode=1777,size={SHM_BYTES},uid={owner},gid={owner}"
        if label:
            options += f',context="{label}"'
        syscalls.mount("shm", directory / "shm", "tmpfs", flags, options)


def label_pod_files(directory: Path, label: str) -> None:
    for name in _FILES:
        label_file(directory / name, label)


def write_hosts(directory: Path, hostname: str, addresses: tuple[str, ...]) -> None:
    (directory / "hosts").write_text(hosts(hostname, addresses))


def release_pod_files(directory: Path) -> None:
    """Undo the mount of `write_pod_files`; done already is fine."""
    try:
        syscalls.umount2(directory / "shm", syscalls.MNT_DETACH | syscalls.UMOUNT_NOFOLLOW)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise


def hosts(hostname: str, addresses: tuple[str, ...]) -> str:
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{address}\t{hostname}" for address in addresses]
    return "\n".join(lines) + "\n"


def resolv_conf(dns: api.DNSConfig) -> str:
    """The pod's DNS configuration, or a copy of the host's where the pod has none."""
    if not (dns.servers or dns.searches or dns.options):
        return _read("/etc/resolv.conf")
    lines = [f"search {' '.join(dns.searches)}"] if dns.searches else []
    lines += [f"nameserver {server}" for server in dns.servers]
    if dns.options:
        lines.append(f"options {' '.join(dns.options)}")
    return "\n".join(lines) + "\n"


def _read(path: str) -> str:
    """A host file, or nothing where the host has none."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_FILE_LIMIT)
    except FileNotFoundError:
        return ""


def host_hostname() -> str:
    return os.uname().nodename
