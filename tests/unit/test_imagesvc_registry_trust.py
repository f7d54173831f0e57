"""Where the host's certificates are looked for."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest

from imagesvc.registry.trust import host_context


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("ca")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", "/dev/null", "-out", str(directory / "ca.pem"), "-subj", "/CN=collection", "-days", "2"]
    subprocess.run(command, check=True, capture_output=True)
    return directory / "ca.pem"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An OpenSSL whose own places do not exist on this host."""
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "no.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "no"))
    return tmp_path


def names(context: ssl.SSLContext) -> list[str]:
    return [str(entry["subject"]) for entry in context.get_ca_certs()]


@pytest.mark.usefixtures("elsewhere")
def test_the_first_collection_that_exists_is_taken(collection: Path) -> None:
    context = host_context(("/nonexistent/ca.pem", str(collection)))
    assert len(names(context)) == 1
    assert "collection" in names(context)[0]
    assert context.verify_mode is ssl.CERT_REQUIRED


@pytest.mark.usefixtures("elsewhere")
def test_a_host_without_any_trusts_nobody() -> None:
    assert names(host_context(("/nonexistent/ca.pem",))) == []


def test_what_openssl_was_told_comes_first(elsewhere: Path, collection: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(collection))
    assert len(names(host_context((str(elsewhere / "never-read.pem"),)))) == 1


@pytest.mark.usefixtures("elsewhere")
def test_an_empty_directory_is_none(collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "certs").mkdir()
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "certs"))
    assert len(names(host_context((str(collection),)))) == 1
