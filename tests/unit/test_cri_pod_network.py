from __future__ import annotations

import pytest

from cni.values import Bandwidth
from cri.errors import InvalidArgument
from cri.pod_network import bandwidth

LARGEST = 2**31 - 1


def test_no_annotation_no_limit() -> None:
    assert bandwidth({"a": "b"}) is None


@pytest.mark.parametrize(
    ("text", "rate"), [("10M", 10_000_000), ("1.5k", 1500), ("2Mi", 2 << 20), ("7", 7), ("1Gi", 1 << 30)]
)
def test_quantities(text: str, rate: int) -> None:
    assert bandwidth({"kubernetes.io/ingress-bandwidth": text}) == Bandwidth(ingress_rate=rate, ingress_burst=LARGEST)


@pytest.mark.parametrize("text", ["fast", "-1M", "1m", "1e3", "10 M"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="egress-bandwidth"):
        bandwidth({"kubernetes.io/egress-bandwidth": text})
