"""Users and groups looked up in a root filesystem that a stranger made."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oci.errors import UserLookupError
from oci.users import MAX_ID, ResolvedUser, resolve, resolve_user

PASSWD = """\
# comment
root:x:0:0:root:/root:/bin/sh
+nis::::::
daemon:x:1:1::/usr/sbin:/usr/sbin/nologin
app:x:1000:1001:App,,,:/home/app:/bin/sh
second:x:1000:7::/elsewhere:/bin/sh
homeless:x:1002:1002:::/bin/sh
relative:x:1003:1003::home:/bin/sh
123:x:5:5::/numeric:/bin/sh
short:x
ümlaut:x:1004:1004::/home/ü:/bin/sh
"""
GROUP = """\
root:x:0:
audio:x:29:app,daemon
video:x:44:daemon,app
app:x:1001:
wide:x:60:apple,xapp
123:x:6:
broken
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(PASSWD)
    (tmp_path / "etc/group").write_text(GROUP)
    return tmp_path


@pytest.fixture
def root_fd(root: Path) -> Iterator[int]:
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def user(uid: int, gid: int, *groups: int, home: str = "/", name: str = "") -> ResolvedUser:
    return ResolvedUser(uid=uid, gid=gid, additional_gids=groups, home=home, name=name)


APP = {"home": "/home/app", "name": "app"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", user(0, 0, home="/root", name="root")),
        ("root", user(0, 0, home="/root", name="root")),
        ("app", user(1000, 1001, 29, 44, home="/home/app", name="app")),
        ("1000", user(1000, 1001, 29, 44, home="/home/app", name="app")),
        ("001000", user(1000, 1001, 29, 44, home="/home/app", name="app")),
        ("app:audio", user(1000, 29, home="/home/app", name="app")),
        ("app:9", user(1000, 9, home="/home/app", name="app")),
        ("4000", user(4000, 0)),
        ("4000:4001", user(4000, 4001)),
        ("4000:", user(4000, 0)),
        (":29", user(0, 29, home="/root", name="root")),
        ("homeless", user(1002, 1002, name="homeless")),
        ("relative", user(1003, 1003, name="relative")),
        ("123", user(123, 0)),  # a number, although there is a user and a group of this name
        ("app:123", user(1000, 123, home="/home/app", name="app")),
        ("ümlaut", user(1004, 1004, home="/home/ü", name="ümlaut")),
        (str(MAX_ID), user(MAX_ID, 0)),
    ],
)
def test_user_strings(root_fd: int, text: str, expected: ResolvedUser) -> None:
    assert resolve_user(root_fd, text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nobody", "no user 'nobody'"),
        ("app:nogroup", "no group 'nogroup'"),
        (str(MAX_ID + 1), "not an id"),
        ("4294967296", "not an id"),
        ("9" * 5000, "not an id"),
        ("-1", "not an id"),
        ("+0", "not an id"),
        ("1000:-1", "not an id"),
        ("1000:99999999999", "not an id"),
        ("1:2:3", "more than one colon"),
        ("app\n", "control characters"),
        ("app:au\0dio", "control characters"),
        ("short", "2 fields"),
        ("app:broken", "1 fields"),
        ("+nis", "no user"),
        ("# comment", "no user"),
        ("0x0", "no user"),
        ("٣", "no user"),
    ],
)
def test_bad_user_strings(root_fd: int, text: str, words: str) -> None:
    with pytest.raises(UserLookupError, match=words):
        resolve_user(root_fd, text)


def kubernetes(
    root_fd: int, image: str = "", uid: int | None = None, gid: int | None = None, name: str = "",
    groups: tuple[int, ...] = (), strict: bool = False,
) -> ResolvedUser:  # fmt: skip
    return resolve(
        root_fd, image_user=image, run_as_user=uid, run_as_group=gid, run_as_username=name, supplemental_groups=groups,
        strict_groups=strict,
    )  # fmt: skip


def test_kubernetes_users(root_fd: int) -> None:
    assert kubernetes(root_fd, "app") == user(1000, 1001, 1001, 29, 44, home="/home/app", name="app")
    assert kubernetes(root_fd, "app", uid=0) == user(0, 0, 0, home="/root", name="root")
    assert kubernetes(root_fd, "root", uid=1000, gid=5) == user(1000, 5, 5, 29, 44, home="/home/app", name="app")
    assert kubernetes(root_fd, "4000:4001") == user(4000, 4001, 4001)
    assert kubernetes(root_fd, "4000:4001", name="app") == user(1000, 1001, 1001, 29, 44, home="/home/app", name="app")
    assert kubernetes(root_fd, ":44") == user(0, 44, 44, home="/root", name="root")


def test_kubernetes_group_policies(root_fd: int) -> None:
    merged = kubernetes(root_fd, "app", groups=(29, 500, 500))
    assert merged.additional_gids == (1001, 29, 44, 500)
    strict = kubernetes(root_fd, "app", groups=(500,), strict=True)
    assert strict.additional_gids == (1001, 500)


@pytest.mark.parametrize(
    "arguments",
    [{"uid": -1}, {"uid": MAX_ID + 1}, {"uid": 1, "gid": -5}, {"uid": 1, "gid": 1 << 32}, {"groups": (-1,)},
     {"groups": (1 << 31,)}, {"name": "99999999999"}, {"name": "app:audio"}, {"name": "app\r"}, {"image": "a:b:c"}],
)  # fmt: skip
def test_bad_kubernetes_settings(root_fd: int, arguments: dict[str, object]) -> None:
    with pytest.raises(UserLookupError):
        kubernetes(root_fd, **arguments)  # type: ignore[arg-type]


def test_a_root_without_files_knows_numbers_only(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_PATH)
    try:
        assert resolve_user(fd, "7:8") == user(7, 8)
        with pytest.raises(UserLookupError, match="no user 'root'"):
            resolve_user(fd, "root")
        (tmp_path / "etc").write_text("")
        assert resolve_user(fd, "") == user(0, 0, home="/root")
    finally:
        os.close(fd)


@pytest.mark.parametrize("home", ["/home/\x01", "/a\x7f", "/x\r", "/tab\t"])
def test_homes_with_control_characters_are_refused(root: Path, root_fd: int, home: str) -> None:
    (root / "etc/passwd").write_bytes(f"app:x:1000:1000::{home}:/bin/sh\n".encode())
    with pytest.raises(UserLookupError, match="home directory"):
        resolve_user(root_fd, "1000")


@pytest.mark.parametrize("ids", ["4294967296:0", "-1:0", ":0", "abc:0", "0:", "1000:-2", " 0:0", "0x0:0"])
def test_malformed_entries_are_errors_and_not_root(root: Path, root_fd: int, ids: str) -> None:
    (root / "etc/passwd").write_text(f"app:x:{ids}::/home/app:/bin/sh\n")
    with pytest.raises(UserLookupError):
        resolve_user(root_fd, "app")


def test_links_stay_inside_the_root(root: Path, root_fd: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "passwd"
    outside.write_text("evil:x:0:0::/:\n")
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to(outside)
    with pytest.raises(UserLookupError, match="no user"):
        resolve_user(root_fd, "evil")
    (root / "etc/passwd").unlink()
    (root / "usr").mkdir()
    (root / "usr/passwd").write_text(PASSWD)
    (root / "etc/passwd").symlink_to("/usr/passwd")  # as in images with a merged /usr
    assert resolve_user(root_fd, "app").uid == 1000
    (root / "usr/passwd").unlink()
    (root / "usr/passwd").symlink_to("/etc/passwd")
    with pytest.raises(UserLookupError, match="cannot be opened"):
        resolve_user(root_fd, "app")


def test_only_regular_files_of_bounded_size_are_read(root: Path, root_fd: int) -> None:
    passwd = root / "etc/passwd"
    passwd.write_bytes(b"#" * ((1 << 20) + 1))
    with pytest.raises(UserLookupError, match="larger than"):
        resolve_user(root_fd, "app")
    passwd.write_bytes(b"a\n" * 20_001)
    with pytest.raises(UserLookupError, match="more than 20000 lines"):
        resolve_user(root_fd, "5")
    passwd.unlink()
    os.mkfifo(passwd)
    with pytest.raises(UserLookupError, match="not a regular file"):
        resolve_user(root_fd, "app")
    passwd.unlink()
    passwd.mkdir()
    with pytest.raises(UserLookupError, match="not a regular file"):
        resolve_user(root_fd, "app")


field = st.text(st.characters(codec="utf-8", exclude_characters=":\n"), max_size=8)
lines = st.lists(st.lists(field, max_size=8).map(":".join), max_size=8).map("\n".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    passwd=lines | st.binary(max_size=200), group=lines, text=st.text(max_size=12) | st.sampled_from(["0", "a:b", "1"])
)
def test_any_files_give_a_user_or_an_error(
    root: Path, root_fd: int, passwd: str | bytes, group: str, text: str
) -> None:
    (root / "etc/passwd").write_bytes(passwd if isinstance(passwd, bytes) else passwd.encode())
    (root / "etc/group").write_bytes(group.encode())
    try:
        found = resolve_user(root_fd, text)
    except UserLookupError:
        return
    assert 0 <= found.uid <= MAX_ID
    assert 0 <= found.gid <= MAX_ID
    assert found.home.startswith("/")
    assert found.home.isprintable() or not any(ord(char) < 32 for char in found.home)
    assert all(0 <= gid <= MAX_ID for gid in found.additional_gids)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.from_regex(r"\A[0-9]{1,30}\Z"))
def test_digits_are_never_a_name(root: Path, root_fd: int, text: str) -> None:
    (root / "etc/passwd").write_text(f"{text}:x:777777:777777::/trap:/bin/sh\n")
    try:
        assert resolve_user(root_fd, text).uid == int(text)
    except UserLookupError:
        assert int(text) > MAX_ID or len(text) > 20
