"""How SELinux labels are written, and which a pod and its containers get. Pure.

A label is user:role:type:level, a level like s0:c1,c2. The policy has a label for containers' processes and one for
their files. A pod changes them by its selinux_options; where it asks for no level it gets two categories that no other
pod has, which keep pods out of each other's files. Its containers have its labels, changed by options of their own.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Container
from dataclasses import dataclass, replace
from typing import Final, Self

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument, ResourceExhausted

CATEGORIES: Final = 1024
_PAIRS: Final = math.comb(CATEGORIES, 2)
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_SENSITIVITY: Final = re.compile(r"s(0|[1-9][0-9]?)")
_CATEGORY: Final = re.compile(r"c(0|[1-9][0-9]{0,3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    user: str
    role: str
    type: str
    level: str = ""  #: "" with a policy that has no levels

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError."""
        words, level = text.split(":", 3)[:3], text.split(":", 3)[3:]
        if len(words) < 3 or not all(map(_WORD.fullmatch, words)) or not all(map(is_level, level)):
            raise ValueError(f"{text!r} is not a label")
        return cls(user=words[0], role=words[1], type=words[2], level="".join(level))

    def __str__(self) -> str:
        return ":".join(filter(None, (self.user, self.role, self.type, self.level)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Of processes and of files. `process` is "" where the policy itself says what they become."""

    process: str
    mount: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a host's policy has for containers. `init_type` is for those that run systemd, `unconfined` for those that
    are not kept from the host, None where the policy has no such label. `knows` asks the kernel about a label."""

    process: Label
    file: Label
    init_type: str
    unconfined: Label | None
    knows: Callable[[str], bool]

    def of_pod(self, options: api.SELinuxOption, taken: Container[str], below: Callable[[int], int]) -> Labels:
        """`taken` are the levels of all others; `below` gives a random number from 0 to one less than its argument."""
        level = options.level or self.process.level
        if level and not options.level:
            level = unused_level(level.partition(":")[0], taken, below)
        process = _changed(self.process, options, level)
        file = replace(self.file, user=options.user or self.file.user, level=level)
        return Labels(process=str(process), mount=str(file))

    def of_container(
        self, pod: Labels, options: api.SELinuxOption, *, privileged: bool, shares_host: bool, typed: bool, init: bool
    ) -> Labels:
        """`shares_host` is the host's process or IPC namespace, where there is nothing to keep apart; `typed` says that
        pod or container asked for a type, which counts unless it is `privileged`."""
        process, file = Label.parse(pod.process), Label.parse(pod.mount)
        mount = str(replace(file, user=options.user or file.user, level=options.level or file.level))
        if privileged or (shares_host and not typed):
            return Labels(process=str(self.unconfined or ""), mount=mount)
        if init and not typed:
            process = replace(process, type=self.init_type)
        return Labels(process=str(_changed(process, options, options.level or process.level)), mount=mount)


def _changed(label: Label, options: api.SELinuxOption, level: str) -> Label:
    return Label(
        user=options.user or label.user, role=options.role or label.role, type=options.type or label.type, level=level
    )


def unused_level(sensitivity: str, taken: Container[str], below: Callable[[int], int]) -> str:
    """Two categories, the smaller first. Raises ResourceExhausted when each of the half million pairs is taken."""
    start = below(_PAIRS)
    for offset in range(_PAIRS):
        first, second = _pair((start + offset) % _PAIRS)
        level = f"{sensitivity}:c{first},c{second}"
        if level not in taken:
            return level
    raise ResourceExhausted("every pair of SELinux categories is some pod's")


def _pair(number: int) -> tuple[int, int]:
    """The pairs of two different categories, counted: (0, 1), (0, 2), (1, 2), (0, 3) ..."""
    second = (1 + math.isqrt(8 * number + 1)) // 2
    return number - second * (second - 1) // 2, second


def for_everybody(label: str) -> str:
    """The same without categories: every container of the host may use a file that has it, if its type may."""
    parsed = Label.parse(label)
    return str(replace(parsed, level=parsed.level.partition(":")[0].partition("-")[0]))


def is_level(text: str) -> bool:
    """s0, s0:c1,c2, s0:c0.c9,c12, or two of them with a dash between."""
    low, dash, high = text.partition("-")
    return _is_single(low) and (not dash or _is_single(high))


def _is_single(text: str) -> bool:
    sensitivity, colon, categories = text.partition(":")
    if not _SENSITIVITY.fullmatch(sensitivity):
        return False
    return not colon or all(map(_are_categories, categories.split(",")))


def _are_categories(text: str) -> bool:
    first, dot, last = text.partition(".")
    ends = (first, last) if dot else (first,)
    if not all(_CATEGORY.fullmatch(end) and int(end[1:]) < CATEGORIES for end in ends):
        return False
    return not dot or int(first[1:]) < int(last[1:])


def check_options(field: str, options: api.SELinuxOption) -> None:
    """Raises InvalidArgument that names the part which cannot be in any label."""
    for name in ("user", "role", "type"):
        word = getattr(options, name)
        if word and not _WORD.fullmatch(word):
            raise InvalidArgument(f"{field}.{name}", f"{word!r} is not a name of SELinux's")
    if options.level and not is_level(options.level):
        raise InvalidArgument(f"{field}.level", f"{options.level!r} is not a level like s0:c1,c2")


def runs_init(args: tuple[str, ...]) -> bool:
    """systemd, or an init by its usual path: it needs a type that may manage cgroups."""
    return bool(args) and (args[0].endswith("/sbin/init") or args[0].rpartition("/")[2] == "systemd")
