"""coracle-oci and the executor as a library beside Debian's crun and runc, in one run, taking turns.

__main__.py   the command line and the table       bundle.py   the container that all of them run
programs.py   the command lines                    library.py  the library, in a small process as the shim is one
installed.py  coracle-oci in a bundle of its own
"""
