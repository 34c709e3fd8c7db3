"""The numbers of a table's rows, taken from the registers as the readings declare it (``Placed``, ``Address``).

Needs numpy (the optional dependencies ``columnar``).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ringfence.decode.meaning import Address, AddressKind, Placed, canonical
from ringfence.diagnosis.finding import Finding
from ringfence.diagnosis.kinds import Ids, Numbers
from ringfence.diagnosis.table import Facts
from ringfence.record.columns import Columns

Known = NDArray[np.bool_]


def number_column(facts: Facts, rows: Columns, kind: Ids, name: str) -> tuple[Numbers, Known]:
    """A number of every row (``corrected_count``, ``row``, ``syndrome``, ...), and which rows have it.

    ``name`` is an attribute of Location, or ``corrected_count`` or ``threshold_count``.
    """
    constants = facts.of_kinds(name, lambda finding: _constant(finding, name))
    value = np.array([constant or 0 for constant in constants], np.uint64)[kind]
    has = np.array([constant is not None for constant in constants], np.bool_)[kind]
    if name == "socket":
        return rows.socket.astype(np.uint64), has
    declared = facts.of_kinds(
        ("placed", name), lambda f: next((placed for placed in f.reading.placed if placed.name == name), None)
    )
    for placed in dict.fromkeys(declared):
        if placed is not None:
            which = np.array([each == placed for each in declared], np.bool_)[kind]
            value[which] = _of(placed, getattr(rows, placed.register)[which])
    return value, has


def _constant(finding: Finding, name: str) -> int | None:
    owner = finding.reading if name in {"corrected_count", "threshold_count"} else finding.reading.location
    value = getattr(owner, name)
    return None if value is None else int(value)


def _of(placed: Placed, register: Numbers) -> Numbers:
    total = np.zeros(len(register), np.uint64)
    for high, low, shift in placed.pieces:
        total += _bits(register, high, low) << np.uint64(shift)
    if placed.length is not None:
        length = _bits(register, *placed.length)
        total &= np.where(length < 64, (np.uint64(1) << (length & np.uint64(63))) - np.uint64(1), _ALL)
    return total


_ALL = np.uint64((1 << 64) - 1)


def _bits(register: Numbers, high: int, low: int) -> Numbers:
    return np.asarray((register >> np.uint64(low)) & np.uint64((1 << (high - low + 1)) - 1))


def address_column(facts: Facts, rows: Columns, kind: Ids) -> tuple[Numbers, Known]:
    """The address of every row (a linear one canonical), and which rows have one."""
    addresses = _addresses(facts)
    has = np.array([address.value is not None for address in addresses], np.bool_)[kind]
    linear = np.array([address.kind is AddressKind.LINEAR for address in addresses], np.bool_)[kind]
    value = rows.addr & np.array([address.mask for address in addresses], np.uint64)[kind]
    lsb, told = _lsb(facts, rows, kind)
    value[told] = value[told] >> lsb[told] << lsb[told]
    for row in np.flatnonzero(linear).tolist():
        value[row] = canonical(int(value[row]))
    return value, has


def granularity_column(facts: Facts, rows: Columns, kind: Ids) -> tuple[Numbers, Known]:
    """The granularity of every row's address in bytes, and which rows have one."""
    constants = [address.granularity_bytes for address in _addresses(facts)]
    value = np.array([constant or 0 for constant in constants], np.uint64)[kind]
    lsb, told = _lsb(facts, rows, kind)
    value[told] = np.uint64(1) << lsb[told]
    return value, np.array([constant is not None for constant in constants], np.bool_)[kind]


def _addresses(facts: Facts) -> list[Address]:
    return facts.of_kinds("address", lambda finding: finding.reading.address)


def _lsb(facts: Facts, rows: Columns, kind: Ids) -> tuple[Numbers, Known]:
    """The lowest valid bit of every row's address, and in which rows a field declares it."""
    lsb = np.zeros(len(rows), np.uint64)
    told = np.zeros(len(rows), np.bool_)
    declared = [address.lsb for address in _addresses(facts)]
    for placed in dict.fromkeys(declared):
        if placed is not None:
            which = np.array([each == placed for each in declared], np.bool_)[kind]
            lsb[which] = _of(placed, getattr(rows, placed.register)[which])
            told |= which
    return lsb, told
