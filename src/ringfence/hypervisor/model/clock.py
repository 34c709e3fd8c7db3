"""Simulated time: nanoseconds since the machine was switched on, and the events that are still to come.

Nothing else moves time. Events of the same instant run in the order in which they were put in, so the same run comes
out bit for bit the same; whoever needs chance is handed a ``random.Random`` with its seed.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final, NewType

Nanoseconds = NewType("Nanoseconds", int)
"""An instant (since power-on) or a span of simulated time."""

MICROSECOND: Final = Nanoseconds(1_000)
MILLISECOND: Final = Nanoseconds(1_000_000)
SECOND: Final = Nanoseconds(1_000_000_000)
HOUR: Final = Nanoseconds(3_600 * SECOND)

Ticket = NewType("Ticket", int)
"""Names an event that was put in, to take it out again."""

Action = Callable[[], object]
"""What an event does (what it returns is not looked at); it may put in further events."""


_Due = tuple[Nanoseconds, Ticket, Action]
"""When, and what; no two have one ticket, so that actions are never compared."""


class Clock:
    """The time of one machine, or of several that share it (a migration needs two)."""

    def __init__(self) -> None:
        self.now_ns = Nanoseconds(0)
        """The present instant. Nobody else sets it: an attribute, as everything asks for it all the time."""
        self._due: list[_Due] = []
        self._cancelled: set[Ticket] = set()
        self._pending: set[Ticket] = set()
        self._next = Ticket(0)

    def at(self, when_ns: int, action: Action) -> Ticket:
        """Puts in an event. Raises ValueError for an instant that has passed; the present one is still to come."""
        if when_ns < self.now_ns:
            raise ValueError(f"{when_ns} ns has passed: it is {self.now_ns} ns")
        ticket = self._next
        self._next = Ticket(ticket + 1)
        heapq.heappush(self._due, (Nanoseconds(when_ns), ticket, action))
        self._pending.add(ticket)
        return ticket

    def after(self, delay_ns: int, action: Action) -> Ticket:
        """Puts in an event ``delay_ns`` from now (0: at this instant, after what is already due)."""
        return self.at(self.now_ns + delay_ns, action)

    def cancel(self, ticket: Ticket) -> bool:
        """Takes an event out; False if it has run, or had been taken out before."""
        if ticket not in self._pending:
            return False
        self._pending.discard(ticket)
        self._cancelled.add(ticket)
        return True

    @property
    def next_ns(self) -> Nanoseconds | None:
        """When the next event is due, None if there is none."""
        self._drop_cancelled()
        return self._due[0][0] if self._due else None

    def step(self) -> bool:
        """Goes to the next event and runs it; False if there is none."""
        self._drop_cancelled()
        if not self._due:
            return False
        self.now_ns, ticket, action = heapq.heappop(self._due)
        self._pending.discard(ticket)
        action()
        return True

    def run_until(self, when_ns: int) -> int:
        """Runs all events up to and including ``when_ns``, then it is that instant. Returns how many ran.

        Raises ValueError for an instant that has passed.
        """
        if when_ns < self.now_ns:
            raise ValueError(f"{when_ns} ns has passed: it is {self.now_ns} ns")
        ran = 0
        while (due := self.next_ns) is not None and due <= when_ns:
            self.step()
            ran += 1
        self.now_ns = Nanoseconds(when_ns)
        return ran

    def run_for(self, span_ns: int) -> int:
        """``run_until`` that much later."""
        return self.run_until(self.now_ns + span_ns)

    def settle(self) -> int:
        """Runs what is due at this very instant, and what that puts in for it; time does not move."""
        return self.run_until(self.now_ns)

    def _drop_cancelled(self) -> None:
        while self._cancelled and self._due and self._due[0][1] in self._cancelled:
            self._cancelled.discard(heapq.heappop(self._due)[1])
