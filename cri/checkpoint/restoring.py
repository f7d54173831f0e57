"""What a container that is restored has beside its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cri.checkpoint import archive, changes


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """`directory` holds an unpacked archive, `criu` is the program."""

    directory: Path
    criu: str

    @property
    def images(self) -> str:
        return str(self.directory / archive.IMAGES)

    def change(self, rootfs: int) -> None:
        """Files that the container had made go into the new root filesystem, those it had removed out of it."""
        changes.apply(rootfs, self.directory)
