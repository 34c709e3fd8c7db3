"""The memory controllers of all sockets: reads, writes and patrol scrubbing, and what they report of them."""

from __future__ import annotations

from ringfence.hypervisor.model.clock import Clock
from ringfence.hypervisor.model.memory import Found, Health, Line, Memory
from ringfence.hypervisor.model.memory_map import MemoryMap
from ringfence.hypervisor.model.reporting import Reporter
from ringfence.hypervisor.model.scrubber import PatrolScrubber
from ringfence.hypervisor.model.templates import Kind, Platform, Sighting, Template
from ringfence.hypervisor.model.topology import Topology
from ringfence.world.identities import CpuId, PhysAddr


class MemoryController:
    """All of them as one. Lines are given by the address of their first byte."""

    def __init__(self, platform: Platform, topology: Topology, memory_map: MemoryMap, reporter: Reporter) -> None:
        self._platform = platform
        self._topology = topology
        self._map = memory_map
        self._reporter = reporter
        self._memory = Memory()
        self._scrubber: PatrolScrubber | None = None
        self._patrol_template: Template | None = None

    def start_patrol(self, clock: Clock, pass_ns: int, template: Template | None) -> None:
        """Firmware sets the patrol scrubber up. ``template``: how it signals an uncorrected error (None: as usual)."""
        self._scrubber = PatrolScrubber(clock, self._map, pass_ns, self._scrub)
        self._patrol_template = template

    def health(self, line: PhysAddr) -> Health | None:
        """What is wrong with a line."""
        wrong = self._memory.at(line)
        return None if wrong is None else wrong.health

    def sighting(self, line: PhysAddr, wrong: Line | None = None) -> Sighting:
        """What a unit can tell of an error in a line."""
        return Sighting(
            addr=line,
            place=self._map.locate(line),
            normalised=self._map.normalised(line),
            device=0 if wrong is None else wrong.device,
            syndrome=0 if wrong is None else wrong.syndrome,
        )

    def spoil(self, line: PhysAddr, state: Line) -> None:
        """Something goes wrong with a line."""
        self._memory.spoil(line, state)
        self._watch(line)

    def read(self, line: PhysAddr, cpu: CpuId) -> Found:
        """Reads a line for ``cpu`` (or a device near it) and reports what is found for the first time.

        Where nothing is marked as poison, bad data reaches ``cpu`` at once, and the machine check is about it.
        """
        reading = self._memory.read(line)
        found = reading.found
        if found is Found.POISON and not self._platform.poisons:
            found = Found.UNCORRECTED  # nothing marks the data: every read meets the error itself
        if found is Found.CORRECTED:
            self._reporter.report(Kind.READ_CORRECTED, self.sighting(line, reading.line), self._near(line, cpu))
        elif found is Found.UNCORRECTED:
            hit = None if self._platform.poisons else cpu
            seen = self.sighting(line, reading.line)
            self._reporter.report(Kind.READ_UNCORRECTED, seen, self._near(line, cpu), hit=hit)
        return found

    def write(self, line: PhysAddr) -> None:
        """Writes a whole line."""
        self._memory.write(line)
        self._watch(line)

    def restart(self, *, power_was_off: bool) -> None:
        """After a reset."""
        if power_was_off:
            self._memory.power_off()
        if self._scrubber is not None:
            self._scrubber.restart()
        for line in self._memory.bad_lines:
            self._watch(line)

    def _near(self, line: PhysAddr, cpu: CpuId) -> CpuId:
        """A CPU of the socket whose memory this is: ``cpu`` if it is one."""
        socket = self._map.locate(line).socket
        return cpu if self._topology.place(cpu).socket == socket else self._topology.of_socket(socket)[0]

    def _is_to_be_found(self, line: PhysAddr) -> bool:
        return self.health(line) not in {None, Health.POISON}

    def _watch(self, line: PhysAddr) -> None:
        if self._scrubber is not None and self._is_to_be_found(line):
            self._scrubber.watch(line)

    def _scrub(self, line: PhysAddr) -> bool:
        """The patrol scrubber comes by; whether it has to come again."""
        if self._reporter.is_shut_down:
            return True
        reading = self._memory.read(line)
        seen = self.sighting(line, reading.line)
        cpu = self._topology.of_socket(self._map.locate(line).socket)[0]
        if reading.found is Found.CORRECTED:
            self._reporter.report(Kind.SCRUB_CORRECTED, seen, cpu)
        elif reading.found is Found.UNCORRECTED:
            self._reporter.report(Kind.SCRUB_UNCORRECTED, seen, cpu, instead=self._patrol_template)
        return self._is_to_be_found(line)
