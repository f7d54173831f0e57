"""SELinux labels: their grammar, levels that no two pods share, and which container gets which."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cri.api import runtime_pb2 as api
from cri.errors import InvalidArgument, ResourceExhausted
from cri.selinux import labels
from cri.selinux.labels import Label, Labels, Policy, check_options, for_everybody, is_level, runs_init, unused_level

POLICY = Policy(
    process=Label.parse("system_u:system_r:container_t:s0"),
    file=Label.parse("system_u:object_r:container_file_t:s0"),
    init_type="container_init_t",
    unconfined=Label.parse("system_u:system_r:spc_t:s0"),
    knows=lambda label: True,
)
POD = Labels(process="system_u:system_r:container_t:s0:c1,c2", mount="system_u:object_r:container_file_t:s0:c1,c2")

words = st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,15}", fullmatch=True)
sensitivities = st.integers(0, 99).map("s{}".format)
numbers = st.integers(0, labels.CATEGORIES - 1)
ranges = st.tuples(numbers, numbers).filter(lambda ends: ends[0] < ends[1]).map(lambda ends: f"c{ends[0]}.c{ends[1]}")
categories = st.lists(numbers.map("c{}".format) | ranges, min_size=1, max_size=4).map(",".join)
singles = sensitivities | st.builds("{}:{}".format, sensitivities, categories)
levels = singles | st.builds("{}-{}".format, singles, singles)


# --- grammar ----------------------------------------------------------------------------------------------------------


@given(words, words, words, st.just("") | levels)
def test_a_label_is_read_back_as_it_was_written(user: str, role: str, kind: str, level: str) -> None:
    label = Label(user=user, role=role, type=kind, level=level)
    assert Label.parse(str(label)) == label
    check_options("f", api.SELinuxOption(user=user, role=role, type=kind, level=level))


@given(st.text(max_size=40) | levels.flatmap(lambda level: st.text(max_size=3).map(level.__add__)))
def test_what_passes_for_a_level_can_neither_leave_its_place_nor_its_line(text: str) -> None:
    if is_level(text):
        assert set(text) <= set("sc0123456789:,.-")
        label = Label.parse(f"u:r:t:{text}")
        assert (label.type, label.level) == ("t", text)


@given(st.text(max_size=30))
def test_any_text_is_a_label_or_refused(text: str) -> None:
    try:
        label = Label.parse(text)
    except ValueError:
        return
    assert str(label) == text


@pytest.mark.parametrize("level", ["s0", "s15", "s0:c0", "s0:c4,c5", "s0:c0.c1023", "s0:c1,c3.c5", "s0-s0:c0.c1023"])
def test_levels(level: str) -> None:
    assert is_level(level)


@pytest.mark.parametrize(
    "level",
    [
        *("", "0", "s", "S0", "s00", "s100", "s0,c4,c5", "s0:", "s0:c", "s0:c1024", "s0:c01", "s0:c1,", "s0:,c1"),
        *("s0:c2.c1", "s0:c1.c1", "s0:c1.", "s0:c1.c2.c3", "s0-", "-s0", "s0-s0-s0", "s0:c1:c2", "s0\n", "s0:c1\n"),
        *(" s0", "s0:c1 ,c2", "s٠", "s0:c٠", 's0"', "SystemLow"),
    ],
)
def test_what_is_no_level(level: str) -> None:
    assert not is_level(level)
    if level:
        with pytest.raises(InvalidArgument, match="is not a level like") as failure:
            check_options("config.x.selinux_options", api.SELinuxOption(level=level))
        assert failure.value.field == "config.x.selinux_options.level"


@pytest.mark.parametrize("name", ["user", "role", "type"])
@pytest.mark.parametrize("word", ["a:b", "a,b", "a\nb", "a\n", 'a"', "a b", "0a", "_a", "ä", "a\0"])
def test_what_is_no_name(name: str, word: str) -> None:
    with pytest.raises(InvalidArgument, match="is not a name") as failure:
        check_options("o", api.SELinuxOption(**{name: word}))
    assert failure.value.field == f"o.{name}"


@pytest.mark.parametrize(
    "text", ["", "u", "u:r", "u:r:", "u:r:t:", "u:r:t:s0:", ":r:t:s0", "u:r:t:nonsense", "u:r:t\n"]
)
def test_what_is_no_label(text: str) -> None:
    with pytest.raises(ValueError, match="is not a label"):
        Label.parse(text)


@given(words, words, words, levels)
def test_a_label_for_everybody_has_no_categories(user: str, role: str, kind: str, level: str) -> None:
    shared = Label.parse(for_everybody(f"{user}:{role}:{kind}:{level}"))
    assert (shared.user, shared.role, shared.type) == (user, role, kind)
    assert ":" not in shared.level
    assert level.startswith(shared.level)


# --- levels of pods ---------------------------------------------------------------------------------------------------


def test_each_number_is_another_pair_of_different_categories() -> None:
    pairs = {labels._pair(number) for number in range(labels._PAIRS)}
    assert len(pairs) == labels._PAIRS == 1024 * 1023 // 2
    assert all(0 <= first < second < 1024 for first, second in pairs)


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 300))
def test_no_two_pods_have_one_level(seed: int, count: int) -> None:
    randrange = random.Random(seed).randrange
    taken: set[str] = set()
    for _ in range(count):
        level = unused_level("s0", taken, randrange)
        assert level not in taken
        assert is_level(level)
        taken.add(level)


@given(st.integers(0, labels._PAIRS - 1), st.integers(1, 50))
def test_a_taken_pair_gives_way_to_the_next_one(start: int, count: int) -> None:
    """Also beyond the last one, and however unlucky the numbers are."""
    taken: set[str] = set()
    for _ in range(count):
        taken.add(unused_level("s0", taken, lambda _: start))
    assert len(taken) == count


def test_when_all_pairs_are_taken_it_is_said() -> None:
    class All:
        def __contains__(self, level: object) -> bool:
            return True

    with pytest.raises(ResourceExhausted, match="every pair"):
        unused_level("s0", All(), lambda _: 7)


def of_pod(policy: Policy = POLICY, **options: Any) -> Labels:
    return policy.of_pod(api.SELinuxOption(**options), frozenset(), lambda _: 2)  # the third pair: c1,c2


@pytest.mark.parametrize(
    ("options", "process", "mount"),
    [
        ({}, "system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"),
        ({"type": "spc_t"}, "system_u:system_r:spc_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2"),
        ({"level": "s0:c9"}, "system_u:system_r:container_t:s0:c9", "system_u:object_r:container_file_t:s0:c9"),
        ({"level": "s0"}, "system_u:system_r:container_t:s0", "system_u:object_r:container_file_t:s0"),
        ({"user": "u", "role": "r", "type": "t", "level": "s1"}, "u:r:t:s1", "u:object_r:container_file_t:s1"),
    ],
)
def test_labels_of_a_pod(options: dict[str, Any], process: str, mount: str) -> None:
    assert of_pod(**options) == Labels(process=process, mount=mount)


def test_a_policy_without_levels_gives_none() -> None:
    plain = replace(POLICY, process=replace(POLICY.process, level=""), file=replace(POLICY.file, level=""))
    assert of_pod(plain) == Labels(process="system_u:system_r:container_t", mount="system_u:object_r:container_file_t")


def test_pairs_stand_in_the_sensitivity_of_the_policy() -> None:
    policy = replace(POLICY, process=replace(POLICY.process, level="s3:c5"))
    assert Label.parse(of_pod(policy).process).level == "s3:c1,c2"


# --- labels of containers ---------------------------------------------------------------------------------------------


def of_container(policy: Policy = POLICY, *, options: dict[str, str] | None = None, **facts: Any) -> Labels:
    given_facts = {"privileged": False, "shares_host": False, "typed": False, "init": False, **facts}
    return policy.of_container(POD, api.SELinuxOption(**(options or {})), **given_facts)


def test_containers_have_their_pods_labels_and_change_what_they_name() -> None:
    assert of_container() == POD
    changed = of_container(options={"type": "svirt_lxc_net_t", "level": "s0:c4,c5"}, typed=True)
    assert changed == Labels(
        process="system_u:system_r:svirt_lxc_net_t:s0:c4,c5", mount="system_u:object_r:container_file_t:s0:c4,c5"
    )
    assert of_container(options={"user": "u", "role": "r"}) == Labels(
        process="u:r:container_t:s0:c1,c2", mount="u:object_r:container_file_t:s0:c1,c2"
    )


@pytest.mark.parametrize(
    ("facts", "process"),
    [
        ({"privileged": True}, "system_u:system_r:spc_t:s0"),
        ({"privileged": True, "typed": True}, "system_u:system_r:spc_t:s0"),
        ({"shares_host": True}, "system_u:system_r:spc_t:s0"),
        ({"shares_host": True, "typed": True}, "system_u:system_r:container_t:s0:c1,c2"),
        ({"init": True}, "system_u:system_r:container_init_t:s0:c1,c2"),
        ({"init": True, "typed": True}, "system_u:system_r:container_t:s0:c1,c2"),
        ({"init": True, "privileged": True}, "system_u:system_r:spc_t:s0"),
    ],
)
def test_who_is_unconfined(facts: dict[str, Any], process: str) -> None:
    """Files keep the pod's label: other containers of the pod use them too."""
    assert of_container(**facts) == Labels(process=process, mount=POD.mount)


def test_without_an_unconfined_type_the_policy_decides() -> None:
    assert of_container(replace(POLICY, unconfined=None), privileged=True).process == ""


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (("/sbin/init",), True),
        (("/usr/sbin/init", "3"), True),
        (("/usr/lib/systemd/systemd",), True),
        (("systemd",), True),
        (("/bin/sh", "-c", "/sbin/init"), False),
        (("/systemd/x",), False),
        (("tini",), False),
        ((), False),
    ],
)
def test_what_is_taken_for_an_init(args: tuple[str, ...], expected: bool) -> None:
    assert runs_init(args) is expected
