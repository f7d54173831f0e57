"""Which confinement a container gets: its seccomp filter and its AppArmor profile."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from cri import apparmor
from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument, Unavailable
from cri.specgen import HostFacts
from oci import seccomp, spec

if TYPE_CHECKING:
    from cri.daemon import Daemon

_FIELD = "config.linux.security_context"


def filter_program(
    daemon: Daemon, context: api.LinuxContainerSecurityContext, capabilities: frozenset[str]
) -> bytes | None:
    """The compiled seccomp filter; None is unconfined."""
    profile = seccomp_profile(daemon, context, capabilities)
    return None if profile is None else daemon.seccomp.get(profile)


def with_seccomp(daemon: Daemon, context: api.LinuxContainerSecurityContext, specification: spec.Spec) -> spec.Spec:
    """For a runtime that compiles filters by itself."""
    if specification.linux.seccomp is not None:  # a plugin's
        return specification
    profile = seccomp_profile(daemon, context, _held(specification))
    return replace(specification, linux=replace(specification.linux, seccomp=profile))


def _held(specification: spec.Spec) -> frozenset[str]:
    process = specification.process
    return frozenset(process.capabilities.bounding if process and process.capabilities else ())


def seccomp_profile(
    daemon: Daemon, context: api.LinuxContainerSecurityContext, capabilities: frozenset[str]
) -> spec.Seccomp | None:
    """None is unconfined. No profile at all is unconfined, as the CRI has it."""
    if context.privileged:
        return None
    if context.HasField("seccomp"):
        kind, reference = context.seccomp.profile_type, context.seccomp.localhost_ref
    else:
        kind, reference = _deprecated_seccomp(context.seccomp_profile_path)
    if kind == api.SecurityProfile.Unconfined:
        return None
    if kind == api.SecurityProfile.RuntimeDefault:
        path = daemon.settings.runtime.seccomp_profile
        return seccomp.default_profile(capabilities) if path == Path() else seccomp.load_profile(str(path))
    if not reference.startswith("/"):
        raise InvalidArgument(f"{_FIELD}.seccomp.localhost_ref", f"{reference!r} is not an absolute path")
    try:
        return seccomp.load_profile(reference)
    except FileNotFoundError as error:
        raise InvalidArgument(f"{_FIELD}.seccomp.localhost_ref", f"{reference} does not exist") from error


def with_agent(daemon: Daemon, context: api.LinuxContainerSecurityContext, specification: spec.Spec) -> spec.Spec:
    """With the profile, where an agent is to be told of calls: it is named there."""
    profiled = with_seccomp(daemon, context, specification)
    profile = profiled.linux.seccomp
    if profile is None or profile.listener_path:
        return profiled
    if any(rule.action == "SCMP_ACT_NOTIFY" for rule in profile.syscalls):
        raise InvalidArgument(f"{_FIELD}.seccomp", "SCMP_ACT_NOTIFY needs an agent: the profile has no listenerPath")
    return specification


def filter_fd(daemon: Daemon, context: api.LinuxContainerSecurityContext, specification: spec.Spec) -> int | None:
    """A sealed file with the filter, kept by the daemon and shared by all containers that use it. None is unconfined,
    or a profile with an agent, from which the shim makes the filter."""
    if specification.linux.seccomp is not None and specification.linux.seccomp.listener_path:
        return None
    if specification.linux.seccomp is not None:  # only a plugin puts one there, and then it counts
        return daemon.programs.fd(daemon.seccomp.get(specification.linux.seccomp))
    program = filter_program(daemon, context, _held(specification))
    return None if program is None else daemon.programs.fd(program)


def _deprecated_seccomp(path: str) -> tuple[api.SecurityProfile.ProfileType.ValueType, str]:
    if path in ("", "unconfined"):
        return api.SecurityProfile.Unconfined, ""
    if path in ("runtime/default", "docker/default"):
        return api.SecurityProfile.RuntimeDefault, ""
    if path.startswith("localhost/"):
        return api.SecurityProfile.Localhost, path.removeprefix("localhost/")
    raise InvalidArgument(f"{_FIELD}.seccomp_profile_path", f"{path!r} is not a profile")


def apparmor_profile(
    host: HostFacts, context: api.LinuxContainerSecurityContext, profiles: Path = apparmor.LOADED
) -> str | None:
    """The profile to run under; None where there is none. A named one must be loaded, the default need not be.

    `profiles` is the kernel's list; where it cannot be read (securityfs is not mounted), start will tell.
    """
    if context.privileged or (not host.apparmor and not _names_profile(context)):
        return None
    if context.HasField("apparmor"):
        kind, reference = context.apparmor.profile_type, context.apparmor.localhost_ref
    else:
        kind, reference = _deprecated_apparmor(context.apparmor_profile)
    if kind == api.SecurityProfile.Localhost:
        if not host.apparmor:
            raise Unavailable(f"AppArmor profile {reference!r}: AppArmor is not enabled on this host")
        name = reference.removeprefix("localhost/")
        loaded = apparmor.loaded(profiles)
        if loaded is not None and name not in loaded:
            raise InvalidArgument(f"{_FIELD}.apparmor", f"AppArmor profile {name!r} is not loaded on this host")
        return name
    if kind == api.SecurityProfile.RuntimeDefault and apparmor.PROFILE_NAME in (apparmor.loaded(profiles) or ()):
        return apparmor.PROFILE_NAME
    return None


def _names_profile(context: api.LinuxContainerSecurityContext) -> bool:
    if context.HasField("apparmor"):
        return context.apparmor.profile_type == api.SecurityProfile.Localhost
    return context.apparmor_profile.startswith("localhost/")


def _deprecated_apparmor(profile: str) -> tuple[api.SecurityProfile.ProfileType.ValueType, str]:
    if profile.startswith("localhost/"):
        return api.SecurityProfile.Localhost, profile.removeprefix("localhost/")
    if profile == "unconfined":
        return api.SecurityProfile.Unconfined, ""
    return api.SecurityProfile.RuntimeDefault, ""
