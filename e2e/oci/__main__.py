"""python -m e2e.oci --crun CHECKOUT --runtime-tools CHECKOUT"""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from pathlib import Path

import click

from e2e.oci import bed, build, crun, validation, verdict
from e2e.oci.tap import Case, Outcome
from e2e.paths import ROOT

_CHECKOUT = click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True)


@click.command()
@click.option("--crun", "crun_checkout", type=_CHECKOUT, help="A checkout of containers/crun.")
@click.option("--runtime-tools", "tools_checkout", type=_CHECKOUT, help="A checkout of opencontainers/runtime-tools.")
@click.option("--runtime", default=f"{Path(sys.executable).parent}/coracle-oci", help="The runtime's command.")
@click.option("--only", multiple=True, help="Files (test_exec) or programs (default) to run; may be repeated.")
@click.option("--case", "names", multiple=True, help="Cases of those files; may be repeated.")
@click.option("--cgroup-manager", type=click.Choice(["cgroupfs", "systemd"]), default="cgroupfs", show_default=True)
@click.option("--log", type=click.Path(path_type=Path, resolve_path=True), help="Where the suites' output goes.")
def main(
    crun_checkout: Path | None,
    tools_checkout: Path | None,
    runtime: str,
    only: tuple[str, ...],
    names: tuple[str, ...],
    cgroup_manager: str,
    log: Path | None,
) -> None:
    """Runs crun's and runtime-tools' suites against an OCI runtime and counts. Needs root."""
    if os.geteuid() != 0:
        sys.exit("the suites need root")
    if crun_checkout is None and tools_checkout is None:
        sys.exit("give --crun, --runtime-tools or both a checkout")
    init = build.crun_init(crun_checkout) if crun_checkout else None
    programs = build.validation_programs(tools_checkout) if tools_checkout else ()
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory(prefix="coracle-oci-suite-") as temporary:
        bed.enter()
        directory = Path(temporary)
        # Containers of other users must be able to walk through it.
        directory.chmod(0o755)
        log = log or directory / "log"
        command = build.runtime_wrapper(directory, shlex.split(runtime))
        if crun_checkout is not None and init is not None:
            suite = crun.Suite(
                checkout=crun_checkout,
                init=init,
                runtime=command,
                work=directory / "work",
                log=log,
                cgroup_manager=cgroup_manager,
            )
            _crun(suite, only, names)
        if tools_checkout is not None:
            _validation(validation.Suite(checkout=tools_checkout, runtime=command, log=log), programs, only)


def _crun(suite: crun.Suite, only: tuple[str, ...], names: tuple[str, ...]) -> None:
    cases: list[Case] = []
    for file in suite.files():
        if only and file.stem not in only:
            continue
        found = suite.run(file, names, click.echo)
        passed = sum(case.outcome is Outcome.PASSED for case in found)
        click.echo(f"{file.stem}: {passed} of {len(found)}")
        cases += found
    click.echo("\n".join(verdict.summary(cases, verdict.groups())))


def _validation(suite: validation.Suite, programs: tuple[Path, ...], only: tuple[str, ...]) -> None:
    cases = []
    for program in programs:
        if only and program.parent.name not in only:
            continue
        case = suite.run(program)
        click.echo(f"{case.outcome.value:8} {case.name} {case.reason}")
        cases.append(case)
    clean = sum(case.outcome is Outcome.PASSED for case in cases)
    click.echo(f"runtime-tools: {clean} of {len(cases)} programs clean")


if __name__ == "__main__":
    main()
