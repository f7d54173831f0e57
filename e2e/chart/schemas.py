"""JSON schemas for kubeconform, made from Kubernetes' own OpenAPI document (swagger.json): no network, strict.

Each kind becomes one file without references, in which no object takes a property that it does not name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

_PREFIX: Final = "#/definitions/"
_KINDS: Final = "x-kubernetes-group-version-kind"
_EITHER: Final = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": {"oneOf": [{"type": "string"}, {"type": "integer"}]},
    "io.k8s.apimachinery.pkg.api.resource.Quantity": {"oneOf": [{"type": "string"}, {"type": "number"}]},
}


def write_schemas(openapi: Path, kinds: set[str], target: Path) -> list[str]:
    """A file for each of `kinds` in every group and version that has it; answers the files' names."""
    definitions = json.loads(openapi.read_text())["definitions"]
    written = []
    for definition in definitions.values():
        for identity in definition.get(_KINDS, []):
            if identity["kind"] not in kinds:
                continue
            name = file_name(identity["kind"], identity["group"], identity["version"])
            schema = _resolved(definition, definitions, ())
            schema["required"] = sorted({*schema.get("required", []), "apiVersion", "kind"})
            (target / name).write_text(json.dumps(schema))
            written.append(name)
    return sorted(written)


def file_name(kind: str, group: str, version: str) -> str:
    """As kubeconform asks for it: {{.ResourceKind}}{{.KindSuffix}}.json."""
    short = group.partition(".")[0]
    return f"{kind.lower()}-{f'{short}-' if short else ''}{version}.json"


def _resolved(schema: dict[str, Any], definitions: dict[str, Any], above: tuple[str, ...]) -> dict[str, Any]:
    reference = schema.get("$ref", "")
    if reference:
        name = reference.removeprefix(_PREFIX)
        if name in _EITHER:
            return dict(_EITHER[name])
        # A kind that contains itself (JSONSchemaProps) is not looked into a second time.
        return {} if name in above else _resolved(definitions[name], definitions, (*above, name))
    made = {key: value for key, value in schema.items() if not key.startswith("x-") and key != "description"}
    if "properties" in made:
        made["properties"] = {key: _resolved(value, definitions, above) for key, value in made["properties"].items()}
        made.setdefault("additionalProperties", False)
    if isinstance(made.get("additionalProperties"), dict):
        made["additionalProperties"] = _resolved(made["additionalProperties"], definitions, above)
    if "items" in made:
        made["items"] = _resolved(made["items"], definitions, above)
    return made
