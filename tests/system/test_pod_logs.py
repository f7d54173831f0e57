"""Container logs in the CRI format: streams, partial lines, rotation, bytes, nothing lost."""

from __future__ import annotations

import re

from cri.api import runtime_pb2 as pb
from e2e.client import container_config
from e2e.pods import until
from tests.system.pods import Pods

_ENTRY = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,9}(Z|[+-]\d\d:\d\d) (stdout|stderr) [FP] ")


def test_lines_carry_time_stream_and_tag(pods: Pods) -> None:
    container, _ = pods.run_to_end("sh", "-c", "echo one; echo two >&2; printf three")
    assert all(_ENTRY.match(line) for line in container.log.read_text().splitlines())
    entries = container.entries()
    assert ("stdout", "F", "one") in entries
    assert ("stderr", "F", "two") in entries
    assert entries[-1][2] == "three"


def test_long_lines_are_parts_that_join_again(pods: Pods) -> None:
    container, _ = pods.run_to_end("sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo end")
    entries = container.entries()
    assert entries[-1] == ("stdout", "F", "end")
    assert "".join(text for _, _, text in entries[:-1]) == "x" * 100_000
    assert [tag for _, tag, _ in entries[:-1]] == ["P"] * (len(entries) - 2) + ["F"]


def test_no_line_is_lost_or_split_under_load(pods: Pods) -> None:
    container, _ = pods.run_to_end("sh", "-c", "seq 1 200000")
    entries = container.entries()
    assert [text for _, tag, text in entries if tag == "F"] == [str(number) for number in range(1, 200_001)]


def test_empty_lines_and_odd_bytes_stay(pods: Pods) -> None:
    container, _ = pods.run_to_end("printf", r"\n\nx\ty\r\n\303\n")
    content = [line.split(b" ", 3)[3] for line in container.log.read_bytes().split(b"\n")[:-1]]
    assert content == [b"", b"", b"x\ty\r", b"\xc3"]


def test_a_reopened_log_goes_on_in_a_new_file(pods: Pods) -> None:
    container = pods.start(pods.run(), "sh", "-c", "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done")
    pods.wait_for_line(container, "stdout F 5")
    rotated = container.log.with_suffix(".old")
    container.log.rename(rotated)
    pods.client.runtime.ReopenContainerLog(pb.ReopenContainerLogRequest(container_id=container.id))
    assert container.log.exists()
    frozen = rotated.read_text()
    until(lambda: container.log.stat().st_size > 0)
    assert rotated.read_text() == frozen
    pods.client.stop(container.id, timeout=0)
    numbers = [int(line.split(" ")[3]) for line in (frozen + container.log.read_text()).splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_a_log_path_may_have_directories_of_its_own(pods: Pods) -> None:
    pod = pods.run()
    config = container_config("deep", pods.images.busybox, "echo", "deep")
    config.log_path = "deep/er/0.log"
    (pod.logs / "deep" / "er").mkdir(parents=True)
    deep = pods.create_from(pod, config)
    pods.client.start(deep.id)
    pods.wait_for_exit(deep)
    assert deep.text() == ["deep"]


def test_a_container_without_a_log_runs_all_the_same(pods: Pods) -> None:
    config = pods.config()
    config.log_directory = ""
    pod = pods.run(config)
    created = pods.create(pod, "sh", "-c", "seq 1 100000; exit 4")
    pods.client.start(created.id)
    assert pods.wait_for_exit(created).exit_code == 4


def test_what_a_container_says_last_is_there_when_it_has_exited(pods: Pods) -> None:
    pod = pods.run()
    for number in range(10):
        container, _ = pods.run_to_end("sh", "-c", "echo first; echo last", pod=pod, name=f"c{number}")
        assert container.text() == ["first", "last"]
