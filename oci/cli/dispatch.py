"""The command line's first half: global options, the choice of the verb, and what becomes of errors.

Each verb is a module `<name>_verb` with `USAGE`, `OPTIONS`, optionally `WORDS`, and `run(settings, parsed) -> exit
status`; only the called one is imported.
"""

from __future__ import annotations

import os

from oci.cli.options import Parsed, UsageError, describe, parse, switch, value
from oci.errors import OciError
from oci.values import frozen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_VERBS: Final = {
    "checkpoint": "write a running container's processes to disk",
    "create": "make a container from a bundle; its process waits to be started",
    "delete": "remove a container and what belongs to it",
    "events": "show what a container uses, and its OOM kills",
    "exec": "execute a process in a running container",
    "features": "show what this runtime can do",
    "kill": "send a signal to a container's process",
    "list": "list containers",
    "pause": "freeze all processes of a container",
    "ps": "list the processes of a container",
    "restore": "bring a checkpointed container back",
    "resume": "let a frozen container go on",
    "run": "create and start a container",
    "spec": "write a config.json to begin with",
    "start": "start a created container",
    "state": "show the state of a container",
    "update": "change the limits of a container",
}
_OPTIONS: Final = (
    value("root", "DIR", "directory for the state of containers"),
    value("log", "FILE", "file for errors, besides stderr"),
    value("log-format", "FORMAT", "text or json"),
    switch("debug", "the steps taken, in the log"),
    value("cgroup-manager", "NAME", "cgroupfs, systemd or disabled"),
    switch("systemd-cgroup", "same as --cgroup-manager systemd"),
    value("rootless", "BOOL", "go on where a cgroup is not allowed: true, false or auto (not as root)"),
    value("criu", "PATH", "accepted for compatibility; checkpoint and restore have the option"),
    switch("help h", "show this text"),
    switch("version v", "show the version"),
)

# What this was made with, in the manner of other runtimes; SYSTEMD is sd_notify.
_PARTS: Final = "+SYSTEMD +SELINUX +APPARMOR +CAP +SECCOMP +EBPF"


@frozen
class Settings:
    """The global options."""

    root: str
    log: str
    log_json: bool
    cgroup_manager: str
    rootless: str = "auto"
    debug: bool = False


def dispatch(arguments: list[str]) -> int:
    settings = Settings(root=_default_root(), log="", log_json=False, cgroup_manager="cgroupfs")
    parsed = Parsed()
    try:
        parsed = parse(arguments, _OPTIONS, words=1)
        settings = _settings(parsed)
        return _run_verb(settings, parsed)
    except (OciError, UsageError, OSError) as error:
        from oci.cli.report import report

        report(settings, error)
        # runc's: 255 tells a failed exec from a command that ended with 1.
        return 255 if "exec" in parsed.words[:1] else 1


def _settings(parsed: Parsed) -> Settings:
    if path := parsed.text("log"):
        # Whoever reads the log finds it there, and one that cannot be written is an error before anything is done.
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644))
    if (rootless := parsed.text("rootless", "auto")) not in ("true", "false", "auto"):
        raise UsageError(f"--rootless is true, false or auto, not {rootless!r}")
    if parsed.text("log-format", "text") not in ("text", "json"):
        raise UsageError(f"--log-format is text or json, not {parsed.text('log-format')!r}")
    return Settings(
        root=os.path.abspath(parsed.text("root") or _default_root()),
        log=parsed.text("log"),
        log_json=parsed.text("log-format") == "json",
        cgroup_manager="systemd" if parsed.switch("systemd-cgroup") else parsed.text("cgroup-manager", "cgroupfs"),
        rootless=rootless,
        debug=parsed.switch("debug"),
    )


def _run_verb(settings: Settings, parsed: Parsed) -> int:
    if parsed.switch("version"):
        from oci import spec, version

        print(f"coracle-oci version {version.VERSION}\nspec: {spec.VERSION}\n{_PARTS}{_optional_parts()}")  # noqa: T201 - a command's answer
        return 0
    if parsed.switch("help") or not parsed.words:
        _print_help()
        return 0 if parsed.switch("help") else 1
    name, *rest = parsed.words
    if name == "help":
        _print_help()
        return 0
    if name not in _VERBS:
        raise UsageError(f"unknown command {name!r}, see coracle-oci --help")
    if name in ("create", "run", "exec") and not os.readlink("/proc/self/exe").startswith("/memfd:"):
        from oci.cli.report import log

        log(settings, "warning", "this host forbids to seal the interpreter; containers may reach its file")
    verb = __import__(f"oci.cli.{name}_verb", fromlist=["run"])
    options = (*verb.OPTIONS, switch("help h", "show this text"))
    its = parse(rest, options, words=getattr(verb, "WORDS", None))
    if its.switch("help"):
        print(f"usage: coracle-oci {verb.USAGE}\n\n{describe(options)}")  # noqa: T201
        return 0
    status: int = verb.run(settings, its)
    return status


def _optional_parts() -> str:
    from oci.checkpoint.criu import find

    return " +CRIU" if find() else ""


def _print_help() -> None:
    verbs = "\n".join(f"   {name:12} {text}" for name, text in _VERBS.items())
    print(f"usage: coracle-oci [options] command ...\n\n{verbs}\n\n{describe(_OPTIONS)}")  # noqa: T201


def _default_root() -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return f"{runtime}/coracle-oci" if os.geteuid() and runtime else "/run/coracle-oci"
