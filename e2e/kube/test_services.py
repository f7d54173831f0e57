"""Addresses and names: Services through kube-proxy, DNS, ports of the host."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable

from e2e.images.catalog import ImageNames
from e2e.kube.api import until
from e2e.kube.kubectl import Failed
from e2e.kube.manifests import container, deployment, pod, service
from e2e.kube.namespace import NODE_ADDRESS
from e2e.kube.settings import DNS_ADDRESS, DOMAIN, SERVICE_ADDRESS
from e2e.kube.workload import Workload
from e2e.processes import free_port

NAMED = "echo $(hostname) > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"


def fetch(address: str, port: int) -> str:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/index.html")
        text: str = connection.getresponse().read().decode()
        return text.strip()
    finally:
        connection.close()


def _ask(work: Workload, url: str) -> str:
    return work.exec("asks", "curl", "-sS", "-m", "5", url).strip()


def test_service_is_reached_by_address_name_and_port(work: Workload, images: ImageNames, shell: str) -> None:
    probe = {"httpGet": {"path": "/index.html", "port": 8080}, "periodSeconds": 1}
    work.make(deployment("web", 2, container("main", images.busybox, NAMED, readinessProbe=probe)))
    made = work.make(service("web", 80, target=8080, type="NodePort"))
    names: set[str] = {pod["metadata"]["name"] for pod in work.rolled_out("web")}
    work.run(pod("asks", container("main", shell)))
    address, port = made["spec"]["clusterIP"], made["spec"]["ports"][0]["nodePort"]

    def all_answer() -> bool:
        answers = {_ask(work, f"http://{address}/index.html") for _ in range(4)}
        return answers == names

    until("both pods to answer at the Service's address", lambda: _quietly(all_answer))
    for host in ("web", f"web.{work.namespace}", f"web.{work.namespace}.svc.{DOMAIN}"):
        assert _ask(work, f"http://{host}/index.html") in names
    assert fetch(NODE_ADDRESS, port) in names
    assert fetch(address, 80) in names


def test_pod_of_a_service_reaches_itself_through_it(work: Workload, shell: str) -> None:
    work.make(deployment("self", 1, container("main", shell, NAMED)))
    made = work.make(service("self", 80, target=8080))
    name: str = work.rolled_out("self")[0]["metadata"]["name"]
    url = f"http://{made['spec']['clusterIP']}/index.html"

    def answers() -> bool:
        return work.kubectl("exec", name, "--", "curl", "-sS", "-m", "3", url).strip() == name

    until("the pod's own answer", lambda: _quietly(answers))


def test_removed_pods_are_no_longer_asked(work: Workload, images: ImageNames) -> None:
    work.make(deployment("moves", 2, container("main", images.busybox, NAMED)))
    made = work.make(service("moves", 80, target=8080))
    before = {pod["metadata"]["name"] for pod in work.rolled_out("moves")}
    for name in before:
        work.remove("Pod", name)
    after = {pod["metadata"]["name"] for pod in work.rolled_out("moves")}
    assert not after & before
    address = made["spec"]["clusterIP"]

    def only_new() -> bool:
        return {fetch(address, 80) for _ in range(6)} == after

    until("only the new pods to answer", only_new)


def test_names_of_the_cluster_and_of_headless_services(work: Workload, images: ImageNames, shell: str) -> None:
    work.make(deployment("heads", 2, container("main", images.busybox, NAMED)))
    work.make(service("heads", 8080, clusterIP="None"))
    addresses = {pod["status"]["podIP"] for pod in work.rolled_out("heads")}
    if work.api.find(work.path("Pod", "asks")) is None:
        work.run(pod("asks", container("main", shell)))
    assert f"nameserver {DNS_ADDRESS}" in work.exec("asks", "cat", "/etc/resolv.conf")
    found = work.exec("asks", "nslookup", f"kubernetes.default.svc.{DOMAIN}")
    assert SERVICE_ADDRESS in found

    def all_addresses() -> bool:
        text = work.exec("asks", "nslookup", f"heads.{work.namespace}.svc.{DOMAIN}")
        return all(address in text for address in addresses)

    until("every pod's address under the name", lambda: _quietly(all_addresses))


def test_api_server_is_reached_from_a_pod(work: Workload, shell: str) -> None:
    script = (
        "cd /var/run/secrets/kubernetes.io/serviceaccount;"
        'curl -sS --cacert ca.crt -H "Authorization: Bearer $(cat token)" https://kubernetes.default.svc/version'
    )
    work.make(pod("client", container("main", shell, script), restartPolicy="Never"))
    assert work.ended("client")["status"]["phase"] == "Succeeded", work.logs("client")
    assert json.loads(work.logs("client"))["major"] == "1"


def test_port_of_the_host(work: Workload, images: ImageNames) -> None:
    port = free_port()
    main = container("main", images.busybox, NAMED, ports=[{"containerPort": 8080, "hostPort": port}])
    work.run(pod("ported", main))
    for address in (NODE_ADDRESS, "127.0.0.1"):
        assert until("the port to answer", lambda host=address: fetch(host, port)) == "ported"  # type: ignore[misc]
    work.remove("Pod", "ported")


def test_hostname_subdomain_and_hosts_file(work: Workload, images: ImageNames) -> None:
    aliases = [{"ip": "10.1.2.3", "hostnames": ["alias"]}]
    main = container("main", images.busybox)
    work.run(pod("named", main, hostname="given", subdomain="sub", hostAliases=aliases))
    assert work.exec("named", "hostname") == "given\n"
    hosts = work.exec("named", "cat", "/etc/hosts")
    assert f"given.sub.{work.namespace}.svc.{DOMAIN}" in hosts
    assert "10.1.2.3\talias" in hosts


def _quietly(ask: Callable[[], bool]) -> bool:
    """False while the command in the pod fails: rules and records take a moment."""
    try:
        return ask()
    except Failed:
        return False
