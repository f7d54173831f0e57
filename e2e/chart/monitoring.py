"""Schemas of PodMonitor and PrometheusRule (monitoring.coreos.com/v1), as far as the chart uses them. Strict, too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from e2e.chart.schemas import file_name

_TEXT: Final[dict[str, Any]] = {"type": "string"}
_TEXTS: Final[dict[str, Any]] = {"type": "object", "additionalProperties": _TEXT}
_DURATION: Final = {"type": "string", "pattern": "^([0-9]+(ms|s|m|h|d))+$"}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    made = {"type": "object", "additionalProperties": False, "properties": properties}
    # kubeconform reads schemas as draft 4, in which an empty list of required names is an error.
    return {**made, "required": list(required)} if required else made


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_RELABELLING: Final = _object(
    {
        "sourceLabels": _list({"type": "string", "pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"}),
        "separator": _TEXT,
        "targetLabel": _TEXT,
        "regex": _TEXT,
        "modulus": {"type": "integer"},
        "replacement": _TEXT,
        "action": {"enum": ["replace", "keep", "drop", "hashmod", "labelmap", "labeldrop", "labelkeep"]},
    }
)
_ENDPOINT: Final = _object(
    {
        "port": _TEXT,
        "path": _TEXT,
        "interval": _DURATION,
        "scrapeTimeout": _DURATION,
        "relabelings": _list(_RELABELLING),
        "metricRelabelings": _list(_RELABELLING),
    },
    "port",
)
_RULE: Final = _object(
    {
        "alert": {"type": "string", "pattern": "^[A-Z][A-Za-z]+$"},
        "expr": {"type": "string", "minLength": 1},
        "for": _DURATION,
        "labels": _TEXTS,
        "annotations": _TEXTS,
    },
    "alert",
    "expr",
    "labels",
    "annotations",
)


def _kind(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = _object({"name": _TEXT, "namespace": _TEXT, "labels": _TEXTS, "annotations": _TEXTS}, "name")
    head = {"apiVersion": {"enum": ["monitoring.coreos.com/v1"]}, "kind": {"enum": [kind]}}
    return _object({**head, "metadata": metadata, "spec": spec}, "apiVersion", "kind", "metadata", "spec")


KINDS: Final = {
    "PodMonitor": _kind(
        "PodMonitor",
        _object(
            {"selector": _object({"matchLabels": _TEXTS}), "podMetricsEndpoints": _list(_ENDPOINT)},
            "selector",
            "podMetricsEndpoints",
        ),
    ),
    "PrometheusRule": _kind(
        "PrometheusRule", _object({"groups": _list(_object({"name": _TEXT, "rules": _list(_RULE)}, "name", "rules"))})
    ),
}


def write_monitoring_schemas(target: Path) -> None:
    for kind, schema in KINDS.items():
        (target / file_name(kind, "monitoring.coreos.com", "v1")).write_text(json.dumps(schema))
