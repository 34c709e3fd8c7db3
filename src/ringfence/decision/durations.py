"""Lengths of time as people write and read them: ``"2s"``, ``"1.5 h"``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Final

UNITS_MS: Final[Mapping[str, int]] = MappingProxyType({"ms": 1, "s": 1_000, "min": 60_000, "h": 3_600_000})
"""What may stand after the number, and how many milliseconds it is."""

MAX_CHARACTERS: Final = 32
"""Longer text is no duration: whole milliseconds of a century have 13 digits."""

_FORM: Final = re.compile(rf"([0-9]+(?:\.[0-9]+)?) ?({'|'.join(UNITS_MS)})", re.ASCII)


def read(text: str) -> int | None:
    """The milliseconds of ``"2s"``, ``"1.5 h"``; None if it is no duration, or no whole number of milliseconds."""
    found = _FORM.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    if found is None:
        return None
    number, unit = found.groups()
    exact = Fraction(number) * UNITS_MS[unit]
    return int(exact) if exact.denominator == 1 else None


def write(ms: int) -> str:
    """Exactly these milliseconds, in the largest unit that leaves no fraction: ``read(write(ms)) == ms``."""
    unit, size = next(
        ((unit, size) for unit, size in reversed(tuple(UNITS_MS.items())) if ms and ms % size == 0),
        ("s" if not ms else "ms", 1),
    )
    return f"{ms // size}{unit}"


def about(ms: float) -> str:
    """For reading, in three digits at most: ``"950 ms"``, ``"2.5 s"``, ``"18 min"``, ``"36 h"``."""
    unit, size = next(((unit, size) for unit, size in reversed(tuple(UNITS_MS.items())) if ms >= size), ("ms", 1))
    return f"{ms / size:,.{0 if ms >= 10 * size or unit == 'ms' else 1}f} {unit}".replace(".0 ", " ")
