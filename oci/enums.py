"""`Enum` for the executor: members with a name and a value, looked up by value, compared by identity.

Type checkers see the standard one. At run time it would cost the import of `enum`, and as much again for each class: a
command line that starts an interpreter for every verb does without aliases, flags and automatic values.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from enum import Enum
else:

    class _Members(type):
        def __new__(kind, name, bases, namespace):
            members = {key: value for key, value in namespace.items() if not key.startswith("_")}
            cls = super().__new__(kind, name, bases, {key: namespace[key] for key in namespace if key not in members})
            cls._by_value = {}
            for key, value in members.items():
                member = object.__new__(cls)
                member.name, member.value = key, value
                cls._by_value[value] = member
                setattr(cls, key, member)
            return cls

        def __call__(cls, value):
            try:
                return cls._by_value[value]
            except KeyError:
                raise ValueError(f"{value!r} is not a valid {cls.__name__}")

        def __iter__(cls):
            return iter(cls._by_value.values())

    class Enum(metaclass=_Members):
        __slots__ = ("name", "value")

        def __repr__(self):
            return f"<{type(self).__name__}.{self.name}: {self.value!r}>"

        def __str__(self):
            return f"{type(self).__name__}.{self.name}"

        def __reduce__(self):
            return type(self), (self.value,)


__all__ = ["Enum"]
