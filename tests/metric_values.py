"""What a daemon's exposition says, by Prometheus' own parser."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from cri.metrics import PREFIX, Metrics


def metric(metrics: Metrics, figure: str, /, **labels: str) -> float | None:
    """A sample's value; None when there is no such sample."""
    families = text_string_to_metric_families(metrics.exposition().decode())
    wanted = f"{PREFIX}_{figure}", labels
    return next((s.value for family in families for s in family.samples if (s.name, s.labels) == wanted), None)
