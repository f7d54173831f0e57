"""What this host's SELinux policy has for containers. Reads selinuxfs and two files of the policy's packages, once.

Defaults come from container-selinux (its `contexts`), else from the policy's `lxc_contexts`, else from what both have
said for years.
"""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from cri.selinux.labels import Label, Policy

SELINUXFS: Final = "sys/fs/selinux"
_OWN_LABEL: Final = "proc/self/attr/current"
_CONTAINER_SELINUX: Final = "usr/share/containers/selinux/contexts"
_CONFIGURATION: Final = "etc/selinux"
_DEFAULTS: Final = {"process": "system_u:system_r:container_t:s0", "file": "system_u:object_r:container_file_t:s0"}
#: The type of what may do whatever root may.
UNCONFINED: Final = "spc_t"


def find_policy(root: Path = Path("/")) -> tuple[Policy | None, str]:
    """The policy, None where no labels are to be set; and how things stand, in words. `root` is / but in tests."""
    lacking = _lacking(root)
    if lacking:
        return None, lacking
    try:
        policy = _policy(root)
        unknown = [label.type for label in (policy.process, policy.file) if not policy.knows(str(label))]
    except (ValueError, OSError) as error:
        return None, f"enabled, but labels are not set: {error}"
    if unknown:
        return None, f"enabled, but labels are not set: the policy has no {unknown[0]} (install container-selinux)"
    return policy, "enabled: labels are set"


def _lacking(root: Path) -> str:
    """Why there is no SELinux for us; "" where there is."""
    selinuxfs = root / SELINUXFS
    if not (selinuxfs / "enforce").exists():
        return "not enabled in this kernel"
    if os.statvfs(selinuxfs).f_flag & os.ST_RDONLY:
        return f"not for us: /{SELINUXFS} is read-only, as in a container"
    if _text(root / _OWN_LABEL).strip("\0\n") in ("", "kernel"):
        return "enabled in this kernel, but no policy is loaded"
    return ""


def _policy(root: Path) -> Policy:
    """Raises ValueError for a label that is none."""
    selinuxfs = root / SELINUXFS
    knows = partial(_knows, selinuxfs / "context")
    found = {**_DEFAULTS, **_contexts(root)}
    process, file = Label.parse(found["process"]), Label.parse(found["file"])
    if _text(selinuxfs / "mls").strip() == "0":
        process, file = replace(process, level=""), replace(file, level="")
    unconfined = replace(process, type=UNCONFINED)
    init_type = Label.parse(found["init_process"]).type if "init_process" in found else process.type
    return Policy(
        process=process,
        file=file,
        init_type=init_type if knows(str(replace(process, type=init_type))) else process.type,
        unconfined=unconfined if knows(str(unconfined)) else None,
        knows=knows,
    )


def _knows(context: Path, label: str) -> bool:
    """selinuxfs takes a label that the policy could have, and refuses any other."""
    fd = os.open(context, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, label.encode())
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    finally:
        os.close(fd)
    return True


def _contexts(root: Path) -> dict[str, str]:
    """Lines like: process = "system_u:system_r:container_t:s0"."""
    text = _text(root / _CONTAINER_SELINUX)
    if not text:
        kind = _assignments(_text(root / _CONFIGURATION / "config")).get("SELINUXTYPE", "targeted")
        text = _text(root / _CONFIGURATION / kind / "contexts/lxc_contexts")
    return _assignments(text)


def _assignments(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if line.strip() and line.strip()[0] not in "#;")
    return {name.strip(): value.strip().strip('"') for name, equals, value in pairs if equals and value.strip()}


def _text(path: Path) -> str:
    """A file of the host, "" where it has none."""
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return ""
