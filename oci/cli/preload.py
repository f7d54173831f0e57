"""One file instead of ninety: the modules of a verb, compiled, in the order in which they are executed.

    oci/cli/__pycache__/<verb>-<v1 or v2>.<interpreter>.modules

An import looks for a file in several places, opens two and reads one: for modules as small as ours that is more than
half of its time, and what a verb imports is most of what it costs. The file is to a verb what a .pyc file is to a
module: checked against time and size of every source, written only where we may, and never needed.
"""

from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any, TypeAlias

    # name, path below the root, mtime, size, is a package, code
    Entry: TypeAlias = tuple[str, str, int, int, bool, CodeType]

_Module: type[ModuleType] = type(sys)
_FORMAT = 5


def load(verb: str) -> None:
    """Afterwards the verb's modules are loaded, or the ordinary imports will see to it."""
    root = _root()
    driver = _cgroup_driver()
    path = _file_name(verb, driver)
    try:
        with open(path, "rb", 0) as file:
            written, checked, sizes = marshal.loads(file.read(int.from_bytes(file.read(2), "little")))
            # Piece by piece: one buffer of all of it would be new memory, which the kernel clears page by page.
            entries = [marshal.loads(file.read(size)) for size in sizes] if written == _FORMAT else []
        usable = written == _FORMAT and (not checked or _current(root, entries))
    except (OSError, ValueError, EOFError, TypeError):
        usable = False
    if usable:
        _execute(root, entries)
    elif verb.isidentifier() and os.path.exists(f"{root}/oci/cli/{verb}_verb.py"):
        _write(verb, driver, path, checked=True)


def prepare(verb: str, driver: str) -> None:
    """For a place where sources do not change and nobody may write later: nothing will be checked. In an interpreter
    of its own, since it notes what it has to import."""
    _write(verb, driver, _file_name(verb, driver), checked=False)


def _file_name(verb: str, driver: str) -> str:
    return f"{os.path.dirname(__file__)}/__pycache__/{verb}-{driver}.{sys.implementation.cache_tag}.modules"


def _cgroup_driver() -> str:
    """Which one a verb is going to load."""
    return "v2" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "v1"


def _write(verb: str, driver: str, path: str, *, checked: bool) -> None:
    """Import the verb's modules and note them. A place that cannot be written is no error."""
    order = _import_all(["oci.cli.dispatch", f"oci.cli.{verb}_verb"], f"oci.cgroups.{driver}")
    root = _root()
    entries = [entry for name in order if (entry := _entry(root, name, checked=checked)) is not None]
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "xb") as file:
            pieces = [marshal.dumps(entry) for entry in entries]
            head = marshal.dumps((_FORMAT, checked, [len(piece) for piece in pieces]))
            file.write(b"".join((len(head).to_bytes(2, "little"), head, *pieces)))
        os.rename(temporary, path)
    except OSError:
        return


def _root() -> str:
    """Where our packages are."""
    return os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def _current(root: str, entries: Sequence[Entry]) -> bool:
    for _, path, mtime, size, _, _ in entries:
        status = os.stat(f"{root}/{path}")
        if status.st_size != size or status.st_mtime_ns != mtime:
            return False
    return True


def _execute(root: str, entries: Sequence[Entry]) -> None:
    """All modules exist before the first is executed: a package is complete only after the modules it imports."""
    modules = sys.modules
    made = []
    for name, path, _, _, package, code in entries:
        if name in modules:
            continue
        module = modules[name] = _Module(name)
        made.append((module, code))
        module.__file__ = f"{root}/{path}"
        module.__package__ = name if package else name.rpartition(".")[0]
        if package:
            module.__path__ = [module.__file__.rpartition("/")[0]]
    for module, code in made:
        parent, _, last = module.__name__.rpartition(".")
        exec(code, module.__dict__)
        setattr(modules[parent], last, module)


def _import_all(names: list[str], cgroups: str) -> list[str]:
    """Everything these bring in, in the order in which it is complete."""
    recorder = _Recorder()
    place = len(sys.meta_path) - 1  # before the finder of files, after those of what is built in
    sys.meta_path.insert(place, recorder)
    try:
        for name in names:
            __import__(name)
        if "oci.cli.containers" in sys.modules:
            __import__(cgroups)
    finally:
        sys.meta_path.remove(recorder)
    return recorder.order


class _Recorder:
    """Finds what the next finder would, and hears when it has been executed."""

    def __init__(self) -> None:
        self.order: list[str] = []

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        finder: Any = sys.meta_path[-1]
        spec = finder.find_spec(name, path, target)
        if spec is not None and hasattr(spec.loader, "get_code"):
            spec.loader = _Loader(spec.loader, self.order)
        return spec


class _Loader:
    def __init__(self, loader: Any, order: list[str]) -> None:
        self._loader = loader
        self._order = order

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        self._order.append(module.__name__)


def _entry(root: str, name: str, *, checked: bool) -> Entry | None:
    """Only our own: modules of the standard library import each other in circles."""
    module = sys.modules[name]
    file = module.__file__ or ""
    if not file.startswith(f"{root}/oci/"):
        return None
    status = os.stat(file)
    mtime = status.st_mtime_ns if checked else 0
    with open(file, "rb") as source:
        code = _compile(source.read(), file if checked else file[len(root) + 1 :])
    return name, file[len(root) + 1 :], mtime, status.st_size, hasattr(module, "__path__"), code


def _compile(source: bytes, file: str) -> CodeType:
    """Without what is written for readers and type checkers: docstrings, annotations (but for those of classes, which
    make the fields of values), and what only type checkers see. It is more than a third of the code."""
    import ast

    tree = ast.parse(source, file)
    tree.body = [statement for statement in map(_bare, tree.body) if statement is not None]
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            node.returns = None
            for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs):
                argument.annotation = None
            for rest in (node.args.vararg, node.args.kwarg):
                if rest is not None:
                    rest.annotation = None
    return compile(ast.fix_missing_locations(tree), file, "exec", dont_inherit=True, optimize=2)


def _bare(statement: ast.stmt) -> ast.stmt | None:
    """A module's statement without its annotation; None for one that is only for type checkers."""
    import ast

    if isinstance(statement, ast.If) and isinstance(statement.test, ast.Name) and statement.test.id == "TYPE_CHECKING":
        return ast.If(test=ast.Constant(value=True), body=statement.orelse, orelse=[]) if statement.orelse else None
    if isinstance(statement, ast.AnnAssign):
        if statement.value is None:
            return None
        return ast.Assign(targets=[statement.target], value=statement.value)
    return statement
