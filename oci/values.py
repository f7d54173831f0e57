"""Value classes that cost nothing to define: what `dataclasses` makes, without its import and its generated code.

    @frozen                     frozen, slotted, keyword-only, compared and hashed by its fields
    class Root:
        path: str
        readonly: bool = False

A command line starts an interpreter for every verb. The standard decorator compiles source for each class (0.3 ms, and
the executor has a hundred of them) and brings `inspect` and `re` along; this one reads the annotations' names and fills
in functions that exist already. Type checkers see a dataclass. `dataclasses.replace`, `fields` and `is_dataclass` work:
what they need is made when they first ask.

Rules: the module has `from __future__ import annotations`; no inheritance between value classes; a field is a name with
an annotation in the class body; a mutable default is made by `fresh`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar, dataclass_transform

    T = TypeVar("T")
else:

    def dataclass_transform(**rules):
        return lambda function: function


_set = object.__setattr__
_MISSING = object()


class Fresh:
    """A default that is made anew for every object."""

    __slots__ = ("make",)

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def fresh(*, default_factory: Callable[[], T]) -> T:
    """`dataclasses.field(default_factory=...)`."""
    made: Any = Fresh(default_factory)
    return made  # type: ignore[no-any-return] # to a type checker it is the value itself


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(fresh,))
def frozen(cls: type[T]) -> type[T]:
    """A frozen value class; see the module."""
    made: type[T] = _build(cls, changeable=False)
    return made


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(fresh,))
def record(cls: type[T]) -> type[T]:
    """The same, but its fields may be assigned, and it is compared by identity."""
    made: type[T] = _build(cls, changeable=True)
    return made


def replace(instance: T, **changes: Any) -> T:
    """A copy with other values in some fields."""
    cls: Any = type(instance)
    current = {name: getattr(instance, name) for name in cls.__slots__}
    current.update(changes)
    return cls(**current)  # type: ignore[no-any-return]


def as_dict(instance: object) -> dict[str, Any]:
    """The fields of a value or record; what they hold is not looked into."""
    return {name: getattr(instance, name) for name in field_names(type(instance))}


def field_names(cls: type) -> tuple[str, ...]:
    return cls.__slots__  # type: ignore[attr-defined,no-any-return]


def default_of(cls: type, name: str) -> Any:
    """The default of a field; `missing` where it has none."""
    default = cls.__value_defaults__.get(name, _MISSING)  # type: ignore[attr-defined]
    return default.make() if type(default) is Fresh else default


def missing(default: object) -> bool:
    return default is _MISSING


def _build(cls: Any, *, changeable: bool) -> Any:
    namespace = dict(cls.__dict__)
    annotations = namespace.get("__annotations__", {})
    names = tuple([name for name in annotations if not annotations[name].startswith("ClassVar[")])
    defaults = {name: namespace.pop(name) for name in names if name in namespace}
    for unwanted in ("__dict__", "__weakref__"):
        namespace.pop(unwanted, None)
    namespace.update(
        __slots__=names,
        __value_defaults__=defaults,
        __init__=_initializer(names, defaults),
        __repr__=_repr,
        __dataclass_fields__=_StandardFields(),
        __reduce__=_reduce,
        __replace__=replace,
        __match_args__=(),
    )
    if not changeable:
        namespace.update(__setattr__=_refuse, __delattr__=_refuse)
        if "__eq__" not in namespace:
            namespace.update(__eq__=_equal, __hash__=_hash)
    return type(cls)(cls.__name__, cls.__bases__, namespace)


def _initializer(names: tuple[str, ...], defaults: dict[str, Any]) -> Callable[..., None]:
    plain = {name: default for name, default in defaults.items() if type(default) is not Fresh}
    made = {name: default.make for name, default in defaults.items() if type(default) is Fresh}
    count = len(names)

    def __init__(self: Any, /, **given: Any) -> None:
        values = plain | given
        for name in made:
            if name not in values:
                values[name] = made[name]()
        if len(values) != count:
            raise TypeError(_complaint(type(self).__name__, names, values))
        try:
            for name in names:
                _set(self, name, values[name])
        except KeyError:
            raise TypeError(_complaint(type(self).__name__, names, values))

    return __init__


def _complaint(cls: str, names: tuple[str, ...], values: dict[str, Any]) -> str:
    lacking = ", ".join(name for name in names if name not in values)
    strange = ", ".join(name for name in values if name not in names)
    return f"{cls}: " + "; ".join(filter(None, (lacking and f"needs {lacking}", strange and f"has no {strange}")))


def _tuple(instance: Any) -> tuple[Any, ...]:
    return tuple([getattr(instance, name) for name in type(instance).__slots__])


def _repr(self: Any) -> str:
    return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in type(self).__slots__)})"


def _equal(self: Any, other: object) -> bool:
    return type(other) is type(self) and _tuple(self) == _tuple(other)


def _hash(self: Any) -> int:
    return hash((type(self), *_tuple(self)))


def _refuse(self: Any, name: str, *_: object) -> None:
    raise AttributeError(f"{type(self).__name__}.{name} cannot be changed")


def _restore(cls: Any, values: dict[str, Any]) -> Any:
    return cls(**values)


def _reduce(self: Any) -> tuple[Any, ...]:
    return _restore, (type(self), {name: getattr(self, name) for name in type(self).__slots__})


class _StandardFields:
    """`__dataclass_fields__`, made by the standard library from the same names when it is first looked at."""

    def __get__(self, instance: object, owner: Any) -> dict[str, Any]:
        import dataclasses

        entries: list[Any] = []
        for name in field_names(owner):
            default = owner.__value_defaults__.get(name, _MISSING)
            field = {} if default is _MISSING else {"default": default}
            if type(default) is Fresh:
                field = {"default_factory": default.make}
            entries.append((name, owner.__annotations__[name], dataclasses.field(**field)))
        standard: Any = dataclasses.make_dataclass(owner.__name__, entries, kw_only=True)
        owner.__dataclass_fields__ = standard.__dataclass_fields__
        return owner.__dataclass_fields__  # type: ignore[no-any-return]
