"""What the bundle's own commands can say best: shell completion, their help as text, the profile they load."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

_SHELLS: Final = {
    "bash": "share/bash-completion/completions/coracle",
    "zsh": "share/zsh/site-functions/_coracle",
    "fish": "share/fish/vendor_completions.d/coracle.fish",
}


def write_completion(root: Path) -> None:
    for shell, name in _SHELLS.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_answer(root, "coracle", environment={"_CORACLE_COMPLETE": f"{shell}_source"}))
    (root / "share/doc").mkdir(parents=True, exist_ok=True)
    for command in ("coracle", "coracle-oci"):
        (root / f"share/doc/{command}.txt").write_text(_help(root, command))


def write_profile(root: Path) -> None:
    """The AppArmor profile that the daemon loads by itself, for those who load profiles their own way."""
    code = "import sys; sys.path.append(sys.argv[1]); from cri.apparmor import PROFILE; print(PROFILE.strip())"
    target = root / "share/apparmor/coracle-default"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(_answer(root, "python3", "-I", "-S", "-c", code, str(root / "site")))


def _help(root: Path, command: str) -> str:
    """`COMMAND --help` and that of every verb it lists."""
    overview = _answer(root, command, "--help")
    verbs = re.findall(r"^ {2,3}([a-z][a-z-]+)  +\S", overview, re.MULTILINE)
    return "\n\n".join([overview, *(_answer(root, command, verb, "--help") for verb in verbs)])


def _answer(root: Path, command: str, *arguments: str, environment: dict[str, str] | None = None) -> str:
    # COLUMNS: click fills lines to the width of a terminal. bash is asked for its version by the script's writer.
    settings = {"LC_ALL": "C.UTF-8", "COLUMNS": "100", "PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    done = subprocess.run(
        [str(root / "bin" / command), *arguments],
        env={**settings, **(environment or {})},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.rstrip() + "\n"
