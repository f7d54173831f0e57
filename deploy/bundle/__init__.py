"""The bundle: everything that Coracle needs on a node but the kernel, in one directory that may lie anywhere.

Owns what goes into it and how: an interpreter, its libraries and its loader from Debian packages, wheels, our own
packages, a native entry for each command. Knows nothing of nodes: placing it there is the installer's work.

    packages.py    Debian packages: fetched, unpacked                 compile.py     modules to .pyc files
    wheels.py      Python packages: resolved, fetched, unpacked       manifest.py   what is in it, under which licences
    interpreter.py the interpreter with its libraries and loader      archive.py    one file, the same bytes each time
    elf.py         which libraries a program names                    assemble.py   all of it in order
    entry.c, entry.py   the commands in bin/                          completion.py shell completion, the help as text

A bundle (ROOT stands for coracle-VERSION-linux-ARCHITECTURE):

    ROOT/
    ├── bin/              coracle, coracle-oci, coracle-installer, python3: static programs that start the loader
    ├── lib/              coracle-loader (ld.so), shared libraries
    │   └── python3.N/    the standard library
    ├── libexec/          the interpreter itself, and start/, what each command runs
    ├── site/             our packages and the wheels
    ├── share/            units, profiles, completion, licences
    ├── manifest.json     every part with version, origin and licence
    └── SHA256SUMS
"""
