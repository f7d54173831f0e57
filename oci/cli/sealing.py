"""Going on as a sealed copy of ourselves before a container is entered (CVE-2019-5736).

Until its execve, a process that enters a container is this interpreter, and a container whose program is /proc/self/exe
(or a script that names it) is it even longer. The host's file must not be behind that name. Behind it is a sealed copy
of the dynamic loader, which has mapped the interpreter; where that cannot be, one of the interpreter.
"""

from __future__ import annotations

import os
import sys

from oci import sealed

_AGAIN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from oci.cli import main; sys.exit(main())"


def become_sealed() -> None:
    """Returns only in the sealed copy, or where the host forbids executable memory files.

    The copy starts without `site` and without anything the environment could add: our own packages and the standard
    library are all it needs, and they come from where we are.
    """
    if os.readlink("/proc/self/exe").startswith("/memfd:"):
        return
    try:
        executable, command = sealed.interpreter()
        if command == [executable]:
            executable, command = sealed.through_loader(executable) or (executable, command)
        copy = sealed.seal(executable)
        packages = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        # With its path as argv[0] the interpreter finds its library as before.
        os.execve(copy, [*command, "-I", "-S", "-c", _AGAIN, packages, *sys.argv[1:]], os.environ)
    except OSError:
        return  # the dispatcher sees that we are not sealed, and can say so where the caller wants to read it
