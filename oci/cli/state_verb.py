"""coracle-oci state"""

from __future__ import annotations

from oci.cli.options import Option, Parsed, UsageError
from oci.cli.status import describe
from oci.json_text import dumps_indented
from oci.state import StateDirectory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from oci.cli.dispatch import Settings


USAGE = "state ID"
OPTIONS: tuple[Option, ...] = ()


def run(settings: Settings, parsed: Parsed) -> int:
    if len(parsed.words) != 1:
        raise UsageError("needs exactly one container id")
    directory = StateDirectory(settings.root)
    print(dumps_indented(describe(directory, directory.load(parsed.words[0]))))  # noqa: T201
    return 0
