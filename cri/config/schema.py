"""Every setting of the daemon, once: its name, type, default, help text and check.

Flags, TOML keys, CORACLE_* variables, the commented file that `coracle config` prints and the checks all come from the
dataclasses below. A key of the top table is `cni_conf_dir` in the file, `--cni-conf-dir` and CORACLE_CNI_CONF_DIR; a
key of another table is `bridge` under `[network]`, `--network-bridge` and CORACLE_NETWORK_BRIDGE.

Owns the meaning of settings; reading files and variables is `load`, printing is `render`.
"""

# ruff: noqa: RUF009  `key` is dataclasses.field under a name that says what the field is

from __future__ import annotations

import dataclasses
import enum
import hashlib
import typing
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from cri.config import checks

T = TypeVar("T")

DEFAULT_ROOT: Final = Path("/var/lib/coracle")
DEFAULT_RUNROOT: Final = Path("/run/coracle")
DEFAULT_NRI_SOCKET: Final = Path("/var/run/nri/nri.sock")


class LogLevel(enum.StrEnum):
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(enum.StrEnum):
    TEXT = "text"
    JSON = "json"


class CgroupManager(enum.StrEnum):
    AUTO = "auto"
    CGROUPFS = "cgroupfs"
    SYSTEMD = "systemd"


class Builtin(enum.StrEnum):
    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class Selinux(enum.StrEnum):
    AUTO = "auto"
    OFF = "off"


class LayerFormat(enum.StrEnum):
    AUTO = "auto"
    EROFS = "erofs"
    DIRECTORY = "directory"


def key(default: T, help: str, *, check: Callable[[T], str] | None = None, reloads: bool = False) -> T:
    """A setting. `check` says what is wrong with a value; `reloads` that SIGHUP may change it."""
    metadata = {"help": help, "check": check, "reloads": reloads}
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkSettings:
    builtin: Builtin = key(
        Builtin.AUTO,
        "Who connects pods: with auto the CNI configuration, and the built-in bridge while there is none (or its "
        "plugins are not installed); always and never say it outright.",
    )
    bridge: str = key(
        "",
        "Name of the built-in network's bridge. Empty: coracle0, or a name made from the root when that is not the "
        "default, so that several daemons keep apart.",
        check=checks.interface_name,
    )
    subnets: tuple[str, ...] = key(
        (),
        "Addresses for pods of the built-in network, at most one range per address family. Empty: 10.77.0.0/16, or a "
        "range made from the root when that is not the default.",
        check=checks.each(checks.subnet),
    )
    mtu: int = key(0, "MTU of pods' interfaces; 0 takes that of the host's default route.", check=checks.mtu)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSettings:
    pinned: tuple[str, ...] = key((), "Images that garbage collection spares: names, where * stands for anything.")
    max_parallel_downloads: int = key(3, "Layers that one pull fetches at the same time.", check=checks.positive)
    pull_progress_timeout: float = key(
        60.0, "Seconds without a byte from the registry after which a pull gives up.", check=checks.positive
    )
    docker_config_paths: tuple[Path, ...] = key(
        (Path("/var/lib/kubelet/config.json"), Path("/root/.docker/config.json")),
        "Files with credentials in Docker's format, asked in this order when a request brings none.",
        check=checks.each(checks.absolute),
    )
    layer_format: LayerFormat = key(
        LayerFormat.AUTO, "How layers are kept; auto takes EROFS files where the kernel can mount them."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerSettings:
    """Another OCI runtime that pods ask for through a RuntimeClass: the table [runtime.handlers.<name>]."""

    name: str = key("", "", check=checks.handler_name)
    path: Path = key(Path(), "The runtime's executable.", check=checks.absolute)
    root: Path = key(Path(), "Its state directory; empty lets Coracle choose.", check=checks.absolute_or_none)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeSettings:
    default_capabilities: tuple[str, ...] = key(
        (
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "FSETID",
            "KILL",
            "MKNOD",
            "NET_BIND_SERVICE",
            "NET_RAW",
            "SETFCAP",
            "SETGID",
            "SETPCAP",
            "SETUID",
            "SYS_CHROOT",
            "AUDIT_WRITE",
        ),
        "Capabilities of a container that asks for none.",
        check=checks.each(checks.capability),
    )
    default_ulimits: tuple[str, ...] = key(
        (), 'Resource limits of every container, like "nofile=1024:524288".', check=checks.each(checks.ulimit)
    )
    seccomp_profile: Path = key(
        Path(),
        "The profile that RuntimeDefault stands for, in Docker's JSON format. Empty: the built-in one.",
        check=checks.absolute_or_none,
    )
    selinux: Selinux = key(
        Selinux.AUTO, "Whether pods and their files get SELinux labels: auto where the host has SELinux, or off."
    )
    pids_limit: int = key(0, "Processes that one container may have; 0 sets no limit.", check=checks.not_negative)
    log_size_max: int = key(
        0,
        "Bytes that one file of a container's log may hold; what exceeds them is dropped, and a line in the log says "
        "so. The kubelet begins a new file at its containerLogMaxSize: set more than that. 0 sets no limit.",
        check=checks.log_limit,
    )
    log_rate_limit: int = key(
        0,
        "Bytes that a container may log in a second; what exceeds them is dropped, and a line in the log says so. "
        "0 sets no limit.",
        check=checks.log_limit,
    )
    make_missing_sources: bool = key(
        True,
        "Make a directory where the source of a mount (a hostPath volume without a type) does not exist, as containerd "
        "and CRI-O do. false refuses the container.",
    )
    merge_memory: bool = key(
        True,
        "Turn on the kernel's same-page merging (KSM) where it is off, so that shims share equal pages. Only shims "
        "offer their memory to it, containers never. false leaves KSM as the host has it.",
    )
    cgroup_root: str = key(
        "/coracle", "Cgroup for pods that come without a cgroup parent, and for the shims.", check=checks.cgroup_path
    )
    cdi_directories: tuple[Path, ...] = key(
        (Path("/etc/cdi"), Path("/var/run/cdi")),
        "Directories of CDI specifications, which describe vendors' devices; of two that describe one device the later "
        "wins.",
        check=checks.each(checks.absolute),
    )
    criu: Path = key(
        Path(),
        "The program criu, for checkpoints. Empty: the one in PATH or where root's programs are. Without it, the calls "
        "for checkpoints are not implemented.",
        check=checks.absolute_or_none,
    )
    handlers: tuple[HandlerSettings, ...] = key((), "Other OCI runtimes, each under the name a RuntimeClass gives.")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamingSettings:
    address: str = key("127.0.0.1", "Address of the server for exec, attach and port-forward.")
    port: int = key(0, "Its port; 0 takes a free one.", check=checks.port)
    idle_timeout: float = key(14400.0, "Seconds after which a silent stream is closed.", check=checks.positive)
    tls_certificate: Path = key(
        Path(), "PEM file with the server's certificate and its chain. Empty: no TLS.", check=checks.absolute_or_none
    )
    tls_key: Path = key(
        Path(),
        "PEM file with its private key; empty when the certificate's file holds it.",
        check=checks.absolute_or_none,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NriSettings:
    enable: bool = key(True, "Whether plugins of the Node Resource Interface may see and adjust pods and containers.")
    socket_path: Path = key(
        Path(),
        "Socket that plugins connect to. Empty: /var/run/nri/nri.sock, or nri.sock in the runroot when the root is "
        "not the default.",
        check=checks.absolute_or_none,
    )
    disable_connections: bool = key(False, "Take only the plugins that are started from plugin_path, none by socket.")
    plugin_path: Path = key(
        Path("/opt/nri/plugins"),
        "Directory of plugins that are started with the daemon, named like 10-example.",
        check=checks.absolute,
    )
    plugin_config_path: Path = key(
        Path("/etc/nri/conf.d"),
        "Directory of their configuration, 10-example.conf or example.conf.",
        check=checks.absolute,
    )
    registration_timeout: float = key(
        5.0,
        "Seconds that a plugin may take to register, and then to take in what exists already.",
        check=checks.positive,
    )
    request_timeout: float = key(
        2.0, "Seconds that a plugin may take to answer; one that takes longer is dropped.", check=checks.positive
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSettings:
    endpoint: str = key(
        "", "host:port of an OTLP collector (gRPC, no TLS). Empty: no tracing.", check=checks.host_and_port
    )
    sampling_rate_per_million: int = key(
        0, "Calls traced on our own account; those that the caller traces always are.", check=checks.per_million
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    listen: str = key(
        "",
        "Address of the CRI socket, unix:///path. Empty: coracle.sock in the runroot.",
        check=checks.unix_address,
    )
    root: Path = key(DEFAULT_ROOT, "Directory for what outlives a reboot: images, records.", check=checks.absolute)
    runroot: Path = key(
        DEFAULT_RUNROOT, "Directory for what a reboot may take: sockets, pods' files.", check=checks.absolute
    )
    cni_conf_dir: Path = key(
        Path("/etc/cni/net.d"), "Directory of the CNI network configuration.", check=checks.absolute
    )
    cni_bin_dir: tuple[Path, ...] = key(
        (Path("/opt/cni/bin"), Path("/usr/lib/cni")),
        "Directories of the CNI plugins, searched in this order.",
        check=checks.each(checks.absolute),
    )
    cgroup_manager: CgroupManager = key(
        CgroupManager.AUTO,
        "Who makes cgroups: Coracle itself or systemd. auto means systemd where it runs the host with cgroup v2.",
    )
    registry_config_path: Path = key(
        Path("/etc/coracle/certs.d"),
        "Directory with a hosts.toml per registry, in containerd's layout.",
        check=checks.absolute,
    )
    metrics_address: str = key(
        "", "host:port for Prometheus metrics under /metrics. Empty: not served.", check=checks.host_and_port
    )
    log_level: LogLevel = key(LogLevel.INFO, "Least urgent messages that are logged.", reloads=True)
    log_format: LogFormat = key(LogFormat.TEXT, "Form of the log on standard error.", reloads=True)
    network: NetworkSettings = NetworkSettings()
    images: ImageSettings = ImageSettings()
    runtime: RuntimeSettings = RuntimeSettings()
    streaming: StreamingSettings = StreamingSettings()
    nri: NriSettings = NriSettings()
    tracing: TracingSettings = TracingSettings()

    @property
    def socket_path(self) -> Path:
        """Of settings with everything derived filled in (`with_derived`)."""
        return Path(self.listen.removeprefix("unix://"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One setting as a value. `type` is the annotation: a scalar type, an enum, tuple[str, ...] or tuple[Path, ...]."""

    path: tuple[str, ...]
    type: Any
    default: object
    help: str
    check: Callable[[Any], str] | None
    reloads: bool

    @property
    def dotted(self) -> str:
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        return "--" + "-".join(self.path).replace("_", "-")

    @property
    def variable(self) -> str:
        return "CORACLE_" + "_".join(self.path).upper()

    @property
    def is_list(self) -> bool:
        return typing.get_origin(self.type) is tuple

    @property
    def item_type(self) -> type[Any]:
        """The type of one element of a list, else the type itself."""
        return cast(type[Any], typing.get_args(self.type)[0] if self.is_list else self.type)


def keys_of(table: type[Any], path: tuple[str, ...] = ()) -> Iterator[Key]:
    """The keys of `table` and, depth first, of the tables in it; the tables of handlers are not keys."""
    annotations = typing.get_type_hints(table)
    for field in dataclasses.fields(table):
        annotation = annotations[field.name]
        if dataclasses.is_dataclass(annotation):
            yield from keys_of(cast(type[Any], annotation), (*path, field.name))
        elif annotation != tuple[HandlerSettings, ...]:
            yield Key(
                path=(*path, field.name),
                type=annotation,
                default=field.default,
                help=field.metadata["help"],
                check=field.metadata["check"],
                reloads=field.metadata["reloads"],
            )


KEYS: Final = tuple(keys_of(Settings))
HANDLER_KEYS: Final = tuple(keys_of(HandlerSettings))
HANDLERS_TABLE: Final = ("runtime", "handlers")


def value_at(settings: object, path: tuple[str, ...]) -> Any:
    for name in path:
        settings = getattr(settings, name)
    return settings


def with_value(settings: T, path: tuple[str, ...], value: object) -> T:
    """A copy of `settings`, a dataclass, with another value at `path`."""
    name, *rest = path
    inner = with_value(getattr(settings, name), tuple(rest), value) if rest else value
    return cast(T, dataclasses.replace(cast(Any, settings), **{name: inner}))


def _derived_subnet(digest: bytes) -> str:
    """One of 1,792 ranges of 4,094 addresses each."""
    return f"10.{128 + digest[0] % 112}.{digest[1] & 0xF0}.0/20"


def has_own_subnets(settings: Settings) -> bool:
    """Somebody chose the built-in network's addresses; else they are what `with_derived` gives."""
    default = with_derived(Settings(root=settings.root, runroot=settings.runroot))
    return settings.network.subnets != default.network.subnets


def with_derived(settings: Settings) -> Settings:
    """`settings` with the empty values filled in that follow from others, differently for each root."""
    default = settings.root == DEFAULT_ROOT
    digest = hashlib.sha256(bytes(settings.root)).digest()
    network = settings.network
    return dataclasses.replace(
        settings,
        listen=settings.listen or f"unix://{settings.runroot}/coracle.sock",
        network=dataclasses.replace(
            network,
            bridge=network.bridge or ("coracle0" if default else f"cor-{digest.hex()[:8]}"),
            subnets=network.subnets or ("10.77.0.0/16" if default else _derived_subnet(digest),),
        ),
        nri=dataclasses.replace(
            settings.nri,
            socket_path=(
                settings.nri.socket_path
                if settings.nri.socket_path != Path()
                else DEFAULT_NRI_SOCKET
                if default
                else settings.runroot / "nri.sock"
            ),
        ),
    )
