"""The executor's one entry: compile a request, clone, serve the child until it is ready, release it.

Used by the shim and by the command line alike. The calling process has one thread; it stays free while the child mounts
if it drives `launch_container` and `Launch.advance` from its event loop instead of calling `create`.
"""

from __future__ import annotations

from oci.engine import attach
from oci.engine.attach import prepare_entry
from oci.engine.container import compile_request, launch_container
from oci.engine.equipment import Equipment
from oci.engine.process import launch_process
from oci.engine.requests import Created, CreateRequest, ExecRequest, Running
from oci.errors import ContainerError
from oci.exits import ExitStack
from oci.handshake.launch import Launch, Phase
from oci.plan.operations import Plan


class Engine:
    def __init__(self, equipment: Equipment) -> None:
        self._equipment = equipment

    @classmethod
    def open(cls, *, cgroups: bool = True) -> Engine:
        """`cgroups`: there may be configs that mount them."""
        return cls(Equipment.gather(cgroups=cgroups))

    def close(self) -> None:
        self._equipment.close()

    def plan(self, request: CreateRequest) -> Plan:
        """What `create` would do, without doing any of it."""
        with ExitStack() as opened:
            return compile_request(self._equipment, request, prepare_entry(request.cgroup, opened))

    def create(self, request: CreateRequest) -> Created:
        """Returns when init waits to be started. Raises SpecError, Unsupported, HookError or ContainerError; nothing is
        left of the child then."""
        launch, helper = launch_container(self._equipment, request)
        launch.run_until(Phase.WAITING)
        launch.handed_over = True
        return Created(
            container_id=request.container_id,
            pid=launch.pid,
            pidfd=launch.pidfd,
            channel=launch.channel,
            console_fd=launch.console_fd,
            attach_pid=helper[0] if helper else None,
            attach_pidfd=helper[1] if helper else None,
            warnings=launch.warnings,
            duties=launch.duties,
        )

    def launch_container(self, request: CreateRequest) -> Launch:
        """For an event loop: `advance` until WAITING, `release` when the cgroup is joined, `advance` until EXECUTED."""
        return launch_container(self._equipment, request)[0]

    @staticmethod
    def start(created: Created) -> None:
        """Returns once execve succeeded, else raises ContainerError; init is dying then, and the caller reaps it as it
        would after a successful start."""
        launch = Launch(
            pid=created.pid,
            pidfd=created.pidfd,
            channel=created.channel,
            phase=Phase.WAITING,
            duties=created.duties,
            handed_over=True,
        )
        if created.attach_pid is not None and created.attach_pidfd is not None:
            helper, created.attach_pid = created.attach_pid, None
            try:
                attach.wait_attached(helper, created.attach_pidfd, created.container_id)
            except ContainerError:
                launch.abandon()
                raise
        launch.release()
        launch.run_until(Phase.EXECUTED)

    def exec_process(self, request: ExecRequest) -> Running:
        """Returns once execve succeeded; raises SpecError or ContainerError (the process is reaped then)."""
        launch = self.launch_exec(request)
        launch.run_until(Phase.EXECUTED)
        return Running(pid=launch.pid, pidfd=launch.pidfd, console_fd=launch.console_fd)

    def launch_exec(self, request: ExecRequest) -> Launch:
        """For an event loop: `advance` until EXECUTED."""
        return launch_process(self._equipment, request)
