"""The guest's disk and kernel, built from Debian packages and wheels; kept below .cache/vm/ until a part of it changes.

.cache/vm/
├── root-<what>.tar       the packages, installed
├── wheels-<what>/        this project's dependencies for the guest's Python
└── image-<what>/         disk.raw (ext4), vmlinux, command-line

There are two: with AppArmor, and with SELinux in permissive mode, its files labelled.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from e2e.paths import CACHE, ROOT
from e2e.vm import recipe

STORE: Final = CACHE / "vm"
_HERE: Final = Path(__file__).parent
_SIZE: Final = "16G"
_PLATFORMS: Final = ("manylinux_2_28_x86_64", "manylinux2014_x86_64", "manylinux_2_17_x86_64")
_FOR_TESTS: Final = ("pyroute2", "pytest", "pytest-asyncio", "pytest-timeout", "hypothesis")


def build(*, mirror: str | None = None, selinux: bool = False) -> Path:
    """The image's directory; a few minutes the first time, a second afterwards."""
    STORE.mkdir(parents=True, exist_ok=True)
    _install_host_packages()
    packages = (*recipe.PACKAGES, *recipe.SELINUX_PACKAGES) if selinux else recipe.PACKAGES
    files = {**recipe.FILES, **(recipe.SELINUX_FILES if selinux else {})}
    command_line = recipe.SELINUX_COMMAND_LINE if selinux else recipe.COMMAND_LINE
    root, wheels = _packages(packages, mirror), _wheels()
    parts = [
        root.name,
        wheels.name,
        repr(files),
        repr(recipe.MASKED),
        command_line,
        recipe.SELINUX_MODULE,
        Path(__file__).read_text(),
    ]
    image = STORE / f"image-{_digest(*parts, (_HERE / 'agent.py').read_text())}"
    if not image.exists():
        with tempfile.TemporaryDirectory(dir=STORE, prefix="build-") as temporary:
            made = Path(temporary) / "image"
            made.mkdir()
            (made / "command-line").write_text(command_line)
            _assemble(Path(temporary) / "root", made, root, wheels, files, labelled=selinux)
            made.rename(image)
    return image


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _run(command: Sequence[object], **more: object) -> None:
    subprocess.run([str(word) for word in command], check=True, stdout=sys.stderr, **more)  # type: ignore[call-overload]


def _install_host_packages() -> None:
    missing = [
        name for name in recipe.HOST_PACKAGES if subprocess.run(["dpkg", "-s", name], capture_output=True).returncode
    ]
    if missing:
        _run(["apt-get", "install", "-y", "-q", "--no-install-recommends", *missing])


def _mirror() -> str:
    """The one that this machine's apt uses."""
    asked = subprocess.run(["apt-get", "indextargets", "--format", "$(REPO_URI)"], capture_output=True, text=True)
    for uri in asked.stdout.split():
        if uri.rstrip("/").endswith("/debian"):
            return uri
    raise SystemExit("apt names no Debian mirror here: give one with --mirror")


def _packages(packages: Sequence[str], mirror: str | None) -> Path:
    tar = STORE / f"root-{_digest(*packages, recipe.SUITE)}.tar"
    if not tar.exists():
        partial = tar.with_suffix(".partial.tar")
        trimmed = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "locale", "doc")]
        source = f"deb {mirror or _mirror()} {recipe.SUITE} main"
        include = "--include=" + ",".join(packages)
        _run(["mmdebstrap", "--variant=minbase", include, *trimmed, recipe.SUITE, partial, source],
             env={**os.environ, "INITRD": "No"})  # fmt: skip
        partial.rename(tar)
    return tar


def _wheels() -> Path:
    wanted = [*tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"], *_FOR_TESTS]
    directory = STORE / f"wheels-{_digest(*wanted, (ROOT / 'constraints.txt').read_text())}"
    if not directory.exists():
        partial = directory.with_suffix(".partial")
        target = ["--python-version", "3.13", "--implementation", "cp"]
        for abi in (f"cp{recipe.PYTHON_TAG}", "abi3", "none"):
            target += ["--abi", abi]
        for platform in _PLATFORMS:
            target += ["--platform", platform]
        constraint = ["--constraint", ROOT / "constraints.txt"]
        _run(
            [
                sys.executable,
                "-m",
                "pip",
                "download",
                "-q",
                "-d",
                partial,
                "--only-binary=:all:",
                *constraint,
                *target,
                *wanted,
            ]
        )
        partial.rename(directory)
    return directory


def _assemble(root: Path, out: Path, tar: Path, wheels: Path, files: Mapping[str, str], *, labelled: bool) -> None:
    root.mkdir()
    _run(["tar", "-xf", tar, "-C", root, "--numeric-owner", "--xattrs", "--xattrs-include=*"])
    for name, text in {**files, "etc/machine-id": "0123456789abcdef0123456789abcdef\n"}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
    shutil.copy(_HERE / "agent.py", root / "usr/local/lib/bed-agent.py")
    inside = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "chroot", root]
    _switch_off(root, inside)
    shutil.copytree(wheels, root / "tmp/wheels")
    _run([*inside, "python3", "-m", "venv", "/opt/venv"])
    names = [f"/tmp/wheels/{wheel.name}" for wheel in sorted(wheels.iterdir())]
    _run([*inside, "/opt/venv/bin/pip", "install", "-q", "--no-index", *names])
    shutil.rmtree(root / "tmp/wheels")
    if labelled:
        # Here, where it takes seconds; neither needs SELinux in this kernel.
        (root / "tmp/bed.cil").write_text(recipe.SELINUX_MODULE)
        _run([*inside, "semodule", "-n", "-i", "/tmp/bed.cil"])
        (root / "tmp/bed.cil").unlink()
        contexts = "/etc/selinux/default/contexts/files/file_contexts"
        _run([*inside, "setfiles", "-F", "-e", "/proc", "-e", "/sys", "-e", "/dev", contexts, "/"])
    _kernel(max(root.glob("boot/vmlinuz-*")), out / "vmlinux")
    _run(["truncate", "-s", _SIZE, out / "disk.raw"])
    _run(["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-L", "root", "-d", root, out / "disk.raw"])


def _switch_off(root: Path, inside: Sequence[object]) -> None:
    generators = root / "etc/systemd/system-generators"
    generators.mkdir(parents=True)
    for name in recipe.GENERATORS_OFF:
        (generators / f"systemd-{name}-generator").symlink_to("/dev/null")
    _run([*inside, "systemctl", "-q", "mask", *recipe.MASKED])
    _run([*inside, "systemctl", "-q", "enable", *recipe.ENABLED])
    _run([*inside, "systemctl", "-q", "set-default", "multi-user.target"])
    # A hundred profiles of programs that are not there: compiling them takes minutes here.
    for profile in (root / "etc/apparmor.d").iterdir():
        if profile.is_file():
            profile.unlink()


def _kernel(compressed: Path, target: Path) -> None:
    """The kernel proper, which QEMU enters directly (PVH): unpacking it in the guest would take longer than booting.

    Offset and length of the payload are in the setup header (Linux, "The Linux/x86 Boot Protocol", 0x248 and 0x24c).
    """
    data = compressed.read_bytes()
    setup = ((data[0x1F1] or 4) + 1) * 512
    offset, length = struct.unpack_from("<II", data, 0x248)
    payload = data[setup + offset : setup + offset + length - 4]  # the last four bytes are the length unpacked
    with target.open("wb") as file:
        subprocess.run(["zstd", "-dcq"], input=payload, stdout=file, check=True)
