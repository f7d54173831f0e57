"""The kubelet's settings beside ours: the socket it calls, the cgroup driver, how long it waits.

It takes them from its configuration file and from flags, which win. A running kubelet's command line is in /proc; where
none runs, the usual files are looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from cri.config.schema import Settings
from cri.doctor.cgroups import systemd_manages
from cri.doctor.node import Node
from cri.doctor.result import Result, fail, ok, warn
from oci.values import frozen

_GROUP: Final = "kubelet"
_CONFIG: Final = "/var/lib/kubelet/config.yaml"
_INSTANCE: Final = "/var/lib/kubelet/instance-config.yaml"
_FLAGS: Final = ("/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet", "/etc/sysconfig/kubelet")
_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LEAST_PATIENCE_S: Final = 60.0


@frozen
class Kubelet:
    """`options` by the names of the configuration file."""

    running: bool
    sources: tuple[str, ...]
    options: Mapping[str, str]
    problems: tuple[str, ...] = ()


def checks(node: Node, settings: Settings) -> Iterator[Result]:
    kubelet = look(node)
    for problem in kubelet.problems:
        yield warn(_GROUP, "configuration", problem, "mend the file: the kubelet will not start with it")
    if not kubelet.sources:
        yield ok(_GROUP, "configuration", "no kubelet on this node")
        return
    yield ok(_GROUP, "configuration", ", ".join(kubelet.sources))
    yield _endpoint(kubelet, settings)
    yield _driver(node, kubelet, settings)
    yield _patience(kubelet)
    if kubelet.options.get("failCgroupV1", "").lower() == "true" and not node.exists(
        "/sys/fs/cgroup/cgroup.controllers"
    ):
        advice = "boot with systemd.unified_cgroup_hierarchy=1, or set failCgroupV1: false"
        yield fail(_GROUP, "failCgroupV1", "true, on a host with cgroup v1", advice)


def look(node: Node) -> Kubelet:
    arguments = _command_line(node)
    running = arguments is not None
    texts = list(arguments or ())
    sources = ["its command line"] if running else []
    if not running:
        for name in _FLAGS:
            if (text := node.read(name)) is not None and "--" in text:
                sources.append(name)
                texts += re.split(r"[\s\"']+", text)
    flags = _flags(texts)
    options: dict[str, str] = {}
    problems: list[str] = []
    for name in (flags.get("config", _CONFIG), _INSTANCE):
        document = _document(node, name, problems)
        if document is not None:
            sources.append(name)
            options |= {key: _text(value) for key, value in document.items()}
    for flag, key in (
        ("container-runtime-endpoint", "containerRuntimeEndpoint"),
        ("cgroup-driver", "cgroupDriver"),
        ("runtime-request-timeout", "runtimeRequestTimeout"),
        ("fail-cgroupv1", "failCgroupV1"),
    ):
        if flag in flags:
            options[key] = flags[flag]
    return Kubelet(running=running, sources=tuple(sources), options=options, problems=tuple(problems))


def _command_line(node: Node) -> tuple[str, ...] | None:
    for name in node.names("/proc"):
        if name.isdigit() and (text := node.read(f"/proc/{name}/cmdline")):
            arguments = text.rstrip("\0").split("\0")
            if Path(arguments[0]).name == "kubelet":
                return tuple(arguments[1:])
    return None


def _flags(arguments: list[str]) -> dict[str, str]:
    found = {}
    for position, argument in enumerate(arguments):
        _, dashes, rest = argument.rpartition("--") if "=--" in argument else ("", argument[:2], argument[2:])
        if dashes != "--":
            continue
        name, equals, value = rest.partition("=")
        following = arguments[position + 1] if position + 1 < len(arguments) else ""
        found[name] = value if equals else ("" if following.startswith("-") else following)
    return found


def _document(node: Node, name: str, problems: list[str]) -> dict[str, Any] | None:
    text = node.read(name)
    if text is None:
        return None
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        problems.append(f"{name} is no YAML: {str(error).splitlines()[0]}")
        return None
    return document if isinstance(document, dict) else None


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _endpoint(kubelet: Kubelet, settings: Settings) -> Result:
    ours = f"unix://{settings.socket_path}"
    theirs = kubelet.options.get("containerRuntimeEndpoint", "")
    if theirs.removeprefix("unix://").replace("/var/run/", "/run/") == str(settings.socket_path):
        return ok(_GROUP, "containerRuntimeEndpoint", theirs)
    advice = f"to run pods here, set it to {ours} (docs/install.md), or let `coracle-installer switch` do it"
    return warn(_GROUP, "containerRuntimeEndpoint", theirs or "not set", advice)


def _driver(node: Node, kubelet: Kubelet, settings: Settings) -> Result:
    """The kubelet asks the runtime from 1.31 on; what it is told itself must agree where it is older."""
    ours = "systemd" if systemd_manages(node, settings) else "cgroupfs"
    theirs = kubelet.options.get("cgroupDriver", "")
    if theirs in ("", ours):
        return ok(_GROUP, "cgroupDriver", theirs or f"not set: the kubelet asks, and hears {ours}")
    advice = f"set cgroupDriver: {ours}; a kubelet before 1.31 follows its own setting, and pods then escape limits"
    return fail(_GROUP, "cgroupDriver", f"{theirs}, the daemon uses {ours}", advice)


def _patience(kubelet: Kubelet) -> Result:
    text = kubelet.options.get("runtimeRequestTimeout", "")
    seconds = sum(float(n) * _UNITS[unit] for n, unit in re.findall(r"([\d.]+)(ms|h|m|s)", text))
    if text not in ("", "0s", "0") and seconds < _LEAST_PATIENCE_S:
        advice = "set it to 2m, its default: the first container of a large image may take longer"
        return warn(_GROUP, "runtimeRequestTimeout", text, advice)
    return ok(_GROUP, "runtimeRequestTimeout", text or "not set, 2m")
