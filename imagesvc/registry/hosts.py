"""Which hosts serve the images of a registry: containerd's hosts.toml layout, read anew for each pull.

    <registry_config_path>/
      registry.example.com/hosts.toml      or registry.example.com_5000_/ with a port
      _default/hosts.toml                  for registries without a directory of their own

A directory without hosts.toml may hold certificates as Docker wants them: *.crt are authorities, NAME.cert and NAME.key
a client's. Hosts are asked in the file's order, the registry itself last.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Flag, auto
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

from imagesvc.errors import RegistryConfigError
from imagesvc.registry.credentials import DOCKER_API_HOST
from imagesvc.registry.messages import NO_TLS, Tls

_API: Final = "/v2"


class Capability(Flag):
    PULL = auto()  # content by digest
    RESOLVE = auto()  # what a tag means
    PUSH = auto()


_ALL: Final = Capability.PULL | Capability.RESOLVE | Capability.PUSH
_DEFAULT_CAPABILITIES: Final = Capability.PULL | Capability.RESOLVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """`base` is the URL that the repository's path is appended to; a `mirror` is not the registry itself."""

    base: str
    mirror: bool = False
    capabilities: Capability = _ALL
    tls: Tls = NO_TLS
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    dial_timeout: float = 30.0

    @property
    def name(self) -> str:
        """Host and port, as messages show it."""
        return urlsplit(self.base).netloc.rpartition("@")[2]

    @property
    def secure(self) -> bool:
        return self.base.startswith("https:")


def hosts_for(domain: str, config_path: Path | None) -> tuple[Host, ...]:
    """In the order in which they are asked. Raises RegistryConfigError."""
    directory = _directory(domain, config_path)
    if directory is None:
        return default_hosts(domain, NO_TLS)
    try:
        content = (directory / "hosts.toml").read_text()
    except FileNotFoundError:
        return default_hosts(domain, _docker_certificates(directory))
    except (OSError, UnicodeDecodeError) as error:
        raise RegistryConfigError(str(directory / "hosts.toml"), str(error)) from None
    return parse_hosts_toml(domain, content, directory)


def default_hosts(domain: str, tls: Tls) -> tuple[Host, ...]:
    """The registry itself; this machine's own also without TLS."""
    authority = DOCKER_API_HOST if domain == "docker.io" else domain
    secure = Host(base=f"https://{authority}{_API}", tls=tls)
    if is_local(authority):
        return secure, Host(base=f"http://{authority}{_API}", tls=tls)
    return (secure,)


def is_local(authority: str) -> bool:
    name = urlsplit(f"//{authority}").hostname or ""
    return name in ("localhost", "::1") or name.startswith("127.")


def _directory(domain: str, config_path: Path | None) -> Path | None:
    if config_path is None or config_path == Path():
        return None
    host, colon, port = domain.rpartition(":")
    names = [f"{host}_{port}_", domain] if colon and port.isdigit() else [domain]
    for name in (*names, "_default"):
        if (config_path / name).is_dir():
            return config_path / name
    return None


def _docker_certificates(directory: Path) -> Tls:
    names = sorted(directory.iterdir())
    client = []
    for certificate in (path for path in names if path.suffix == ".cert"):
        key = certificate.with_suffix(".key")
        if not key.exists():
            raise RegistryConfigError(str(certificate), f"{key.name} is missing")
        client.append((str(certificate), str(key)))
    return Tls(ca=tuple(str(path) for path in names if path.suffix == ".crt"), client=tuple(client))


# --- hosts.toml --------------------------------------------------------------------------------------------------


def parse_hosts_toml(domain: str, content: str, directory: Path) -> tuple[Host, ...]:
    """`directory` is what relative paths in the file start from. Raises RegistryConfigError."""
    reader = _Reader(directory)
    try:
        document = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        reader.fail("", str(error))
    hosts = []
    for address, table in reader.table(document, "host").items():
        if not isinstance(table, dict):
            reader.fail(f"host.{address!r}", "must be a table")
        hosts.append(reader.host(f"host.{address!r}", address, table, domain))
    server = reader.text(document, "server", "")
    upstream = default_hosts(domain, NO_TLS)
    if server:
        # The settings at the top of the file are the server's.
        upstream = (reader.host("server", server, document, domain),)
    elif any(key in document for key in ("ca", "client", "skip_verify", "capabilities", "header", "override_path")):
        upstream = tuple(reader.host("server", host.base.removesuffix(_API), document, domain) for host in upstream)
    listed = {host.base for host in hosts}
    return (*hosts, *(host for host in upstream if host.base not in listed))


class _Reader:
    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def fail(self, key: str, problem: str) -> NoReturn:
        path = str(self._directory / "hosts.toml")
        raise RegistryConfigError(path, f"{key}: {problem}" if key else problem)

    def host(self, where: str, address: str, table: Mapping[str, object], domain: str) -> Host:
        url = urlsplit(address if "://" in address else f"{_scheme(address)}://{address}")
        if url.scheme not in ("http", "https") or not url.hostname or url.username is not None:
            self.fail(where, f"{address!r} is not the URL of a host")
        path = url.path.rstrip("/")
        if not self.flag(table, "override_path") and not path.endswith(_API):
            path += _API
        authority = DOCKER_API_HOST if url.netloc == "docker.io" else url.netloc
        own = DOCKER_API_HOST if domain == "docker.io" else domain
        return Host(
            base=f"{url.scheme}://{authority}{path}",
            mirror=authority != own,
            capabilities=self.capabilities(where, table),
            tls=Tls(
                ca=tuple(self.path(name) for name in self.texts(where, table, "ca")),
                client=self.client(where, table),
                skip_verify=self.flag(table, "skip_verify"),
            ),
            headers={
                name: ", ".join(self.texts(f"{where}.header", header, name))
                for header in (self.table(table, "header"),)
                for name in header
            },
            dial_timeout=self.duration(where, table, "dial_timeout", 30.0),
        )

    def capabilities(self, where: str, table: Mapping[str, object]) -> Capability:
        if "capabilities" not in table:
            return _DEFAULT_CAPABILITIES
        found = Capability(0)
        for name in self.texts(where, table, "capabilities"):
            try:
                found |= Capability[name.upper()]
            except KeyError:
                self.fail(f"{where}.capabilities", f"{name!r} is not one of pull, resolve, push")
        return found

    def client(self, where: str, table: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
        """One file with both, several of them, or pairs of certificate and key."""
        value = table.get("client", [])
        if isinstance(value, str):
            return ((self.path(value), ""),)
        pairs = []
        for item in value if isinstance(value, list) else [None]:
            if isinstance(item, str):
                pairs.append((self.path(item), ""))
            elif isinstance(item, list) and len(item) in (1, 2) and all(isinstance(name, str) for name in item):
                pairs.append((self.path(item[0]), self.path(item[1]) if len(item) == 2 and item[1] else ""))
            else:
                self.fail(f"{where}.client", "must be a file, or a list of files or of pairs of files")
        return tuple(pairs)

    def path(self, name: str) -> str:
        return str(self._directory / name)

    def text(self, table: Mapping[str, object], key: str, default: str) -> str:
        value = table.get(key, default)
        if not isinstance(value, str):
            self.fail(key, "must be a text")
        return value

    def flag(self, table: Mapping[str, object], key: str) -> bool:
        value = table.get(key, False)
        if not isinstance(value, bool):
            self.fail(key, "must be true or false")
        return value

    def table(self, table: Mapping[str, object], key: str) -> dict[str, object]:
        value = table.get(key, {})
        if not isinstance(value, dict):
            self.fail(key, "must be a table")
        return value

    def texts(self, where: str, table: Mapping[str, object], key: str) -> tuple[str, ...]:
        value = table.get(key, [])
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
            self.fail(f"{where}.{key}", "must be a text or a list of texts")
        return tuple(values)

    def duration(self, where: str, table: Mapping[str, object], key: str, default: float) -> float:
        text = self.text(table, key, "")
        if not text:
            return default
        for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
            if text.endswith(unit) and text.removesuffix(unit).replace(".", "", 1).isdigit():
                return float(text.removesuffix(unit)) * factor or default
        return self.fail(f"{where}.{key}", f"{text!r} is not a duration like 3s or 500ms")


def _scheme(address: str) -> str:
    return "http" if is_local(address.partition("/")[0]) else "https"
