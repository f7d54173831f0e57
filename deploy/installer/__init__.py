"""Getting Coracle onto a live node, making the kubelet use it, and taking both back.

`install` puts files, a unit and a configuration on the node and starts the daemon; the kubelet is left alone. `switch`
re-points the kubelet, under units of the host's systemd, because the pod that asks for it dies with the kubelet's old
runtime; if the node does not come back Ready, the host rolls back by itself. `uninstall` undoes what the journal says
was done, and nothing else.

    names.py            every path, label and unit name
    host.py             the door to the host's file system, below a mounted root; where tests kill
    health.py           what the kubelet says of itself
    commands.py         the door to the host's programs: systemctl, coracle
    journal.py          what was done: written and synced before each step
    effects.py, undo.py steps that change the host, and their way back from the record alone
    kubelet/            which kind of kubelet this is, and the edits that re-point it (pure)
    stages/             the steps of install, in order; each has describe, check, apply, undo
    switching/          the host's own part: switch, verify, roll back
    cluster/            the node as the API server sees it: labels, taint, cordon, drain
    cli/                the command `coracle-installer`

The host's part runs from the bundle and imports neither kubernetes nor anything else of the pod's part.
"""
