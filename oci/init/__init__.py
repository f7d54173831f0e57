"""The half of the executor that runs in the child: carries out a plan's operations and never returns.

Everything here is imported before the first clone. In the child nothing may be imported, looked up by name service,
encoded with a codec for the first time or resolved through a string path below the root filesystem.
"""
