"""`make chart`: every tool over the chart, for every values file in helm/coracle/ci."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click
import yaml

from e2e.chart.monitoring import KINDS, write_monitoring_schemas
from e2e.chart.schemas import write_schemas
from e2e.paths import ROOT

CHART = ROOT / "helm" / "coracle"
PROGRAM = click.Path(path_type=Path, exists=True, dir_okay=False)


@click.command()
@click.option("--helm", type=PROGRAM, required=True)
@click.option("--unittest", type=PROGRAM, required=True, help="helm-unittest's program (untt).")
@click.option("--kubeconform", type=PROGRAM, required=True)
@click.option("--openapi", type=PROGRAM, required=True, help="Kubernetes' api/openapi-spec/swagger.json.")
def main(helm: Path, unittest: Path, kubeconform: Path, openapi: Path) -> None:
    """Lints, tests and validates the chart."""
    failed = [_run([str(unittest), "--strict", str(CHART)], "helm-unittest")]
    with tempfile.TemporaryDirectory(prefix="coracle-chart-") as directory:
        schemas = Path(directory, "schemas")
        schemas.mkdir()
        write_monitoring_schemas(schemas)
        for values in sorted((CHART / "ci").glob("*-values.yaml")):
            failed.append(_run([str(helm), "lint", "--strict", str(CHART), "--values", str(values)], values.name))
            command = [str(helm), "template", "coracle", str(CHART), "--namespace", "coracle-system"]
            rendered = subprocess.run(
                [*command, "--values", str(values)], capture_output=True, text=True, check=True
            ).stdout
            kinds = {document["kind"] for document in yaml.safe_load_all(rendered) if document}
            write_schemas(openapi, kinds - KINDS.keys(), schemas)
            manifest = Path(directory, values.name)
            manifest.write_text(rendered)
            location = f"{schemas}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"
            failed.append(
                _run(
                    [str(kubeconform), "-strict", "-summary", "-schema-location", location, str(manifest)],
                    f"kubeconform {values.name} ({len(kinds)} kinds)",
                )
            )
    sys.exit(any(failed))


def _run(command: list[str], title: str) -> bool:
    """Whether it failed."""
    print(f"== {title}", flush=True)
    return subprocess.run(command, check=False).returncode != 0


if __name__ == "__main__":
    main()
