"""SELinux for pods, as it is on hosts of the Red Hat family: every pod's processes and files have labels of their own.

    labels    how a label is written, and which one a pod and a container get: values in, values out
    policy    what this host's policy has for containers; asked once, at start
    files     labels on files: the pod's own, and volumes that the kubelet wants relabelled
    pods      the above for the daemon's pods and containers

Without SELinux, or with `runtime.selinux` off, nobody looks at `selinux_options` and nothing of this runs.
"""
