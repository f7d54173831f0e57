"""TLS, mirrors and credentials, against Debian's registry and a token server."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from e2e.registry import RunningRegistry
from imagesvc import errors
from imagesvc.registry.credentials import Credentials
from tests.system.image_node import Node
from tests.system.secure_registry import (
    PASSWORD,
    REFRESH,
    USER,
    Certificates,
    TokenServer,
    make_certificates,
    secure_registry,
    token_server,
)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def tokens(certificates: Certificates) -> Iterator[TokenServer]:
    with token_server(certificates) as server:
        yield server


@pytest.fixture(scope="session")
def with_tokens(
    certificates: Certificates,
    tokens: TokenServer,
    pushed: dict[str, str],
    blobs: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[str]:
    with secure_registry(tmp_path_factory.mktemp("secure"), certificates, blobs, tokens) as address:
        yield address


@pytest.fixture(scope="session")
def with_tls(
    certificates: Certificates, pushed: dict[str, str], blobs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    with secure_registry(tmp_path_factory.mktemp("secure"), certificates, blobs, None) as address:
        yield address


@pytest.fixture(scope="session")
def blobs(registry: RunningRegistry) -> Path:
    """Where the plain registry stores: its configuration says so."""
    arguments = Path(f"/proc/{registry.pid}/cmdline").read_bytes().split(b"\0")
    configuration = json.loads(Path(os.fsdecode(arguments[2])).read_text())
    return Path(configuration["storage"]["filesystem"]["rootdirectory"])


Configure = Callable[[str, str], None]


@pytest.fixture
def configure(erofs_node: Node) -> Configure:
    """Writes a hosts.toml for a registry."""
    directory = erofs_node.path / "hosts"
    erofs_node.settings["registry_config_path"] = directory

    def write(registry_name: str, content: str) -> None:
        host, _, port = registry_name.partition(":")
        place = directory / (f"{host}_{port}_" if port else host)
        place.mkdir(parents=True, exist_ok=True)
        (place / "hosts.toml").write_text(content)

    return write


async def test_https(erofs_node: Node, configure: Configure, certificates: Certificates, with_tls: str) -> None:
    async with erofs_node.service() as service:
        with pytest.raises(errors.RegistryUnavailable, match="certificate is not trusted"):
            await service.pull(f"{with_tls}/imagesvc/gzip:1")
        for trust in (f'ca = "{certificates.ca}"', "skip_verify = true"):  # read anew for each pull
            configure(with_tls, f'server = "https://{with_tls}"\n{trust}\n')
            image = await service.pull(f"{with_tls}/imagesvc/gzip:1")
            await service.remove(image.id)


async def test_mirrors(
    erofs_node: Node, configure: Configure, registry: RunningRegistry, pushed: dict[str, str]
) -> None:
    dead = '[host."http://127.0.0.1:1"]\n'
    configure("upstream.invalid", f'{dead}[host."http://{registry.address}"]\ncapabilities = ["pull", "resolve"]\n')
    async with erofs_node.service() as service:
        image = await service.pull("upstream.invalid/imagesvc/gzip:1")
        assert image.id == pushed["id:gzip"]
        assert image.repo_tags == ("upstream.invalid/imagesvc/gzip:1",)
        with pytest.raises(errors.RegistryUnavailable, match=r"upstream\.invalid: its name.*; 127\.0\.0\.1:1: conn"):
            await service.pull("upstream.invalid/imagesvc/missing:1")


@pytest.fixture
def trusted(configure: Configure, certificates: Certificates, with_tokens: str) -> str:
    """A reference at the registry with tokens, whose authority is known."""
    configure(with_tokens, f'server = "https://{with_tokens}"\nca = "{certificates.ca}"\n')
    return f"{with_tokens}/imagesvc/gzip:1"


@pytest.mark.parametrize(
    "credentials",
    [
        Credentials(username=USER, password=PASSWORD),
        Credentials(auth="dXNlcjpjb3JyZWN0IGhvcnNl"),
        Credentials(identity_token=REFRESH),
    ],
    ids=["password", "auth", "identity-token"],
)
async def test_credentials_of_every_kind(
    erofs_node: Node, trusted: str, tokens: TokenServer, credentials: Credentials
) -> None:
    async with erofs_node.service() as service:
        tokens.requests.clear()
        image = await service.pull(trusted, credentials)
        assert image.repo_tags == (trusted,)
        assert tokens.requests == ["POST good" if credentials.identity_token else "GET good"]
        for wrong in (None, Credentials(username=USER, password="wrong"), Credentials(registry_token="wrong")):
            with pytest.raises(errors.Unauthorized) as caught:  # although the image is here
                await service.pull(trusted, wrong)
            assert caught.value.host == trusted.partition("/")[0]
            assert "wrong" not in str(caught.value)
        assert service.find(trusted) == image


async def test_a_registry_token(erofs_node: Node, trusted: str, tokens: TokenServer) -> None:
    async with erofs_node.service() as service:
        tokens.requests.clear()
        await service.pull(trusted, Credentials(registry_token=tokens.token("imagesvc/gzip")))
        assert tokens.requests == []


async def test_credentials_from_dockers_files(erofs_node: Node, trusted: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    erofs_node.settings["docker_config_paths"] = (tmp_path / "missing.json", path)
    host = trusted.partition("/")[0]
    async with erofs_node.service() as service:
        path.write_text(json.dumps({"auths": {host: {"auth": "!"}}}))
        with pytest.raises(errors.RegistryConfigError, match=r"config\.json: auths"):
            await service.pull(trusted)
        path.write_text(
            json.dumps(
                {"auths": {host: {"auth": "bm86bm8="}, f"{host}/imagesvc": {"username": USER, "password": PASSWORD}}}
            )
        )
        await service.pull(trusted)
        with pytest.raises(errors.Unauthorized):
            await service.pull(trusted, Credentials(username=USER, password="no"))


async def test_credentials_for_another_server_are_not_used(erofs_node: Node, trusted: str) -> None:
    elsewhere = Credentials(username=USER, password=PASSWORD, server_address="https://elsewhere.example")
    async with erofs_node.service() as service:
        with pytest.raises(errors.Unauthorized):
            await service.pull(trusted, elsewhere)
