"""The kinds of record in a log's columns, of which each is diagnosed once, and the words that their bits choose.

Records of one kind differ in numbers and in words only (``decode.significance``).

Needs numpy (the optional dependencies ``columnar``).
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringfence.arch.cpuid import LINUX_VENDORS, Vendor
from ringfence.arch.mci_status import DEFERRED, MCACOD, MSCOD, PCC, UC
from ringfence.decode.meaning import NO_WORDS, Wording
from ringfence.decode.significance import (
    IntelWords,
    Significance,
    Words,
    address_class,
    place_class,
    significance,
    significant_misc,
    smca_class,
    status_class,
    valid_address,
)
from ringfence.record.columns import Columns, Present

Numbers = NDArray[np.uint64]
Ids = NDArray[np.int32]

SHOWN_PRESENCE: Final = np.uint8(Present.ADDR | Present.MISC | Present.SYND | Present.IPID)
_KEYED_PRESENCE: Final = SHOWN_PRESENCE | np.uint8(Present.IP)
_PRIVILEGE: Final = np.uint16(3)
_UNCORRECTED: Final = np.uint64(UC.mask | PCC.mask | DEFERRED.mask)
_MIX: Final = np.uint64(0x9E37_79B9_7F4A_7C15)
_SHIFT: Final = np.uint64(29)


def mixed(columns: list[Numbers]) -> Numbers:
    """A 64-bit hash of each row."""
    with np.errstate(over="ignore"):
        found = columns[0] * _MIX
        for column in columns[1:]:
            found ^= found >> _SHIFT
            found ^= column
            found *= _MIX
    return found ^ (found >> _SHIFT)


@dataclass(frozen=True, slots=True)
class _Distinct:
    """The different rows of some columns: their values, where each stands first, and which each row is."""

    keys: list[tuple[int, ...]]
    first: list[int]
    inverse: NDArray[np.intp]


def _distinct(columns: list[Numbers]) -> _Distinct:
    _, first, inverse = np.unique(mixed(columns), return_index=True, return_inverse=True)
    keys = np.stack([column[first] for column in columns], axis=1)
    if not all(np.array_equal(keys[inverse, at], column) for at, column in enumerate(columns)):
        # Two rows share a hash.
        keys, first, inverse = np.unique(np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True)
    return _Distinct(list(map(tuple, keys.tolist())), first.tolist(), inverse.reshape(-1))


@dataclass(frozen=True, slots=True)
class _Banks:
    """The banks that some rows are about: which row is of which, and what matters in each."""

    of_row: NDArray[np.intp]
    bank: Numbers
    matters: list[Significance]

    @classmethod
    def of(cls, rows: Columns) -> _Banks:
        number = (rows.vendor.astype(np.uint64) << np.uint64(48)) | (rows.cpuid.astype(np.uint64) << np.uint64(16))
        number |= rows.bank.astype(np.uint64)
        found, of_row = np.unique(number, return_inverse=True)
        matters = [
            significance(LINUX_VENDORS.get(each >> 48, Vendor.INTEL), each >> 16 & 0xFFFF_FFFF, each & 0xFFFF)
            for each in found.tolist()
        ]
        return cls(of_row, number, matters)

    def column(self, name: str, kind: type[np.generic] = np.uint64) -> Any:
        """A number or flag of each row's ``Significance``."""
        return np.array([getattr(matters, name) for matters in self.matters], kind)[self.of_row]


def _places(rows: Columns, banks: _Banks) -> Numbers:
    """What of MSCOD decides where an error is placed (``significance.place_class``)."""
    placing = [
        matters.words if isinstance(matters.words, IntelWords) and matters.words.looks.place else None
        for matters in banks.matters
    ]
    out = np.zeros(len(rows), np.uint64)
    which = np.flatnonzero(np.array([words is not None for words in placing], np.bool_)[banks.of_row])
    if len(which):
        pairs = banks.of_row[which].astype(np.uint64) << np.uint64(16) | rows.status[which] >> np.uint64(MSCOD.low) & (
            np.uint64(0xFFFF)
        )
        found, inverse = np.unique(pairs, return_inverse=True)
        classes = [
            place_class(words, pair & 0xFFFF) if (words := placing[pair >> 16]) is not None else 0
            for pair in found.tolist()
        ]
        out[which] = np.array(classes, np.uint64)[inverse]
    return out


def key_columns(rows: Columns) -> list[Numbers]:
    """All that a finding depends on but for its words and numbers, one array each."""
    banks = _Banks.of(rows)
    amd = banks.column("amd", np.bool_)
    addr_mask = banks.column("addr")
    small = (rows.present & _KEYED_PRESENCE).astype(np.uint64)
    # No time stamp tells an AMD record that was left from before the start, which matters for uncorrected errors only.
    small |= (amd & (rows.tsc == 0) & ((rows.status & _UNCORRECTED) != 0)).astype(np.uint64) << np.uint64(8)
    small |= status_class(rows.status).astype(np.uint64) << np.uint64(10)
    small |= (rows.cs & _PRIVILEGE).astype(np.uint64) << np.uint64(16)
    small |= (amd * smca_class(rows.misc, rows.synd, rows.addr)).astype(np.uint64) << np.uint64(18)
    small |= _places(rows, banks) << np.uint64(24)
    valid = valid_address(rows.addr, rows.status, banks.column("lsb_in_status"))
    return [
        banks.bank,
        small,
        rows.mcg_status,
        rows.status & banks.column("status"),
        significant_misc(rows.status, rows.misc, banks.column("misc"), amd),
        rows.synd & banks.column("synd"),
        rows.ipid,
        address_class(valid).astype(np.uint64),
        rows.addr & addr_mask,
    ]


@dataclass(slots=True)
class Kinds:
    """The kinds of record met so far, by what they agree in; where each was met first, the finding is made from."""

    keys: list[tuple[int, ...]] = field(default_factory=list)
    _by_key: dict[tuple[int, ...], int] = field(default_factory=dict)

    def of(self, rows: Columns) -> tuple[Ids, list[int]]:
        """The kind of each row, as an index in ``keys``; and the row in which each kind not met before stands first."""
        found = _distinct(key_columns(rows))
        ids = np.empty(len(found.first), np.int32)
        first = []
        for at, (key, row) in enumerate(zip(found.keys, found.first, strict=True)):
            known = self._by_key.get(key)
            if known is None:
                known = self._by_key[key] = len(self.keys)
                self.keys.append(key)
                first.append(row)
            ids[at] = known
        return ids[found.inverse], first


@dataclass(slots=True)
class Vocabulary:
    """The words met so far.

    ``refinements_only``: whether only the words that refine the error are wanted, not the details.
    """

    refinements_only: bool = False
    words: list[Wording] = field(default_factory=lambda: [NO_WORDS])
    _by_wording: dict[Wording, int] = field(default_factory=lambda: {NO_WORDS: 0})
    _by_key: dict[tuple[int, ...], int] = field(default_factory=dict)
    _tables: dict[Words, int] = field(default_factory=dict)
    _codes: dict[Hashable, int] = field(default_factory=dict)

    def of(self, rows: Columns) -> Ids:
        """The words that each row's bits choose, as an index in ``words``; -1: none, the words are the kind's own.

        Of a kind without words (``wording`` None: a bank that is not valid, say) they are to be left out.
        """
        banks = _Banks.of(rows)
        out = np.full(len(rows), -1, np.int32)
        which = np.flatnonzero(np.array([self._wants(each.words) for each in banks.matters], np.bool_)[banks.of_row])
        if len(which):
            out[which] = self._chosen(rows.only(which), banks.of_row[which], banks.matters)
        return out

    def _wants(self, words: Words | None) -> bool:
        return words is not None and (words.refines or not self.refinements_only)

    def _known(self, wording: Wording) -> int:
        found = self._by_wording.get(wording)
        if found is None:
            found = self._by_wording[wording] = len(self.words)
            self.words.append(wording)
        return found

    def _chosen(self, rows: Columns, of_row: NDArray[np.intp], matters: list[Significance]) -> Ids:
        """The words of rows whose bits choose them."""
        tables = [each.words for each in matters]
        number = np.array(
            [0 if t is None else self._tables.setdefault(t, len(self._tables)) for t in tables], np.uint64
        )
        masks = {
            name: np.array([0 if t is None else getattr(t, name) for t in tables], np.uint64)[of_row]
            for name in ("status", "misc", "synd")
        }
        misc = significant_misc(
            rows.status, rows.misc, masks["misc"], np.array([each.amd for each in matters], np.bool_)[of_row]
        )
        small = number[of_row] << np.uint64(32) | self._code_numbers(rows.status, of_row, tables)
        small |= (rows.present & SHOWN_PRESENCE).astype(np.uint64) << np.uint64(56)
        found = _distinct(
            [small, rows.status & masks["status"], misc * (masks["misc"] != 0), rows.synd & masks["synd"]]
        )
        ids = np.empty(len(found.first), np.int32)
        for at, (key, row) in enumerate(zip(found.keys, found.first, strict=True)):
            known = self._by_key.get(key)
            if known is None:
                known = self._by_key[key] = self._known(_read(tables[int(of_row[row])], rows, row))
            ids[at] = known
        return ids[found.inverse]

    def _code_numbers(self, status: Numbers, of_row: NDArray[np.intp], tables: list[Words | None]) -> Numbers:
        """A number for what each row's words depend on in the error code."""
        pairs = of_row.astype(np.uint64) << np.uint64(16) | status & np.uint64(MCACOD.mask)
        found, inverse = np.unique(pairs, return_inverse=True)
        numbers = []
        for pair in found.tolist():
            table = tables[pair >> 16]
            matters = table.code(pair & 0xFFFF) if table is not None else None
            numbers.append(self._codes.setdefault(matters, len(self._codes)))
        return np.array(numbers, np.uint64)[inverse]


def _read(words: Words | None, rows: Columns, row: int) -> Wording:
    if words is None:
        return NO_WORDS
    present = Present(int(rows.present[row]))
    return words.of(
        int(rows.bank[row]),
        int(rows.status[row]),
        int(rows.misc[row]) if Present.MISC in present else None,
        int(rows.synd[row]) if Present.SYND in present else None,
        int(rows.ipid[row]) if Present.IPID in present else None,
    )
