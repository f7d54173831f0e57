"""Checkpoints of containers and pods, and pods out of them. CRIU does the work (`oci.checkpoint`), in the pod's shim.

    support.py    is there a CRIU that works here               changes.py   what a container wrote, as a tar file
    dump.py       containers -> archives, one consistent cut    archive.py   the archive, to and from a directory
    pods.py       what a pod's checkpoint is made of

The archive is the one of CRI-O and containerd, which checkpointctl reads:

    checkpoint/         CRIU's images            spec.dump      the OCI configuration
    rootfs-diff.tar     files that were made     config.dump    which container of which image, when
    deleted.files       and those removed        dump.log, stats-dump     CRIU's own words

Nothing in an archive is believed but the memory and the files themselves: mounts, privileges, names and images of a
restored container come from the request, and what CRIU makes of the images is held against them (`oci.checkpoint`).
"""
