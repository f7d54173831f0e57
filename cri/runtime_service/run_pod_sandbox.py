"""RunPodSandbox: a pod's namespaces, held by its shim, and its network.

The way: record (which names everything that will exist) → files → shim, which makes the namespaces → network → READY.
A failure anywhere undoes all of it, from that same record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cri import user_namespaces
from cri.api import runtime_pb2 as api
from cri.errors import AlreadyExists, InvalidArgument, Unavailable
from cri.features import OWN_HANDLERS
from cri.host import is_alive, process_state
from cri.joined import Progress
from cri.pod_files import host_hostname, write_hosts, write_pod_files
from cri.pod_network import attachment, bandwidth
from cri.selinux.pods import labels_of_pod
from cri.shims import Shim
from cri.specgen.validate import check_sandbox_config
from cri.state.machine import Event, SandboxState
from cri.state.records import SandboxID, SandboxRecord, metadata_key
from cri.teardown import undo_sandbox
from oci.protocol.messages import SandboxSetup

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def run_pod_sandbox(daemon: Daemon, request: api.RunPodSandboxRequest, call: Call) -> api.RunPodSandboxResponse:
    check_sandbox_config(request.config)
    bandwidth(request.config.annotations)
    if request.runtime_handler not in daemon.runtime_handlers:
        raise InvalidArgument("runtime_handler", f"{request.runtime_handler!r} is not configured here")
    users = user_namespaces.mapping(request.config.linux.security_context.namespace_options)
    if users and request.runtime_handler not in OWN_HANDLERS:
        raise InvalidArgument(
            "config.linux.security_context.namespace_options.userns_options",
            f"the runtime handler {request.runtime_handler!r} has no user namespaces",
        )
    if users and not daemon.features.user_namespaces:
        raise InvalidArgument(
            "config.linux.security_context.namespace_options.userns_options",
            "this host has no user namespaces with idmapped mounts; the daemon's log says why",
        )
    metadata = request.config.metadata
    key = ("sandbox", *metadata_key(metadata))
    what = f"pod sandbox {metadata.namespace}/{metadata.name}"
    record = await daemon.joined.run(key, what, lambda progress: _run(daemon, request, progress), call.time_remaining())
    if call.will_be_heard:
        daemon.sandboxes.put(daemon.sandboxes.need(record.id).with_(delivered=True))
    return api.RunPodSandboxResponse(pod_sandbox_id=record.id)


async def _run(daemon: Daemon, request: api.RunPodSandboxRequest, progress: Progress) -> SandboxRecord:
    config = request.config
    if existing := _existing(daemon, config):
        return existing
    sandbox_id = SandboxID(daemon.new_id())
    options = config.linux.security_context.namespace_options
    cgroup, own_cgroup = daemon.pod_cgroups.place(config.linux.cgroup_parent, sandbox_id)
    labels = labels_of_pod(daemon, config)
    record = daemon.sandboxes.put(
        SandboxRecord(
            id=sandbox_id,
            state=SandboxState.CREATING,
            config_bytes=config.SerializeToString(deterministic=True),
            created_at=daemon.now(),
            runtime_handler=request.runtime_handler,
            boot_id=daemon.boot_id,
            netns="" if options.network == api.NODE else str(daemon.paths.new_netns()),
            cgroup=cgroup,
            own_cgroup=own_cgroup,
            process_label=labels.process,
            mount_label=labels.mount,
        )
    )
    try:
        return await _make(daemon, record, progress)
    except BaseException as error:
        progress.enter("undoing what was made")
        await undo_sandbox(daemon, record.id, error)
        if isinstance(error, OSError) and (refused := _refused_sysctl(error, config)):
            raise refused from error
        raise


def _refused_sysctl(error: OSError, config: api.PodSandboxConfig) -> InvalidArgument | None:
    """The kernel knows which values are possible, and which sysctls there are; a wrong one is the caller's fault."""
    what = str(error.filename or "")
    for name, value in config.linux.sysctls.items():
        if what == f"sysctl {name} = {value!r}":
            return InvalidArgument(f"config.linux.sysctls[{name!r}]", f"{value!r}: {error.strerror}")
    return None


def _existing(daemon: Daemon, config: api.PodSandboxConfig) -> SandboxRecord | None:
    """A sandbox of this very name. It is the answer when its caller never heard of it, else an error."""
    for record in daemon.sandboxes.grouped(metadata_key(config.metadata)):
        if record.state is SandboxState.REMOVING:
            continue
        same = record.config_bytes == config.SerializeToString(deterministic=True)
        if record.state is SandboxState.READY and same and not record.delivered:
            return record
        raise AlreadyExists(
            f"pod sandbox {config.metadata.namespace}/{config.metadata.name} attempt {config.metadata.attempt} "
            f"exists as {record.id} and is {record.state}"
        )
    return None


def _check_alive(record: SandboxRecord, shim: Shim) -> None:
    """From READY on, the death of a shim or of an init is acted upon; before, it fails the pod."""
    if not shim.is_alive:
        raise Unavailable(f"sandbox {record.id}: its shim {shim.pid} died while the pod was being made")
    if record.init_pid and not is_alive(record.init_pid, record.init_start):
        raise Unavailable(f"sandbox {record.id}: its init {record.init_pid} died while the pod was being made")


async def _make(daemon: Daemon, record: SandboxRecord, progress: Progress) -> SandboxRecord:
    config, options = record.config, record.namespaces
    directory = daemon.paths.sandbox(record.id)
    hostname = config.hostname or (host_hostname() if record.host_network else record.id[:12])
    progress.enter("writing the pod's files")
    users = user_namespaces.mapping(options)
    write_pod_files(
        directory,
        config,
        hostname,
        host_network=record.host_network,
        host_ipc=options.ipc == api.NODE,
        owner=users.host_id if users else 0,
        label=record.mount_label,
    )
    progress.enter("waiting for the shim")
    shim = await daemon.launcher.fork_shim(record.id, str(directory))
    pod = daemon.hold_pod(record.id, shim)
    record = daemon.sandboxes.put(record.with_(shim_pid=shim.pid))
    await daemon.pod_cgroups.hold(record.cgroup, shim.pid, record.id)
    pod.namespaces = await shim.setup(
        SandboxSetup(
            network=not record.host_network,
            ipc=options.ipc != api.NODE,
            uts=not record.host_network,
            shared_pid=options.pid == api.POD,
            mount_label=record.mount_label,
            netns_path=record.netns or None,
            hostname=None if record.host_network else hostname,
            sysctls=dict(config.linux.sysctls),
            uid_mappings=(users,) if users else (),
            gid_mappings=(users,) if users else (),
        )
    )
    if init_pid := pod.namespaces.init_pid:
        record = daemon.sandboxes.put(record.with_(init_pid=init_pid, init_start=process_state(init_pid).start))
    addresses: tuple[str, ...] = ()
    if not record.host_network:
        progress.enter("waiting for the network plugins")
        result = await daemon.networks.add(attachment(record))
        addresses = result.ips
        write_hosts(directory, hostname, addresses)
    async with daemon.nri.making_pod(record.with_(ips=addresses)):
        _check_alive(record, shim)
        return daemon.sandboxes.put(record.moved(Event.MADE, ips=addresses))
