"""The images of tests, the demo and the benchmarks, made from Debian packages.

busybox.py   a shell and its tools; every applet is a hard link in /bin
nginx.py     Debian's nginx with the libraries and the loader it needs
elf.py       which shared libraries a program names
catalog.py   which image goes under which name
"""
