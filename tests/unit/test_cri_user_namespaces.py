from __future__ import annotations

from cri.api import runtime_pb2 as api
from cri.user_namespaces import mapping, owners
from imagesvc.mounts import Owners
from oci.protocol.messages import SandboxNamespaces
from oci.spec import IdMapping

_WANTED = [api.IDMapping(container_id=0, host_id=100_000, length=65536)]
_POD = api.NamespaceOption(userns_options=api.UserNamespace(mode=api.POD, uids=_WANTED, gids=_WANTED))


def test_the_one_mapping() -> None:
    assert mapping(_POD) == IdMapping(container_id=0, host_id=100_000, size=65536)


def test_the_hosts_users_need_none() -> None:
    assert mapping(api.NamespaceOption()) is None
    assert mapping(api.NamespaceOption(userns_options=api.UserNamespace(mode=api.NODE))) is None
    assert owners(api.NamespaceOption(), SandboxNamespaces(user_fd=9)) is None


def test_files_belong_to_the_pods_namespace() -> None:
    assert owners(_POD, SandboxNamespaces(user_fd=9)) == Owners(user_fd=9, uid=100_000, gid=100_000, size=65536)


def test_an_id_that_is_not_mapped_becomes_the_root() -> None:
    some = Owners(user_fd=9, uid=1000, gid=2000, size=10)
    assert some.of(0, 9) == (1000, 2009)
    assert some.of(10, 5) == (1000, 2005)
