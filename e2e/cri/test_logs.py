"""Container logs in the CRI format, which `kubectl logs` and every log shipper reads."""

from __future__ import annotations

import re
from datetime import datetime

from e2e.client import Client
from e2e.cri.pods import EXITED, Pods
from e2e.pods import until

ENTRY = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) (stdout|stderr) ([FP]) (.*)")
LONGEST_PART = 16 * 1024


def test_an_entry_is_time_stream_tag_and_text(pods: Pods) -> None:
    """client, logs: RFC 3339 with nanoseconds, the stream, F for a full line, the line as it was."""
    container, _ = pods.run_to_end("sh", "-c", "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo '  three '")
    entries = [ENTRY.fullmatch(line) for line in container.log.read_text().splitlines()]
    assert all(entries)
    assert container.entries() == [("stdout", "F", "one"), ("stderr", "F", "two"), ("stdout", "F", "  three ")]
    times = [datetime.fromisoformat(re.sub(r"(\.\d{6})\d*", r"\1", e[1])) for e in entries if e]
    assert times == sorted(times)


def test_a_long_line_is_parts_that_join_again(pods: Pods) -> None:
    """client, logs: P parts are joined with what follows; shippers rely on parts of at most 16 KiB."""
    container, _ = pods.run_to_end("sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo; echo end")
    entries = container.entries()
    assert entries[-1] == ("stdout", "F", "end")
    parts = entries[:-1]
    assert "".join(text for _, _, text in parts) == "x" * 100_000
    assert [tag for _, tag, _ in parts] == ["P"] * (len(parts) - 1) + ["F"]
    assert max(len(text) for _, _, text in parts) <= LONGEST_PART


def test_a_line_without_an_end_is_kept(pods: Pods) -> None:
    container, _ = pods.run_to_end("printf", "no end")
    assert container.text() == ["no end"]


def test_bytes_are_not_changed(pods: Pods) -> None:
    container, _ = pods.run_to_end("printf", r"\n\nx\ty\r\n\303\n")
    content = [line.split(b" ", 3)[3] for line in container.log.read_bytes().split(b"\n")[:-1]]
    assert content == [b"", b"", b"x\ty\r", b"\xc3"]


def test_nothing_is_lost_in_a_flood(pods: Pods) -> None:
    container, _ = pods.run_to_end("sh", "-c", "seq 1 100000")
    assert container.text() == [str(number) for number in range(1, 100_001)]


def test_the_last_line_is_there_when_the_container_has_exited(pods: Pods) -> None:
    """kubelet: with FallbackToLogsOnError it reads the log's end as soon as the status says EXITED."""
    pod = pods.run()
    for number in range(5):
        container, _ = pods.run_to_end("sh", "-c", "echo first; echo last", pod=pod, name=f"c{number}")
        assert container.text() == ["first", "last"]


def test_the_path_may_have_directories(pods: Pods, client: Client) -> None:
    """kubelet: CONTAINER/RESTARTS.log below the pod's log directory."""
    pod = pods.run()
    (pod.logs / "main").mkdir()
    config = pods.container_config("echo", "deep")
    config.log_path = "main/0.log"
    container = pods.create_from(pod, config)
    client.start(container.id)
    pods.wait_for_exit(container)
    assert container.text() == ["deep"]


def test_a_container_without_a_log_runs_all_the_same(pods: Pods, client: Client) -> None:
    """An empty log directory or log path: output is read and dropped, so the workload never blocks on it."""
    config = pods.config()
    config.log_directory = ""
    pod = pods.run(config)
    container = pods.create(pod, "sh", "-c", "seq 1 100000; exit 4")
    client.start(container.id)
    until(lambda: client.status(container.id).state == EXITED)
    assert client.status(container.id).exit_code == 4


def test_a_terminal_has_one_stream(pods: Pods, client: Client) -> None:
    """proto, ContainerConfig.tty: both outputs are the terminal; the log calls them stdout."""
    pod = pods.run()
    config = pods.container_config("sh", "-c", "tty; echo out; echo err >&2")
    config.tty = True
    container = pods.create_from(pod, config)
    client.start(container.id)
    pods.wait_for_exit(container)
    assert {stream for stream, _, _ in container.entries()} == {"stdout"}
    assert [text.rstrip("\r") for text in container.text()][1:] == ["out", "err"]
