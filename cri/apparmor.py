"""The AppArmor profile of containers that ask for no other: its text, and how it gets into the kernel.

It allows what the other walls (capabilities, seccomp, namespaces, masked paths) leave, and closes again what they leave
open for a process that has come to hold CAP_SYS_ADMIN: mounting, the host's switches in /proc and /sys, tracing and
signalling of anything outside containers. Which container gets which profile is decided in `cri.security`.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

PROFILE_NAME: Final = "coracle-default"
LOADED: Final = Path("/sys/kernel/security/apparmor/profiles")
_ENABLED: Final = Path("/sys/module/apparmor/parameters/enabled")
_PARSERS: Final = tuple(Path(place) for place in ("/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"))
_PATIENCE_S: Final = 60.0

# No includes and no variables: the text means the same on every distribution, with or without AppArmor's own files.
PROFILE: Final = f"""
profile {PROFILE_NAME} flags=(attach_disconnected,mediate_deleted) {{
  file,
  network,
  capability,
  umount,

  # The host's processes may signal and look at containers; containers only one another.
  signal (receive) peer=unconfined,
  signal (send,receive) peer={PROFILE_NAME},
  ptrace (readby,tracedby) peer=unconfined,
  ptrace (read,readby,trace,tracedby) peer={PROFILE_NAME},

  deny mount,
  deny remount,
  deny pivot_root,

  # Memory and switches of the host.
  deny /proc/{{kcore,kmem,mem,sysrq-trigger,kpagecount,kpageflags,kpagecgroup,timer_list}} rwklx,
  deny /proc/{{acpi,asound,bus,driver,fs,irq,mtrr,scsi,tty}}/** wklx,

  # Settings: of /proc/sys only what a pod has of its own, which is net, fs/mqueue and System V IPC.
  deny /proc/sys/[^fkn]*/** wklx,
  deny /proc/sys/fs/[^m]** wklx,
  deny /proc/sys/kernel/[^ms]** wklx,
  deny /proc/sys/kernel/m[^s]** wklx,
  deny /proc/sys/kernel/s[^eh]** wklx,
  deny /proc/sys/kernel/sec** wklx,

  # Of /sys only its own cgroup.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/kernel/security/** rwklx,
}}
"""


def enabled(switch: Path = _ENABLED) -> bool:
    try:
        return switch.read_text().strip() == "Y"
    except OSError:
        return False


def loaded(profiles: Path = LOADED) -> frozenset[str] | None:
    """The kernel's list; None where it cannot be read (securityfs is not mounted). Names may hold blanks."""
    try:
        return frozenset(line.rpartition(" (")[0] for line in profiles.read_text().splitlines())
    except OSError:
        return None


def parser() -> Path | None:
    return next((path for path in _PARSERS if path.exists()), None)


def load_default(program: Path | None = None) -> str:
    """Load the profile, or load it again; returns what keeps it out, "" when it is in. Blocking: a process is run."""
    program = program or parser()
    if program is None:
        return "apparmor_parser is not installed (Debian package apparmor), so containers run without a profile"
    try:
        subprocess.run(
            [str(program), "--replace", "--skip-cache"],
            input=PROFILE,
            text=True,
            check=True,
            capture_output=True,
            timeout=_PATIENCE_S,
        )
    except subprocess.CalledProcessError as error:
        return f"{program} refuses the profile {PROFILE_NAME}: {error.stderr.strip()}"
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{program} cannot load the profile {PROFILE_NAME}: {error}"
    return ""
