"""Exit records: how a container ended, on disk before anybody is told, for a daemon that was not there.

Written to a temporary name and renamed, so that a record is whole or absent. The directory is on a tmpfs that a reboot
empties: no fsync.
"""

from __future__ import annotations

import json
import os

from oci.errors import SpecError
from oci.protocol.messages import ContainerExited
from oci.spec import codec

_SUFFIX = ".exit"


def path(directory: str, container_id: str) -> str:
    return f"{directory}/{container_id}{_SUFFIX}"


def write(directory: str, record: ContainerExited) -> None:
    target = path(directory, record.container_id)
    temporary = target + ".new"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, json.dumps(codec.encode(record)).encode())
    finally:
        os.close(fd)
    os.rename(temporary, target)


def read(directory: str, container_id: str) -> ContainerExited | None:
    """None when there is none. Raises `SpecError` for a file that this version cannot understand."""
    try:
        with open(path(directory, container_id), encoding="utf-8") as file:
            text = file.read()
    except FileNotFoundError:
        return None
    try:
        document = json.loads(text)
    except ValueError as error:
        raise SpecError(path(directory, container_id), str(error)) from None
    return codec.decode(ContainerExited, document)


def remove(directory: str, container_id: str) -> None:
    try:
        os.unlink(path(directory, container_id))
    except FileNotFoundError:
        pass
