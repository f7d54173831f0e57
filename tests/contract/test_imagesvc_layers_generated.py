"""Generated archives as layers: honest ones are what GNU tar extracts; on others the two forms agree in every name."""

from __future__ import annotations

import os
import subprocess
import tarfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imagesvc.layer.errors import CorruptLayer
from imagesvc.layer.writer import LayerForm
from tests.contract.layer_bench import archive, bench, entry, look, without_directory_times

pytestmark = pytest.mark.root

NAMES = st.text(
    st.characters(codec="utf-8", exclude_characters="/\0", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40
).filter(lambda name: name not in (".", "..") and not name.startswith(".wh.") and len(name.encode()) <= 255)
IDS = st.sampled_from([0, 1, 1000, 65534, 2_097_152, 4_294_967_290])


@st.composite
def honest_trees(draw: st.DrawFn) -> list[tuple[tarfile.TarInfo, bytes]]:
    """Archives as tools write them: parents first, every name once."""
    directories = [""]
    files: list[str] = []
    taken: set[str] = set()
    made: list[tuple[tarfile.TarInfo, bytes]] = []
    for _ in range(draw(st.integers(0, 25))):
        path = draw(st.sampled_from(directories)) + draw(NAMES)
        if path in taken or len(path.encode()) > 1000:
            continue
        taken.add(path)
        kind = draw(st.sampled_from([tarfile.REGTYPE] * 3 + [tarfile.DIRTYPE] * 2 + [tarfile.SYMTYPE, tarfile.LNKTYPE]))
        content = b""
        info = entry(
            path,
            kind,
            # GNU tar leaves the setgid bit that a directory inherits, also where the archive has none.
            mode=draw(st.integers(0, 0o7777)) & (~0o2000 if kind == tarfile.DIRTYPE else -1),
            uid=draw(IDS),
            gid=draw(IDS),
            mtime=draw(st.integers(0, 1 << 33)),
        )
        if kind == tarfile.REGTYPE:
            content = draw(st.sampled_from([b"", b"x", b"y" * 511, b"z" * 512, b"w" * 5000]))
            files.append(path)
        elif kind == tarfile.DIRTYPE:
            directories.append(path + "/")
        elif kind == tarfile.SYMTYPE:
            info.linkname = draw(NAMES)
            info.mode = 0o777
        elif files:
            info.linkname = draw(st.sampled_from(files))
        else:
            continue
        made.append((info, content))
    return made


@pytest.mark.parametrize("form", list(LayerForm), ids=lambda form: form.value)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    entries=honest_trees(),
    tar_format=st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]),
    piece=st.sampled_from([100, 512, 1000, 1 << 20]),
)
def test_honest_archives_are_what_gnu_tar_makes_of_them(
    form: LayerForm, entries: list[tuple[tarfile.TarInfo, bytes]], tar_format: int, piece: int
) -> None:
    tar = archive((entry("./", tarfile.DIRTYPE), b""), *entries, form=tar_format)
    with bench(form) as made:
        made.add(tar, piece=piece)
        expected = made.path / "expected"
        expected.mkdir()
        command = ["tar", "-xpf", "-", "--numeric-owner", "-C", str(expected)]
        subprocess.run(command, input=tar, check=True, env={"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"]})
        # GNU tar sets a directory's time when it leaves it, and spoils it when it comes back.
        assert without_directory_times(look(made.root())) == without_directory_times(look(expected))


WILD = st.lists(
    st.tuples(
        st.lists(
            st.sampled_from(["a", "b", "c", ".", "..", "", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh..wh.x"]),
            min_size=1,
            max_size=4,
        ),
        st.sampled_from(
            [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
        ),
        st.sampled_from(["a", "b", "/a/b", "../b", "a/b/c", "c"]),
        st.sampled_from([b"", b"content", b"c" * 600]),
    ),
    max_size=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(entries=WILD)
def test_both_forms_agree_on_archives_that_no_tool_writes(
    entries: list[tuple[list[str], bytes, str, bytes]],
) -> None:
    made = []
    for parts, kind, link, content in entries:
        info = entry("/".join(parts), kind, linkname=link if kind in (tarfile.SYMTYPE, tarfile.LNKTYPE) else "")
        made.append((info, content if kind == tarfile.REGTYPE else b""))
    tar = archive(*made)
    outcomes: list[tuple[str, object, object]] = []
    for form in LayerForm:
        with bench(form) as layers:
            try:
                facts = layers.add(tar)
            except CorruptLayer as error:
                outcomes.append((str(error), None, None))
                continue
            outcomes.append(("", look(layers.root()), (facts.implied, facts.opaque_root)))
            assert sorted(os.listdir(layers.path)) == ["layers", "run"]
    assert outcomes[0] == outcomes[1]
