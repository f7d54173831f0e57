"""The child's main line: carry out a plan's steps one after the other, report, execute. Never returns.

A failure of any kind becomes one message to the parent, with the description of the step as its stage.
"""

from __future__ import annotations

import os
import sys

from oci import syscalls as sc
from oci.engine.hooks import run_hooks
from oci.errors import OciError
from oci.handshake.channel import Kind
from oci.init import console, devices, filesystem, namespaces, privileges, program
from oci.init.context import Context
from oci.plan import operations as op
from oci.signals import signal
from oci.sockets import Socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Final, NoReturn


def _await_runtime_hooks(step: op.AwaitRuntimeHooks, context: Context) -> None:
    context.channel.ask(Kind.HOOKS)


def _run_container_hooks(step: op.RunContainerHooks, context: Context) -> None:
    hooks = context.hooks.create_container if step.kind == "createContainer" else context.hooks.start_container
    if step.directory is not None:
        os.chdir(step.directory)
    run_hooks(step.kind, hooks, context.state)


_ACTIONS: Final[dict[type, Callable[[Any, Context], None]]] = {
    op.JoinNamespace: namespaces.join_namespace,
    op.AwaitMappings: namespaces.await_mappings,
    op.BecomeNamespaceRoot: namespaces.become_namespace_root,
    op.Reclone: namespaces.reclone,
    op.EnterTimeNamespace: namespaces.enter_time_namespace,
    op.HideFromPeers: namespaces.hide_from_peers,
    op.JoinKeyring: namespaces.join_keyring,
    op.RaiseLoopback: namespaces.raise_loopback,
    op.JoinContainer: namespaces.join_container,
    op.SetHostname: namespaces.set_hostname,
    op.SetDomainname: namespaces.set_domainname,
    op.WriteSysctl: namespaces.write_sysctl,
    op.SetLsmLabel: namespaces.set_lsm_label,
    op.AwaitAttach: namespaces.await_attach,
    op.EnterCgroup: namespaces.enter_cgroup,
    op.UnshareCgroup: namespaces.unshare_cgroup,
    op.AwaitRuntimeHooks: _await_runtime_hooks,
    op.RunContainerHooks: _run_container_hooks,
    op.AttachRoot: filesystem.attach_root,
    op.OpenSources: filesystem.open_sources,
    op.OpenRoot: filesystem.open_root,
    op.MountFilesystem: filesystem.mount_filesystem,
    op.MountBind: filesystem.mount_bind,
    op.MountDescriptor: filesystem.mount_descriptor,
    op.Remount: filesystem.remount,
    op.MakeMountReadonly: filesystem.make_mount_readonly,
    op.MakeDirectory: filesystem.make_directory,
    op.ReadonlyPath: filesystem.readonly_path,
    op.MaskPath: filesystem.mask_path,
    op.PivotRoot: filesystem.pivot_root,
    op.MoveRoot: filesystem.move_root,
    op.ChangeRoot: filesystem.change_root,
    op.MakeRootReadonly: filesystem.make_root_readonly,
    op.SetRootPropagation: filesystem.set_root_propagation,
    op.MakeDevice: devices.make_device,
    op.MakeSymlink: devices.make_symlink,
    op.OpenConsole: console.open_console,
    op.SetPersonality: privileges.set_personality,
    op.SetScheduler: privileges.set_scheduler,
    op.SetIOPriority: privileges.set_io_priority,
    op.SetMemoryPolicy: privileges.set_memory_policy,
    op.ResetAffinity: privileges.reset_affinity,
    op.SetRlimit: privileges.set_rlimit,
    op.SetStdio: privileges.set_stdio,
    op.SetPrivileges: privileges.set_privileges,
    op.ChangeDirectory: privileges.change_directory,
    op.SetNoNewPrivileges: privileges.set_no_new_privileges,
    op.InstallSeccomp: privileges.install_seccomp,
    op.CloseDescriptors: privileges.close_descriptors,
    op.ResetSignals: privileges.reset_signals,
    op.SetDefaultHome: program.set_default_home,
    op.FindProgram: program.find_program,
    op.Execute: program.execute,
}


def run_child(plan: op.Plan, context: Context, parent: Socket, *, wait: bool, listener: int | None = None) -> NoReturn:
    """Runs in the clone. With `wait`, reports ready after the set-up and goes on when told to start."""
    step: op.Operation | None = None
    try:
        # Our copy of the parent's end would keep us from noticing that the parent is gone.
        parent.close()
        signal.set_wakeup_fd(-1)
        # Whatever is not loaded by now would come out of the container's files.
        sys.meta_path.clear()
        sys.path.clear()
        os.setsid()
        os.umask(0)
        for step in plan.setup:
            _ACTIONS[type(step)](step, context)
        if wait:
            context.channel.tell(Kind.READY)
            if listener is not None:
                context.channel.take_over(listener)
            context.channel.wait(Kind.START)
        for step in plan.finish:
            _ACTIONS[type(step)](step, context)
        context.channel.fail("", 0, "the plan ended without execve")
    except BaseException as error:  # the child must not unwind into the parent's code
        context.channel.fail("start the child" if step is None else step.describe(), *_explain(error))
    finally:
        os._exit(1)


def _explain(error: BaseException) -> tuple[int, str]:
    if isinstance(error, OSError) and error.errno:
        text = str(error.strerror)
        return error.errno, f"{text}: {error.filename}" if error.filename is not None else text
    if isinstance(error, OciError):
        return 0, str(error)
    return 0, f"{type(error).__name__}: {error}"


# The loopback, hook and error paths are rare; touching the modules here keeps them from loading anything later.
_LOADED: Final = (sc, os.strerror(1))
