"""Which confinement a container gets: its seccomp filter and its AppArmor profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument, Unavailable
from cri.specgen import HostFacts
from oci import seccomp, spec

if TYPE_CHECKING:
    from cri.daemon import Daemon

_FIELD = "config.linux.security_context"
DEFAULT_APPARMOR_PROFILE = "coracle-default"


def filter_program(
    daemon: Daemon, context: api.LinuxContainerSecurityContext, capabilities: frozenset[str]
) -> bytes | None:
    """The compiled seccomp filter; None is unconfined. No profile at all is unconfined, as the CRI has it."""
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
        profile = seccomp.default_profile(capabilities) if path == Path() else seccomp.load_profile(str(path))
        return daemon.seccomp.get(profile)
    if not reference.startswith("/"):
        raise InvalidArgument(f"{_FIELD}.seccomp.localhost_ref", f"{reference!r} is not an absolute path")
    try:
        return daemon.seccomp.get(seccomp.load_profile(reference))
    except FileNotFoundError as error:
        raise InvalidArgument(f"{_FIELD}.seccomp.localhost_ref", f"{reference} does not exist") from error


def filter_fd(daemon: Daemon, context: api.LinuxContainerSecurityContext, specification: spec.Spec) -> int | None:
    """A sealed file with the filter, kept by the daemon and shared by all containers that use it."""
    process = specification.process
    held = frozenset(process.capabilities.bounding if process and process.capabilities else ())
    if specification.linux.seccomp is not None:  # only a plugin puts one there, and then it counts
        return daemon.programs.fd(daemon.seccomp.get(specification.linux.seccomp))
    program = filter_program(daemon, context, held)
    return None if program is None else daemon.programs.fd(program)


def _deprecated_seccomp(path: str) -> tuple[api.SecurityProfile.ProfileType.ValueType, str]:
    if path in ("", "unconfined"):
        return api.SecurityProfile.Unconfined, ""
    if path in ("runtime/default", "docker/default"):
        return api.SecurityProfile.RuntimeDefault, ""
    if path.startswith("localhost/"):
        return api.SecurityProfile.Localhost, path.removeprefix("localhost/")
    raise InvalidArgument(f"{_FIELD}.seccomp_profile_path", f"{path!r} is not a profile")


def apparmor_profile(host: HostFacts, context: api.LinuxContainerSecurityContext) -> str | None:
    """The profile to run under; None where there is none. A named one must be possible, the default need not be."""
    if context.privileged:
        return None
    if context.HasField("apparmor"):
        kind, reference = context.apparmor.profile_type, context.apparmor.localhost_ref
    else:
        kind, reference = _deprecated_apparmor(context.apparmor_profile)
    if kind == api.SecurityProfile.Localhost:
        if not host.apparmor:
            raise Unavailable(f"AppArmor profile {reference!r}: AppArmor is not enabled on this host")
        return reference.removeprefix("localhost/")
    return None


def _deprecated_apparmor(profile: str) -> tuple[api.SecurityProfile.ProfileType.ValueType, str]:
    if profile.startswith("localhost/"):
        return api.SecurityProfile.Localhost, profile.removeprefix("localhost/")
    return api.SecurityProfile.RuntimeDefault, ""
