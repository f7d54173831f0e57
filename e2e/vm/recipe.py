"""What the guest consists of: Debian packages, a few files, and what is switched off because emulation makes it slow.

Values only. The guest is emulated where the host has no KVM: one to two orders of magnitude slower than the host. So
everything that a node does not need and that costs boot time is left out, and nothing is unpacked twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SUITE: Final = "trixie"
KERNEL: Final = "linux-image-cloud-amd64"
PYTHON_TAG: Final = "313"
PORT: Final = 9

PACKAGES: Final = (
    KERNEL, "systemd", "systemd-sysv", "dbus", "udev", "apparmor", "kmod", "iproute2", "nftables", "conntrack", "socat",
    "e2fsprogs", "erofs-utils", "procps", "util-linux", "mount", "libseccomp2", "python3", "python3-venv",
    "ca-certificates", "busybox-static", "strace", "iputils-ping", "iptables", "dpkg-dev",
)  # fmt: skip

#: What a guest with SELinux has besides.
SELINUX_PACKAGES: Final = (
    "selinux-policy-default", "selinux-utils", "policycoreutils", "checkpolicy", "semodule-utils", "attr",
)  # fmt: skip

#: Programs of the host that build and run it, and the packages that have them.
HOST_PACKAGES: Final = ("qemu-system-x86", "qemu-utils", "mmdebstrap", "zstd", "e2fsprogs", "seabios")

_COMMAND_LINE: Final = (
    "console=ttyS0 root=/dev/nvme0n1 rw quiet loglevel=4 panic=1 net.ifnames=0 mitigations=off nokaslr "
    "tsc=reliable no_timer_check cryptomgr.notests random.trust_cpu=on rcupdate.rcu_expedited=1 "
    "systemd.show_status=0 "
)
#: No initrd: what the root needs is built in. The rest trades security that nobody here needs for speed.
COMMAND_LINE: Final = _COMMAND_LINE + "audit=0 lsm=landlock,lockdown,yama,apparmor"
#: What the policy denies, or would deny, is in the kernel's log by way of audit.
SELINUX_COMMAND_LINE: Final = _COMMAND_LINE + "audit=1 lsm=landlock,lockdown,yama,selinux"

_AGENT: Final = """\
[Unit]
DefaultDependencies=no
After=basic.target bed-network.service
[Service]
ExecStart=/usr/bin/python3 -I -S /usr/local/lib/bed-agent.py
Delegate=yes
DelegateSubgroup=agent
KillMode=process
Restart=always
OOMScoreAdjust=-900
TasksMax=infinity
LimitNOFILE=1048576
[Install]
WantedBy=multi-user.target
"""

_NETWORK: Final = """\
[Unit]
DefaultDependencies=no
Before=network-pre.target network.target network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'modprobe virtio_net; ip link set lo up; ip link set eth0 up; \\
  ip address add 10.0.2.15/24 dev eth0; ip route add default via 10.0.2.2'
[Install]
WantedBy=multi-user.target
"""

FILES: Final[Mapping[str, str]] = {
    "etc/hostname": "guest\n",
    "etc/hosts": "127.0.0.1 localhost guest\n::1 localhost\n",
    "etc/fstab": "",
    "etc/resolv.conf": "nameserver 10.0.2.3\n",
    "etc/systemd/journald.conf.d/bed.conf": "[Journal]\nStorage=volatile\nRuntimeMaxUse=64M\n",
    "etc/systemd/system/bed-agent.service": _AGENT,
    "etc/systemd/system/bed-network.service": _NETWORK,
    # Hardware that is there before udev asks for it need not be asked for.
    "etc/systemd/system/systemd-udev-trigger.service.d/bed.conf": "[Service]\nExecStart=\nExecStart=-udevadm trigger "
    "--action=add --subsystem-match=block --subsystem-match=net --subsystem-match=misc --subsystem-match=virtio\n",
}
#: As `semanage fcontext` writes it: our program and our files are what this policy has for the runtimes that it names.
SELINUX_FILES: Final[Mapping[str, str]] = {
    "etc/selinux/default/contexts/files/file_contexts.local": "".join(
        f"{path}\tsystem_u:object_r:{kind}:s0\n"
        for path, kind in (
            ("/usr/local/bin/coracle", "container_engine_exec_t"),
            ("/var/lib/coracle(/.*)?", "container_var_lib_t"),
            ("/run/coracle(/.*)?", "container_runtime_t"),
        )
    ),
}
#: Debian's policy for runtimes does not know all that ours does (its netfilter, files without labels): for the daemon's
#: domain it is not enforced, as container-selinux does not confine runtimes either. For containers it is.
SELINUX_MODULE: Final = "(typepermissive container_engine_t)\n"
ENABLED: Final = ("bed-agent.service", "bed-network.service")

MASKED: Final = (
    "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "e2scrub_reap.service",
    "fstrim.timer", "systemd-tmpfiles-clean.timer", "getty.target", "ldconfig.service", "modprobe@drm.service",
    "modprobe@efi_pstore.service", "systemd-ask-password-console.path", "systemd-ask-password-wall.path",
    "systemd-binfmt.service", "systemd-firstboot.service", "systemd-hwdb-update.service",
    "systemd-journal-catalog-update.service", "systemd-journal-flush.service", "systemd-machine-id-commit.service",
    "systemd-pcrextend.socket", "systemd-pcrlock.socket", "systemd-pcrmachine.service", "systemd-pcrphase.service",
    "systemd-pcrphase-sysinit.service", "systemd-pstore.service", "systemd-random-seed.service",
    "systemd-remount-fs.service", "systemd-sysext.socket", "systemd-sysusers.service", "systemd-tpm2-setup.service",
    "systemd-tpm2-setup-early.service", "systemd-update-done.service",
)  # fmt: skip
GENERATORS_OFF: Final = ("getty", "gpt-auto", "hibernate-resume", "rc-local", "ssh", "system-update", "sysv", "tpm2")
