"""CreateContainer: everything up to, and without, the workload's execve.

The way: record → image → root filesystem (a detached overlay) → user → specification → shim, whose clone of the
container's init does the mounts and waits. A failure anywhere undoes all of it, from that same record.
"""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from cri import declared_volumes, mount_sources, security, user_namespaces
from cri.api import runtime_pb2 as api
from cri.cdi import catalog
from cri.checkpoint.restoring import Restored
from cri.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from cri.host import process_state, requested_devices
from cri.image_volumes import open_image_volumes, volume_images
from cri.joined import Progress
from cri.live import LiveContainer
from cri.mount_sources import MissingSource
from cri.pod_files import host_hostname, pod_files
from cri.propagation import check_propagation
from cri.selinux.labels import Labels
from cri.selinux.pods import label_mounts, labels_of_container
from cri.specgen import ContainerInputs, container_spec
from cri.specgen.validate import check_container_config
from cri.state.machine import ContainerState, Event, SandboxState
from cri.state.records import ContainerID, ContainerRecord, SandboxRecord
from cri.teardown import undo_container
from imagesvc.mounts import Owners
from imagesvc.service import Image
from oci import syscalls
from oci.errors import ContainerError
from oci.protocol.failures import PeerFault
from oci.protocol.messages import ContainerCreate
from oci.signals import signal_number
from oci.spec import Spec, to_json
from oci.users import ResolvedUser, resolve

if TYPE_CHECKING:
    from cri.daemon import Daemon
    from cri.rpc import Call


async def create_container(
    daemon: Daemon, request: api.CreateContainerRequest, call: Call
) -> api.CreateContainerResponse:
    check_container_config(request.config)
    sandbox = daemon.sandboxes.need(request.pod_sandbox_id)
    metadata = request.config.metadata
    key = ("container", sandbox.id, metadata.name, metadata.attempt)
    what = f"container {metadata.name} in pod {sandbox.config.metadata.namespace}/{sandbox.config.metadata.name}"
    record = await daemon.joined.run(
        key, what, lambda progress: _run(daemon, sandbox.id, request.config, progress), call.time_remaining()
    )
    if call.will_be_heard:
        daemon.containers.put(daemon.containers.need(record.id).with_(delivered=True))
    return api.CreateContainerResponse(container_id=record.id)


async def create_restored(
    daemon: Daemon, sandbox_id: str, config: api.ContainerConfig, restored: Restored
) -> ContainerRecord:
    """As the call, for a container whose processes and files come out of a checkpoint."""
    record = await _run(daemon, sandbox_id, config, Progress(), restored)
    return daemon.containers.put(daemon.containers.need(record.id).with_(delivered=True))


async def _run(
    daemon: Daemon,
    sandbox_id: str,
    config: api.ContainerConfig,
    progress: Progress,
    restored: Restored | None = None,
) -> ContainerRecord:
    """All of it once more for each mount whose source had to be made."""
    made: set[str] = set()
    while True:
        try:
            return await _attempt(daemon, sandbox_id, config, progress, restored)
        except MissingSource as missing:
            if not daemon.settings.runtime.make_missing_sources or missing.path in made:
                raise
            made.add(missing.path)
            progress.enter(f"making the directory {missing.path}")
            await mount_sources.make(missing)


async def _attempt(
    daemon: Daemon,
    sandbox_id: str,
    config: api.ContainerConfig,
    progress: Progress,
    restored: Restored | None,
) -> ContainerRecord:
    sandbox = daemon.sandboxes.need(sandbox_id)
    if existing := _existing(daemon, sandbox, config):
        return existing
    _check_ready(daemon, sandbox_id)
    image = daemon.images.find(config.image.image)
    if image is None:
        raise NotFound("image", config.image.image)
    container_id = ContainerID(daemon.new_id())
    log = config.log_path and sandbox.config.log_directory
    record = daemon.containers.put(
        ContainerRecord(
            id=container_id,
            sandbox_id=sandbox.id,
            state=ContainerState.CREATING,
            config_bytes=config.SerializeToString(deterministic=True),
            created_at=daemon.now(),
            image_id=image.id,
            image_ref=image.repo_digests[0] if image.repo_digests else image.id,
            image_name=config.image.user_specified_image or config.image.image,
            cgroup=f"{sandbox.cgroup.rstrip('/')}/{container_id}",
            log_path=f"{sandbox.config.log_directory}/{config.log_path}" if log else "",
            stop_signal=_stop_signal(config, image),
        )
    )
    try:
        return await _make(daemon, sandbox, record, image, progress, restored)
    except BaseException as error:
        progress.enter("undoing what was made")
        await undo_container(daemon, record.id, error)
        if isinstance(error, PeerFault):
            _check_ready(daemon, sandbox_id)  # a stop of the pod ends what is being made in it
        if isinstance(error, ContainerError):
            raise mount_sources.explain(error, config) from error
        if isinstance(error, OSError) and record.log_path and error.filename == record.log_path:
            raise InvalidArgument("config.log_path", f"{record.log_path}: {error.strerror}") from error
        raise


def _check_ready(daemon: Daemon, sandbox_id: str) -> None:
    sandbox = daemon.sandboxes.get(sandbox_id)
    if sandbox is None or sandbox.state is not SandboxState.READY or sandbox_id not in daemon.pods:
        state = "gone" if sandbox is None else sandbox.state
        raise FailedPrecondition(f"sandbox {sandbox_id} is {state}, it takes no containers now")


def _existing(daemon: Daemon, sandbox: SandboxRecord, config: api.ContainerConfig) -> ContainerRecord | None:
    """A container of this very name. It is the answer when its caller never heard of it, else an error."""
    for record in daemon.containers_of(sandbox.id):
        metadata = record.config.metadata
        if record.state is ContainerState.REMOVING or metadata != config.metadata:
            continue
        same = record.config_bytes == config.SerializeToString(deterministic=True)
        if record.state is ContainerState.CREATED and same and not record.delivered:
            return record
        raise AlreadyExists(
            f"container {metadata.name} attempt {metadata.attempt} exists as {record.id} and is {record.state}"
        )
    return None


async def _make(
    daemon: Daemon,
    sandbox: SandboxRecord,
    record: ContainerRecord,
    image: Image,
    progress: Progress,
    restored: Restored | None,
) -> ContainerRecord:
    config = record.config
    labels = labels_of_container(daemon, sandbox, config, image.config)
    label = labels.mount if labels else ""
    progress.enter("mounting the image")
    owners = user_namespaces.owners(sandbox.namespaces, daemon.pods[sandbox.id].namespaces)
    directory = daemon.paths.container(record.id)
    rootfs = await daemon.images.mount_rootfs(image.id, directory, owners=owners, label=label)
    with syscalls.closing(rootfs):
        if restored is not None:
            await asyncio.to_thread(restored.change, rootfs)
        user = await asyncio.to_thread(_resolve, rootfs, config, image)
        inputs = _inputs(daemon, sandbox, record, image, user, labels)
        volumes = await declared_volumes.make(
            rootfs,
            declared_volumes.places(image.config.volumes, config),
            directory,
            read_only=config.linux.security_context.readonly_rootfs,
            owners=owners,
        )
        inputs = replace(inputs, declared_volumes=volumes)
        if labels:
            progress.enter("labelling its volumes")
            await label_mounts(
                daemon, sandbox, config, labels, volumes.values(), lambda: _check_ready(daemon, sandbox.id)
            )
        wanted = await _with_cdi_devices(daemon, config, container_spec(inputs))
        async with daemon.nri.making_container(sandbox, record, wanted) as (record, specification):
            live = await _create(daemon, record, specification, rootfs, owners, progress, restored)
            _check_ready(daemon, sandbox.id)
            return daemon.containers.put(
                record.moved(
                    Event.MADE,
                    pid=live.handles.pid,
                    pid_start=_start_of(record.id, live.handles.pid),
                    user=(user.uid, user.gid, tuple(user.additional_gids)),
                    volume_images=volume_images(daemon, config),
                )
            )


async def _with_cdi_devices(daemon: Daemon, config: api.ContainerConfig, base: Spec) -> Spec:
    names = [device.name for device in config.CDI_devices]
    if not names:
        return base
    directories = daemon.settings.runtime.cdi_directories
    return await asyncio.to_thread(catalog.inject, directories, base, names, "config.CDI_devices")


async def _create(
    daemon: Daemon,
    record: ContainerRecord,
    specification: Spec,
    rootfs: int,
    owners: Owners | None,
    progress: Progress,
    restored: Restored | None,
) -> LiveContainer:
    config = record.config
    runtime = daemon.foreign_runtime(record.sandbox_id)
    if runtime is not None:
        specification = security.with_seccomp(daemon, config.linux.security_context, specification)
    else:
        specification = security.with_agent(daemon, config.linux.security_context, specification)
    await asyncio.to_thread(_make_log_directory, record)
    _write_bundle(daemon, record, specification)
    volumes = await open_image_volumes(daemon, config, specification, daemon.paths.container(record.id), owners)
    try:
        progress.enter("waiting for the shim to make the container")
        shim = await daemon.shim_of(record.sandbox_id)
        _check_ready(daemon, record.sandbox_id)  # from here on a stop of the pod knows of the container
        live = daemon.hold_container(record.id)
        live.process = specification.process
        live.handles = await shim.create(
            ContainerCreate(
                container_id=record.id,
                bundle=str(daemon.paths.bundle(record.id)),
                log_path=record.log_path or None,
                log_size_max=daemon.settings.runtime.log_size_max,
                log_rate_limit=daemon.settings.runtime.log_rate_limit,
                stdin=config.stdin,
                new_pid=_has_new_pid(specification),
                cgroup_path=record.cgroup,
                rootfs_fd=rootfs,
                mount_indexes=tuple(volumes),
                mount_fds=tuple(volumes.values()),
                runtime=runtime,
                checkpoint=None if restored is None else restored.images,
                criu="" if restored is None else restored.criu,
                seccomp_fd=(
                    security.filter_fd(daemon, config.linux.security_context, specification)
                    if runtime is None
                    else None
                ),
            )
        )
        check_propagation(config, live.handles.pid)
        return live
    finally:
        for fd in volumes.values():
            os.close(fd)


def _has_new_pid(specification: Spec) -> bool:
    """And neither a user namespace nor hooks."""
    own = {namespace.type for namespace in specification.linux.namespaces if not namespace.path}
    return "pid" in own and "user" not in own and specification.hooks is None


def _start_of(container_id: str, pid: int) -> int:
    try:
        return process_state(pid).start
    except ProcessLookupError:
        raise Unavailable(f"container {container_id}: its process {pid} died while it was being made") from None


def _inputs(
    daemon: Daemon,
    sandbox: SandboxRecord,
    record: ContainerRecord,
    image: Image,
    user: ResolvedUser,
    labels: Labels | None,
) -> ContainerInputs:
    config = record.config
    context = config.linux.security_context
    if context.privileged and not sandbox.config.linux.security_context.privileged:
        raise InvalidArgument("config.linux.security_context.privileged", f"sandbox {sandbox.id} is not privileged")
    requested = requested_devices(list(config.devices))
    devices = requested.nodes
    if context.privileged:
        asked = {device.path for device in devices}
        devices = (*devices, *(d for d in daemon.host.devices if d.path not in asked))
    return ContainerInputs(
        config=config,
        hostname=sandbox.config.hostname or (host_hostname() if sandbox.host_network else sandbox.id[:12]),
        host_network=sandbox.host_network,
        host_pid=context.namespace_options.pid == api.NODE,
        pid_namespace=_pid_namespace(daemon, sandbox, context.namespace_options),
        image=image.config,
        user=user,
        cgroup=record.cgroup,
        files=pod_files(daemon.paths.sandbox(sandbox.id), host_ipc=sandbox.namespaces.ipc == api.NODE),
        host=daemon.host,
        default_capabilities=daemon.settings.runtime.default_capabilities,
        devices=devices,
        device_rules=requested.rules,
        device_sources=requested.sources,
        users=user_namespaces.mapping(sandbox.namespaces),
        ulimits=daemon.settings.runtime.default_ulimits,
        pids_limit=daemon.settings.runtime.pids_limit,
        apparmor_profile=security.apparmor_profile(daemon.host, context),
        labels=labels,
    )


def _pid_namespace(daemon: Daemon, sandbox: SandboxRecord, options: api.NamespaceOption) -> str:
    if options.pid == api.NODE and sandbox.namespaces.userns_options.uids:
        raise InvalidArgument(
            "config.linux.security_context.namespace_options.pid",
            f"NODE, but sandbox {sandbox.id} has a user namespace of its own",
        )
    if options.pid == api.POD:
        # POD is also what a message says that says nothing: in a pod that shares none, a container has its own.
        return f"/proc/{sandbox.init_pid}/ns/pid" if sandbox.init_pid else ""
    if options.pid == api.TARGET:
        target = daemon.containers.need(options.target_id)
        if target.sandbox_id != sandbox.id or target.state is not ContainerState.RUNNING:
            raise FailedPrecondition(f"target container {target.id} does not run in sandbox {sandbox.id}")
        return f"/proc/{target.pid}/ns/pid"
    return ""


def _resolve(rootfs: int, config: api.ContainerConfig, image: Image) -> ResolvedUser:
    context = config.linux.security_context
    return resolve(
        rootfs,
        image_user=image.config.user,
        run_as_user=context.run_as_user.value if context.HasField("run_as_user") else None,
        run_as_group=context.run_as_group.value if context.HasField("run_as_group") else None,
        run_as_username=context.run_as_username,
        supplemental_groups=tuple(context.supplemental_groups),
        strict_groups=context.supplemental_groups_policy == api.Strict,
    )


def _stop_signal(config: api.ContainerConfig, image: Image) -> str:
    """The container's, else the image's, else SIGTERM. An image's nonsense is not the pod's fault."""
    if config.stop_signal:
        return api.Signal.Name(config.stop_signal).removeprefix("SIGNAL_").replace("PLUS", "+").replace("MINUS", "-")
    try:
        signal_number(image.config.stop_signal)
    except ValueError:
        return "SIGTERM"
    return image.config.stop_signal


def _make_log_directory(record: ContainerRecord) -> None:
    """The kubelet makes it; other clients count on the runtime."""
    if record.log_path:
        try:
            os.makedirs(os.path.dirname(record.log_path), mode=0o755, exist_ok=True)
        except OSError as error:
            raise InvalidArgument("config.log_path", f"{record.log_path}: {error.strerror}") from error


def _write_bundle(daemon: Daemon, record: ContainerRecord, specification: Spec) -> None:
    bundle = daemon.paths.bundle(record.id)
    bundle.mkdir(mode=0o700)
    (bundle / "config.json").write_text(json.dumps(to_json(specification)))
