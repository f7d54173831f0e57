"""cri.apparmor: the profile's text, and what is said when it cannot be loaded."""

from __future__ import annotations

from pathlib import Path

from cri import apparmor


def program(directory: Path, body: str) -> Path:
    path = directory / "apparmor_parser"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_the_parser_is_given_the_profile(tmp_path: Path) -> None:
    parser = program(tmp_path, f'echo "$@" > {tmp_path}/arguments; cat > {tmp_path}/input')
    assert apparmor.load_default(parser) == ""
    assert (tmp_path / "input").read_text() == apparmor.PROFILE
    assert "--replace" in (tmp_path / "arguments").read_text()


def test_a_parser_that_refuses_is_quoted(tmp_path: Path) -> None:
    parser = program(tmp_path, "cat >/dev/null; echo 'syntax error in line 3' >&2; exit 1")
    assert "refuses the profile coracle-default: syntax error in line 3" in apparmor.load_default(parser)


def test_a_missing_parser_is_named(tmp_path: Path) -> None:
    assert "cannot load" in apparmor.load_default(tmp_path / "absent")


def test_the_profile_closes_what_it_must() -> None:
    for rule in ("deny mount,", "deny /sys/kernel/security/** rwklx,", "deny /proc/{kcore,"):
        assert rule in apparmor.PROFILE
    assert apparmor.PROFILE.count("{") == apparmor.PROFILE.count("}")


def test_kernel_lists(tmp_path: Path) -> None:
    (tmp_path / "profiles").write_text("a b (enforce)\nc (complain)\n")
    assert apparmor.loaded(tmp_path / "profiles") == frozenset({"a b", "c"})
    assert apparmor.loaded(tmp_path / "absent") is None
    (tmp_path / "enabled").write_text("Y\n")
    assert apparmor.enabled(tmp_path / "enabled")
    assert not apparmor.enabled(tmp_path / "absent")
