"""The runtime's default seccomp profile. Owns the table of what a container may call; knows nothing of BPF.

The list follows what Docker and containerd ship, so that images behave the same here: everything a program may need
that does not reach into the kernel's configuration, other namespaces, or rarely tested parts of the kernel. A name that
an architecture does not have is passed over when the filter is made, so one table serves all.

`default_profile(capabilities)` opens the groups that belong to a capability, since the capability is the real gate.
"""

from __future__ import annotations

from functools import lru_cache

from oci.seccomp.names import family
from oci.spec import Seccomp, SeccompArg, SeccompSyscall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_ALLOWED: Final = """
files by descriptor: close close_range copy_file_range dup dup2 dup3 fadvise64 fadvise64_64 fallocate fcntl fcntl64
    fdatasync flock fsync ftruncate ftruncate64 getdents getdents64 ioctl _llseek lseek pread64 preadv preadv2 pwrite64
    pwritev pwritev2 read readahead readv sendfile sendfile64 splice sync_file_range sync_file_range2 syncfs tee
    vmsplice write writev cachestat arm_fadvise64_64 arm_sync_file_range

files by path: access chdir chmod chown chown32 creat execve execveat faccessat faccessat2 fchdir fchmod fchmodat
    fchmodat2 fchown fchown32 fchownat fstat fstat64 fstatat64 fstatfs fstatfs64 futimesat getcwd lchown lchown32 link
    linkat lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat openat2 readlink
    readlinkat rename renameat renameat2 rmdir stat stat64 statfs statfs64 statx symlink symlinkat sync truncate
    truncate64 umask unlink unlinkat utime utimensat utimensat_time64 utimes listmount statmount

extended attributes: fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr listxattrat
    llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat

waiting and notification: epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait
    epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
    _newselect poll ppoll ppoll_time64 pselect6 pselect6_time64 select signalfd signalfd4

asynchronous input and output: io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit

memory: brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mmap2
    mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages

processes and threads: exit exit_group fork futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake getcpu
    get_robust_list get_thread_area gettid pidfd_open pidfd_send_signal prctl process_mrelease restart_syscall rseq
    set_robust_list set_thread_area set_tid_address uretprobe vfork wait4 waitid waitpid arch_prctl modify_ldt
    breakpoint cacheflush set_tls riscv_flush_icache riscv_hwprobe

debugging of what is ours already: process_vm_readv process_vm_writev ptrace

signals: alarm kill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack sigprocmask sigreturn tgkill tkill

scheduling: getpriority ioprio_get ioprio_set nanosleep sched_getaffinity sched_getattr sched_getparam
    sched_get_priority_max sched_get_priority_min sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield
    setpriority

identity: capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp
    getpid getppid getresgid getresgid32 getresuid getresuid32 getsid getuid getuid32 setfsgid setfsgid32 setfsuid
    setfsuid32 setgid setgid32 setgroups setgroups32 setpgid setregid setregid32 setresgid setresgid32 setresuid
    setresuid32 setreuid setreuid32 setsid setuid setuid32

limits and information: getrandom getrlimit getrusage prlimit64 setrlimit sysinfo times ugetrlimit uname

time: adjtimex clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 getitimer gettimeofday setitimer time timer_create timer_delete
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create timerfd_gettime
    timerfd_gettime64 timerfd_settime timerfd_settime64

sockets and pipes: accept accept4 bind connect getpeername getsockname getsockopt listen pipe pipe2 recv recvfrom
    recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown socketcall socketpair

System V and POSIX messages: ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
    mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat
    shmctl shmdt shmget

giving up rights: landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp
"""

# What more a process may call whose bounding set holds the capability.
_WITH_CAPABILITY: Final = {
    "CAP_BPF": "bpf",
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_PERFMON": "perf_event_open",
    "CAP_SYSLOG": "syslog",
    "CAP_SYS_ADMIN": """bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr
        lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl
        quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare""",
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module finit_module init_module",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "CAP_SYS_RAWIO": "ioperm iopl",
    "CAP_SYS_TIME": "clock_settime clock_settime64 settimeofday stime",
    "CAP_SYS_TTY_CONFIG": "vhangup",
}

# CLONE_NEW{CGROUP,IPC,NET,NS,PID,USER,UTS}. clone3 takes its flags through a pointer, where no filter can look, so it
# is said not to exist, and the C library uses clone.
_NAMESPACE_FLAGS: Final = 0x7E02_0000
_ENOSYS: Final = 38

# All address families but 38 (AF_ALG, the kernel's crypto API) and 40 (AF_VSOCK, which leads to the host).
_SOCKET_FAMILIES: Final = (("SCMP_CMP_LT", 38), ("SCMP_CMP_EQ", 39), ("SCMP_CMP_GT", 40))

# PER_LINUX and PER_LINUX32, each with and without UNAME26, and the question which one is set.
_PERSONALITIES: Final = (0x0, 0x8, 0x2_0000, 0x2_0008, 0xFFFF_FFFF)


@lru_cache(maxsize=64)
def default_profile(capabilities: frozenset[str]) -> Seccomp:
    """The profile for a container whose bounding set is `capabilities` ("CAP_CHOWN", ...)."""
    rules = [_allow(*_names(_ALLOWED))]
    rules += [_allow("socket", argument=(op, family_number)) for op, family_number in _SOCKET_FAMILIES]
    rules += [_allow("personality", argument=("SCMP_CMP_EQ", persona)) for persona in _PERSONALITIES]
    for capability, names in _WITH_CAPABILITY.items():
        if capability in capabilities:
            rules.append(_allow(*names.split()))
    if "CAP_SYS_ADMIN" not in capabilities:
        rules.append(_allow("clone", argument=("SCMP_CMP_MASKED_EQ", _NAMESPACE_FLAGS)))
        rules.append(SeccompSyscall(names=("clone3",), action="SCMP_ACT_ERRNO", errno_ret=_ENOSYS))
    return Seccomp(
        default_action="SCMP_ACT_ERRNO",
        default_errno_ret=1,
        architectures=tuple(architecture.name for architecture in family()),
        syscalls=tuple(rules),
    )


def _names(table: str) -> list[str]:
    """The words after each group's title."""
    groups = (group.partition(":")[2] for group in table.strip().split("\n\n"))
    return [name for group in groups for name in group.split()]


def _allow(*names: str, argument: tuple[str, int] | None = None) -> SeccompSyscall:
    arguments = () if argument is None else (SeccompArg(index=0, op=argument[0], value=argument[1]),)
    return SeccompSyscall(names=names, action="SCMP_ACT_ALLOW", args=arguments)
