"""Who we are at a registry: what a PullImage request brings, else what Docker's config files on this node hold.

Owns the rules of which credentials may go to which host. Those of a request go to the host they name, and where they
name none, to the image's own registry, never to a mirror (distribution-spec: upstream credentials should not go to a
proxy). Nothing here is ever logged: the values hide themselves in `repr`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from imagesvc.document import DocumentError, Fields, parse_document
from imagesvc.errors import RegistryConfigError

DOCKER_API_HOST: Final = "registry-1.docker.io"
_DOCKER_NAMES: Final = frozenset(("docker.io", "index.docker.io", DOCKER_API_HOST))


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The CRI's AuthConfig. `auth` is base64 of `username:password`, as in Docker's files."""

    username: str = ""
    password: str = field(default="", repr=False)
    auth: str = field(default="", repr=False)
    server_address: str = ""
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def empty(self) -> bool:
        return not (self.username or self.password or self.auth or self.identity_token or self.registry_token)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What can be proven to one host. At most one way is used: registry token, identity token, name and password."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    @property
    def basic(self) -> str:
        """The value of an Authorization header, "" without a name and password."""
        if not (self.username or self.password):
            return ""
        return "Basic " + base64.b64encode(f"{self.username}:{self.password}".encode()).decode()


def login_of(credentials: Credentials) -> Login:
    """Raises ValueError, without showing a secret, where one cannot be read or sent."""
    if not (credentials.registry_token.isascii() and credentials.registry_token.isprintable()):
        raise ValueError("the registry token has characters that no header can hold")
    username, password = credentials.username, credentials.password
    if credentials.auth and not (username or password):
        username, password = decode_auth(credentials.auth)
    return Login(
        username=username,
        password=password,
        identity_token=credentials.identity_token,
        registry_token=credentials.registry_token,
    )


def decode_auth(auth: str) -> tuple[str, str]:
    """Raises ValueError without showing the value."""
    try:
        text = base64.b64decode(auth, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise ValueError("auth is not base64 of USERNAME:PASSWORD") from None
    username, colon, password = text.partition(":")
    if not colon:
        raise ValueError("auth is not base64 of USERNAME:PASSWORD")
    return username, password.rstrip("\0")


def server_host(address: str) -> str:
    """The host, with its port, of `https://host/v1/`, `host/path` or `host`; one name for all of Docker's."""
    host = address.partition("://")[2] or address
    host = host.partition("/")[0].lower()
    return DOCKER_API_HOST if host in _DOCKER_NAMES else host


class Keyring:
    """The logins for one pull. `upstream` is the image's own registry, `path` its repository there."""

    def __init__(self, upstream: str, path: str, given: Credentials | None, files: Sequence[DockerConfig] = ()) -> None:
        self._upstream = server_host(upstream)
        self._path = path
        self._given = given if given is not None and not given.empty else None
        self._files = files

    def login(self, host: str) -> Login | None:
        """For a host as it stands in a URL, with its port where that is not the scheme's. Raises ValueError."""
        host = server_host(host)
        if self._given is not None:
            wanted = server_host(self._given.server_address) if self._given.server_address else self._upstream
            return login_of(self._given) if wanted == host else None
        for file in self._files:
            if (login := file.login(host, self._path if host == self._upstream else "")) is not None:
                return login
        return None


class DockerConfig:
    """`auths` of one config.json: keys are hosts, URLs, hosts with a path, or hosts with `*` for a label."""

    def __init__(self, path: str, auths: Fields) -> None:
        self._path = path
        self._auths = auths

    @classmethod
    def read(cls, path: Path) -> DockerConfig | None:
        """None where there is no such file. Raises RegistryConfigError."""
        try:
            content = path.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RegistryConfigError(str(path), error.strerror or "cannot be read") from None
        try:
            return cls(str(path), parse_document(content).fields("auths"))
        except DocumentError as error:
            raise RegistryConfigError(str(path), str(error)) from None

    def login(self, host: str, repository: str) -> Login | None:
        """The entry with the longest path that fits. Raises RegistryConfigError."""
        best: tuple[int, str] | None = None
        for key in self._auths.keys():  # noqa: SIM118 (not a mapping)
            length = _fit(key, host, repository)
            if length is not None and (best is None or length > best[0]):
                best = length, key
        return self._read(best[1]) if best else None

    def _read(self, key: str) -> Login | None:
        try:
            entry = self._auths.fields(key)
            credentials = Credentials(
                username=entry.text("username", ""),
                password=entry.text("password", ""),
                auth=entry.text("auth", ""),
                identity_token=entry.text("identitytoken", ""),
                registry_token=entry.text("registrytoken", ""),
            )
            return None if credentials.empty else login_of(credentials)
        except ValueError as error:
            raise RegistryConfigError(self._path, f"auths.{key}: {error}") from None


def _fit(key: str, host: str, repository: str) -> int | None:
    """Length of the key's path where the key fits, None where it does not."""
    bare = key.partition("://")[2] or key
    name, _, path = bare.partition("/")
    if not _host_fits(server_host(name), host):
        return None
    path = path.strip("/")
    if path in ("", "v1", "v2"):  # old keys are URLs of the API
        return 0
    return len(path) if repository == path or repository.startswith(path + "/") else None


def _host_fits(pattern: str, host: str) -> bool:
    if "*" not in pattern:
        return pattern == host
    from fnmatch import fnmatchcase

    wanted, given = pattern.split("."), host.split(".")
    return len(wanted) == len(given) and all(fnmatchcase(b, a) for a, b in zip(wanted, given, strict=True))
