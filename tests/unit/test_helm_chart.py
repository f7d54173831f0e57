"""The chart against the daemon: what it watches must exist. That it renders is helm's to say."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from cri.metrics import Metrics
from cri.version import VERSION

CHART = Path(__file__).parents[2] / "helm" / "coracle"


def test_the_chart_is_of_this_version() -> None:
    assert yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"] == VERSION


def test_every_alert_watches_a_metric_that_exists() -> None:
    text = (CHART / "templates" / "prometheusrule.yaml").read_text()
    watched = set(re.findall(r"container_runtime_coracle_\w+", text))
    known = {line.split()[2] for line in Metrics().exposition().decode().splitlines() if line.startswith("# TYPE")}
    assert watched
    assert {name.removesuffix("_bucket") for name in watched} <= known


@pytest.mark.parametrize("table", ["runtimeClass", "prometheusRule"])
def test_every_value_has_its_place_in_the_schema(table: str) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    assert set(values[table]) == set(schema["properties"][table]["properties"])
