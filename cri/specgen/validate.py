"""What is refused before anything is made. Every refusal is an InvalidArgument that names the field."""

from __future__ import annotations

from collections.abc import Sequence

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument

#: What a volume's bind mount may be asked to be, beyond what the CRI has fields of its own for (KEP-5855).
MOUNT_OPTIONS = ("noexec", "exec", "nodev", "dev", "nosuid", "suid")


def check_sandbox_config(config: api.PodSandboxConfig) -> None:
    if not config.HasField("metadata"):
        raise InvalidArgument("config.metadata", "is required")
    for name in ("name", "namespace", "uid"):
        _text(f"config.metadata.{name}", getattr(config.metadata, name), required=True)
    _text("config.hostname", config.hostname)
    if len(config.hostname.encode()) > 64:
        raise InvalidArgument("config.hostname", f"{config.hostname!r} is longer than 64 bytes")
    if config.log_directory and not config.log_directory.startswith("/"):
        raise InvalidArgument("config.log_directory", f"{config.log_directory!r} is not an absolute path")
    for index, port in enumerate(config.port_mappings):
        for field in ("container_port", "host_port"):
            value = getattr(port, field)
            if not 0 <= value <= 65535:
                raise InvalidArgument(f"config.port_mappings[{index}].{field}", f"{value} is not a port")
    for field in ("servers", "searches", "options"):
        for value in getattr(config.dns_config, field):
            _text(f"config.dns_config.{field}", value, required=True)
    security = config.linux.security_context
    if security.HasField("run_as_group") and not security.HasField("run_as_user"):
        raise InvalidArgument("config.linux.security_context.run_as_group", "needs run_as_user")
    _user_namespace(security.namespace_options)
    _resources("config.linux.resources", config.linux.resources)
    _cgroup_parent(config.linux.cgroup_parent)


def check_container_config(config: api.ContainerConfig) -> None:
    if not config.HasField("metadata"):
        raise InvalidArgument("config.metadata", "is required")
    _text("config.metadata.name", config.metadata.name, required=True)
    if not config.image.image:
        raise InvalidArgument("config.image.image", "is required")
    log = config.log_path
    if log.startswith("/") or ".." in log.split("/"):
        raise InvalidArgument("config.log_path", f"{log!r} leads out of the pod's log directory")
    _text("config.log_path", log)
    if config.working_dir:
        _text("config.working_dir", config.working_dir)
    security = config.linux.security_context
    if security.HasField("run_as_group") and not (security.HasField("run_as_user") or security.run_as_username):
        raise InvalidArgument(
            "config.linux.security_context.run_as_group", "needs run_as_user or run_as_username beside it"
        )
    for field in ("run_as_user", "run_as_group"):
        value = getattr(security, field).value
        if not 0 <= value <= 0xFFFF_FFFE:
            raise InvalidArgument(f"config.linux.security_context.{field}", f"{value} is not an id")
    for value in security.supplemental_groups:
        if not 0 <= value <= 0xFFFF_FFFE:
            raise InvalidArgument("config.linux.security_context.supplemental_groups", f"{value} is not an id")
    _resources("config.linux.resources", config.linux.resources)
    for index, mount in enumerate(config.mounts):
        _mount(f"config.mounts[{index}]", mount)


def _mount(field: str, mount: api.Mount) -> None:
    _text(f"{field}.container_path", mount.container_path, required=True)
    is_image = bool(mount.image.image)
    if is_image and mount.host_path:
        raise InvalidArgument(f"{field}.host_path", "cannot stand beside an image")
    if is_image:
        if not mount.readonly:
            raise InvalidArgument(f"{field}.readonly", "an image volume is always read-only")
        if ".." in mount.image_sub_path.split("/"):
            raise InvalidArgument(f"{field}.image_sub_path", f"{mount.image_sub_path!r} leads out of the image")
    elif not mount.host_path.startswith("/"):
        raise InvalidArgument(f"{field}.host_path", f"{mount.host_path!r} is not an absolute path")
    else:
        _text(f"{field}.host_path", mount.host_path)
    for option in mount.mount_options:
        if option not in MOUNT_OPTIONS:
            raise InvalidArgument(f"{field}.mount_options", f"{option!r} is not one of {', '.join(MOUNT_OPTIONS)}")
    if mount.propagation not in (0, 1, 2):
        raise InvalidArgument(f"{field}.propagation", f"{mount.propagation} is not a mount propagation")
    if mount.recursive_read_only:
        if not mount.readonly:
            raise InvalidArgument(f"{field}.recursive_read_only", "needs readonly beside it")
        if mount.propagation != api.PROPAGATION_PRIVATE:
            raise InvalidArgument(f"{field}.recursive_read_only", "needs private propagation")


def check_command(field: str, command: Sequence[str]) -> None:
    """An argument of execve ends at its first NUL."""
    if not command:
        raise InvalidArgument(field, "is required")
    for word in command:
        if "\0" in word:
            raise InvalidArgument(field, f"{word!r} holds a NUL")


def check_resources(resources: api.LinuxContainerResources) -> None:
    _resources("linux", resources)


def _resources(field: str, resources: api.LinuxContainerResources) -> None:
    for name in ("cpu_period", "cpu_shares", "memory_limit_in_bytes"):
        value = getattr(resources, name)
        if value < 0:
            raise InvalidArgument(f"{field}.{name}", f"{value} is negative")
    for name in ("cpu_quota", "memory_swap_limit_in_bytes"):
        value = getattr(resources, name)
        if value < -1:
            raise InvalidArgument(f"{field}.{name}", f"{value} is below -1")
    if not -1000 <= resources.oom_score_adj <= 1000:
        raise InvalidArgument(f"{field}.oom_score_adj", f"{resources.oom_score_adj} is not between -1000 and 1000")
    if resources.cpu_period and not 1000 <= resources.cpu_period <= 1_000_000:
        raise InvalidArgument(f"{field}.cpu_period", f"{resources.cpu_period} µs is not between 1000 and 1000000")
    for name in ("cpuset_cpus", "cpuset_mems"):
        value = getattr(resources, name)
        if value.strip("0123456789,-\n ") or "\0" in value:
            raise InvalidArgument(f"{field}.{name}", f"{value!r} is not a list like 0-3,7")
    for key in resources.unified:
        if "/" in key or key.startswith(".") or "." not in key:
            raise InvalidArgument(f"{field}.unified", f"{key!r} is not the name of a cgroup file")


def _cgroup_parent(path: str) -> None:
    if ".." in path.split("/") or "\0" in path:
        raise InvalidArgument("config.linux.cgroup_parent", f"{path!r} is not a cgroup path")


def _user_namespace(options: api.NamespaceOption) -> None:
    userns = options.userns_options
    field = "config.linux.security_context.namespace_options.userns_options"
    if userns.mode not in (api.POD, api.NODE):
        raise InvalidArgument(f"{field}.mode", f"{api.NamespaceMode.Name(userns.mode)} is not possible for users")
    if not options.HasField("userns_options"):
        return
    if userns.mode == api.NODE and (userns.uids or userns.gids):
        raise InvalidArgument(f"{field}.uids", "mappings need mode POD")
    if userns.mode == api.POD:
        for name, mappings in (("uids", userns.uids), ("gids", userns.gids)):
            if len(mappings) != 1:
                raise InvalidArgument(f"{field}.{name}", f"needs exactly one mapping, got {len(mappings)}")
            if mappings[0].container_id != 0 or mappings[0].length < 1:
                raise InvalidArgument(f"{field}.{name}", "must map id 0 of the container")
            if mappings[0].host_id + mappings[0].length > 0xFFFF_FFFF:
                raise InvalidArgument(f"{field}.{name}", "maps ids beyond the host's last one")
        if list(map(str, userns.uids)) != list(map(str, userns.gids)):
            raise InvalidArgument(f"{field}.gids", "must equal uids")
        for name in ("network", "pid", "ipc"):
            if getattr(options, name) == api.NODE:
                raise InvalidArgument(f"{field}.mode", f"POD, but the pod shares the host's {name} namespace")


def _text(field: str, value: str, *, required: bool = False) -> None:
    """Control characters would end up in files that are read line by line (CVE-2022-4318)."""
    if required and not value:
        raise InvalidArgument(field, "is required")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise InvalidArgument(field, f"{value!r} holds a control character")
