"""The image service alone, without a daemon: real registries, real mounts, both forms of layers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from deploy.image import Compression, Image, ImageConfig, Layer, LayerBuilder
from e2e.registry import RunningRegistry
from imagesvc import errors
from imagesvc.layer.writer import LayerForm
from imagesvc.progress import Phase, PullProgress
from imagesvc.registry.credentials import Credentials
from imagesvc.service import ImageService, ImageSettings
from oci import syscalls
from tests.system.faulty_registry import FaultyRegistry, faulty_registry
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


def migrate(database: sqlite3.Connection, area: str, scripts: Sequence[str]) -> None:
    database.execute("CREATE TABLE IF NOT EXISTS schema (area TEXT PRIMARY KEY, version INTEGER)")
    if not database.execute("SELECT 1 FROM schema WHERE area = ?", (area,)).fetchone():
        for script in scripts:
            database.executescript(script)
        database.execute("INSERT INTO schema VALUES (?, ?)", (area, len(scripts)))


@dataclass
class Node:
    """One node's root; services come and go on it."""

    path: Path
    form: str
    settings: dict[str, Any] = field(default_factory=dict)

    @asynccontextmanager
    async def service(self) -> AsyncIterator[ImageService]:
        database = sqlite3.connect(self.path / "state.db", isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA foreign_keys=ON")
        settings = ImageSettings(
            root=self.path / "root",
            runroot=self.path / "run",
            layer_format=self.form,
            pull_progress_timeout=1.5,
            **self.settings,
        )
        try:
            service = await ImageService.open(settings, database, migrate=migrate)
            try:
                yield service
            finally:
                await service.close()
        finally:
            database.close()

    def files(self) -> list[str]:
        """What layers and pulls have on the disk."""
        top = self.path / "root"
        found = [str(entry.relative_to(top)) for name in ("layers", "staging") for entry in (top / name).iterdir()]
        return sorted(name for name in found if not name.startswith("layers/empty"))

    def rows(self) -> dict[str, int]:
        database = sqlite3.connect(self.path / "state.db")
        tables = ("images", "image_names", "layers", "image_layers", "layer_uses")
        counts = {table: database.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables}
        database.close()
        return counts

    def is_clean(self) -> None:
        assert self.files() == []
        assert set(self.rows().values()) == {0}


@pytest.fixture(params=["erofs", "directory"])
def node(request: pytest.FixtureRequest) -> Iterator[Node]:
    yield from _node(request.param)


@pytest.fixture
def erofs_node() -> Iterator[Node]:
    yield from _node("erofs")


def _node(form: str) -> Iterator[Node]:
    # Not below /tmp: that is a tmpfs on some machines, which has no EROFS files and no upper layers.
    path = Path(tempfile.mkdtemp(prefix="coracle-images-", dir="/var/tmp"))
    descriptors = open_files()
    yield Node(path=path, form=form)
    shutil.rmtree(path)
    assert str(path) not in Path("/proc/self/mountinfo").read_text()
    assert open_files() == descriptors


def open_files() -> list[str]:
    """All descriptors but sockets: the registry in this process has those."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            pass  # the one that listed the directory
    return sorted(link for link in found if not link.startswith("socket:"))


@pytest.fixture(scope="session")
def layers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Layer]:
    directory = tmp_path_factory.mktemp("layers")
    made = {}
    for compression in Compression:
        with LayerBuilder(directory, compression) as builder:
            builder.directory("tmp", 0o1777)
            builder.directory("root", 0o700, uid=5)
            builder.file("bin/tool", b"#!\n" * 1000, 0o755)
            builder.file("etc/config", b"lower")
            builder.hardlink("bin/link", "bin/tool")
            made[compression.name.lower()] = builder.finish()
    with LayerBuilder(directory) as builder:
        builder.whiteout("etc/config")
        builder.file("etc/other", b"upper")
        made["upper"] = builder.finish()
    with LayerBuilder(directory) as builder:
        for name in ("tmp/without-its-directory", "root/x"):
            builder.raw(tarfile.TarInfo(name), b"x")
        made["implied"] = builder.finish()
    with LayerBuilder(directory, Compression.PLAIN) as builder:
        builder.file("big", os.urandom(8 << 20))
        made["big"] = builder.finish()
    return made


@pytest.fixture(scope="session")
def pushed(registry: RunningRegistry, layers: dict[str, Layer]) -> dict[str, str]:
    """References by what they are; ids under "id:...", digests of the manifests under "digest:..."."""
    images = {
        "gzip": Image(layers=[layers["gzip"], layers["upper"]], config=ImageConfig(user="7", env=("A=1",))),
        "zstd": Image(layers=[layers["zstd"]]),
        "plain": Image(layers=[layers["plain"]]),
        "implied": Image(layers=[layers["gzip"], layers["implied"]]),
        "twice": Image(layers=[layers["upper"], layers["gzip"], layers["upper"]]),
        "nothing": Image(layers=[]),
        "big": Image(layers=[layers["gzip"], layers["big"]]),
    }
    found = {}
    for name, image in images.items():
        manifest = registry.client.push(f"imagesvc/{name}", ["1", "2", "latest"], image)
        found[name] = f"{registry.address}/imagesvc/{name}"
        found[f"id:{name}"] = image.id
        found[f"digest:{name}"] = f"{found[name]}@{manifest.digest}"
    return found


@pytest.fixture(scope="session")
def faulty() -> Iterator[FaultyRegistry]:
    with faulty_registry() as registry:
        yield registry


def tree(fd: int) -> dict[str, str]:
    """Files of a mount with their contents, directories with their modes."""
    top = f"/proc/self/fd/{fd}"
    found = {}
    for directory, _, names in os.walk(top):
        relative = os.path.relpath(directory, top)
        found[relative] = oct(stat.S_IMODE(os.stat(directory).st_mode))
        for name in names:
            found[os.path.normpath(os.path.join(relative, name))] = Path(directory, name).read_text()[:20]
    return found


def write(fd: int) -> None:
    Path(f"/proc/self/fd/{fd}/new").write_text("written")


# --- pulls -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["gzip", "zstd", "plain"])
async def test_an_image_is_pulled_mounted_and_removed(node: Node, pushed: dict[str, str], name: str) -> None:
    async with node.service() as service:
        image = await service.pull(pushed[name])
        assert image.id == pushed[f"id:{name}"]
        assert image.repo_tags == (pushed[name] + ":latest",)
        assert image.repo_digests == (pushed[f"digest:{name}"],)
        assert image.size > 3000
        assert service.list() == (image,)
        fd = await service.mount_rootfs(image.id, node.path / "c")
        with syscalls.closing(fd):
            seen = tree(fd)
            assert seen["bin/tool"] == seen["bin/link"] == "#!\n#!\n#!\n#!\n#!\n#!\n#!"
            assert seen["tmp"] == "0o1777"
            assert ("etc/config" in seen) == (name != "gzip")
            write(fd)
        assert (node.path / "c/upper/new").read_text() == "written"
        used = await service.container_usage(node.path / "c")
        assert used.inodes_used == 2
        assert used.used_bytes >= 4096
        assert await service.container_usage(node.path / "nowhere") == type(used)(used_bytes=0, inodes_used=0)
        assert service.usage().used_bytes > 0
        shutil.rmtree(node.path / "c")
        await service.remove(image.id)
        assert service.list() == ()
        assert (service.usage().used_bytes, service.usage().inodes_used) == (0, 0)
    node.is_clean()


async def test_names_of_an_image(erofs_node: Node, pushed: dict[str, str]) -> None:
    async with erofs_node.service() as service:
        by_digest = await service.pull(pushed["digest:gzip"])
        assert (by_digest.repo_tags, by_digest.repo_digests) == ((), (pushed["digest:gzip"],))
        for tag in ("1", "2"):
            image = await service.pull(f"{pushed['gzip']}:{tag}")
        other = pushed["gzip"].replace("127.0.0.1", "localhost")
        image = await service.pull(other)
        assert image.id == by_digest.id
        assert image.repo_tags == (pushed["gzip"] + ":1", pushed["gzip"] + ":2", other + ":latest")
        assert len(image.repo_digests) == 2
        for name in (*image.repo_tags, *image.repo_digests, image.id, image.id[7:], image.id[7:20]):
            assert service.find(name) == image
        assert image.config.user == "7"
        assert json.loads(service.config_document(image.id))["config"]["Env"] == ["A=1"]
        await asyncio.gather(*(service.remove(image.repo_tags[1]) for _ in range(5)))
        assert service.find(image.id) is None
        assert service.find(other) is None
        await service.remove(image.id)
    erofs_node.is_clean()


async def test_a_tag_that_moved(erofs_node: Node, registry: RunningRegistry, layers: dict[str, Layer]) -> None:
    name = f"{registry.address}/imagesvc/moving"
    async with erofs_node.service() as service:
        registry.client.push("imagesvc/moving", ["1"], Image(layers=[layers["gzip"]]))
        old = await service.pull(f"{name}:1")
        registry.client.push("imagesvc/moving", ["1"], Image(layers=[layers["upper"]]))
        new = await service.pull(f"{name}:1")
        assert old.id != new.id
        left = service.find(old.id)
        assert left is not None
        assert (left.repo_tags, left.repo_digests) == ((), old.repo_digests)
        assert service.find(f"{name}:1") == new
        await service.remove(old.id)
        await service.remove(new.id)
    erofs_node.is_clean()


async def test_layers_are_shared_and_repeated(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        first = await service.pull(pushed["gzip"])
        heard: list[PullProgress] = []
        twice = await service.pull(pushed["twice"], on_progress=heard.append)
        assert [layer.phase for layer in heard[-1].layers] == [Phase.REUSED] * 3
        assert len(node.files()) == 2
        fd = await service.mount_rootfs(twice.id, node.path / "c")
        with syscalls.closing(fd):
            assert "etc/config" not in tree(fd)
        shutil.rmtree(node.path / "c")
        await service.remove(first.id)
        assert len(node.files()) == 2
        await service.remove(twice.id)
    node.is_clean()


async def test_directories_that_a_layer_implies_keep_their_attributes(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        image = await service.pull(pushed["implied"])
        assert any(name.startswith("layers/cover-") for name in node.files())
        fd = await service.mount_rootfs(image.id, node.path / "c")
        with syscalls.closing(fd):
            seen = tree(fd)
            assert seen["tmp"] == "0o1777"
            assert seen["root"] == "0o700"
            assert os.stat(f"/proc/self/fd/{fd}/root").st_uid == 5
            assert seen["tmp/without-its-directory"] == "x"
        shutil.rmtree(node.path / "c")
        await service.remove(image.id)
    node.is_clean()


async def test_read_only_mounts(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        for name in ("gzip", "zstd"):
            image = await service.pull(pushed[name])
            for fd in (
                await service.mount_image(image.id, node.path / "owner"),
                await service.mount_rootfs(image.id, node.path / "c", read_only=True),
            ):
                with syscalls.closing(fd):
                    assert tree(fd)["tmp"] == "0o1777"
                    with pytest.raises(OSError, match="Read-only"):
                        write(fd)
        empty = await service.pull(pushed["nothing"])
        fd = await service.mount_rootfs(empty.id, node.path / "c2")
        with syscalls.closing(fd):
            assert tree(fd) == {".": "0o755"}
        with pytest.raises(errors.LayerError, match="no layers"):
            await service.mount_image(empty.id)
        with pytest.raises(errors.ImageNotPresent, match="sha256:0"):
            await service.mount_image("sha256:0")


async def test_a_removed_image_does_not_disturb_its_containers(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        image = await service.pull(pushed["gzip"])
        fd = await service.mount_rootfs(image.id, node.path / "c")
        await service.remove(image.id)
        assert service.find(image.id) is None
    async with node.service() as service:  # a restart does not disturb them either
        with syscalls.closing(fd):
            assert tree(fd)["bin/tool"].startswith("#!")
        again = await service.pull(pushed["gzip"])
        assert again.id == image.id
        await service.remove(image.id)
        shutil.rmtree(node.path / "c")
        await service.remove("anything")
    node.is_clean()


async def test_the_registry_is_asked_again_for_an_image_that_is_here(erofs_node: Node, faulty: FaultyRegistry) -> None:
    async with erofs_node.service() as service:
        first = await service.pull(f"{faulty.address}/good:1")
        before = dict(faulty.requests)
        assert await service.pull(f"{faulty.address}/good:1") == first
        asked = {path: count - before.get(path, 0) for path, count in faulty.requests.items()}
        assert {path for path, count in asked.items() if count} == {"/v2/good/manifests/1"}


async def test_concurrent_pulls_of_one_image(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        names = [f"{pushed['big']}:{tag}" for tag in ("1", "2", "latest")] * 3
        images = await asyncio.gather(*(service.pull(name) for name in names))
        assert {image.id for image in images} == {pushed["id:big"]}
        assert len(node.files()) == 2
        (image,) = service.list()
        assert len(image.repo_tags) == 3


async def test_progress(erofs_node: Node, pushed: dict[str, str]) -> None:
    async with erofs_node.service() as service:
        updates = service.watch_progress()
        assert await anext(updates) == ()
        heard: list[PullProgress] = []
        await service.pull(pushed["big"], on_progress=heard.append)
        assert heard[-1].image == pushed["big"] + ":latest"
        assert [layer.phase for layer in heard[-1].layers] == [Phase.DONE, Phase.DONE]
        assert heard[-1].layers[1].fetched_bytes == heard[-1].layers[1].size_bytes > 8 << 20
        assert await anext(updates) == ()


# --- what goes wrong -------------------------------------------------------------------------------------------------

FAULTS: dict[str, tuple[type[errors.PullError], str]] = {
    "wrong-digest": (errors.CorruptContent, "digest|gzip"),
    "corrupt": (errors.CorruptContent, "checksum"),
    "truncated": (errors.RegistryUnavailable, "broke off after"),
    "short": (errors.CorruptContent, "instead of"),
    "climbs": (errors.CorruptContent, r"entry '\.\./\.\./escaped': it climbs out"),
    "diff-id": (errors.CorruptContent, "uncompressed content has digest"),
    "garbage": (errors.CorruptContent, "not JSON"),
    "locked": (errors.Unauthorized, "401.*the gate is shut"),
    "forbidden": (errors.Unauthorized, "403"),
    "busy": (errors.TooManyRequests, "429"),
    "broken": (errors.RegistryUnavailable, "^RegistryUnavailable: .*500"),
    "hangs": (errors.RegistryUnavailable, "no answer for 1.5 s"),
    "missing": (errors.ImageNotFound, "404: NAME_UNKNOWN"),
}


@pytest.mark.parametrize("fault", sorted(FAULTS))
async def test_a_failed_pull_says_why_and_leaves_nothing(node: Node, faulty: FaultyRegistry, fault: str) -> None:
    kind, text = FAULTS[fault]
    async with node.service() as service:
        with pytest.raises(kind, match=text) as caught:
            await service.pull(f"{faulty.address}/{fault}:1")
        assert caught.value.host == faulty.address
        assert f"{faulty.address}/{fault}:1" in str(caught.value)
        assert service.list() == ()
        node.is_clean()


async def test_a_registry_that_is_not_there(erofs_node: Node) -> None:
    async with erofs_node.service() as service:
        with pytest.raises(errors.RegistryUnavailable, match="connection refused") as caught:
            await service.pull("127.0.0.1:1/a/b")
        assert caught.value.host == "127.0.0.1:1"
        with pytest.raises(errors.RegistryUnavailable, match=r"^RegistryUnavailable.*name cannot be resolved"):
            await service.pull("registry.invalid/a/b")
        with pytest.raises(errors.InvalidReference):
            await service.pull("UPPER")
        erofs_node.is_clean()


@pytest.fixture
def tmpfs_node() -> Iterator[Node]:
    path = Path(tempfile.mkdtemp(prefix="coracle-images-"))
    syscalls.mount("tmpfs", path, "tmpfs", 0, "size=4m")
    try:
        yield Node(path=path, form="auto")
    finally:
        syscalls.umount2(path)
        path.rmdir()


async def test_a_full_disk(tmpfs_node: Node, pushed: dict[str, str]) -> None:
    """And EROFS files on tmpfs cannot be mounted: directories are chosen by themselves."""
    async with tmpfs_node.service() as service:
        assert service.form is LayerForm.DIRECTORY
        with pytest.raises(OSError, match="No space left on device") as caught:
            await service.pull(pushed["big"])
        assert str(tmpfs_node.path) in str(caught.value.filename)
        tmpfs_node.is_clean()
        image = await service.pull(pushed["gzip"])
        fd = await service.mount_rootfs(image.id, tmpfs_node.path / "c")
        with syscalls.closing(fd):
            assert tree(fd)["tmp"] == "0o1777"
    tmpfs_node.form = "erofs"
    with pytest.raises(errors.LayerError, match="cannot mount EROFS files here"):
        async with tmpfs_node.service():
            pass


@pytest.mark.parametrize("fault", ["hangs", "locked"])
async def test_a_caller_that_goes_away_ends_its_pull(node: Node, faulty: FaultyRegistry, fault: str) -> None:
    async with node.service() as service:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(service.pull(f"{faulty.address}/{fault}:1"), 0.001)
        with pytest.raises((TimeoutError, errors.Unauthorized)):
            await asyncio.wait_for(service.pull(f"{faulty.address}/{fault}:1"), 0.8)
        node.is_clean()
        assert (await service.pull(f"{faulty.address}/good:1")).repo_tags == (f"{faulty.address}/good:1",)


async def test_a_caller_that_goes_away_leaves_the_pull_to_the_others(erofs_node: Node, pushed: dict[str, str]) -> None:
    async with erofs_node.service() as service:
        leaving, staying = (asyncio.ensure_future(service.pull(pushed["big"])) for _ in range(2))
        await asyncio.sleep(0.05)
        leaving.cancel()
        assert (await staying).id == pushed["id:big"]
        assert leaving.cancelled()


async def test_a_worker_that_is_killed_fails_its_pull_only(
    node: Node, faulty: FaultyRegistry, pushed: dict[str, str]
) -> None:
    async with node.service() as service:
        doomed = asyncio.ensure_future(service.pull(f"{faulty.address}/hangs:1"))
        hanging = "/v2/hangs/blobs/"
        for _ in range(2):  # it is tried once more
            before = sum(count for path, count in faulty.requests.items() if path.startswith(hanging))
            while sum(count for path, count in faulty.requests.items() if path.startswith(hanging)) < before + 1:
                await asyncio.sleep(0.02)
                if doomed.done():
                    break
            await asyncio.sleep(0.1)
            other = asyncio.ensure_future(service.pull(pushed["gzip"]))
            assert (await other).id == pushed["id:gzip"]
            for pid in service.worker_pids:
                os.kill(pid, signal.SIGKILL)
        with pytest.raises((errors.WorkerDied, errors.RegistryUnavailable)):
            await doomed
        await service.remove(pushed["id:gzip"])
    node.is_clean()


# --- restarts --------------------------------------------------------------------------------------------------------


async def test_everything_is_there_after_a_restart_and_nothing_else(node: Node, pushed: dict[str, str]) -> None:
    async with node.service() as service:
        image = await service.pull(pushed["implied"])
    (node.path / "root/staging/half").mkdir()
    (node.path / "root/staging/half/file").touch()
    (node.path / "root/staging/other").touch()
    (node.path / "root/layers/orphan").touch()
    async with node.service() as service:
        assert service.list() == (image,)
        assert all(not name.startswith("staging/") and "orphan" not in name for name in node.files())
        fd = await service.mount_rootfs(image.id, node.path / "c")
        with syscalls.closing(fd):
            assert tree(fd)["tmp"] == "0o1777"
        shutil.rmtree(node.path / "c")
    for entry in (node.path / "root/layers").glob("cover-*"):
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    async with node.service() as service:
        assert service.list() == ()
    node.is_clean()


async def test_a_service_that_is_closed_ends_its_pulls(erofs_node: Node, faulty: FaultyRegistry) -> None:
    async with erofs_node.service() as service:
        pull = asyncio.ensure_future(service.pull(f"{faulty.address}/hangs:1"))
        await asyncio.sleep(0.5)
        pids = service.worker_pids
    with pytest.raises(asyncio.CancelledError):
        await pull
    assert pids
    assert not {str(pid) for pid in pids} & set(os.listdir("/proc"))
    erofs_node.is_clean()


# --- TLS, mirrors, credentials ---------------------------------------------------------------------------------------


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
