"""A kubelet without a cluster on a runtime's socket: a static pod, and what the kubelet's own API then says.

    __main__.py   the command line: start all, check, remove all
    server.py     the kubelet as a process, with its configuration and its HTTPS API
    checks.py     what must be true: the pod runs, logs, exec, probe, stats

The kubelet binary is the caller's: README.md tells how to build it.
"""
