"""Other people's OCI runtime suites pointed at coracle-oci: crun's tests/*.py and runtime-tools' validation programs.

    __main__.py   the command line                        tap.py       what a suite printed -> cases        pure
    crun.py       crun's suite, file by file              verdict.py   cases -> passed, failed, excused     pure
    validation.py runtime-tools, program by program       bed.py       the machine as the suites want it
    build.py      their programs, compiled below .cache/  terminal.py  a suite's process on a terminal of its own
    stand_ins/    Python modules the suites import and this machine may lack

Nothing of the suites is kept in this repository; the command line is given the paths of checkouts.
"""
