"""The process of a container: what is executed, as whom, with which privileges."""

from __future__ import annotations

from collections.abc import Iterable

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument
from cri.specgen.inputs import ContainerInputs
from oci import spec
from oci.capabilities import NUMBERS

_UNLIMITED = 2**64 - 1
DEFAULT_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def container_process(inputs: ContainerInputs) -> spec.Process:
    config, security = inputs.config, inputs.config.linux.security_context
    resources = config.linux.resources
    return spec.Process(
        args=container_args(config, inputs.image.entrypoint, inputs.image.cmd),
        cwd=config.working_dir or inputs.image.working_dir or "/",
        env=container_env(inputs),
        terminal=config.tty,
        user=spec.User(uid=inputs.user.uid, gid=inputs.user.gid, additional_gids=tuple(inputs.user.additional_gids)),
        capabilities=container_capabilities(
            security.capabilities,
            privileged=security.privileged,
            default=inputs.default_capabilities,
            every=inputs.host.capabilities,
        ),
        rlimits=tuple(map(rlimit, inputs.ulimits)),
        no_new_privileges=security.no_new_privs,
        apparmor_profile=inputs.apparmor_profile,
        selinux_label=(inputs.labels.process or None) if inputs.labels else None,
        oom_score_adj=resources.oom_score_adj if config.linux.HasField("resources") else None,
    )


def rlimit(text: str) -> spec.Rlimit:
    """From "nofile=1024:524288", soft and hard, or "nofile=1024" for both, as the settings' check lets it pass."""

    def number(limit: str) -> int:
        return _UNLIMITED if limit == "unlimited" else int(limit)

    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    return spec.Rlimit(type=f"RLIMIT_{name.upper()}", soft=number(soft), hard=number(hard or soft))


def container_args(config: api.ContainerConfig, entrypoint: tuple[str, ...], cmd: tuple[str, ...]) -> tuple[str, ...]:
    """Kubernetes' rule: `command` replaces the entrypoint and drops the image's cmd, `args` replace only the cmd."""
    if config.command:
        args = (*config.command, *config.args)
    elif config.args:
        args = (*entrypoint, *config.args)
    else:
        args = (*entrypoint, *cmd)
    if not args:
        raise InvalidArgument("config.command", "no command, and the image has neither entrypoint nor cmd")
    return args


def container_env(inputs: ContainerInputs) -> tuple[str, ...]:
    """The image's variables, overridden by the container's; later ones win, the order of first appearance stays.

    Values are bytes in the CRI (a Secret need not be text): they pass through as surrogates.
    """
    variables = {"PATH": DEFAULT_PATH, "HOSTNAME": f"HOSTNAME={inputs.hostname}"}
    if inputs.config.tty:
        variables["TERM"] = "TERM=xterm"
    for entry in inputs.image.env:
        variables[entry.partition("=")[0]] = entry
    for pair in inputs.config.envs:
        if not pair.key or "=" in pair.key or "\0" in pair.key or b"\0" in pair.value:
            raise InvalidArgument("config.envs", f"{pair.key!r} is not the name of an environment variable")
        variables[pair.key] = f"{pair.key}={pair.value.decode(errors='surrogateescape')}"
    return tuple(variables.values())


def container_capabilities(
    wanted: api.Capability, *, privileged: bool, default: tuple[str, ...], every: tuple[str, ...]
) -> spec.Capabilities:
    """`every` is the daemon's own set: ALL, or privileged, can mean no more (a container in kind must still start).

    The inheritable set stays empty (CVE-2022-29162).
    """
    if privileged:
        held = list(every)
    else:
        add, drop = _known(wanted.add_capabilities, "add_capabilities"), _names(wanted.drop_capabilities)
        held = list(every if "CAP_ALL" in add else () if "CAP_ALL" in drop else _names(default))
        # "drop ALL, add X" leaves X; "add ALL, drop X" leaves all but X.
        held += [name for name in add if name != "CAP_ALL" and name not in held]
        held = [name for name in held if name not in drop]
    ambient = [n for n in _known(wanted.add_ambient_capabilities, "add_ambient_capabilities") if n != "CAP_ALL"]
    held += [name for name in ambient if name not in held]
    caps = tuple(held)
    return spec.Capabilities(
        bounding=caps, effective=caps, permitted=caps, inheritable=tuple(ambient), ambient=tuple(ambient)
    )


def _known(names: Iterable[str], field: str) -> list[str]:
    """A right that there is none of cannot be given; to take it away is harmless."""
    found = _names(names)
    if unknown := [name for name in found if name != "CAP_ALL" and name not in NUMBERS]:
        raise InvalidArgument(
            f"config.linux.security_context.capabilities.{field}", f"{unknown[0]!r} is not a capability"
        )
    return found


def _names(names: Iterable[str]) -> list[str]:
    """CAP_ form, upper case: the CRI allows `NET_ADMIN`, `net_admin` and `CAP_NET_ADMIN`."""
    return [name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}" for name in names]
