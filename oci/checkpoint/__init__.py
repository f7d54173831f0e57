"""Containers stopped in mid-life and brought back: checkpoint and restore through CRIU, where it is installed.

    dump.py       a running container -> a directory of images        restore.py   and back, as another container
    criu.py       the program, one request at a time                  staging.py   mounts as CRIU wants to find them
    rpc.py        requests and answers as values                      external.py  what comes from outside, by name
    wire.py       their bytes                                         verify.py    is what came back what was asked for
    mount_table.py    /proc/PID/mountinfo                             errors.py

Nothing here is loaded by a shim or a command that does no such thing. The caller owns cgroup, root filesystem, state.
"""
