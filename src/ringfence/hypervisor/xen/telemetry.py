"""Xen's two queues as arrivals of the port: nothing is forgotten there before it is durable here.

Xen tells nobody what it dropped (mctelem_drop_count of xen/arch/x86/cpu/mcheck/mctelem.c is in no hypercall). What can
be seen is that a queue was full: as many entries as it holds came one after the other without a pause.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Final

from ringfence.errors import FormatError
from ringfence.hypervisor.mca_abi import LogicalCpu
from ringfence.hypervisor.port import Lost, Telemetry, Token
from ringfence.hypervisor.telemetry import Dom0Reader, Fetched, records_of
from ringfence.record.binary.xen_mc_info import McInfo
from ringfence.record.evidence import Record

ENTRIES: Final = {True: 30, False: 20}
"""By urgency: how many entries a class can have at a time (MC_NENT, less MC_URGENT_NENT for the urgent alone)."""

_NAMES: Final = 64
"""More than Xen has entries, of both classes together."""
_TOKEN_BITS: Final = (1 << 60) - 1
"""An entry is named by its address in Xen (a cookie): the upper bits are the same for all."""
_AGAIN: Final = 1 << 61
_OF_LOSS: Final = 1 << 62

_NOTE: Final = "the time is when Ringfence fetched it: Xen's telemetry has none"
_FULL: Final = (
    "the queue was full: as many records as it holds came at once. What came while it was, Xen dropped, and it tells "
    "nobody how much that was"
)
_NO_ROOM: Final = "Xen had no room for all banks of one machine check in its record, and left some out"
_UNREADABLE: Final = "Xen's record cannot be read: "


@dataclass(frozen=True, slots=True)
class _Shown:
    token: Token
    fetched: Fetched
    arrivals: tuple[Telemetry | Lost, ...]


class Queues:
    """Both queues. ``wall_s`` is the wall clock, as mc_info has no time of its own."""

    def __init__(self, reader: Dom0Reader, cpus: Iterable[LogicalCpu], wall_s: Callable[[], float] = time.time) -> None:
        self._reader, self._cpus, self._wall_s = reader, tuple(cpus), wall_s
        self._shown: dict[bool, _Shown] = {}
        self._in_a_row = {True: 0, False: 0}
        self._last: dict[int, tuple[bytes, bool]] = {}
        self._losses: dict[Token, Lost] = {}
        self._loss = 0

    def arrivals(self, *, urgent: bool) -> tuple[Telemetry | Lost, ...]:
        """The oldest entry of a class, until it is acknowledged; and what is known to be lost."""
        fetched = self._reader.fetch(urgent=urgent)
        if fetched is None:
            self._in_a_row[urgent] = 0
            return tuple(self._losses.values()) if not urgent else ()
        shown = self._shown.get(urgent)
        if shown is None or shown.fetched != fetched:
            shown = self._shown[urgent] = self._new(fetched)
        return (*shown.arrivals, *(() if urgent else self._losses.values()))

    def _new(self, fetched: Fetched) -> _Shown:
        self._in_a_row[fetched.urgent] += 1
        if self._in_a_row[fetched.urgent] == ENTRIES[fetched.urgent]:
            self._lose(0, _FULL, urgent=fetched.urgent)
        token = self._token(fetched)
        try:
            if McInfo.unpack(fetched.raw).incomplete:
                self._lose(1, _NO_ROOM, urgent=fetched.urgent)
            found = records_of(fetched.raw, self._cpus)
        except FormatError as error:
            found, why = (), str(error)
        else:
            why = "it names no bank"
        if not found:
            lost = Lost(token, 1, fetched.urgent, why=_UNREADABLE + why)
            return _Shown(token, fetched, (lost,))
        at_s = self._wall_s()
        records = tuple(replace(each, time=at_s, assumptions=(*each.assumptions, _NOTE)) for each in found)
        return _Shown(token, fetched, (Telemetry(token, fetched.urgent, records),))

    def _token(self, fetched: Fetched) -> Token:
        """The same name for the same entry, in the next life, too. Xen uses its entries again: one that holds the very
        same bytes as the one that was acknowledged last under its name is another error, and gets the other name.
        """
        token = (fetched.fetch_id << 1 | fetched.urgent) & _TOKEN_BITS
        raw, again = self._last.get(token, (b"", False))
        return Token(token | (_AGAIN if raw == fetched.raw and not again else 0))

    def _lose(self, count: int, why: str, *, urgent: bool) -> None:
        self._loss += 1
        token = Token(_OF_LOSS | time.time_ns() >> 20 << 10 & _TOKEN_BITS | self._loss & 0x3FF)
        self._losses[token] = Lost(token, count, urgent, why=why, exact=False)

    def acknowledge(self, token: Token) -> None:
        """It is durable: Xen may forget it. An unknown token is ignored."""
        self._losses.pop(token, None)
        for urgent, shown in list(self._shown.items()):
            if shown.token == token:
                self._reader.acknowledge(shown.fetched)
                self._last.pop(token & _TOKEN_BITS, None)
                self._last[token & _TOKEN_BITS] = shown.fetched.raw, bool(token & _AGAIN)
                while len(self._last) > _NAMES:
                    del self._last[next(iter(self._last))]
                del self._shown[urgent]

    @property
    def unacknowledged(self) -> list[Record]:
        """The records that were shown and are not acknowledged."""
        shown = (each for known in self._shown.values() for each in known.arrivals)
        return [record for each in shown if isinstance(each, Telemetry) for record in each.records]
