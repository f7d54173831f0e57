from __future__ import annotations

from pathlib import Path

import pytest

from imagesvc.errors import RegistryConfigError
from imagesvc.registry.hosts import Capability, Host, hosts_for, parse_hosts_toml


def bases(hosts: tuple[Host, ...]) -> list[str]:
    return [host.base for host in hosts]


def written(tmp_path: Path, directory: str, content: str) -> Path:
    (tmp_path / directory).mkdir()
    (tmp_path / directory / "hosts.toml").write_text(content)
    return tmp_path


def test_without_configuration_a_registry_serves_itself(tmp_path: Path) -> None:
    assert bases(hosts_for("r.example:5000", None)) == ["https://r.example:5000/v2"]
    assert bases(hosts_for("docker.io", Path())) == ["https://registry-1.docker.io/v2"]
    assert bases(hosts_for("r.example", tmp_path)) == ["https://r.example/v2"]
    for local in ("localhost:5000", "127.0.0.1:5000", "[::1]:5000", "127.9.9.9"):
        assert bases(hosts_for(local, None)) == [f"https://{local}/v2", f"http://{local}/v2"]
    assert not hosts_for("r.example", None)[0].mirror


def test_the_whole_of_a_hosts_toml(tmp_path: Path) -> None:
    hosts = parse_hosts_toml(
        "r.example",
        """
        server = "https://upstream.example"
        ca = "server.pem"

        [host."https://first.example:8443"]
          capabilities = ["pull"]
          ca = ["/etc/one.pem", "two.pem"]
          client = [["c.pem", "c.key"], "both.pem", ["only.pem", ""]]
          skip_verify = true
          dial_timeout = "1500ms"
          [host."https://first.example:8443".header]
            x-one = "1"
            x-many = ["a", "b"]

        [host."http://second.example/prefix/v2"]
          override_path = true
          capabilities = ["pull", "resolve", "push"]

        [host."third.example"]
        [host."http://fourth.example/deep"]
        """,
        tmp_path,
    )
    first, second, third, fourth, server = hosts
    assert first.base == "https://first.example:8443/v2"
    assert first.mirror
    assert first.name == "first.example:8443"
    assert first.capabilities == Capability.PULL
    assert first.tls.ca == ("/etc/one.pem", str(tmp_path / "two.pem"))
    assert first.tls.client == (
        (str(tmp_path / "c.pem"), str(tmp_path / "c.key")),
        (str(tmp_path / "both.pem"), ""),
        (str(tmp_path / "only.pem"), ""),
    )
    assert first.tls.skip_verify
    assert first.dial_timeout == 1.5
    assert first.headers == {"x-one": "1", "x-many": "a, b"}
    assert second.base == "http://second.example/prefix/v2"
    assert not second.secure
    assert third.base == "https://third.example/v2"
    assert third.capabilities == Capability.PULL | Capability.RESOLVE
    assert fourth.base == "http://fourth.example/deep/v2"
    assert server.base == "https://upstream.example/v2"
    assert server.tls.ca == (str(tmp_path / "server.pem"),)


def test_the_registry_itself_comes_last_where_no_server_is_named(tmp_path: Path) -> None:
    mirrors = '[host."http://127.0.0.1:5000"]\n'
    assert bases(parse_hosts_toml("docker.io", mirrors, tmp_path)) == [
        "http://127.0.0.1:5000/v2",
        "https://registry-1.docker.io/v2",
    ]
    own = parse_hosts_toml("r.example", '[host."https://r.example"]\nskip_verify = true\n', tmp_path)
    assert bases(own) == ["https://r.example/v2"]
    assert not own[0].mirror
    top = parse_hosts_toml("r.example", "skip_verify = true", tmp_path)
    assert top[0].tls.skip_verify
    (docker,) = parse_hosts_toml("docker.io", 'server = "https://docker.io"', tmp_path)
    assert docker.base == "https://registry-1.docker.io/v2"
    assert not docker.mirror


def test_directories_are_looked_for_with_the_port_in_both_spellings(tmp_path: Path) -> None:
    written(tmp_path, "r.example_5000_", 'server = "http://a.example"')
    written(tmp_path, "s.example:5000", 'server = "http://b.example"')
    written(tmp_path, "_default", 'server = "http://c.example"')
    assert bases(hosts_for("r.example:5000", tmp_path)) == ["http://a.example/v2"]
    assert bases(hosts_for("s.example:5000", tmp_path)) == ["http://b.example/v2"]
    assert bases(hosts_for("other.example", tmp_path)) == ["http://c.example/v2"]


def test_certificates_in_dockers_manner(tmp_path: Path) -> None:
    directory = tmp_path / "r.example"
    directory.mkdir()
    for name in ("a.crt", "b.crt", "c.cert", "c.key", "README"):
        (directory / name).touch()
    (host,) = hosts_for("r.example", tmp_path)
    assert host.tls.ca == (str(directory / "a.crt"), str(directory / "b.crt"))
    assert host.tls.client == ((str(directory / "c.cert"), str(directory / "c.key")),)
    (directory / "c.key").unlink()
    with pytest.raises(RegistryConfigError, match=r"c\.key is missing"):
        hosts_for("r.example", tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("server = 1", "server: must be a text"),
        ("server = ", "hosts.toml"),
        ('server = "ftp://x"', "not the URL"),
        ('server = "https://u:p@x"', "not the URL"),
        ("host = 1", "host: must be a table"),
        ("[host]\nx = 1", "must be a table"),
        ('[host."x"]\ncapabilities = ["fly"]', "'fly' is not one of"),
        ('[host."x"]\ncapabilities = [1]', "list of texts"),
        ('[host."x"]\nskip_verify = "yes"', "true or false"),
        ('[host."x"]\nclient = [["a", "b", "c"]]', "client"),
        ('[host."x"]\nclient = 1', "client"),
        ('[host."x"]\ndial_timeout = "soon"', "'soon' is not a duration"),
        ('[host."x"]\nca = {}', "ca"),
    ],
)
def test_mistakes_are_named_with_file_and_key(tmp_path: Path, content: str, problem: str) -> None:
    with pytest.raises(RegistryConfigError, match=problem) as caught:
        parse_hosts_toml("r.example", content, tmp_path)
    assert caught.value.path == str(tmp_path / "hosts.toml")
