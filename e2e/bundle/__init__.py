"""The bundle where it has to run: on a machine with nothing but a kernel, and under the userlands of Debian 12 and 13.

userland.py   directory trees to run in        enter.py    a process of its own mount namespace, inside one
checks.py     what must work in each           __main__.py `make verify-bundle`
"""
