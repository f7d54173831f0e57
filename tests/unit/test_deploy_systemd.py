"""deploy/systemd: the unit says what the daemon counts on."""

from __future__ import annotations

from pathlib import Path

import pytest

_UNIT = Path(__file__).parents[2] / "deploy/systemd/coracle.service"


def sections() -> dict[str, dict[str, list[str]]]:
    """As systemd.syntax(7): comments are lines of their own, a key may be given more than once."""
    found: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in _UNIT.read_text().splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            section.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("KillMode", "process"),  # else a restart would end the launcher, and shims that have no scope yet
        ("Delegate", "yes"),
        ("Restart", "always"),
        ("TasksMax", "infinity"),
        ("OOMScoreAdjust", "-999"),
        ("LimitNOFILE", "1048576"),
        ("WatchdogSec", "120"),
        ("TimeoutStartSec", "infinity"),
    ],
)
def test_the_service(key: str, value: str) -> None:
    assert sections()["Service"][key] == [value]


def test_programs_are_given_by_their_whole_path() -> None:
    service = sections()["Service"]
    for key in ("ExecStartPre", "ExecStart", "ExecReload"):
        for command in service[key]:
            assert command.lstrip("-").startswith("/")
    assert service["ExecStart"][0].split()[1:] == ["serve", "$CORACLE_FLAGS"]


def test_a_missing_environment_file_is_no_error() -> None:
    assert all(file.startswith("-/") for file in sections()["Service"]["EnvironmentFile"])


def test_the_kubelet_comes_later_and_tries_are_not_counted() -> None:
    unit = sections()["Unit"]
    assert unit["Before"] == ["kubelet.service"]
    assert unit["StartLimitIntervalSec"] == ["0"]
