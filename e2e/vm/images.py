"""The registry that the guest's suites pull from, filled here, where hashing and compressing cost next to nothing."""

from __future__ import annotations

import os
import tempfile
from dataclasses import asdict
from pathlib import Path

from deploy.image import Image, ImageConfig
from e2e.critest.images import push_images
from e2e.images.catalog import busybox_image, push_test_images
from e2e.registry import remember, running_registry


def fill(storage: Path) -> int:
    """Every image of e2e/critest and e2e/cri below `storage`; answers how many names there are."""
    storage.mkdir(parents=True, exist_ok=True)
    os.environ["E2E_REGISTRY_STORAGE"] = str(storage)
    with tempfile.TemporaryDirectory(prefix="coracle-vm-") as temporary, running_registry(Path(temporary)) as registry:
        names = push_test_images(registry.client)
        config = ImageConfig(cmd=("true",), labels={"kind": "throwaway"})
        registry.client.push("test/throwaway", ["1", "2"], Image(layers=busybox_image().layers, config=config))
        count = push_images(registry.client)
        facts = {name: text.replace(registry.address, "{address}") for name, text in asdict(names).items()}
        remember(storage, facts)
        return count
