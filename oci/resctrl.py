"""`linux.intelRdt`: a container's group in the resctrl file system (config-linux.md, "IntelRdt").

    <mount point>/<closID, or the container's id>/
        schemata, tasks
        mon_groups/<container's id>/tasks           with enableMonitoring

The caller prepares the group as it prepares a cgroup and hands it to the engine, which writes the pid. With the
container the caller removes what was made for it alone: the group that is named after it, and the monitoring group.
Groups with a name of their own stay.
"""

from __future__ import annotations

import errno
import os

from oci.errors import ContainerError, SpecError, Unsupported
from oci.values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from oci.spec import IntelRdt

_STAGE: Final = "resctrl"
# Directories of the file system itself.
_RESERVED: Final = frozenset((".", "..", "info", "mon_data", "mon_groups"))


@frozen
class Group:
    """`tasks` are the files that take the pid; `made` the directories that are the container's, the inner one last."""

    tasks: tuple[str, ...]
    made: tuple[str, ...] = ()

    def attach(self, pid: int) -> None:
        for path in self.tasks:
            _write(path, f"{pid}\n")

    def remove(self) -> None:
        remove(self.made)


def remove(made: Iterable[str]) -> None:
    """Gone already is fine."""
    for path in reversed(tuple(made)):
        try:
            os.rmdir(path)
        except FileNotFoundError:
            pass


def prepare(rdt: IntelRdt, container_id: str, *, mountinfo: str = "/proc/self/mountinfo") -> Group:
    """Raises SpecError, Unsupported without resctrl, or ContainerError with the kernel's reason, and leaves nothing."""
    check(rdt)
    group = _directory(_required(mountinfo), rdt, container_id)
    made: list[str] = []
    own = rdt.clos_id is None
    lines = [line for line in (rdt.l3_cache_schema, rdt.mem_bw_schema, *rdt.schemata) if line]
    try:
        exists = os.path.isdir(group)
        if not exists:
            if not own and not lines:
                raise SpecError("linux.intelRdt.closID", f"{group} does not exist, and no schemata is given to make it")
            _make(group)
            # Whoever named the group keeps it; but one that could not be set up is nobody's.
            made.append(group)
        elif not own:
            _compare(group, rdt)
            lines = list(rdt.schemata)
        if lines:
            _write(f"{group}/schemata", "".join(f"{line}\n" for line in lines))
        tasks = [f"{group}/tasks"]
        if rdt.enable_monitoring:
            monitor = f"{group}/mon_groups/{container_id}"
            _make(monitor)
            made.append(monitor)
            tasks.append(f"{monitor}/tasks")
    except BaseException:
        remove(made)
        raise
    return Group(tasks=tuple(tasks), made=tuple(path for path in made if own or path != group))


def update(rdt: IntelRdt, container_id: str, lines: Iterable[str], *, mountinfo: str = "/proc/self/mountinfo") -> None:
    """Other schemata for the group of a running container, which others may be in, too."""
    _write(f"{_directory(_required(mountinfo), rdt, container_id)}/schemata", "".join(f"{line}\n" for line in lines))


def check(rdt: IntelRdt) -> None:
    """What can be said without the file system."""
    name = rdt.clos_id
    if name not in (None, "/") and (not name or "/" in name or name in _RESERVED or not name.isprintable()):
        raise SpecError("linux.intelRdt.closID", f"{name!r} is not the name of a group")
    for field, text, start in (
        ("l3CacheSchema", rdt.l3_cache_schema, "L3"),
        ("memBwSchema", rdt.mem_bw_schema, "MB:"),
        *((f"schemata[{index}]", line, "") for index, line in enumerate(rdt.schemata)),
    ):
        if text is not None and ("\n" in text or not text.startswith(start)):
            raise SpecError(f"linux.intelRdt.{field}", f"{text!r} is not one line of a schemata file")


def _directory(root: str, rdt: IntelRdt, container_id: str) -> str:
    name = container_id if rdt.clos_id is None else rdt.clos_id
    return root if name == "/" else f"{root}/{name}"


def _compare(group: str, rdt: IntelRdt) -> None:
    """A group that others are in already is not changed; it has to be what the config takes it for."""
    with open(f"{group}/schemata", encoding="utf-8", errors="replace") as file:
        present = dict(_domains(line) for line in file)
    for field, text in (("l3CacheSchema", rdt.l3_cache_schema), ("memBwSchema", rdt.mem_bw_schema)):
        if not text:
            continue
        resource, wanted = _domains(text)
        found = present.get(resource, {})
        if any(found.get(domain) != value for domain, value in wanted.items()):
            raise SpecError(f"linux.intelRdt.{field}", f"{text!r} is not what {group}/schemata has")


def _domains(line: str) -> tuple[str, dict[str, str]]:
    """ "L3:0=7f0;1=1f" -> ("L3", {"0": "7f0", "1": "1f"}), without leading zeros, in lower case."""
    resource, _, rest = line.partition(":")
    pairs = (part.partition("=") for part in rest.split(";") if "=" in part)
    return resource.strip(), {
        domain.strip().lstrip("0") or "0": value.strip().lower().lstrip("0") or "0" for domain, _, value in pairs
    }


def _required(mountinfo: str) -> str:
    """Where it is mounted."""
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            before, _, after = line.partition(" - ")
            if after.startswith("resctrl "):
                return before.split(" ")[4]
    how = "mount -t resctrl resctrl /sys/fs/resctrl"
    raise Unsupported("linux.intelRdt", f"no resctrl file system is mounted ({how})")


def _make(path: str) -> None:
    try:
        os.mkdir(path, 0o755)
    except FileExistsError:
        raise ContainerError(_STAGE, errno.EEXIST, f"{path} exists already")
    except OSError as error:
        raise _failure(path, error)


def _write(path: str, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise _failure(path, error)


def _failure(path: str, error: OSError) -> ContainerError:
    """With the kernel's own words, which it keeps in a file."""
    words = os.strerror(error.errno or 0).lower()
    root = path
    while root != "/" and not os.path.isdir(f"{root}/info"):
        root = os.path.dirname(root)
    try:
        with open(f"{root}/info/last_cmd_status", encoding="utf-8", errors="replace") as file:
            words += f" ({file.read().strip()})"
    except OSError:
        pass  # an old kernel, or no resctrl any more
    return ContainerError(_STAGE, error.errno or 0, f"{path}: {words}")
