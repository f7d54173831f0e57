"""coracle-oci exec"""

from __future__ import annotations

import os

from oci.cli.containers import open_cgroup, open_descriptors, parse_config, send_console, tell_pid
from oci.cli.foreground import wait_for
from oci.cli.options import Parsed, UsageError, switch, value
from oci.cli.status import status_of
from oci.engine import Engine, ExecRequest
from oci.errors import SpecError, StateError
from oci.json_text import loads
from oci.spec import Capabilities, Process, Spec, User
from oci.state import ContainerState, StateDirectory
from oci.values import replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cgroups import Cgroup
    from oci.cli.dispatch import Settings


USAGE = "exec [options] ID COMMAND [ARGUMENT...]"
# The id and the command's first word; what follows is the command's own.
WORDS = 2
OPTIONS = (
    value("process p", "FILE", "process.json to execute instead of a command"),
    value("cwd", "DIR", "working directory"),
    value("env e", "NAME=VALUE", "environment variable, may be repeated"),
    value("user u", "UID[:GID]", "ids to run as"),
    value("additional-gids g", "GID", "supplementary group, may be repeated"),
    value("cap c", "NAME", "capability to add, may be repeated"),
    value("apparmor", "PROFILE", "AppArmor profile"),
    value("process-label", "LABEL", "SELinux label"),
    value("console-socket", "PATH", "unix socket that is sent the terminal's master"),
    value("pid-file", "FILE", "file to write the process's pid to"),
    value("pidfd-socket", "PATH", "unix socket that is sent a pidfd of the process"),
    value("preserve-fds", "N", "descriptors from 3 on that stay open"),
    value("cgroup", "PATH", "cgroup below the container's to join instead of it"),
    switch("tty t", "give the process a terminal"),
    switch("detach d", "do not wait for the process"),
    switch("no-new-privs", "set no_new_privs"),
    switch("no-subreaper", "accepted for compatibility"),
    switch("ignore-paused", "also in a frozen container"),
)


def run(settings: Settings, parsed: Parsed) -> int:
    if not parsed.words:
        raise UsageError("needs a container id")
    container_id, *command = parsed.words
    preserved = open_descriptors(parsed.number("preserve-fds"))
    directory = StateDirectory(settings.root)
    state = directory.load(container_id)
    _check(directory, state, parsed)
    spec = parse_config(directory.config(container_id), "config.json")
    process = _process(parsed, command, spec)
    detached = parsed.switch("detach")
    if detached and process.terminal and not parsed.text("console-socket"):
        raise UsageError("a detached terminal needs --console-socket")
    running = Engine.open(cgroups=False).exec_process(
        ExecRequest(
            pid=state.pid,
            pidfd=os.pidfd_open(state.pid),
            process=process,
            spec=spec,
            cgroup=_cgroup(state, parsed.text("cgroup")),
            preserved=preserved,
            container_id=container_id,
            bundle=state.bundle,
        )
    )
    tell_pid(parsed, running.pid, running.pidfd)
    console = running.console_fd
    if console is not None and parsed.text("console-socket"):
        send_console(parsed.text("console-socket"), console)
        os.close(console)
        console = None
    return 0 if detached else wait_for(running.pid, running.pidfd, console)


def _cgroup(state: ContainerState, below: str) -> Cgroup | None:
    cgroup = open_cgroup(state)
    if not below or cgroup is None:
        return cgroup
    if ".." in below.split("/"):
        raise UsageError(f"--cgroup {below}: `..` components are not allowed")
    return cgroup.below(below)


def _check(directory: StateDirectory, state: ContainerState, parsed: Parsed) -> None:
    status = status_of(directory, state)
    if status == "stopped":
        raise StateError(state.container_id, "is not running, nothing can be executed in it")
    if status == "paused" and not parsed.switch("ignore-paused"):
        raise StateError(state.container_id, "is paused, nothing can be executed in it")


def _process(parsed: Parsed, command: list[str], spec: Spec) -> Process:
    """The container's own process with what the command line changes, or process.json."""
    if path := parsed.text("process"):
        with open(path, "rb") as file:
            try:
                document = loads(file.read())
            except (ValueError, RecursionError) as error:
                raise SpecError("", f"{path}: {error}")
        return Process.from_json(document)
    if not command:
        raise UsageError("needs a command, or --process")
    base = spec.process or Process(cwd="/")
    capabilities = base.capabilities
    if added := parsed.texts("cap"):
        capabilities = _with_capabilities(capabilities or Capabilities(), tuple(added))
    return replace(
        base,
        args=tuple(command),
        cwd=parsed.text("cwd") or base.cwd,
        env=_merged(base.env, parsed.texts("env")),
        terminal=parsed.switch("tty"),
        user=_user(parsed, base.user),
        capabilities=capabilities,
        no_new_privileges=base.no_new_privileges or parsed.switch("no-new-privs"),
        apparmor_profile=parsed.text("apparmor") or base.apparmor_profile,
        selinux_label=parsed.text("process-label") or base.selinux_label,
        oom_score_adj=base.oom_score_adj,
        scheduler=None,
        io_priority=None,
    )


def _merged(base: tuple[str, ...], added: list[str]) -> tuple[str, ...]:
    """A name given again takes the place of the container's."""
    names = {entry.partition("=")[0] for entry in added}
    return (*(entry for entry in base if entry.partition("=")[0] not in names), *added)


def _with_capabilities(base: Capabilities, added: tuple[str, ...]) -> Capabilities:
    """Never inheritable: that would hand them to every program with file capabilities."""
    return replace(
        base,
        bounding=(*base.bounding, *added),
        effective=(*base.effective, *added),
        permitted=(*base.permitted, *added),
    )


def _user(parsed: Parsed, base: User) -> User:
    groups = tuple(_id(text) for text in parsed.texts("additional-gids"))
    text = parsed.text("user")
    if not text:
        return replace(base, additional_gids=(*base.additional_gids, *groups))
    uid, colon, gid = text.partition(":")
    return replace(base, uid=_id(uid), gid=_id(gid) if colon else base.gid, additional_gids=groups)


def _id(text: str) -> int:
    """Digits only: a lenient reading of "1000:junk" or "-1" would make somebody root."""
    if not (text.isascii() and text.isdigit()) or int(text) > 0xFFFF_FFFE:
        raise UsageError(f"{text!r} is not a user or group id")
    return int(text)
