"""What the parts of the process measure of themselves, for whoever shows it: the writer's times, sources, outlets.

Each value is put in whole by the one who measures, and read by anybody: no lock is needed, and no reading waits.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from ringfence.views.metric_values import OutletReading, SourceReading
from ringfence.views.metrics import Histogram

T = TypeVar("T")

BOUNDS_S: Final = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
"""Buckets close to one another around what is promised: 5 ms in quiet, 50 ms in a storm; one fsync takes about 1 ms."""


class Times:
    """How long something took, each time, in buckets. One thread adds to it."""

    def __init__(self) -> None:
        self._counts = [0] * (len(BOUNDS_S) + 1)
        self._sum_s = 0.0

    def took(self, seconds: float) -> None:
        """It took so long, once."""
        self._counts[bisect_left(BOUNDS_S, seconds)] += 1
        self._sum_s += max(0.0, seconds)

    @property
    def histogram(self) -> Histogram:
        """As it is now."""
        return Histogram(BOUNDS_S, tuple(self._counts), self._sum_s)


@dataclass(slots=True)
class Readings(Generic[T]):
    """The newest reading of each of several parts, by their names."""

    _known: dict[str, T] = field(default_factory=dict)

    def says(self, who: str, reading: T | None) -> None:
        """This is how ``who`` does; None: it is no more."""
        known = dict(self._known)
        known.pop(who, None)
        if reading is not None:
            known[who] = reading
        self._known = known  # one assignment: a reader in another thread sees all of the old or all of the new

    @property
    def all(self) -> Mapping[str, T]:
        """Those of now."""
        return self._known


@dataclass(slots=True)
class Measures:
    """The measures of one process. ``latency`` and ``turn`` are the writer's."""

    latency: Times = field(default_factory=Times)
    turn: Times = field(default_factory=Times)
    sources: Readings[SourceReading] = field(default_factory=Readings)
    outlets: Readings[OutletReading] = field(default_factory=Readings)
