"""Which reports are one event: a bank read twice, by two hyperthreads, or by every CPU of a broadcast.

Two reports can only be one event if they show the same bank contents. Whether they are depends on who read the bank
and when, which an ordered table of rules says. A corrected error seen again by the same CPU is a new event: a stuck
cell gives the same address and syndrome each time, and folding it would hide the very trend that matters.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ringfence.arch.cpuid import Vendor
from ringfence.arch.mci_status import DEFERRED, PCC, UC
from ringfence.quick import quick
from ringfence.record.evidence import Format, Record

WINDOW_REPORTS = 16_384
"""A report is compared with those among so many before it: bounds the memory, and spans days of a latched bank."""
SAME_MOMENT_S = 2
"""Reports of one broadcast or of two hyperthreads polling carry wall times at most this far apart."""
SAME_MOMENT_TSC = 1 << 32
"""The same in TSC ticks (about a second), for reports without a wall time."""


class Relation(StrEnum):
    """How a report relates to the last one that showed the same bank contents."""

    NEW = "new event"
    LOGGED_TWICE = "the same report, logged twice"
    SHARED_BANK = "the same event, reported by another CPU that shares the bank or was told by broadcast"
    LATCHED = "the same event: the bank was read again, and an uncorrected error stays until it is cleared"


@quick
@dataclass(frozen=True, slots=True)
class Identity:
    """What a bank showed: reports of one event agree in all of it."""

    socket: int | None
    bank: int | None
    status: int
    addr: int | None
    misc: int | None
    synd: int | None
    ipid: int | None


@quick
@dataclass(frozen=True, slots=True)
class Report:
    """Who read the bank and when: integers of one report, or numpy arrays of many, for which the rules hold alike.

    ``cpu`` and ``apicid`` are -1, ``time`` (seconds since the epoch) is NaN and ``tsc`` 0 where the evidence does not
    say. ``corrected``: the bank held a corrected error; ``located``: it gave an address or MISC.
    """

    cpu: Any
    apicid: Any
    tsc: Any
    time: Any
    corrected: Any
    located: Any


def identity(record: Record) -> Identity | None:
    """What the record's bank showed; None if it carries no MCi_STATUS or its source aggregates (never folded)."""
    registers = record.registers
    if registers.status is None or record.count != 1 or record.format is Format.MCELOG_CLIENT:
        return None
    return Identity(
        record.socket,
        record.bank,
        registers.status,
        registers.addr,
        registers.misc,
        registers.synd,
        registers.ipid,
    )


UNCORRECTED_MASK = UC.mask | PCC.mask | DEFERRED.mask
"""Bits of MCi_STATUS that keep a later corrected error from replacing this one.

Bit 44 is DEFERRED on AMD and part of the corrected-error count on Intel, where it is looked at only beside UC or PCC.
"""


def report(record: Record) -> Report:
    """Who read the bank and when."""
    registers = record.registers
    amd = registers.ipid is not None or record.vendor in {Vendor.AMD, Vendor.HYGON}
    uncorrected = (registers.status or 0) & (UNCORRECTED_MASK if amd else UC.mask | PCC.mask)
    return Report(
        cpu=-1 if record.cpu is None else record.cpu,
        apicid=-1 if record.apicid is None else record.apicid,
        tsc=registers.tsc or 0,
        time=math.nan if record.time is None else record.time,
        corrected=uncorrected == 0,
        located=registers.addr is not None or registers.misc is not None,
    )


# Below, &, | and _not stand for "and", "or" and "not": they work on bools and on arrays of them.


def _not(truth: Any) -> Any:
    return truth ^ True


def _same_cpu(last: Report, new: Report) -> Any:
    return (last.cpu < 0) | (new.cpu < 0) | (last.cpu == new.cpu)


def _siblings(last: Report, new: Report) -> Any:
    return (last.apicid >= 0) & (new.apicid >= 0) & (last.apicid >> 1 == new.apicid >> 1)


def _same_moment(last: Report, new: Report) -> Any:
    # NaN is the only number that is unlike itself.
    timed = (last.time == last.time) & (new.time == new.time)
    ticked = (last.tsc != 0) & (new.tsc != 0)
    close = abs(last.time - new.time) <= SAME_MOMENT_S
    # Unsigned: the difference is taken the way round that is not negative.
    ticks = (last.tsc > new.tsc) * (last.tsc - new.tsc) + (new.tsc > last.tsc) * (new.tsc - last.tsc)
    return (timed & close) | (_not(timed) & (_not(ticked) | (ticks <= SAME_MOMENT_TSC)))


RULES: tuple[tuple[Relation, Callable[[Report, Report], Any]], ...] = (
    (
        Relation.LOGGED_TWICE,
        lambda last, new: _same_cpu(last, new) & (last.tsc != 0) & (last.tsc == new.tsc),
    ),
    (
        Relation.SHARED_BANK,
        lambda last, new: (
            _not(_same_cpu(last, new))
            & _same_moment(last, new)
            & (new.located | _siblings(last, new) | _not(new.corrected))
        ),
    ),
    (
        Relation.LATCHED,
        lambda last, new: _not(new.corrected) & (_same_cpu(last, new) | _siblings(last, new)),
    ),
)
"""First match wins; no match is a new event. ``last`` is the last report that showed the same contents."""


def relation(last: Report, new: Report) -> Relation:
    """How ``new`` relates to ``last``, which showed the same bank contents."""
    return next((name for name, holds in RULES if holds(last, new)), Relation.NEW)


class Folder:
    """Tells reports of one event from new ones, as they come. Memory is bounded by ``WINDOW_REPORTS``."""

    def __init__(self) -> None:
        self._last: OrderedDict[Identity, tuple[int, int, Report]] = OrderedDict()
        self._reports = 0
        self.events = 0

    def place(self, record: Record) -> tuple[int, Relation]:
        """The number of the event (from 0, in order of first report) that this record belongs to, and how."""
        position = self._reports
        self._reports += 1
        shown = identity(record)
        if shown is None:
            return self._new(), Relation.NEW
        here = report(record)
        known = self._last.pop(shown, None)
        while self._last and position - next(iter(self._last.values()))[0] > WINDOW_REPORTS:
            self._last.popitem(last=False)
        kind, event = Relation.NEW, -1
        if known is not None and position - known[0] <= WINDOW_REPORTS:
            kind, event = relation(known[2], here), known[1]
        if kind is Relation.NEW:
            event = self._new()
        self._last[shown] = (position, event, here)
        return event, kind

    def _new(self) -> int:
        self.events += 1
        return self.events - 1
