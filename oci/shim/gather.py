"""Where in the launcher's memory lies what its shims will write to: together, on few pages.

To call a function is to write to its code object and to the function itself: references are counted there. Left where
the imports have put them, each lies on a page of its own among what no shim ever touches, and every shim gets its own
copy of that page. So one life is watched, and what it has called is made anew, in the order of the calls (measured: 45
kB less of each shim's own), but for what decodes specifications, which is called often, by workers. Only before the
rehearsals: a new code object has to be warmed again.

What a shim allocates would be put into the holes that imports and rehearsals have left, all over the memory: the
allocator (pymalloc) keeps small objects by size, in pools of 16 KiB. With the holes filled they come to lie side by
side in fresh pools (165 kB less).

Tried and not kept: malloc instead of pymalloc (PYTHONMALLOC) with its holes filled, 200 kB more; filling malloc's holes
for what is larger, 18 kB less for 160 kB more in the launcher; objects of 16 and 32 bytes, nothing.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType
from typing import Any, Final

_POOL: Final = 16 << 10
_POOL_HEADER: Final = 48
_BYTES_HEADER: Final = 33

#: Of one size; there are never as many holes.
_MOST: Final = 20_000

_OFTEN: Final = ("/oci/values.py", "/oci/spec/codec.py")


def watch(life: Callable[[], None]) -> list[CodeType]:
    """The code that `life` executes in this process, in order of the first calls."""
    called: dict[CodeType, None] = {}

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            called.setdefault(frame.f_code)

    sys.setprofile(note)
    try:
        life()
    finally:
        sys.setprofile(None)
    return list(called)


def gather(called: list[CodeType]) -> None:
    """Gives every function that is among `called`, or was made by one of them, a new code object; and methods, and
    functions of modules, new function objects."""
    copies: dict[CodeType, CodeType] = {}
    called = [code for code in called if not code.co_filename.endswith(_OFTEN)]
    wanted = set(called)
    functions = [one for one in gc.get_objects() if type(one) is FunctionType and one.__code__ in wanted]
    ballast = fill_holes()
    for code in called:
        _copy(code, wanted, copies)
    new = {}
    functions.sort(key=lambda function: called.index(function.__code__))
    for function in functions:
        function.__code__ = copies[function.__code__]
        new[id(function)] = _twin(function)
    for holder in _holders():
        for name, value in list(vars(holder).items()):
            if type(value) is FunctionType and id(value) in new:
                setattr(holder, name, new[id(value)])
    del ballast


def _copy(code: CodeType, wanted: set[CodeType], copies: dict[CodeType, CodeType]) -> CodeType:
    if code not in wanted:
        return code
    if code not in copies:
        constants = tuple([_copy(one, wanted, copies) if type(one) is CodeType else one for one in code.co_consts])
        copies[code] = code.replace(co_consts=constants)
    return copies[code]


def _twin(function: FunctionType) -> FunctionType:
    made = FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    for name in ("__kwdefaults__", "__qualname__", "__doc__", "__module__", "__annotations__"):
        setattr(made, name, getattr(function, name))
    made.__dict__.update(function.__dict__)
    return made


def _holders() -> list[Any]:
    modules = [module for name, module in sys.modules.items() if _ours(name)]
    classes = [one for one in gc.get_objects() if issubclass(type(one), type) and _ours(one.__module__)]
    return [*modules, *classes]


def _ours(module: object) -> bool:
    return isinstance(module, str) and module.split(".")[0] == "oci"


def fill_holes() -> list[bytes]:
    """What fills them, to be kept for as long as new objects shall lie side by side."""
    ballast: list[bytes] = []
    for size in range(48, 513, 16):
        row = 0
        for _ in range(_MOST):
            ballast.append(bytes(size - _BYTES_HEADER))
            row = row + 1 if id(ballast[-1]) % _POOL < _POOL_HEADER + 8 * size else 0
            if row == 4:  # all of them at the beginning of a pool: a fresh one
                break
    return ballast
