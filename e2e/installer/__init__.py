"""The chart on a node: helm install, switch, a roll-back, helm uninstall, with a real kubelet and both runtimes.

The node is that of e2e/kube with Debian's containerd. What needs systemd has a stand-in here: the host that the
installer sees is a directory, and its systemctl asks `systemd.py`, which starts the same daemon and the same kubelet
as plain processes. So the bundle, the image, the chart, the installer and the host's part run as they are; the units
themselves are tried in the virtual machine.

    host.py      the directory that is the host's root, and the programs in it
    systemd.py   a systemd of plain processes
    killer.py    kills the installer, wherever it is
    steps.py     what the tests do on the node and ask of it
    conftest.py  one node for all tests, which build on each other
"""
