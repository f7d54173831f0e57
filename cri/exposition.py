"""Counters, gauges, summaries and histograms, and Prometheus' text format 0.0.4. Knows no name.

Why not the client library: importing it brings an HTTP server, an HTTP client and the mail package along, 5 MB that a
daemon on every node would hold for ever. One thread changes the figures, another may read them.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

#: The suffix of a sample's name, its labels beyond the family's, its value.
Sample = tuple[str, str, float]


class Series(Protocol):
    def samples(self) -> Iterator[Sample]: ...


S = TypeVar("S", bound=Series)


class Number:
    """The series of a counter or a gauge."""

    __slots__ = ("_read", "value")

    def __init__(self) -> None:
        self.value = 0.0
        self._read: Callable[[], float] | None = None

    def inc(self, amount: float = 1) -> None:
        self.value += amount

    def set(self, value: float) -> None:
        self.value = value

    def read_with(self, read: Callable[[], float]) -> None:
        """`read` is called for each scrape."""
        self._read = read

    def samples(self) -> Iterator[Sample]:
        yield "", "", self.value if self._read is None else self._read()


class Total:
    """The series of a summary without quantiles: how many, and their sum."""

    __slots__ = ("_count", "_sum")

    def __init__(self) -> None:
        self._count = 0
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._count += 1
        self._sum += value

    def samples(self) -> Iterator[Sample]:
        yield "_count", "", self._count
        yield "_sum", "", self._sum


class Buckets:
    """The series of a histogram. `limits` ascend."""

    __slots__ = ("_counts", "_limits", "_sum")

    def __init__(self, limits: Sequence[float]) -> None:
        self._limits = limits
        self._counts = [0] * (len(limits) + 1)
        self._sum = 0.0

    def observe(self, value: float) -> None:
        self._counts[bisect_left(self._limits, value)] += 1
        self._sum += value

    def samples(self) -> Iterator[Sample]:
        below = 0
        for limit, count in zip((*self._limits, float("inf")), self._counts, strict=True):
            below += count
            yield "_bucket", f'le="{_number(limit)}"', below
        yield "_count", "", below
        yield "_sum", "", self._sum


class Family(Generic[S]):
    """All series of one name; without labels there is one, from the beginning."""

    def __init__(self, name: str, kind: str, help: str, labels: Sequence[str], make: Callable[[], S]) -> None:
        self.name = name
        self.kind = kind
        self.help = help
        self._labels = labels
        self._make = make
        self._series: dict[tuple[str, ...], S] = {}
        if not labels:
            self.labels()

    def labels(self, *values: str) -> S:
        """The series with these values of the labels, made when it is first asked for."""
        found = self._series.get(values)
        if found is None:
            if len(values) != len(self._labels):
                raise ValueError(f"{self.name} has the labels {', '.join(self._labels)}, got {len(values)} values")
            found = self._series[values] = self._make()
        return found

    def forget(self, *values: str) -> None:
        """A series that is not there is forgotten already."""
        self._series.pop(values, None)

    def lines(self) -> Iterator[str]:
        yield f"# HELP {self.name} {_escaped(self.help)}"
        yield f"# TYPE {self.name} {self.kind}"
        for values, series in tuple(self._series.items()):
            own = [
                f'{label}="{_escaped(value, quotes=True)}"' for label, value in zip(self._labels, values, strict=True)
            ]
            for suffix, more, value in series.samples():
                pairs = ",".join((*own, more) if more else own)
                yield f"{self.name}{suffix}{f'{{{pairs}}}' if pairs else ''} {_number(value)}"


class Registry:
    """Every family, in the order in which they were made."""

    def __init__(self) -> None:
        self._families: list[Family[Number] | Family[Total] | Family[Buckets]] = []

    def counter(self, name: str, help: str, *labels: str) -> Family[Number]:
        return self._number(f"{name}_total", "counter", help, labels)

    def gauge(self, name: str, help: str, *labels: str) -> Family[Number]:
        return self._number(name, "gauge", help, labels)

    def _number(self, name: str, kind: str, help: str, labels: Sequence[str]) -> Family[Number]:
        family = Family(name, kind, help, labels, Number)
        self._families.append(family)
        return family

    def summary(self, name: str, help: str, *labels: str) -> Family[Total]:
        family = Family(name, "summary", help, labels, Total)
        self._families.append(family)
        return family

    def histogram(self, name: str, help: str, limits: Sequence[float], *labels: str) -> Family[Buckets]:
        family = Family(name, "histogram", help, labels, lambda: Buckets(limits))
        self._families.append(family)
        return family

    def text(self) -> bytes:
        return "".join(f"{line}\n" for family in self._families for line in family.lines()).encode()


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(value: float) -> str:
    if value == float("inf"):
        return "+Inf"
    return repr(float(value))
