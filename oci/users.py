"""Who a container's process runs as: user strings and Kubernetes' settings, looked up inside the root filesystem.

Owns the reading of /etc/passwd and /etc/group of an image. Both are written by strangers, so: paths are resolved below
the root's descriptor, only regular files are read, sizes and lines are capped, and a matching entry that is malformed
is an error, never a default (a lenient parser turns it into root). Text of digits is always a number and never looked
up as a name, whatever its size (CVE-2024-40635, CVE-2026-46680). No name service, no locale: nothing of the image runs.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from oci import syscalls
from oci.errors import UserLookupError

MAX_ID: Final = (1 << 31) - 1
_LARGEST_FILE: Final = 1 << 20
_MOST_LINES: Final = 20_000
_PASSWD: Final = "etc/passwd"
_GROUP: Final = "etc/group"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedUser:
    """`name` is "" when /etc/passwd does not know the uid."""

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Account:
    name: str
    uid: int
    gid: int
    home: str


def resolve_user(root_fd: int, user: str, *, additional_gids: Sequence[int] = ()) -> ResolvedUser:
    """`user` as images and `exec --user` write it: "", "uid", "uid:gid", "name", "name:group" and mixtures.

    Without a group it is the account's, or 0 when /etc/passwd does not know the uid, and the groups that list the name
    as a member are added; with an explicit one they are not (as Docker does).
    """
    user_part, _, group_part = user.partition(":")
    if ":" in group_part:
        raise UserLookupError(user, "has more than one colon")
    account = _account(root_fd, user_part or "0", user)
    if group_part:
        return _resolved(account, _gid(root_fd, group_part, user), _unique(additional_gids, user))
    groups = _memberships(root_fd, account.name)
    return _resolved(account, account.gid, _unique((*groups, *additional_gids), user))


def resolve(
    root_fd: int,
    *,
    image_user: str,
    run_as_user: int | None,
    run_as_group: int | None,
    run_as_username: str,
    supplemental_groups: Sequence[int],
    strict_groups: bool,
) -> ResolvedUser:
    """The CRI's LinuxContainerSecurityContext: run_as_user, else run_as_username, else the image's user.

    `additional_gids` begins with the primary group. Unless `strict_groups` (SupplementalGroupsPolicy Strict), the
    groups of /etc/group that list the user are among them.
    """
    if run_as_user is not None:
        user, group = str(run_as_user), ""
    elif run_as_username:
        user, group = run_as_username, ""
        if ":" in user:
            raise UserLookupError(user, "a user name holds no colon")
    else:
        user, _, group = image_user.partition(":")
    if ":" in group:
        raise UserLookupError(image_user, "has more than one colon")
    account = _account(root_fd, user or "0", user or image_user)
    gid = account.gid
    if run_as_group is not None:
        gid = _number(str(run_as_group), f"group {run_as_group}")
    elif group:
        gid = _gid(root_fd, group, image_user)
    groups = () if strict_groups else _memberships(root_fd, account.name)
    return _resolved(account, gid, _unique((gid, *groups, *supplemental_groups), user))


def _resolved(account: _Account, gid: int, additional_gids: tuple[int, ...]) -> ResolvedUser:
    return ResolvedUser(uid=account.uid, gid=gid, additional_gids=additional_gids, home=account.home, name=account.name)


def _unique(gids: Iterable[int], user: str) -> tuple[int, ...]:
    for gid in gids:
        if not 0 <= gid <= MAX_ID:
            raise UserLookupError(user, f"supplementary group {gid} is not within 0 to {MAX_ID}")
    return tuple(dict.fromkeys(gids))


# --- numbers and names --------------------------------------------------------------------------------------------


def _is_number(text: str) -> bool:
    """Digits, also with a sign: "-1" and "+0" are bad numbers, not names."""
    digits = text[1:] if text[:1] in ("-", "+") else text
    return digits.isascii() and digits.isdigit()


def _number(text: str, user: str) -> int:
    # Length first: converting a very long string takes quadratic time.
    if not (text.isascii() and text.isdigit()) or len(text) > 20 or int(text) > MAX_ID:
        raise UserLookupError(user, f"{text[:40]} is not an id within 0 to {MAX_ID}")
    return int(text)


def _check_name(name: str, user: str) -> None:
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in name):
        raise UserLookupError(user, "holds control characters")


def _account(root_fd: int, wanted: str, user: str) -> _Account:
    """The entry of /etc/passwd for a name or uid; an unknown uid is an account of its own."""
    if _is_number(wanted):
        uid = _number(wanted, user)
        for fields in _entries(root_fd, _PASSWD, user):
            if len(fields) > 2 and fields[2] == str(uid).encode():
                return _parse_account(fields, user)
        return _Account(name="", uid=uid, gid=0, home=_default_home(uid))
    _check_name(wanted, user)
    encoded = os.fsencode(wanted)
    for fields in _entries(root_fd, _PASSWD, user):
        if fields[0] == encoded:
            return _parse_account(fields, user)
    raise UserLookupError(user, f"/{_PASSWD} of the root filesystem has no user {wanted!r}")


def _parse_account(fields: Sequence[bytes], user: str) -> _Account:
    """name:password:uid:gid:comment:home:shell (passwd(5)); the shell may be missing."""
    if len(fields) not in (6, 7):
        raise UserLookupError(user, f"its entry in /{_PASSWD} has {len(fields)} fields instead of 7")
    name, _, uid, gid, _, home = (os.fsdecode(field) for field in fields[:6])
    _check_name(name, user)
    number = _number(uid, user)
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in home):
        raise UserLookupError(user, f"its home directory in /{_PASSWD} holds control characters")
    home = home if home.startswith("/") else _default_home(number)
    return _Account(name=name, uid=number, gid=_number(gid, user), home=home)


def _default_home(uid: int) -> str:
    return "/root" if uid == 0 else "/"


def _gid(root_fd: int, wanted: str, user: str) -> int:
    if _is_number(wanted):
        return _number(wanted, user)
    _check_name(wanted, user)
    encoded = os.fsencode(wanted)
    for fields in _entries(root_fd, _GROUP, user):
        if fields[0] == encoded:
            if len(fields) not in (3, 4):
                raise UserLookupError(user, f"the entry of group {wanted!r} in /{_GROUP} has {len(fields)} fields")
            return _number(os.fsdecode(fields[2]), user)
    raise UserLookupError(user, f"/{_GROUP} of the root filesystem has no group {wanted!r}")


def _memberships(root_fd: int, name: str) -> tuple[int, ...]:
    """Groups that list `name` as a member (group(5)); an account without a name is in none."""
    if not name:
        return ()
    encoded = os.fsencode(name)
    gids = []
    for fields in _entries(root_fd, _GROUP, name):
        if len(fields) == 4 and encoded in fields[3].split(b","):
            gids.append(_number(os.fsdecode(fields[2]), name))
    return tuple(gids)


# --- the files ----------------------------------------------------------------------------------------------------


def _entries(root_fd: int, path: str, user: str) -> Iterator[list[bytes]]:
    """Fields of each line; comments and the +/- lines of NIS are not entries."""
    data = _read(root_fd, path, user)
    if data.count(b"\n") > _MOST_LINES:
        raise UserLookupError(user, f"/{path} of the root filesystem has more than {_MOST_LINES} lines")
    for line in data.split(b"\n"):
        if line and not line.startswith((b"#", b"+", b"-", b":")):
            yield line.split(b":")


def _read(root_fd: int, path: str, user: str) -> bytes:
    """The file below the root, empty when there is none."""
    try:
        # By O_PATH first: opening a device that stands in its place would already have an effect.
        place = syscalls.openat2(
            root_fd, path, os.O_PATH, resolve=syscalls.RESOLVE_IN_ROOT | syscalls.RESOLVE_NO_MAGICLINKS
        )
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return b""
        raise UserLookupError(user, f"/{path} of the root filesystem cannot be opened: {error.strerror}")
    with syscalls.closing(place):
        status = os.fstat(place)
        if not stat.S_ISREG(status.st_mode):
            raise UserLookupError(user, f"/{path} of the root filesystem is not a regular file")
        if status.st_size > _LARGEST_FILE:
            raise UserLookupError(user, f"/{path} of the root filesystem is larger than {_LARGEST_FILE} bytes")
        fd = os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        data = file.read(_LARGEST_FILE + 1)
    if len(data) > _LARGEST_FILE:
        raise UserLookupError(user, f"/{path} of the root filesystem grew while it was read")
    return data
