"""The daemon's settings as its parts understand them: what the images and the networks are to be opened with."""

from __future__ import annotations

from cni.values import BuiltinNetwork, BuiltinSubnet, NetworkSettings
from cri import host, pod_cidr
from cri.config.schema import Builtin, Settings
from imagesvc.service import ImageSettings


def image_settings(settings: Settings) -> ImageSettings:
    images = settings.images
    return ImageSettings(
        root=settings.root,
        runroot=settings.runroot,
        registry_config_path=settings.registry_config_path,
        docker_config_paths=images.docker_config_paths,
        pinned=images.pinned,
        max_parallel_downloads=images.max_parallel_downloads,
        pull_progress_timeout=images.pull_progress_timeout,
        layer_format=images.layer_format.value,
    )


def network_settings(settings: Settings) -> NetworkSettings:
    network = settings.network
    builtin = BuiltinNetwork(
        name=network.bridge,  # names the directory of its addresses: one for each daemon
        bridge=network.bridge,
        subnets=tuple(BuiltinSubnet(subnet=subnet) for subnet in pod_cidr.subnets(settings)),
        mtu=network.mtu or host.default_mtu(),
    )
    # With "always" the configuration directory is one that nobody fills.
    conf_dir = settings.root / "cni" / "unused" if network.builtin is Builtin.ALWAYS else settings.cni_conf_dir
    return NetworkSettings(
        conf_dir=str(conf_dir),
        bin_dirs=tuple(map(str, settings.cni_bin_dir)),
        cache_dir=str(settings.root / "cni"),
        builtin=None if network.builtin is Builtin.NEVER else builtin,
    )
