"""A session with crictl against a daemon of its own, written down as it happens: `docs/crictl.md` is what it printed.

    python -m e2e.crictl --crictl PATH > docs/crictl.md          (root)

Every command of crictl is called once, in the order of a pod's life. A command that fails ends the session: what stands
in the document has worked. Ids are shortened in what is shown.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import click

from e2e.daemon import Daemon, DaemonSettings
from e2e.images.catalog import push_test_images
from e2e.processes import leave_on_termination
from e2e.registry import running_registry

_SCREEN = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_HEX = re.compile(r"\b([0-9a-f]{13})[0-9a-f]{51}\b")
_LONGEST = 24


class Session:
    def __init__(self, program: Path, endpoint: str, directory: Path) -> None:
        self._config = directory / "crictl.yaml"
        self._config.write_text(f"runtime-endpoint: {endpoint}\nimage-endpoint: {endpoint}\ntimeout: 10\n")
        self._program = program
        self._directory = directory

    def run(
        self, *words: str, stdin: str | None = None, seconds: float = 60.0, may_stop: bool = False, fails: bool = False
    ) -> str:
        """Show the command and what it answers. `may_stop`: it runs until it is stopped after `seconds`."""
        shown = " ".join(word if re.fullmatch(r"[\w./:@=+,-]+", word) else f"'{word}'" for word in words)
        print(f"    $ crictl {self._shortened(shown)}")
        command = [str(self._program), "--config", str(self._config), *words]
        try:
            done = subprocess.run(
                command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False, cwd=self._directory
            )
            answer, output, code = done.stdout, done.stdout + done.stderr, done.returncode
        except subprocess.TimeoutExpired as expired:
            answer = output = (expired.stdout or b"").decode()
            code = 0 if may_stop else 124
        lines = self._shortened(output).rstrip().splitlines()
        for line in lines[:_LONGEST]:
            print(f"    {line}".rstrip())
        if len(lines) > _LONGEST:
            print(f"    ... {len(lines) - _LONGEST} more lines")
        print()
        if bool(code) is not fails:
            sys.exit(f"crictl {shown} ended with {code}: {output}")
        return answer.strip().splitlines()[-1] if answer.strip() else ""

    def _shortened(self, text: str) -> str:
        return _HEX.sub(r"\1", _SCREEN.sub("", text)).replace(str(self._directory), ".")


def _pod(directory: Path, cgroup: str) -> Path:
    path = directory / "pod.json"
    path.write_text(
        json.dumps(
            {
                "metadata": {"name": "web", "namespace": "default", "uid": "crictl-session", "attempt": 0},
                "hostname": "web",
                "log_directory": str(directory / "logs"),
                "dns_config": {"servers": ["10.96.0.10"], "searches": ["default.svc.cluster.local"]},
                "linux": {"cgroup_parent": cgroup},
            }
        )
    )
    return path


def _container(directory: Path, image: str, name: str, script: str, **fields: object) -> Path:
    path = directory / f"{name}.json"
    command = ["sh", "-c", script]
    path.write_text(
        json.dumps(
            {
                "metadata": {"name": name},
                "image": {"image": image},
                "command": command,
                "log_path": f"{name}.log",
                "linux": {"resources": {"memory_limit_in_bytes": 64 << 20}},
                **fields,
            }
        )
    )
    return path


@click.command()
@click.option("--crictl", "program", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True)
def main(program: Path) -> None:
    """Prints a crictl session as Markdown. Needs root."""
    if os.geteuid() != 0:
        sys.exit("the daemon needs root")
    leave_on_termination()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="coracle-crictl-")))
        registry = stack.enter_context(running_registry(directory / "registry"))
        images = push_test_images(registry.client)
        daemon = Daemon(DaemonSettings(name="crictl", directory=directory / "coracle"))
        stack.callback(daemon.clean)
        stack.callback(daemon.stop)
        daemon.start()
        _session(Session(program, daemon.endpoint, directory), directory, images.busybox, daemon.settings.cgroup)


def _session(crictl: Session, directory: Path, image: str, cgroup: str) -> None:
    print("# A session with crictl\n")
    print("Printed by `python -m e2e.crictl`, which runs each command of crictl once against a daemon of its own.\n")
    print("## The runtime\n")
    verbs = ("version", "info", "runtime-config", "metricdescs", "config --list", "completion bash")
    for verb in map(str.split, verbs):
        crictl.run(*verb)
    crictl.run("update-runtime-config", "--pod-cidr", "10.88.0.0/16")
    print("## Images\n")
    crictl.run("pull", image)
    crictl.run("images")
    crictl.run("inspecti", image)
    crictl.run("imagefsinfo")
    print("## A pod and a container\n")
    pod_file = _pod(directory, f"{cgroup}/web")
    pod = crictl.run("runp", str(pod_file))
    script = "trap 'exit 0' TERM; echo ready; while read line; do echo got $line; done; sleep 1000 & wait"
    container_file = _container(directory, image, "main", script, stdin=True)
    container = crictl.run("create", pod, str(container_file), str(pod_file))
    crictl.run("start", container)
    crictl.run("pods")
    crictl.run("ps")
    crictl.run("inspectp", pod)
    crictl.run("inspect", container)
    print("## Inside\n")
    crictl.run("exec", "--sync", container, "hostname")
    crictl.run("exec", container, "cat", "/etc/resolv.conf")
    crictl.run("attach", "-i", container, stdin="a line for the container\n", seconds=2.0, may_stop=True)
    crictl.run("logs", container)
    crictl.run("stats", container)
    crictl.run("statsp", pod)
    crictl.run("metricsp")
    crictl.run("update", "--memory", str(96 << 20), container)
    crictl.run("checkpoint", "--export", str(directory / "checkpoint.tar"), container, fails=True)
    _port_forward(crictl, pod, container)
    print("## The end\n")
    events = threading.Thread(target=lambda: crictl.run("events", seconds=3.0, may_stop=True))
    events.start()
    time.sleep(0.5)
    crictl.run("stop", "--timeout", "5", container)
    crictl.run("rm", container)
    crictl.run("stopp", pod)
    crictl.run("rmp", pod)
    events.join()
    crictl.run("run", str(_container(directory, image, "once", "echo once")), str(pod_file))
    crictl.run("rmp", "--force", "--all")
    crictl.run("rmi", image)


def _port_forward(crictl: Session, pod: str, container: str) -> None:
    """The forward runs until it is stopped; the page is fetched while it does."""
    crictl.run("exec", "--sync", container, "sh", "-c", "mkdir -p /www && echo a page > /www/index.html")
    crictl.run("exec", "--sync", container, "httpd", "-p", "8080", "-h", "/www")
    forward = threading.Thread(target=lambda: crictl.run("port-forward", pod, "18089:8080", seconds=3.0, may_stop=True))
    forward.start()
    time.sleep(1.5)
    page = subprocess.run(["curl", "-sS", "http://127.0.0.1:18089/"], capture_output=True, text=True, check=False)
    forward.join()
    print(f"    $ curl http://127.0.0.1:18089/        (meanwhile)\n    {page.stdout.strip() or page.stderr.strip()}\n")
    if page.stdout.strip() != "a page":
        sys.exit(f"the forwarded port answered {page.stdout!r} {page.stderr!r}")


if __name__ == "__main__":
    main()
