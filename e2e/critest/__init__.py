"""The CRI validation suite (critest of kubernetes-sigs/cri-tools) against a runtime, all on this machine.

    __main__.py   the command line
    images.py     stand-ins for the images the suite pulls, from Debian packages
    report.py     what passed, failed and was skipped, and why

The critest binary is the caller's: README.md tells how to build it.
"""
