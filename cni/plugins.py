"""Networks made by plugin binaries: a whole verb over a whole chain. Owns the order and what a failure leads to.

ADD stops at the first failure (the caller undoes it with DEL). DEL goes on past failures, so that one broken plugin
does not keep the others' addresses and rules, and then raises the first. A verb has one deadline for its whole chain.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from cni.chain import (
    Invocation,
    Verb,
    attachment_invocation,
    gc_invocation,
    order,
    status_invocation,
    supports,
)
from cni.config import Document, NetworkConfig
from cni.errors import CniError, NetworkTimeout, PluginFailed, ResultError
from cni.execute import execute
from cni.result import in_version, parse
from cni.values import Attachment
from oci.syscalls import filesystem_type

_NSFS_MAGIC: Final = 0x6E73_6673
_PROC_SUPER_MAGIC: Final = 0x9FA0


class PluginChains:
    def __init__(self, bin_dirs: Sequence[str], environment: Mapping[str, str], timeout_seconds: float) -> None:
        self._bin_dirs = tuple(bin_dirs)
        self._environment = environment
        self._timeout = timeout_seconds

    async def add(self, config: NetworkConfig, attachment: Attachment) -> Document:
        """The last plugin's result, in the network's version."""
        deadline = self._deadline()
        previous: Document | None = None
        for plugin in order(config, Verb.ADD):
            invocation = attachment_invocation(config, plugin, Verb.ADD, attachment, self._bin_dirs, previous)
            output = await self._run(config, invocation, deadline)
            previous = _result(invocation, output, config.version)
        assert previous is not None  # a configuration has at least one plugin
        return previous

    async def delete(self, config: NetworkConfig, attachment: Attachment, previous: Document | None) -> None:
        deadline = self._deadline()
        there = replace(attachment, netns_path=attachment.netns_path if is_namespace(attachment.netns_path) else "")
        failures: list[CniError] = []
        for plugin in order(config, Verb.DEL):
            invocation = attachment_invocation(config, plugin, Verb.DEL, there, self._bin_dirs, previous)
            try:
                await self._run(config, invocation, deadline)
            except CniError as error:
                failures.append(error)
        _raise_first(failures)

    async def check(self, config: NetworkConfig, attachment: Attachment, previous: Document) -> None:
        """Nothing is done when the network's version has no CHECK, or its configuration forbids it."""
        if not supports(config, Verb.CHECK):
            return
        deadline = self._deadline()
        for plugin in order(config, Verb.CHECK):
            invocation = attachment_invocation(config, plugin, Verb.CHECK, attachment, self._bin_dirs, previous)
            await self._run(config, invocation, deadline)

    async def status(self, config: NetworkConfig) -> None:
        """Raises the error of the first plugin that could not serve an ADD now."""
        if not supports(config, Verb.STATUS):
            return
        deadline = self._deadline()
        for plugin in order(config, Verb.STATUS):
            await self._run(config, status_invocation(config, plugin, self._bin_dirs), deadline)

    async def collect(self, config: NetworkConfig, valid: Collection[tuple[str, str]]) -> None:
        """The GC verb: plugins release what belongs to none of these (container id, interface name) pairs."""
        if not supports(config, Verb.GC):
            return
        deadline = self._deadline()
        failures: list[CniError] = []
        for plugin in order(config, Verb.GC):
            try:
                await self._run(config, gc_invocation(config, plugin, valid, self._bin_dirs), deadline)
            except CniError as error:
                failures.append(error)
        _raise_first(failures)

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout

    async def _run(self, config: NetworkConfig, invocation: Invocation, deadline: float) -> bytes:
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            raise NetworkTimeout(config.name, invocation.verb.value, self._timeout)
        return await execute(invocation, self._bin_dirs, self._environment, left)


def is_namespace(path: str) -> bool:
    """Plugins take "no namespace" for DEL, but fail on a path that is a plain file, as all are after a reboot."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return filesystem_type(fd) in (_NSFS_MAGIC, _PROC_SUPER_MAGIC)
    finally:
        os.close(fd)


def _result(invocation: Invocation, output: bytes, version: str) -> Document:
    try:
        document = json.loads(output)
        parse(document)
    except ValueError:
        shown = output[:100].decode(errors="replace")
        raise PluginFailed(invocation.plugin, invocation.verb.value, f'result is not JSON: "{shown}"') from None
    except ResultError as error:
        raise PluginFailed(invocation.plugin, invocation.verb.value, str(error)) from error
    return in_version(document, version)


def _raise_first(failures: Sequence[CniError]) -> None:
    if failures:
        for further in failures[1:]:
            failures[0].add_note(f"and then: {further}")
        raise failures[0]
