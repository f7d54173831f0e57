"""The chart, read without Helm: values against their schema, templates against values, queries against metrics.

With a `helm` on PATH it is rendered as well; `make chart` runs the other tools.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from cri.metrics import Metrics
from deploy.installer import names
from deploy.installer.cli import main
from deploy.installer.cluster.node import NodeState
from deploy.installer.host import Host
from deploy.installer.presence import Presence
from deploy.installer.switching.state import SwitchState

CHART = Path(__file__).resolve().parents[2] / "helm" / "coracle"
VALUES = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA = json.loads((CHART / "values.schema.json").read_text())
CI = sorted((CHART / "ci").glob("*-values.yaml"))
TEMPLATES = sorted(path for path in (CHART / "templates").rglob("*") if path.is_file())


def merged(base: Any, over: Any) -> Any:
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}
    return over


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", CI, ids=lambda path: path.name)
def test_values_are_what_the_schema_says(path: Path) -> None:
    values = merged(VALUES, yaml.safe_load(path.read_text()) or {})
    assert [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(values)] == []
    tomllib.loads(values["coracle"]["config"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"install": {"mode": "replace"}},
        {"install": {"switch": {"readyTimeoutSeconds": "5m"}}},
        {"image": {"digest": "sha256:short"}},
        {"metrics": {"port": 0}},
        {"tolerations": [{"operator": "Sometimes"}]},
        {"podMonitor": {"interval": "often"}},
        {"unknown": True},
        {"install": {"unknown": True}},
    ],
    ids=str,
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    assert not jsonschema.Draft7Validator(SCHEMA).is_valid(merged(VALUES, wrong))


def test_every_value_is_in_the_schema_and_takes_nothing_else() -> None:
    loose = []

    def walk(value: Any, schema: dict[str, Any], path: str) -> None:
        if not isinstance(value, dict) or "properties" not in schema:
            return
        if schema.get("additionalProperties") is not False:
            loose.append(path)
        for key, each in value.items():
            if key not in schema["properties"]:
                loose.append(f"{path}.{key}")
            else:
                walk(each, schema["properties"][key], f"{path}.{key}")

    walk(VALUES, SCHEMA, "")
    assert loose == []


def references(text: str) -> Iterator[str]:
    return (found.group(1) for found in re.finditer(r"(?:\$|\.root)?\.Values\.([A-Za-z0-9.]+)", text))


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates_use_only_values_that_exist(path: Path) -> None:
    missing = []
    for reference in references(path.read_text()):
        value: Any = VALUES
        for part in reference.split("."):
            if not isinstance(value, dict) or part not in value:
                missing.append(reference)
                break
            value = value[part]
    assert missing == []


def test_every_value_is_used() -> None:
    used = {reference for path in TEMPLATES for reference in references(path.read_text())}
    inside = "".join(path.read_text() for path in TEMPLATES)

    def leaves(value: Any, path: str) -> Iterator[str]:
        if isinstance(value, dict) and value:
            for key, each in value.items():
                yield from leaves(each, f"{path}.{key}" if path else key)
        else:
            yield path

    def is_used(leaf: str) -> bool:
        parts = leaf.split(".")
        above = {".".join(parts[:depth]) for depth in range(1, len(parts))} & used
        # A `with` over a table names its keys one by one, where toYaml takes all of them.
        return leaf in used or bool(above - {"install.switch"}) or bool(above and f".{parts[-1]}" in inside)

    assert [leaf for leaf in leaves(VALUES, "") if not is_used(leaf)] == []


def series() -> set[str]:
    """The names that a scrape of a node gives, as the daemon's and the pod's code have them."""
    text = Metrics().exposition().decode()
    found = set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    summaries = set(re.findall(r"^# TYPE (\S+) (?:summary|histogram)", text, re.MULTILINE))
    found |= {f"{name}{suffix}" for name in summaries for suffix in ("_bucket", "_sum", "_count")}
    presence = Presence(host=Host(Path("/nowhere")), metrics_url="").metrics().decode()
    return found | set(re.findall(r"^# TYPE (\S+)", presence, re.MULTILINE))


def queried(text: str) -> set[str]:
    return set(re.findall(r"\b((?:container_runtime_coracle|coracle_installer)_[a-z_]+)", text))


@pytest.mark.parametrize("path", ["dashboards/coracle.json", "templates/prometheusrule.yaml"])
def test_queries_name_metrics_that_exist(path: str) -> None:
    names_in = queried((CHART / path).read_text())
    assert len(names_in) > 5
    assert names_in - series() == set()


def test_alerts_and_dashboard_name_states_that_exist() -> None:
    states = {state.value for state in SwitchState} | {"installed"}
    rules = (CHART / "templates/prometheusrule.yaml").read_text()
    named = {word for group in re.findall(r'state!?=~"([^"]+)"', rules) for word in group.split("|")}
    assert named
    assert named <= states


def test_the_dashboard_is_whole() -> None:
    dashboard = json.loads((CHART / "dashboards/coracle.json").read_text())
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in panels)
    assert all(target["expr"] for panel in panels for target in panel["targets"])


def test_the_chart_and_the_installer_use_the_same_words() -> None:
    text = "".join(path.read_text() for path in TEMPLATES)
    assert names.LABEL in text
    assert f"key: {names.TAINT}" in text
    assert f"kubectl label node NODE {names.SWITCH_LABEL}=true" in text
    assert set(re.findall(r"values: \[([a-z, ]+)\]", text)) == {f"{NodeState.INSTALLED}, {NodeState.READY}"}
    verbs = set(re.findall(r"args: \[([a-z][a-z-]+)", text)) | {"install", "switch", "uninstall"}
    assert all(main.get_command(None, verb) for verb in verbs)  # type: ignore[arg-type]  # the context is not used


@pytest.mark.parametrize("verb", ["install", "switch", "uninstall"])
def test_the_flags_that_the_chart_gives_exist(verb: str) -> None:
    command = main.get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None
    known = {option for parameter in command.params for option in parameter.opts}
    text = (CHART / "templates" / ("uninstall.yaml" if verb == "uninstall" else "daemonset.yaml")).read_text()
    given = set(re.findall(r"^\s*- (--[a-z-]+)", text, re.MULTILINE))
    if verb == "install":
        given = {"--payload", "--config", "--stay"} & given
    assert given
    assert given <= known


HELM = shutil.which("helm")


@pytest.mark.skipif(HELM is None, reason="needs helm on PATH: `make chart` tells how to get it")
@pytest.mark.parametrize("path", CI, ids=lambda path: path.name)
def test_helm_renders_it(path: Path) -> None:
    command = [str(HELM), "template", "coracle", str(CHART), "--values", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [one["kind"] for one in yaml.safe_load_all(done.stdout) if one].count("DaemonSet") >= 1
