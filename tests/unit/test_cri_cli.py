"""The command line: verbs, options from the schema, and clients against a served fake."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result

from cri.api import coracle_pb2 as own
from cri.api import coracle_pb2_grpc as own_rpcs
from cri.api import runtime_pb2 as api
from cri.api import runtime_pb2_grpc as rpcs
from cri.cli.tables import age, short_id, size
from cri.cli.verbs import commands as main
from cri.config import KEYS, load_settings
from cri.version import VERSION

IMAGE_ID = "sha256:" + "5" * 64


def run(*arguments: str, input: str | None = None, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, arguments, input=input, env=env, catch_exceptions=False)


def test_help_begins_with_a_sentence_and_names_the_verbs() -> None:
    result = run("--help")
    assert result.exit_code == 0
    assert "Coracle runs a Kubernetes node's containers." in result.output
    for verb in ("serve", "pull", "images", "pods", "ps", "status", "info", "config", "version"):
        assert f"\n  {verb} " in result.output


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from cri.cli.verbs import commands as main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'grpc', 'google.protobuf', 'rich', 'asyncio', 'prometheus_client'} & sys.modules.keys()\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_serve_has_an_option_for_every_setting() -> None:
    output = run("serve", "--help").output
    assert [key.flag for key in KEYS if key.flag not in output] == []


def test_an_unknown_verb_is_a_usage_error() -> None:
    assert run("srve").exit_code == 2


def test_version() -> None:
    assert VERSION in run("version").output
    assert json.loads(run("version", "--json").output)["version"] == VERSION
    assert run("--version").output == f"coracle, version {VERSION}\n"


def test_config_prints_what_would_be_in_force(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[runtime]\npids_limit = 5\n")
    result = run("config", "--config", str(file), "--log-level", "debug", env={"CORACLE_NETWORK_MTU": "1400"})
    printed = tmp_path / "printed.toml"
    printed.write_text(result.output)
    settings = load_settings(printed, {}, {})
    assert (settings.runtime.pids_limit, settings.log_level, settings.network.mtu) == (5, "debug", 1400)
    assert 'log_level = "info"' in run("config", "--default", "--config", str(file)).output


@pytest.mark.parametrize("verb", ["config", "serve", "ps"])
def test_a_wrong_setting_ends_with_one_line_and_exit_code_1(tmp_path: Path, verb: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text("lisen = 'x'\n")
    result = run(verb, "--config", str(file))
    assert result.exit_code == 1
    assert result.stderr == f"coracle: {file}: lisen: unknown key, perhaps 'listen' is meant\n"


def test_serve_names_everything_that_the_host_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("platform.release", lambda: "4.19.0")
    result = run("serve", "--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run"))
    assert result.exit_code == 1
    assert result.stderr.splitlines()[:2] == [
        "coracle: must run as root, not as user 1000",
        "coracle: needs Linux 5.10 or newer, this is 4.19.0",
    ]


class FakeImages(rpcs.ImageServiceServicer):
    def __init__(self) -> None:
        self.pulls: list[api.PullImageRequest] = []

    def ListImages(self, request: Any, context: Any) -> Any:
        named = api.Image(id=IMAGE_ID, repo_tags=["r.test/a:1", "r.test/a:2"], size=1_234_567, pinned=True)
        return api.ListImagesResponse(images=[named, api.Image(id=IMAGE_ID, repo_digests=["r.test/b@sha256:1"])])

    def PullImage(self, request: Any, context: Any) -> Any:
        self.pulls.append(request)
        if request.image.image == "r.test/absent":
            context.abort(grpc.StatusCode.NOT_FOUND, "r.test/absent: no such image")
        return api.PullImageResponse(image_ref=IMAGE_ID)


class FakeRuntime(rpcs.RuntimeServiceServicer):
    network_ready = True

    def Version(self, request: Any, context: Any) -> Any:
        return api.VersionResponse(
            version="0.1.0", runtime_name="coracle", runtime_version="9", runtime_api_version="v1"
        )

    def Status(self, request: Any, context: Any) -> Any:
        network = api.RuntimeCondition(type="NetworkReady", status=self.network_ready, reason="Why", message="because")
        status = api.RuntimeStatus(conditions=[api.RuntimeCondition(type="RuntimeReady", status=True), network])
        return api.StatusResponse(status=status, info={"config": '{"stateDir":"/x"}'} if request.verbose else None)

    def ListPodSandbox(self, request: Any, context: Any) -> Any:
        metadata = api.PodSandboxMetadata(name="web", namespace="shop")
        return api.ListPodSandboxResponse(items=[api.PodSandbox(id="a" * 64, metadata=metadata)])

    def ListContainers(self, request: Any, context: Any) -> Any:
        one = api.Container(id="b" * 64, pod_sandbox_id="a" * 64, metadata=api.ContainerMetadata(name="nginx"))
        two = api.Container(id="c" * 64, metadata=api.ContainerMetadata(name="old"))
        one.state, two.state = api.CONTAINER_RUNNING, api.CONTAINER_EXITED
        return api.ListContainersResponse(containers=[one, two])


class FakeCoracle(own_rpcs.CoracleServicer):
    def __init__(self) -> None:
        self.watched = threading.Event()

    def WatchPulls(self, request: Any, context: Any) -> Any:
        layer = own.LayerProgress(digest="sha256:" + "7" * 64, phase=own.LayerProgress.FETCHING, size_bytes=10)
        yield own.WatchPullsResponse(pulls=[own.Pull(image=request.image, layers=[layer])])
        self.watched.set()

    def Check(self, request: Any, context: Any) -> Any:
        yield own.CheckResponse(progress=own.CheckProgress(part="layers", done=0, total=1))
        if not request.skip_layers:
            finding = own.Finding(
                subject="layer x", problem="it is short", remedy="pull again", repairable=True, repaired=request.repair
            )
            yield own.CheckResponse(finding=finding)


class Served:
    def __init__(self, address: str) -> None:
        self.address = address
        self.images = FakeImages()  # type: ignore[abstract]
        self.runtime = FakeRuntime()  # type: ignore[abstract]
        self.coracle = FakeCoracle()


@pytest.fixture(name="served")
def _served(tmp_path: Path) -> Iterator[Served]:
    served = Served(f"unix://{tmp_path}/s")
    server = grpc.server(futures.ThreadPoolExecutor(4))
    rpcs.add_ImageServiceServicer_to_server(served.images, server)
    rpcs.add_RuntimeServiceServicer_to_server(served.runtime, server)
    own_rpcs.add_CoracleServicer_to_server(served.coracle, server)
    server.add_insecure_port(served.address)
    server.start()
    yield served
    server.stop(None).wait()


def test_images(served: Served) -> None:
    assert run("images", "--listen", served.address).output.splitlines() == [
        "IMAGE\tID\tSIZE\tPINNED",
        "r.test/a:1\t5555555555555\t1.23 MB\tyes",
        "r.test/a:2\t5555555555555\t1.23 MB\tyes",
        "r.test/b@sha256:1\t5555555555555\t0 B\t",
    ]


def test_the_address_may_come_from_a_variable(served: Served) -> None:
    assert "shop/web" in run("pods", env={"CORACLE_LISTEN": served.address}).output


def test_ps_shows_what_runs_and_with_all_the_rest(served: Served) -> None:
    running = run("ps", "--listen", served.address).output
    assert "nginx\tbbbbbbbbbbbbb\tshop/web\trunning" in running
    assert "old" not in running
    assert "old\tccccccccccccc" in run("ps", "-a", "--listen", served.address).output


def test_status_says_by_its_exit_code_whether_pods_can_run(served: Served) -> None:
    assert run("status", "--listen", served.address).exit_code == 0
    served.runtime.network_ready = False
    result = run("status", "--listen", served.address)
    assert result.exit_code == 1
    assert "NetworkReady\tno\tWhy\tbecause" in result.output


def test_info_is_json(served: Served) -> None:
    told = json.loads(run("info", "--listen", served.address).output)
    assert told["config"] == {"stateDir": "/x"}
    assert told["version"]["runtimeName"] == "coracle"


def test_pull_prints_the_id(served: Served) -> None:
    result = run("pull", "r.test/a", "--listen", served.address)
    assert (result.exit_code, result.output) == (0, f"{IMAGE_ID}\n")


def test_pull_takes_the_password_from_standard_input(served: Served) -> None:
    arguments = ("pull", "r.test/a", "-u", "me", "--password-stdin", "--listen", served.address)
    assert run(*arguments, input="hunter2\n").exit_code == 0
    assert served.images.pulls[0].auth == api.AuthConfig(username="me", password="hunter2")
    assert run("pull", "r.test/a", "-u", "me", "--listen", served.address).exit_code == 1


def test_pull_says_why_it_failed(served: Served) -> None:
    result = run("pull", "r.test/absent", "--listen", served.address)
    assert (result.exit_code, result.stderr) == (1, "coracle: r.test/absent: no such image\n")


def test_pull_draws_its_progress_and_ends(served: Served) -> None:
    from cri.cli.pull import show_progress

    with grpc.insecure_channel(served.address) as channel:
        show_progress(channel, "r.test/a", Pull(served))
    assert served.coracle.watched.is_set()


class Pull:
    """A pull that ends when its progress has been seen."""

    def __init__(self, served: Served) -> None:
        self.served = served

    def add_done_callback(self, callback: Any) -> None:
        threading.Thread(target=lambda: (self.served.coracle.watched.wait(), callback(self))).start()


def test_no_daemon_is_said_in_words(tmp_path: Path) -> None:
    result = run("ps", "--listen", f"unix://{tmp_path}/nobody")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"coracle: no daemon answers at unix://{tmp_path}/nobody: ")


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1234567, "1.23 MB"), (5 * 10**15, "5000 TB")]
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("flags", "status", "words"),
    [
        ((), 1, "layer x: it is short\n    `coracle check --repair` mends it\n1 found\n"),
        (("--repair",), 0, "layer x: it is short\n    repaired\n1 found, 1 repaired\n"),
        (("--skip-layers",), 0, "everything is as it should be\n"),
    ],
)
def test_check_says_what_is_wrong_and_what_to_do(
    served: Served, flags: tuple[str, ...], status: int, words: str
) -> None:
    done = run("check", f"--listen={served.address}", *flags)
    assert (done.exit_code, done.output) == (status, words)


def test_check_for_programs(served: Served) -> None:
    done = run("check", f"--listen={served.address}", "--json")
    assert json.loads(done.output)["subject"] == "layer x"


def test_ages_and_ids() -> None:
    assert [age(0, now) for now in (-5, 59, 60, 7200, 200_000)] == ["0s", "59s", "1m", "2h", "2d"]
    assert short_id(IMAGE_ID) == "5" * 13
