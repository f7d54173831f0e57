"""What can be wrong with a configuration. `ConfigError` is all there is: it names the source and the key."""

from __future__ import annotations


class ConfigError(Exception):
    """`source` is a file's path, a variable's name or a flag; `key` is dotted, "" where no key is to blame."""

    def __init__(self, source: str, key: str, problem: str) -> None:
        super().__init__(": ".join(part for part in (source, key, problem) if part))
        self.source = source
        self.key = key
        self.problem = problem
