"""Mount options of config.json (config.md, "Linux mount options") as attribute masks for mount_setattr. Pure.

Every option of the MUST and SHOULD lists is known; what is not known is data for the file system.
"""

from __future__ import annotations

from oci import syscalls as sc
from oci.values import fresh, frozen, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

_ATIME: Final = sc.MOUNT_ATTR__ATIME

# option -> (attributes to set, attributes to clear). Access time modes are one field: setting one clears the field.
ATTRIBUTES: Final = {
    "ro": (sc.MOUNT_ATTR_RDONLY, 0),
    "rw": (0, sc.MOUNT_ATTR_RDONLY),
    "nosuid": (sc.MOUNT_ATTR_NOSUID, 0),
    "suid": (0, sc.MOUNT_ATTR_NOSUID),
    "nodev": (sc.MOUNT_ATTR_NODEV, 0),
    "dev": (0, sc.MOUNT_ATTR_NODEV),
    "noexec": (sc.MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, sc.MOUNT_ATTR_NOEXEC),
    "nodiratime": (sc.MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, sc.MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (sc.MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, sc.MOUNT_ATTR_NOSYMFOLLOW),
    "noatime": (sc.MOUNT_ATTR_NOATIME, _ATIME),
    "strictatime": (sc.MOUNT_ATTR_STRICTATIME, _ATIME),
    "relatime": (sc.MOUNT_ATTR_RELATIME, _ATIME),
    # The kernel's default is relatime; undoing another mode leads back to it.
    "atime": (0, _ATIME),
    "nostrictatime": (0, _ATIME),
    "norelatime": (0, _ATIME),
}
RECURSIVE: Final = {"r" + option: masks for option, masks in ATTRIBUTES.items()}

PROPAGATION: Final = {
    "private": (sc.MS_PRIVATE, False),
    "rprivate": (sc.MS_PRIVATE, True),
    "shared": (sc.MS_SHARED, False),
    "rshared": (sc.MS_SHARED, True),
    "slave": (sc.MS_SLAVE, False),
    "rslave": (sc.MS_SLAVE, True),
    "unbindable": (sc.MS_UNBINDABLE, False),
    "runbindable": (sc.MS_UNBINDABLE, True),
}

# Flags of the superblock, which the new mount interface takes as parameters. Their opposites undo nothing on a new one.
SUPERBLOCK: Final = frozenset(("sync", "dirsync", "lazytime", "mand"))
_WITHOUT_EFFECT: Final = frozenset(
    ("defaults", "async", "nomand", "nolazytime", "loud", "silent", "iversion", "noiversion")
)
# The last three are crun's, for bind mounts: a link as the source, or in the target's place, is meant itself, and a
# link as the source is made again instead of mounted.
_WORDS: Final = frozenset(
    ("bind", "rbind", "remount", "idmap", "ridmap", "tmpcopyup", "src-nofollow", "dest-nofollow", "copy-symlink")
)


@frozen
class MountOptions:
    """`propagation` holds (MS_ flag, recursive) in the order given; `data` goes to the file system as it is."""

    set: int = 0
    clear: int = 0
    recursive_set: int = 0
    recursive_clear: int = 0
    propagation: tuple[tuple[int, bool], ...] = ()
    bind: bool = False
    recursive: bool = False
    remount: bool = False
    idmap: bool = False
    recursive_idmap: bool = False
    copy_up: bool = False
    source_nofollow: bool = False
    target_nofollow: bool = False
    copy_symlink: bool = False
    superblock: tuple[str, ...] = ()
    data: tuple[str, ...] = ()

    @property
    def readonly(self) -> bool:
        return bool(self.set & sc.MOUNT_ATTR_RDONLY)


@record
class _Masks:
    set: int = 0
    clear: int = 0

    def add(self, masks: tuple[int, int]) -> None:
        turn_on, turn_off = masks
        self.set = self.set & ~turn_off | turn_on
        self.clear = self.clear & ~turn_on | turn_off


@record
class _Reading:
    top: _Masks = fresh(default_factory=_Masks)
    tree: _Masks = fresh(default_factory=_Masks)
    propagation: list[tuple[int, bool]] = fresh(default_factory=list)
    words: set[str] = fresh(default_factory=set)
    superblock: list[str] = fresh(default_factory=list)
    data: list[str] = fresh(default_factory=list)


_known: Final[dict[tuple[str, ...], MountOptions]] = {}
_MOST_KNOWN: Final = 128


def parse_options(options: Iterable[str]) -> MountOptions:
    """Later options win over earlier ones, as for mount(8). The same few lists come again and again."""
    key = tuple(options)
    parsed = _known.get(key)
    if parsed is None:
        parsed = _parse(key)
        if len(_known) < _MOST_KNOWN:
            _known[key] = parsed
    return parsed


def _parse(options: Iterable[str]) -> MountOptions:
    reading = _Reading()
    for option in options:
        _read(option, reading)
    words = reading.words
    return MountOptions(
        set=reading.top.set,
        clear=reading.top.clear,
        recursive_set=reading.tree.set,
        recursive_clear=reading.tree.clear,
        propagation=tuple(reading.propagation),
        bind=not words.isdisjoint(("bind", "rbind")),
        recursive="rbind" in words,
        remount="remount" in words,
        idmap=not words.isdisjoint(("idmap", "ridmap")),
        recursive_idmap="ridmap" in words,
        copy_up="tmpcopyup" in words,
        source_nofollow="src-nofollow" in words,
        target_nofollow="dest-nofollow" in words,
        copy_symlink="copy-symlink" in words,
        superblock=tuple(reading.superblock),
        data=tuple(reading.data),
    )


def _read(option: str, reading: _Reading) -> None:
    if masks := ATTRIBUTES.get(option):
        reading.top.add(masks)
    elif masks := RECURSIVE.get(option):
        reading.tree.add(masks)
    elif propagation := PROPAGATION.get(option):
        reading.propagation.append(propagation)
    elif option in _WORDS:
        reading.words.add(option)
    elif option in SUPERBLOCK:
        reading.superblock.append(option)
    elif option and option not in _WITHOUT_EFFECT:
        reading.data.append(option)


def known_options() -> tuple[str, ...]:
    """Every option that is not data, for the features document."""
    return tuple(
        sorted(_WORDS | set(ATTRIBUTES) | set(RECURSIVE) | set(PROPAGATION) | set(SUPERBLOCK) | _WITHOUT_EFFECT)
    )
