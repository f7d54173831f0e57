"""Records survive as they were; broken ones are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from cni.cache import Cache, Record
from cni.config import parse
from cni.values import Attachment, Bandwidth, Dns, IpRange, PortMapping, Protocol
from tests.fake_plugins import RESULT, conflist

FULL = Attachment(
    sandbox_id="ab12",
    netns_path="/run/netns/x",
    pod_name="web",
    pod_namespace="default",
    pod_uid="u",
    port_mappings=(PortMapping(container_port=80, host_port=81, protocol=Protocol.SCTP, host_ip="::1"),),
    bandwidth=Bandwidth(ingress_rate=1, egress_burst=2),
    dns=Dns(nameservers=("10.0.0.1",), domain="d", search=("s",), options=("o",)),
    ip_ranges=((IpRange(subnet="10.0.0.0/8", gateway="10.0.0.1"),), ()),
    cgroup_path="/c",
    annotations={"a": "b"},
)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(str(tmp_path / "a" / "cache"))


def test_a_record_comes_back_as_it_was(cache: Cache) -> None:
    config = parse("x", conflist("one", "two"))
    written = Record(attachment=FULL, network="net", config=config, result=RESULT)
    cache.write(written)
    read = cache.read("ab12", "eth0")
    assert read is not None
    assert (read.attachment, read.network, read.result) == (FULL, "net", RESULT)
    assert read.config is not None
    assert (read.config.name, read.config.version, read.config.plugins) == ("net", "1.1.0", config.plugins)


def test_a_built_in_record_has_no_configuration(cache: Cache) -> None:
    written = Record(attachment=Attachment(sandbox_id="a", netns_path=""), network="n", config=None, result=None)
    cache.write(written)
    assert list(cache.records()) == [written]
    cache.remove("a", "eth0")
    cache.remove("a", "eth0")
    assert cache.read("a", "eth0") is None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"format": 99}', "null", '{"format": 1, "config": 3}'])
def test_a_broken_record_is_none(cache: Cache, tmp_path: Path, content: str) -> None:
    (tmp_path / "a" / "cache" / "ab12-eth0.json").write_text(content)
    assert cache.read("ab12", "eth0") is None
    assert list(cache.records()) == []


def test_no_half_written_file_is_left_in_view(cache: Cache, tmp_path: Path) -> None:
    cache.write(Record(attachment=FULL, network="n", config=None, result=None))
    assert [path.name for path in (tmp_path / "a" / "cache").iterdir()] == ["ab12-eth0.json"]
