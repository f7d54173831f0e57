"""Who of several plugins has set what of which container. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeAlias

from cri.nri.api import nri_pb2 as nri
from cri.nri.errors import AdjustmentConflict

Field: TypeAlias = nri.Field.ValueType
Key: TypeAlias = tuple[Field, str]  # the second part is "" for what there is only one of


class Owners:
    """Who set what, for each container."""

    def __init__(self) -> None:
        self._owners: dict[str, dict[Key, str]] = {}

    def claim(self, container_id: str, keys: Iterable[Key], plugin: str) -> None:
        """All of them or none. Raises AdjustmentConflict."""
        owned = self._owners.setdefault(container_id, {})
        wanted = list(keys)
        for field, key in wanted:
            other = owned.get((field, key))
            if other is not None and other != plugin:
                name = f"{nri.Field.Name(field)} {key!r}" if key else nri.Field.Name(field)
                raise AdjustmentConflict(plugin, f"{name} of container {container_id}", other)
        owned.update(dict.fromkeys(wanted, plugin))

    def share(self, container_id: str, field: Field, plugin: str) -> None:
        """For what adds up instead of replacing: hooks."""
        owned = self._owners.setdefault(container_id, {})
        former = owned.get((field, ""))
        owned[(field, "")] = f"{former},{plugin}" if former else plugin

    def release(self, container_id: str, key: Key) -> None:
        self._owners.get(container_id, {}).pop(key, None)

    def message(self) -> nri.OwningPlugins:
        message = nri.OwningPlugins()
        for container_id, owned in self._owners.items():
            fields = message.owners[container_id]
            for (field, key), plugin in owned.items():
                if key:
                    fields.compound[field].owners[key] = plugin
                else:
                    fields.simple[field] = plugin
        return message
