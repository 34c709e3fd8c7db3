"""Between the hypervisor and the seat that treats its machine checks: what it wants is done, what it waits for is told.

Nothing is told while the seat is being asked or its orders are being carried out: it waits in line, in its order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, assert_never

from ringfence.errors import IllegalEventError
from ringfence.hypervisor.model.carrying import Carrier, Context
from ringfence.hypervisor.model.core import Core
from ringfence.hypervisor.model.door import Door
from ringfence.hypervisor.model.observer import Caller, Carried
from ringfence.record.evidence import Record
from ringfence.world.identities import CaseId
from ringfence.world.situation import Situation
from ringfence.world.steps import Order, Result
from ringfence.world.treatment import (
    Alarm,
    Answered,
    DomainGone,
    Entry,
    StepEnded,
    TimePassed,
    Told,
    TreatingSeat,
    Wanted,
)

MOST_TURNS: Final = 10_000
"""What the seat may be told in one go before it is held to be caught in a circle: far above any flow's length."""

_Line = tuple[Told, CaseId | None]


class SeatDriver:
    """Drives one seat. ``on_circle`` is called when it does not come to an end: the machine cannot go on then."""

    def __init__(  # noqa: PLR0913, PLR0917 (what a seat touches)
        self,
        core: Core,
        seat: TreatingSeat,
        carrier: Carrier,
        door: Door,
        now: Callable[[], Situation],
        on_circle: Callable[[str], None],
    ) -> None:
        self._core = core
        self._seat = seat
        self._carrier = carrier
        self._door = door
        self._now = now
        self._on_circle = on_circle
        self._line: deque[_Line] = deque()
        self._after_order: list[_Line] | None = None
        self._busy = False

    def reported(
        self, records: Sequence[Record], situation_of: Callable[[Record], Situation]
    ) -> tuple[tuple[CaseId | None, ...], tuple[Wanted, ...]]:
        """Asks the seat about errors that came together; its wishes are not carried out yet."""
        return self._seat.reported(records, situation_of)

    def carry_out(self, wanted: Sequence[Wanted], case: CaseId | None) -> None:
        """Carries out what the seat wants, and tells it what comes of it, until nothing is left."""
        outer, self._busy = self._busy, True
        try:
            self._do(wanted, case)
        finally:
            self._busy = outer
        self._drain()

    def tell(self, what: Told, case: CaseId | None = None) -> None:
        """Tells the seat something, now or as soon as it has ended what it does."""
        if self._after_order is not None and isinstance(what, DomainGone):
            self._after_order.append((what, case))
            return
        self._line.append((what, case))
        self._drain()

    def answer(self, what: Answered) -> str | None:
        """Tells the seat Dom0's answer at once; returns why it does not take it, None if it does."""
        try:
            wanted = self._seat.told(what, self._now())
        except IllegalEventError as error:
            return str(error)
        self.carry_out(wanted, what.case)
        return None

    # --- within --------------------------------------------------------------------------------------------------

    def _drain(self) -> None:
        if self._busy:
            return
        self._busy = True
        situation: Situation | None = None
        try:
            for _ in range(MOST_TURNS):
                if not self._line or self._core.stopped:
                    return
                what, case = self._line.popleft()
                if situation is None:
                    situation = self._now()
                wanted = self._seat.told(what, situation)
                if any(isinstance(each, Order) for each in wanted):
                    situation = None  # until then nothing of the host changes at this instant
                self._do(wanted, case)
        finally:
            self._busy = False
        self._on_circle("the seat does not come to an end")

    def _do(self, wanted: Sequence[Wanted], case: CaseId | None) -> None:
        for at, each in enumerate(wanted):
            match each:
                case Order():
                    self._order(each, _case_of(wanted[at:], case))
                case Alarm(alarm, at_ms):
                    self._core.at_ms(at_ms, partial(self.tell, TimePassed(alarm), case))
                case Entry():
                    self._door.progress(each)
                case never:
                    assert_never(never)

    def _order(self, order: Order, case: CaseId | None) -> None:
        """Carries one order out. The seat hears its result first, then which domains ended by it."""
        self._after_order = []
        result = self._carrier.carry_out(order.step, Context(case), lambda end: self._ended(order, end, case))
        gone, self._after_order = self._after_order, None
        self._core.tell(Carried(self._core.now_ns, Caller.SEAT, order, result))
        self._line.append((StepEnded(order.id, result), case))
        self._line.extend(gone)

    def _ended(self, order: Order, result: Result, case: CaseId | None) -> None:
        self._core.tell(Carried(self._core.now_ns, Caller.SEAT, order, result))
        self.tell(StepEnded(order.id, result), case)


def _case_of(following: Sequence[Wanted], otherwise: CaseId | None) -> CaseId | None:
    """The case that an order is for: that of the entry which speaks of it, as entries come after their orders."""
    return next((each.case for each in following if isinstance(each, Entry)), otherwise)
