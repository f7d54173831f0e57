"""What makes pods, and what a pod is made of: Deployments, Jobs, DaemonSets, init containers, sidecars."""

from __future__ import annotations

from e2e.images.catalog import ImageNames
from e2e.kube.api import until
from e2e.kube.manifests import WAIT, container, daemon_set, deployment, job, pod
from e2e.kube.workload import Workload, condition, container_status, restarts


def test_deployment_is_rolled_out_scaled_and_replaced(work: Workload, images: ImageNames) -> None:
    work.make(deployment("rolls", 3, container("main", images.busybox, env=[{"name": "VERSION", "value": "1"}])))
    first = work.rolled_out("rolls")
    addresses = {pod["status"]["podIP"] for pod in first}
    assert len(addresses) == 3
    work.kubectl("scale", "deployment/rolls", "--replicas=5")
    assert len(work.rolled_out("rolls")) == 5
    work.kubectl("set", "env", "deployment/rolls", "VERSION=2")
    replaced = work.rolled_out("rolls", seconds=90)
    assert {pod["spec"]["containers"][0]["env"][0]["value"] for pod in replaced} == {"2"}
    work.kubectl("rollout", "undo", "deployment/rolls")
    work.kubectl("rollout", "status", "deployment/rolls", "--timeout=60s")
    work.remove("Deployment", "rolls")
    until("its pods to go", lambda: not work.pods("rolls"))


def test_job_completes(work: Workload, images: ImageNames) -> None:
    work.make(job("counts", container("main", images.busybox, "echo done"), completions=6, parallelism=3))
    work.kubectl("wait", "--for=condition=complete", "job/counts", "--timeout=60s")
    items = work.api.get(f"/api/v1/namespaces/{work.namespace}/pods?labelSelector=made-by%3Dcounts")["items"]
    assert [work.logs(item["metadata"]["name"]) for item in items] == ["done\n"] * 6


def test_job_fails_after_its_retries(work: Workload, images: ImageNames) -> None:
    work.make(job("breaks", container("main", images.busybox, "exit 3"), backoff=1))
    work.kubectl("wait", "--for=condition=failed", "job/breaks", "--timeout=90s")
    items = work.api.get(f"/api/v1/namespaces/{work.namespace}/pods?labelSelector=made-by%3Dbreaks")["items"]
    ends = [container_status(item, "main")["state"]["terminated"] for item in items]
    assert [(end["exitCode"], end["reason"]) for end in ends] == [(3, "Error")] * 2


def test_daemon_set_has_a_pod_on_the_node(work: Workload, images: ImageNames) -> None:
    work.make(daemon_set("agents", container("main", images.busybox), hostNetwork=True, hostPID=True))
    found = until("the pod", lambda: [pod for pod in work.pods("agents") if condition(pod, "Ready")])
    assert found[0]["status"]["podIP"] == found[0]["status"]["hostIP"]
    name = found[0]["metadata"]["name"]
    assert "node0" in work.exec(name, "ip", "address")
    assert "kube-apiserver" in work.exec(name, "ps")
    work.remove("DaemonSet", "agents")


def test_init_containers_run_in_order_before_the_others(work: Workload, images: ImageNames) -> None:
    shared = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    work.make(
        pod(
            "steps",
            container("main", images.busybox, "cat /shared/steps", **shared),
            initContainers=[
                container("one", images.busybox, "echo one >> /shared/steps", **shared),
                container("two", images.busybox, "echo two >> /shared/steps", **shared),
            ],
            volumes=[{"name": "shared", "emptyDir": {}}],
            restartPolicy="Never",
        )
    )
    assert work.ended("steps")["status"]["phase"] == "Succeeded"
    assert work.logs("steps") == "one\ntwo\n"


def test_failing_init_container_keeps_the_others_back(work: Workload, images: ImageNames) -> None:
    failing = container("first", images.busybox, "exit 7")
    work.make(pod("held", container("main", images.busybox), initContainers=[failing], restartPolicy="Never"))
    ended = work.ended("held")
    assert ended["status"]["phase"] == "Failed"
    assert container_status(ended, "first")["state"]["terminated"]["exitCode"] == 7
    assert "waiting" in container_status(ended, "main")["state"]


def test_sidecar_starts_first_restarts_and_ends_last(work: Workload, images: ImageNames) -> None:
    shared = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    sidecar = container(
        "sidecar",
        images.busybox,
        f"echo up >> /shared/sidecar; {WAIT}",
        restartPolicy="Always",
        startupProbe={"exec": {"command": ["test", "-s", "/shared/sidecar"]}, "periodSeconds": 1},
        **shared,
    )
    main = container("main", images.busybox, "cat /shared/sidecar; sleep 2", **shared)
    work.make(
        pod(
            "aided",
            main,
            initContainers=[sidecar],
            volumes=[{"name": "shared", "emptyDir": {}}],
            restartPolicy="Never",
        )
    )
    ended = work.ended("aided")
    assert ended["status"]["phase"] == "Succeeded"
    assert work.logs("aided", "main") == "up\n"
    side = container_status(ended, "sidecar")["state"]["terminated"]
    assert side["finishedAt"] >= container_status(ended, "main")["state"]["terminated"]["finishedAt"]


def test_container_that_ends_is_started_again(work: Workload, images: ImageNames) -> None:
    work.make(pod("again", container("main", images.busybox, "echo run; sleep 1; exit 5")))
    pod_again = work.when("again", lambda pod: restarts(pod) >= 2, "restarted twice")
    last = container_status(pod_again, "main")["lastState"]["terminated"]
    assert (last["exitCode"], last["reason"]) == (5, "Error")
    assert work.logs("again", previous="true") == "run\n"
    work.remove("Pod", "again", grace=0)


def test_lifecycle_hooks_and_termination_message(work: Workload, images: ImageNames) -> None:
    main = container(
        "main",
        images.busybox,
        "until test -e /tmp/started; do sleep 0.1; done; echo said > /dev/termination-log; exit 4",
        lifecycle={"postStart": {"exec": {"command": ["touch", "/tmp/started"]}}},
    )
    work.make(pod("hooked", main, restartPolicy="Never"))
    end = container_status(work.ended("hooked"), "main")["state"]["terminated"]
    assert (end["exitCode"], end["message"]) == (4, "said\n")
    main = container(
        "main",
        images.busybox,
        "echo up; trap 'cat /tmp/stopped > /proc/1/fd/1; exit 0' TERM; while :; do sleep 0.1; done",
        lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "echo stopping > /tmp/stopped"]}}},
    )
    work.run(pod("stopped", main, terminationGracePeriodSeconds=20))
    follows = work.kubectl.start("logs", "-f", "stopped")
    try:
        assert follows.stdout is not None
        assert follows.stdout.readline() == "up\n"
        work.remove("Pod", "stopped")
        assert follows.stdout.readline() == "stopping\n"
    finally:
        follows.kill()
        follows.communicate()


def test_image_that_is_not_there(work: Workload, images: ImageNames) -> None:
    absent = images.busybox.replace("test/busybox", "test/absent")
    work.make(pod("absent", container("main", absent)))

    def waits(pod: dict[str, dict[str, list[dict[str, dict[str, dict[str, str]]]]]]) -> bool:
        states = [one["state"].get("waiting", {}) for one in pod["status"].get("containerStatuses", ())]
        return any(state.get("reason") in ("ErrImagePull", "ImagePullBackOff") for state in states)

    work.when("absent", waits, "waiting for its image")
    work.remove("Pod", "absent", grace=0)


def test_program_that_is_not_there(work: Workload, images: ImageNames) -> None:
    work.make(pod("lacks", {"name": "main", "image": images.busybox, "command": ["/absent"]}, restartPolicy="Never"))
    state = container_status(work.ended("lacks"), "main")["state"]["terminated"]
    assert state["reason"] in ("StartError", "ContainerCannotRun")
    assert "/absent" in state["message"]
