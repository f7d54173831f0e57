"""Going on as a sealed copy of ourselves before a container is entered (CVE-2019-5736).

Until its execve, a process that enters a container is this interpreter, and a container whose program is /proc/self/exe
(or a script that names it) is it even longer. The host's file must not be behind that name. Behind it is a sealed copy
of the dynamic loader, which has mapped the interpreter; where that cannot be, one of the interpreter.
"""

from __future__ import annotations

import os
import sys

from oci import sealed

FIND_PACKAGES = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); sys.path += filter(None, sys.argv.pop(1).split(':')); "
)
_AGAIN = FIND_PACKAGES + "from oci.cli import main; sys.exit(main())"


def become_sealed() -> None:
    """Returns only in the sealed copy, or where the host forbids executable memory files.

    The copy starts without `site` and without anything the environment could add: our own packages and the standard
    library come from where we are. Last, for systemd's bus, is looked where we find installed packages.
    """
    if os.readlink("/proc/self/exe").startswith("/memfd:"):
        return
    try:
        executable, command = sealed.interpreter()
        if command == [executable]:
            executable, command = sealed.through_loader(executable) or (executable, command)
        copy = sealed.seal(executable)
        # With its path as argv[0] the interpreter finds its library as before.
        os.execve(copy, [*command, "-I", "-S", "-c", _AGAIN, *package_directories(), *sys.argv[1:]], os.environ)
    except OSError:
        return  # the dispatcher sees that we are not sealed, and can say so where the caller wants to read it


def package_directories() -> tuple[str, str]:
    """The two arguments of FIND_PACKAGES: where our own are, and a list of where others may be."""
    own = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    return own, ":".join(path for path in sys.path if path.endswith(("/site-packages", "/dist-packages")))
