"""The patrol scrubber: it visits every line of memory once in each pass, on the clock.

Sockets scrub at the same time, each from its lowest line up. A walk over good lines shows nothing, so only the visits
to lines that are not good are put on the clock, each at the very instant at which the walk comes by.
"""

from __future__ import annotations

from collections.abc import Callable

from ringfence.hypervisor.model.clock import Clock, Ticket
from ringfence.hypervisor.model.memory_map import MemoryMap
from ringfence.world.identities import PhysAddr

Visit = Callable[[PhysAddr], bool]
"""What happens when a line is visited; whether the next pass shall visit it again."""


class PatrolScrubber:
    """``pass_ns`` is how long one pass takes; 0: there is no patrol scrubbing."""

    def __init__(self, clock: Clock, memory: MemoryMap, pass_ns: int, visit: Visit) -> None:
        self._clock = clock
        self._memory = memory
        self._pass_ns = pass_ns
        self._visit = visit
        self._started_ns = clock.now_ns
        self._tickets: dict[PhysAddr, Ticket] = {}

    def watch(self, line: PhysAddr) -> None:
        """Something is wrong with this line: the scrubber will find it when it comes by."""
        if self._pass_ns and line not in self._tickets:
            self._tickets[line] = self._clock.at(self.next_visit_ns(line), lambda: self._come_by(line))

    def next_visit_ns(self, line: PhysAddr) -> int:
        """The next instant at which the walk reaches a line. Raises ValueError without patrol scrubbing."""
        if not self._pass_ns:
            raise ValueError("patrol scrubbing is switched off")
        of_socket = self._memory.offset(line) % self._memory.bytes_of_socket
        into_pass_ns = of_socket * self._pass_ns // self._memory.bytes_of_socket
        passes = (self._clock.now_ns - self._started_ns - into_pass_ns) // self._pass_ns + 1
        return self._started_ns + passes * self._pass_ns + into_pass_ns

    def restart(self) -> None:
        """After a reset the walk begins anew, at the lowest line."""
        lines = tuple(self._tickets)
        for ticket in self._tickets.values():
            self._clock.cancel(ticket)
        self._tickets.clear()
        self._started_ns = self._clock.now_ns
        for line in lines:
            self.watch(line)

    def _come_by(self, line: PhysAddr) -> None:
        del self._tickets[line]
        if self._visit(line):
            self.watch(line)
