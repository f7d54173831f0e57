from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cri.cdi.apply import apply
from cri.cdi.catalog import inject, read
from cri.cdi.document import ContainerEdits, DeviceNode, Hook, Mount, NetDevice, parse, split_name
from cri.errors import InvalidArgument
from oci import spec
from oci.errors import SpecError

BASE = spec.Spec(
    oci_version="1.3.0",
    process=spec.Process(cwd="/", args=("sh",), env=("A=1", "B=2"), user=spec.User(uid=7, gid=8, additional_gids=(9,))),
    mounts=(spec.Mount(destination="/dev", type="tmpfs"), spec.Mount(destination="/a/b", type="tmpfs")),
)
NULL = {"path": "/dev/mine", "hostPath": "/dev/null", "permissions": "rw"}


def document(**changes: Any) -> dict[str, Any]:
    device = {"name": "one", "containerEdits": {"env": ["ONE=1"], "deviceNodes": [NULL]}}
    return {
        "cdiVersion": "0.6.0",
        "kind": "vendor.com/thing",
        "devices": [device],
        "containerEdits": {"env": ["EVERY=1"]},
        **changes,
    }


def write(directory: Path, name: str, content: object) -> Path:
    directory.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    (directory / name).write_text(text)
    return directory


class TestDocument:
    def test_names_are_as_the_specification_says(self) -> None:
        assert split_name("vendor.com/class=dev-0:1.x") == ("vendor.com/class", "dev-0:1.x")

    @pytest.mark.parametrize(
        "name", ["", "a", "a/b", "a/b=", "=c", "/b=c", "a/=c", "1a/b=c", "a/b.c=d", "a/b=c=d", "a/b=-c", "a/b=c/d"]
    )
    def test_what_is_no_name(self, name: str) -> None:
        with pytest.raises(ValueError, match="vendor/class=device"):
            split_name(name)

    @pytest.mark.parametrize(
        ("changes", "where"),
        [
            ({"kind": "thing"}, "kind"),
            ({"cdiVersion": "7"}, "cdiVersion"),
            ({"devices": [{"name": "a b"}]}, r"devices\[0\].name"),
            ({"devices": [{"name": "a"}, {"name": "a"}]}, r"devices\[1\].name"),
            ({"containerEdits": {"env": ["A"]}}, "containerEdits.env"),
            ({"containerEdits": {"magic": 1}}, "containerEdits.magic"),
            ({"containerEdits": {"hooks": [{"hookName": "later", "path": "/x"}]}}, "containerEdits.hooks"),
            ({"containerEdits": {"hooks": [{"hookName": "prestart", "path": "x"}]}}, "containerEdits.hooks"),
            ({"containerEdits": {"mounts": [{"hostPath": "/x", "containerPath": "y"}]}}, "containerEdits.mounts"),
            ({"containerEdits": {"deviceNodes": [{"path": "x"}]}}, "containerEdits.deviceNodes"),
            ({"containerEdits": {"deviceNodes": [{"path": "/x", "type": "q"}]}}, "containerEdits.deviceNodes"),
            ({"containerEdits": {"deviceNodes": [{"path": "/x", "permissions": "rx"}]}}, "containerEdits.deviceNodes"),
            ({"devices": [{"name": "a", "containerEdits": {"later": 1}}]}, r"devices\[0\].containerEdits.later"),
        ],
    )
    def test_what_is_refused_is_named(self, changes: dict[str, Any], where: str) -> None:
        with pytest.raises(SpecError, match=where):
            parse(document(**changes))

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: (
                st.lists(inner)
                | st.dictionaries(
                    st.sampled_from(["cdiVersion", "kind", "devices", "name", "containerEdits", "env"]), inner
                )
            ),
            max_leaves=10,
        )
    )
    def test_no_content_makes_another_error(self, content: object) -> None:
        try:
            parse(content)
        except SpecError:
            pass


class TestApply:
    def test_variables_replace_those_of_the_same_name(self) -> None:
        made = apply(BASE, [ContainerEdits(env=("B=3", "C=4")), ContainerEdits(env=("C=5",))])
        assert made.process is not None
        assert made.process.env == ("A=1", "B=3", "C=5")

    def test_groups_are_added_once_and_never_the_root_group(self) -> None:
        made = apply(BASE, [ContainerEdits(additional_gids=(0, 9, 10))])
        assert made.process is not None
        assert made.process.user.additional_gids == (9, 10)

    def test_a_node_belongs_to_the_user_and_is_allowed(self) -> None:
        node = DeviceNode(path="/dev/x", type="c", major=1, minor=3, permissions="r", file_mode=0o600)
        made = apply(BASE, [ContainerEdits(device_nodes=(node,))])
        assert made.linux.devices == (
            spec.Device(path="/dev/x", type="c", major=1, minor=3, file_mode=0o600, uid=7, gid=8),
        )
        assert made.linux.resources is not None
        assert made.linux.resources.devices == (spec.DeviceRule(allow=True, type="c", major=1, minor=3, access="r"),)

    def test_a_node_of_the_same_path_is_replaced(self) -> None:
        nodes = [DeviceNode(path="/dev/x", type="c", major=1, minor=minor) for minor in (3, 5)]
        made = apply(BASE, [ContainerEdits(device_nodes=(node,)) for node in nodes])
        assert [device.minor for device in made.linux.devices] == [5]

    def test_in_a_user_namespace_nodes_are_mounts(self) -> None:
        users = (spec.IdMapping(container_id=0, host_id=1000, size=10),)
        base = replace(BASE, linux=replace(BASE.linux, uid_mappings=users, gid_mappings=users))
        node = DeviceNode(path="/dev/x", host_path="/dev/y", type="c", major=1, minor=3)
        made = apply(base, [ContainerEdits(device_nodes=(node,))])
        assert made.linux.devices == ()
        assert made.mounts[-1].source == "/dev/y"

    def test_mounts_stand_before_what_lies_below_them(self) -> None:
        made = apply(BASE, [ContainerEdits(mounts=(Mount(host_path="/h", container_path="/a", options=("ro",)),))])
        assert [mount.destination for mount in made.mounts] == ["/dev", "/a", "/a/b"]
        assert made.mounts[1].options == ("rbind", "ro")

    def test_hooks_are_added_to_their_kind(self) -> None:
        hook = Hook(hook_name="createContainer", path="/bin/hook", args=("hook", "x"), timeout=5)
        made = apply(BASE, [ContainerEdits(hooks=(hook,)), ContainerEdits(hooks=(hook,))])
        assert made.hooks is not None
        assert made.hooks.create_container == (spec.Hook(path="/bin/hook", args=("hook", "x"), timeout=5),) * 2

    def test_interfaces_and_cache_classes(self) -> None:
        edits = ContainerEdits(
            net_devices=(NetDevice(host_interface_name="eth9", name="net1"),), intel_rdt=spec.IntelRdt(clos_id="gold")
        )
        made = apply(BASE, [edits])
        assert made.linux.net_devices == {"eth9": spec.NetDevice(name="net1")}
        assert made.linux.intel_rdt == spec.IntelRdt(clos_id="gold")

    def test_nothing_asked_changes_nothing(self) -> None:
        assert apply(BASE, []) == BASE


class TestCatalog:
    def test_a_device_brings_its_own_and_its_files_edits_once(self, tmp_path: Path) -> None:
        two = {"name": "two", "containerEdits": {"env": ["TWO=2"]}}
        write(tmp_path, "v.json", document(devices=[*document()["devices"], two]))
        made = inject([tmp_path], BASE, ["vendor.com/thing=two", "vendor.com/thing=one", "vendor.com/thing=two"], "f")
        assert made.process is not None
        assert made.process.env == ("A=1", "B=2", "EVERY=1", "TWO=2", "ONE=1")
        (device,) = made.linux.devices
        null = os.stat("/dev/null")
        assert (device.path, device.type, device.major, device.minor) == ("/dev/mine", "c", 1, 3)
        assert device.file_mode == stat.S_IMODE(null.st_mode)

    def test_yaml_says_the_same_as_json(self, tmp_path: Path) -> None:
        write(tmp_path / "j", "v.json", document())
        write(tmp_path / "y", "v.yaml", yaml.safe_dump(document()))
        name = ["vendor.com/thing=one"]
        assert inject([tmp_path / "j"], BASE, name, "f") == inject([tmp_path / "y"], BASE, name, "f")

    def test_an_unknown_device_is_named_with_the_places_and_their_problems(self, tmp_path: Path) -> None:
        write(tmp_path, "broken.json", "{")
        with pytest.raises(InvalidArgument) as refused:
            inject([tmp_path, tmp_path / "absent"], BASE, ["vendor.com/thing=nine"], "config.CDI_devices")
        text = str(refused.value)
        assert text.startswith("config.CDI_devices: CDI device vendor.com/thing=nine ")
        assert str(tmp_path / "absent") in text
        assert "broken.json" in text

    def test_a_broken_file_does_not_concern_the_others(self, tmp_path: Path) -> None:
        write(tmp_path, "a.json", "[]")
        write(tmp_path, "b.yaml", "a: [b")
        write(tmp_path, "c.json", document())
        catalog = read([tmp_path])
        assert list(catalog.devices) == ["vendor.com/thing=one"]
        assert len(catalog.problems) == 2

    def test_the_later_directory_wins(self, tmp_path: Path) -> None:
        write(tmp_path / "first", "v.json", document(containerEdits={"env": ["FROM=first"]}))
        write(tmp_path / "second", "v.json", document(containerEdits={"env": ["FROM=second"]}))
        made = inject([tmp_path / "first", tmp_path / "second"], BASE, ["vendor.com/thing=one"], "f")
        assert made.process is not None
        assert "FROM=second" in made.process.env

    def test_of_two_claims_in_one_directory_neither_counts(self, tmp_path: Path) -> None:
        write(tmp_path, "a.json", document())
        write(tmp_path, "b.json", document())
        with pytest.raises(InvalidArgument, match=r"is in .*a\.json and in .*b\.json"):
            inject([tmp_path], BASE, ["vendor.com/thing=one"], "f")

    @pytest.mark.parametrize(
        ("node", "problem"),
        [
            ({"path": "/dev/none-such"}, "No such file"),
            ({"path": "/dev/x", "hostPath": "/etc"}, "is not a device"),
            ({"path": "/dev/null", "type": "b"}, "is not a device of type b"),
        ],
    )
    def test_a_node_that_the_host_has_not(self, tmp_path: Path, node: dict[str, Any], problem: str) -> None:
        write(tmp_path, "a.json", document(containerEdits={"deviceNodes": [node]}))
        with pytest.raises(InvalidArgument, match=problem):
            inject([tmp_path], BASE, ["vendor.com/thing=one"], "f")
