"""Reports folded into events, many at once, by the rules of ``diagnosis.events``.

Needs numpy (the optional dependencies ``columnar``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringfence.arch.cpuid import LINUX_VENDORS, Vendor
from ringfence.arch.mci_status import DEFERRED, PCC, UC
from ringfence.diagnosis.events import RULES, WINDOW_REPORTS, Relation, Report, identity
from ringfence.diagnosis.events import report as report_of
from ringfence.diagnosis.kinds import SHOWN_PRESENCE, Numbers, mixed
from ringfence.record.columns import Columns, Present
from ringfence.record.evidence import Record

RELATIONS: Final = (Relation.NEW, *(relation for relation, _ in RULES))
"""What the numbers that ``Folding.place`` gives stand for."""

_SHOWN: Final = (Present.ADDR, Present.MISC, Present.SYND, Present.IPID)
_AMD_NUMBERS: Final = tuple(n for n, vendor in LINUX_VENDORS.items() if vendor in {Vendor.AMD, Vendor.HYGON})


@dataclass(slots=True)
class Reports:
    """Reports in columns, in the order of the log."""

    shown: Numbers
    cpu: NDArray[np.int64]
    apicid: NDArray[np.int64]
    tsc: Numbers
    time: NDArray[np.float64]
    corrected: NDArray[np.bool_]
    located: NDArray[np.bool_]
    event: NDArray[np.int64]
    position: NDArray[np.int64]

    def only(self, which: Any) -> Reports:
        """Some of them: ``which`` is an index of arrays."""
        return Reports(*(getattr(self, name)[which] for name in Reports.__slots__))

    def then(self, other: Reports) -> Reports:
        """These, and others behind them."""
        return Reports(*(np.concatenate((getattr(self, name), getattr(other, name))) for name in Reports.__slots__))

    @property
    def values(self) -> Report:
        """What the rules look at."""
        return Report(self.cpu, self.apicid, self.tsc, self.time, self.corrected, self.located)


def row_reports(rows: Columns) -> Reports:
    """The reports that a table's rows are."""
    amd = np.isin(rows.vendor, _AMD_NUMBERS) | ((rows.present & Present.IPID) != 0)
    held = np.where(amd, np.uint64(UC.mask | PCC.mask | DEFERRED.mask), np.uint64(UC.mask | PCC.mask))
    place = rows.socket.astype(np.uint32).astype(np.uint64)
    place |= (rows.present & SHOWN_PRESENCE).astype(np.uint64) << np.uint64(32)
    place |= rows.bank.astype(np.uint64) << np.uint64(40)
    shown = mixed([rows.status, rows.addr, rows.misc, rows.synd, rows.ipid, place])
    count = len(rows)
    return Reports(
        shown=shown,
        cpu=rows.cpu.astype(np.int64),
        apicid=rows.apicid.astype(np.int64),
        tsc=rows.tsc,
        time=rows.time.astype(np.float64),
        corrected=(rows.status & held) == 0,
        located=(rows.present & np.uint8(Present.ADDR | Present.MISC)) != 0,
        event=np.full(count, -1, np.int64),
        position=np.zeros(count, np.int64),
    )


def other_reports(records: list[Record | None]) -> tuple[Reports, NDArray[np.bool_]]:
    """The same of records that are objects, and which of them can be folded (None: unrecognised)."""
    count = len(records)
    columns: dict[str, Any] = {
        "cpu": np.full(count, -1, np.int64),
        "apicid": np.full(count, -1, np.int64),
        "tsc": np.zeros(count, np.uint64),
        "time": np.full(count, np.nan),
        "corrected": np.ones(count, np.bool_),
        "located": np.zeros(count, np.bool_),
    }
    shown = np.zeros((count, 6), np.uint64)
    folds = np.zeros(count, np.bool_)
    for at, each in enumerate(records):
        if each is None or (held := identity(each)) is None:
            continue
        folds[at] = True
        here = report_of(each)
        for name, column in columns.items():
            column[at] = getattr(here, name)
        present = 0
        for flag, value in zip(_SHOWN, (held.addr, held.misc, held.synd, held.ipid), strict=True):
            present |= 0 if value is None else flag
        bank = 0xFFFF if held.bank is None else held.bank & 0xFFFF
        socket = (-1 if held.socket is None else held.socket) & 0xFFFF_FFFF
        shown[at] = (
            held.status, held.addr or 0, held.misc or 0, held.synd or 0, held.ipid or 0,
            bank << 40 | present << 32 | socket,
        )  # fmt: skip
    return (
        Reports(
            shown=mixed([shown[:, at].copy() for at in range(6)]),
            event=np.full(count, -1, np.int64),
            position=np.zeros(count, np.int64),
            **columns,
        ),
        folds,
    )


class Folding:
    """Numbers the events of a stream of batches, by the rules of ``diagnosis.events``."""

    def __init__(self) -> None:
        self.events = 0
        self._position = 0
        self._recent: Reports | None = None

    def place(self, here: Reports, folds: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """The event and the relation of each report; those that do not fold are events of their own."""
        count = len(folds)
        here.position = np.arange(self._position, self._position + count)
        self._position += count
        chosen = np.flatnonzero(folds)
        both = here.only(chosen)
        start = 0
        if self._recent is not None:
            start = len(self._recent.shown)
            both = self._recent.then(both)
        relation = np.zeros(count, np.int8)
        before, after, kinds = _related(both, start)
        relation[chosen[after - start]] = kinds
        new = relation == 0
        numbers = self.events + np.cumsum(new) - 1
        self.events += int(np.count_nonzero(new))
        event = np.where(new, numbers, -1)
        both.event[start:] = event[chosen]
        for last, row in zip(before.tolist(), after.tolist(), strict=True):
            both.event[row] = both.event[last]
        event[chosen] = both.event[start:]
        self._recent = both.only(both.position >= self._position - WINDOW_REPORTS - 1)
        return event, relation


def _related(reports: Reports, start: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int8]]:
    """Pairs of reports (the last that showed the same, the new one at or behind ``start``) that are one event."""
    nothing = np.empty(0, np.intp)
    ordered = np.sort(reports.shown)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(repeated):
        return nothing, nothing, np.empty(0, np.int8)
    repeated = np.unique(repeated)
    at = np.searchsorted(repeated, reports.shown)
    at[at == len(repeated)] = 0
    members = np.flatnonzero(repeated[at] == reports.shown)
    members = members[np.argsort(reports.shown[members], kind="stable")]
    last, new = members[:-1], members[1:]
    pairs = (reports.shown[last] == reports.shown[new]) & (new >= start)
    pairs &= reports.position[new] - reports.position[last] <= WINDOW_REPORTS
    last, new = last[pairs], new[pairs]
    held, seen = reports.only(last).values, reports.only(new).values
    kinds = np.zeros(len(new), np.int8)
    with np.errstate(invalid="ignore", over="ignore"):
        for number, (_, holds) in reversed(list(enumerate(RULES, start=1))):
            kinds[holds(held, seen)] = number
    one = kinds != 0
    by_position = np.argsort(new[one], kind="stable")
    return last[one][by_position], new[one][by_position], kinds[one][by_position]
