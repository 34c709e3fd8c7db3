"""Xen's telemetry of machine checks: two queues out of one stock of entries, each entry fetched, then acknowledged.

Sizes and rules: Xen xen/arch/x86/cpu/mcheck/mctelem.c (MC_URGENT_NENT, MC_NONURGENT_NENT, mctelem_reserve,
mctelem_consume_oldest_begin, mctelem_ack). Urgent telemetry may use every entry, nonurgent only the last 20. Two things
are better than Xen's: what is dropped is counted by class and can be read, and an acknowledgement that comes too late
cannot hit a newer record, as an id is never used again (Xen's is the address of the entry).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, NewType

from ringfence.quick import quick
from ringfence.world.identities import CaseId

URGENT_ENTRIES: Final = 10
"""Entries that only urgent telemetry can have."""
NONURGENT_ENTRIES: Final = 20
"""Entries that nonurgent telemetry can have at most."""
ENTRIES: Final = URGENT_ENTRIES + NONURGENT_ENTRIES

FetchId = NewType("FetchId", int)
"""Names a fetched entry; opaque to who fetches. 0 is none."""

Slot = NewType("Slot", int)
"""An entry of the stock that was reserved and is on no queue yet."""

_FIRST_ID: Final = 0x1000
_ID_STEP: Final = 0x28
"""Ids look like addresses, as Xen's do: nobody shall count on more."""


@quick
@dataclass(frozen=True, slots=True)
class Committed:
    """An entry on a queue. ``raw`` is its ``struct mc_info``."""

    id: FetchId
    slot: Slot
    raw: bytes
    case: CaseId | None = None


@dataclass(slots=True)
class Drops:
    """Records that found no free entry, by class."""

    urgent: int = 0
    nonurgent: int = 0


@dataclass(slots=True)
class Telemetry:
    """The stock of entries and the two queues."""

    dropped: Drops = field(default_factory=Drops)
    _free: list[bool] = field(default_factory=lambda: [True] * ENTRIES)
    _queues: dict[bool, deque[Committed]] = field(default_factory=lambda: {True: deque(), False: deque()})
    _next_id: int = _FIRST_ID

    def reserve(self, *, urgent: bool) -> Slot | None:
        """Takes an entry for a record of this class; None if there is none, and then the record counts as dropped."""
        for number in range(0 if urgent else URGENT_ENTRIES, ENTRIES):
            if self._free[number]:
                self._free[number] = False
                return Slot(number)
        if urgent:
            self.dropped.urgent += 1
        else:
            self.dropped.nonurgent += 1
        return None

    def commit(self, slot: Slot, raw: bytes, *, urgent: bool, case: CaseId | None = None) -> None:
        """Puts a reserved entry on its queue, behind those that are there."""
        self._queues[urgent].append(Committed(FetchId(self._next_id), slot, raw, case))
        self._next_id += _ID_STEP

    def dismiss(self, slot: Slot) -> None:
        """Gives a reserved entry back."""
        self._free[slot] = True

    def oldest(self, *, urgent: bool) -> Committed | None:
        """The entry that a fetch shows: the oldest of its class, the same until it is acknowledged."""
        queue = self._queues[urgent]
        return queue[0] if queue else None

    def acknowledge(self, number: int, *, urgent: bool) -> bool:
        """Frees the oldest entry of the class if it is the one named; anything else is ignored, and False."""
        queue = self._queues[urgent]
        if not queue or queue[0].id != number:
            return False
        self._free[queue.popleft().slot] = True
        return True

    def waiting(self, *, urgent: bool) -> int:
        """How many entries of a class wait to be acknowledged."""
        return len(self._queues[urgent])
