"""The bundle's foundation in a root that holds nothing else: interpreter, loader, libraries, entries, the executor.

Without wheels and without the daemon it is built in seconds. The whole bundle, with pods, under Debian's userlands too,
is `make verify-bundle`.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from deploy.bundle.assemble import Bundle, BundleSettings
from e2e.bundle import checks
from e2e.bundle.enter import PLACE
from e2e.bundle.userland import empty
from e2e.paths import CACHE

OCI = f"{PLACE}/bin/coracle-oci"


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[checks.Place]:
    directory = tmp_path_factory.mktemp("bundle")
    bundle = Bundle(BundleSettings(output=directory, cache=CACHE / "bundle"))
    bundle.place_interpreter()
    bundle.place_packages(["oci"])
    with checks.place(empty(directory / "empty"), bundle.root) as place:
        yield place


def test_the_executor_starts_where_there_is_nothing_else(where: checks.Place) -> None:
    checks.executor(where)


def test_a_container_runs_and_is_entered_by_a_sealed_copy(where: checks.Place) -> None:
    assert checks.container(where) == "from the container"


def test_a_link_to_a_command_starts_it(where: checks.Place) -> None:
    (where.shared / "oci").symlink_to(OCI)
    assert where.run(str(where.shared / "oci"), "--version").startswith("coracle-oci")


def test_a_command_that_lies_outside_a_bundle_says_what_it_misses(where: checks.Place) -> None:
    alone = where.shared / "bin/coracle"
    alone.parent.mkdir()
    alone.write_bytes((where.bundle / "bin/coracle").read_bytes())
    alone.chmod(0o755)
    with pytest.raises(
        checks.CheckFailed, match=f"{where.shared}/lib/coracle-loader: cannot be executed: No such file"
    ):
        where.run(str(alone))


def test_a_command_finds_the_descriptors_and_the_environment_it_was_given(where: checks.Place) -> None:
    code = "import os; print(sorted(map(int, os.listdir('/proc/self/fd')))[:3], 'LD_LIBRARY_PATH' in os.environ)"
    assert where.run(f"{PLACE}/bin/python3", "-I", "-S", "-c", code).strip() == "[0, 1, 2] False"
