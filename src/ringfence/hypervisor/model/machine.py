"""The machine: processors, memory, banks and clock as one, and what software can do with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Final, assert_never

from ringfence.hypervisor.model import faults
from ringfence.hypervisor.model.clock import HOUR, SECOND, Clock
from ringfence.hypervisor.model.interrupts import Interrupt, InterruptSink
from ringfence.hypervisor.model.memory import Found, Health, Line
from ringfence.hypervisor.model.memory_controller import MemoryController
from ringfence.hypervisor.model.memory_map import MemoryMap, line_of, lines_of
from ringfence.hypervisor.model.processors import CpuState, LogicalCpu, Processors, Rendezvous
from ringfence.hypervisor.model.reporting import LoggedError, Reporter
from ringfence.hypervisor.model.templates import Kind, Platform, Sighting, Template
from ringfence.hypervisor.model.topology import Topology
from ringfence.world.identities import CpuId, Frame, PhysAddr, SocketId

__all__ = ["Access", "CpuState", "LoggedError", "Machine", "Patrol", "Settings", "State"]

TSC_PER_NS: Final = 2
"""The time stamp counter runs at 2 GHz."""


class Patrol(StrEnum):
    """How the platform's firmware set the patrol scrubber to signal an uncorrected error (Intel with SER_P only).

    On a platform that cannot do it, ``MACHINE_CHECK`` holds: see ``Platform.patrol_by_cmci``.
    """

    MACHINE_CHECK = "SRAO by #MC"
    CMCI = "SRAO by CMCI (S=0)"
    AS_CORRECTED = "as if corrected (UC=0)"


class State(StrEnum):
    """Of the machine."""

    ON = "on"
    SHUT_DOWN = "shut down"


class Access(StrEnum):
    """How an access to memory ended."""

    DONE = "done"
    MACHINE_CHECK = "machine check"
    """The access did not complete: #MC is on its way, the CPU (or all CPUs) execute nothing until it was handled."""
    POISONED = "poisoned"
    """A device got the data marked as poison (DMA only): no bank logs that."""
    NOT_RUNNING = "not running"
    """The CPU was offline, stuck, in a machine check, or the machine shut down: nothing happened."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a machine is built as, and how its firmware set it up.

    ``memory_bytes``: of each socket, a multiple of 1 GiB. Physical memory starts at 0; the GiB below 4 GiB belongs to
    devices, and what memory it hides goes on above (``memory_map.MemoryMap``: which addresses are memory, where on
    which DIMM).
    ``patrol_pass_ns``: how long the patrol scrubber takes to visit all memory once; 0 switches it off.
    ``rendezvous_ns``: how long a broadcast #MC takes at least to gather all CPUs, at most twice that;
    ``rendezvous_timeout_ns``: how long it waits if some do not come.
    """

    platform: Platform
    topology: Topology = field(default_factory=Topology)
    memory_bytes: int = 16 << 30
    patrol: Patrol = Patrol.MACHINE_CHECK
    patrol_pass_ns: int = 24 * HOUR
    rendezvous_ns: int = 20_000
    rendezvous_timeout_ns: int = SECOND


class Machine:
    """A machine that is switched on; its firmware has run, no operating system has.

    MCi_CTL, MCi_CTL2 and CR4.MCE are zero as after any reset; ``start_up.enable_machine_check`` does what a kernel
    does about that.
    """

    def __init__(self, settings: Settings, *, clock: Clock, random: Random, sink: InterruptSink | None = None) -> None:
        self.settings: Final = settings
        self.clock: Final = clock
        self.memory_map: Final = MemoryMap(settings.topology.sockets, settings.memory_bytes, settings.platform.channels)
        self._processors = Processors(
            settings.platform,
            settings.topology,
            clock=clock,
            random=random,
            rendezvous=Rendezvous(settings.rendezvous_ns, settings.rendezvous_timeout_ns),
        )
        self._processors.sink = sink
        self._reporter = Reporter(settings.platform, self._processors, clock)
        self._controller = MemoryController(settings.platform, settings.topology, self.memory_map, self._reporter)
        self._controller.start_patrol(clock, settings.patrol_pass_ns, _patrol_template(settings))
        self._reset_ns = clock.now_ns

    def connect(self, sink: InterruptSink) -> None:
        """Gives the machine its software."""
        self._processors.sink = sink

    # What software can do --------------------------------------------------------------------------------------------

    def rdmsr(self, cpu: CpuId, msr: int) -> int:
        """Reads an MSR (numbers in ``arch.msrs``). Raises GeneralProtection as the processor would."""
        return self._cpu(cpu).registers.rdmsr(msr)

    def reading(self, cpu: CpuId) -> Callable[[int], int]:
        """``rdmsr`` on one CPU, for who reads many."""
        return self._cpu(cpu).registers.rdmsr

    def wrmsr(self, cpu: CpuId, msr: int, value: int) -> None:
        """Writes an MSR. Raises GeneralProtection as the processor would, and then nothing has changed."""
        self._cpu(cpu).registers.wrmsr(msr, value)

    def set_cr4_mce(self, cpu: CpuId, enabled: bool) -> None:
        """CR4.MCE: without it a #MC shuts the processor down (SDM vol. 3A 2.5)."""
        self._cpu(cpu).cr4_mce = enabled

    def load(self, cpu: CpuId, addr: PhysAddr) -> Access:
        """A data load by a program on ``cpu``. Raises ValueError if ``addr`` is not memory (as all accesses do)."""
        return self._consume(cpu, addr, Kind.DATA_LOAD)

    def fetch(self, cpu: CpuId, addr: PhysAddr) -> Access:
        """An instruction fetch by ``cpu``."""
        return self._consume(cpu, addr, Kind.INSTRUCTION_FETCH)

    def store(self, cpu: CpuId, addr: PhysAddr, *, whole_line: bool = False) -> Access:
        """A store. One of the whole line clears its poison (MOVDIR64B, non-temporal stores).

        A smaller one reads the line first, so that what is latent is found, and leaves the poison: a store consumes
        nothing.
        """
        line = self._line(addr)
        if not self._runs(cpu):
            return Access.NOT_RUNNING
        if whole_line:
            self._controller.write(line)
        else:
            self._controller.read(line, cpu)
        return self._ended(cpu)

    def read_frame(self, cpu: CpuId, frame: Frame) -> Access:
        """Loads every line of a page, as a copy, a save or a migration does; ends at the first machine check."""
        for line in lines_of(frame):
            if (ended := self.load(cpu, line)) is not Access.DONE:
                return ended
        return Access.DONE

    def clear_frame(self, cpu: CpuId, frame: Frame) -> Access:
        """Stores every line of a page whole."""
        for line in lines_of(frame):
            if (ended := self.store(cpu, line, whole_line=True)) is not Access.DONE:
                return ended
        return Access.DONE

    def dma_read(self, addr: PhysAddr) -> Access:
        """A device reads a line: finds what is latent there, consumes nothing."""
        line = self._line(addr)
        if self._processors.shut_down:
            return Access.NOT_RUNNING
        found = self._controller.read(line, self._first_of(self.memory_map.locate(line).socket))
        bad = found in {Found.UNCORRECTED, Found.POISON}
        return Access.POISONED if bad and self.settings.platform.poisons else Access.DONE

    def leave_machine_check(self, cpu: CpuId) -> None:
        """IRET from the handler: the CPU runs again. MCIP stays as the handler left it: it must have cleared it.

        Raises ValueError if the CPU is not in the handler.
        """
        found = self._cpu(cpu)
        if found.state is not CpuState.IN_MACHINE_CHECK:
            raise ValueError(f"CPU {cpu} is {found.state.value}")
        found.state = CpuState.RUNNING

    def offline(self, cpu: CpuId) -> None:
        """Takes a CPU out of use: it executes nothing and takes no part in a rendezvous.

        Raises ValueError for CPU 0, and for one that is in a machine check.
        """
        found = self._cpu(cpu)
        if cpu == 0 or found.state is CpuState.IN_MACHINE_CHECK:
            raise ValueError(f"CPU {cpu} ({found.state.value}) cannot go offline")
        found.state = CpuState.OFFLINE

    def online(self, cpu: CpuId) -> None:
        """Brings a CPU back; of one that is not offline nothing changes."""
        found = self._cpu(cpu)
        if found.state is CpuState.OFFLINE:
            found.state = CpuState.RUNNING

    def tsc(self) -> int:
        """The time stamp counter, the same on all CPUs; zero at the last reset."""
        return (self.clock.now_ns - self._reset_ns) * TSC_PER_NS

    # What can be seen from outside -----------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Whether it runs."""
        return State.SHUT_DOWN if self._processors.shut_down else State.ON

    def cpu_state(self, cpu: CpuId) -> CpuState:
        """What a CPU does."""
        return self._cpu(cpu).state

    def health(self, addr: PhysAddr) -> Health | None:
        """What is wrong with the line at an address, None if nothing is."""
        return self._controller.health(self._line(addr))

    @property
    def trace(self) -> tuple[LoggedError | Interrupt, ...]:
        """What the hardware logged and signalled, oldest first; the last ``reporting.TRACE_ITEMS`` of it."""
        return tuple(self._reporter.trace)

    # What happens to it ----------------------------------------------------------------------------------------------

    def inject(self, fault: faults.Fault) -> tuple[LoggedError, ...]:
        """Puts a fault in. Returns what the banks were handed at once (nothing for a latent one).

        Raises ValueError for an address, CPU or socket that the machine does not have. A fault of a CPU that is not
        running, or of a machine that is shut down, shows nothing.
        """
        if self._processors.shut_down:
            return ()
        logged = self._reporter.collect()
        self._put_in(fault)
        return tuple(logged)

    def warm_reset(self) -> None:
        """RESET# at power good, triple fault: banks keep what they logged, all else starts anew.

        Poison that stands in memory stays; time goes on; the sink is kept and is not told: it caused the reset.
        """
        self._reset(cold=False)

    def cold_reset(self) -> None:
        """Power off and on: banks are clear, transient faults of memory are gone, broken cells are still broken."""
        self._reset(cold=True)

    # Inside ----------------------------------------------------------------------------------------------------------

    def _cpu(self, cpu: CpuId) -> LogicalCpu:
        cpus = self._processors.cpus
        if cpu not in cpus:
            raise ValueError(f"no CPU {cpu}: the machine has {len(cpus)}")
        return cpus[cpu]

    def _first_of(self, socket: SocketId) -> CpuId:
        if not 0 <= socket < self.settings.topology.sockets:
            raise ValueError(f"no socket {socket}: the machine has {self.settings.topology.sockets}")
        return self.settings.topology.of_socket(socket)[0]

    def _line(self, addr: PhysAddr) -> PhysAddr:
        if not self.memory_map.is_memory(addr):
            raise ValueError(f"{addr:#x} is not memory")
        return line_of(addr)

    def _runs(self, cpu: CpuId) -> bool:
        return not self._processors.shut_down and self._cpu(cpu).state is CpuState.RUNNING

    def _ended(self, cpu: CpuId) -> Access:
        return Access.DONE if self._runs(cpu) else Access.MACHINE_CHECK

    def _consume(self, cpu: CpuId, addr: PhysAddr, kind: Kind) -> Access:
        line = self._line(addr)
        if not self._runs(cpu):
            return Access.NOT_RUNNING
        found = self._controller.read(line, cpu)
        if found in {Found.UNCORRECTED, Found.POISON} and self.settings.platform.poisons and self._runs(cpu):
            self._reporter.report(kind, self._controller.sighting(line), cpu)
        return self._ended(cpu)

    def _put_in(self, fault: faults.Fault) -> None:
        match fault:
            case faults.Correctable():
                self._controller.spoil(
                    self._line(fault.addr), Line(Health.CORRECTABLE, fault.stuck, fault.device, fault.bits)
                )
            case faults.Uncorrectable():
                self._controller.spoil(self._line(fault.addr), Line(Health.LATENT, fault.permanent))
            case faults.ConsumedData():
                self._controller.spoil(self._line(fault.addr), Line(Health.LATENT))
                self.load(fault.cpu, fault.addr)
            case faults.ConsumedInstruction():
                self._controller.spoil(self._line(fault.addr), Line(Health.LATENT))
                self.fetch(fault.cpu, fault.addr)
            case faults.Storm():
                self._controller.spoil(self._line(fault.addr), Line(Health.CORRECTABLE, lasting=True))
                self._storm(fault, fault.count, self._reset_ns)
            case faults.SpuriousMachineCheck():
                self._reporter.machine_check(None if self.settings.platform.broadcasts else CpuId(0), None)
            case faults.Stuck():
                self._cpu(fault.cpu).state = CpuState.STUCK
            case _:
                self._put_into_unit(fault)

    def _put_into_unit(self, fault: faults.UnitFault) -> None:
        """A fault of a unit shows at once, if the CPU near it runs."""
        seen = Sighting()
        match fault:
            case faults.Unlocated():
                kind, cpu = Kind.UNLOCATED, self._first_of(fault.socket)
            case faults.InterconnectCorrected():
                kind, cpu = Kind.LINK_CORRECTED, self._first_of(fault.socket)
            case faults.InterconnectUncorrected():
                kind, cpu = Kind.LINK_UNCORRECTED, self._first_of(fault.socket)
            case faults.ContextCorrupt():
                kind, cpu = Kind.CONTEXT_CORRUPT, fault.cpu
            case faults.CacheUncorrected():
                kind, cpu = Kind.CACHE_UNCORRECTED, fault.cpu
            case faults.CacheCorrected():
                kind, cpu = Kind.CACHE_CORRECTED, fault.cpu
                seen = self._controller.sighting(self._line(fault.addr))
            case faults.CacheWriteback():
                kind, cpu = Kind.CACHE_WRITEBACK, fault.cpu
                line = self._line(fault.addr)
                seen = self._controller.sighting(line)
                if self._runs(cpu):
                    poisons = self.settings.platform.poisons
                    self._controller.spoil(line, Line(Health.POISON if poisons else Health.LATENT))
            case _:
                assert_never(fault)
        if kind not in _OF_CPUS or self._runs(cpu):
            self._reporter.report(kind, seen, cpu)

    def _storm(self, fault: faults.Storm, left: int, since_ns: int) -> None:
        """One read of a storm; the program that reads ends with the machine's run."""
        if left <= 0 or since_ns != self._reset_ns or self._processors.shut_down:
            return
        self.load(fault.cpu, fault.addr)
        self.clock.after(fault.interval_ns, lambda: self._storm(fault, left - 1, since_ns))

    def _reset(self, *, cold: bool) -> None:
        self._processors.reset(cold=cold)
        self._reset_ns = self.clock.now_ns
        self._controller.restart(power_was_off=cold)


_OF_CPUS: Final = frozenset({Kind.CONTEXT_CORRUPT, Kind.CACHE_UNCORRECTED, Kind.CACHE_CORRECTED, Kind.CACHE_WRITEBACK})
"""Errors that need a CPU which runs; those of a socket need none."""


def _patrol_template(settings: Settings) -> Template | None:
    match settings.patrol:
        case Patrol.MACHINE_CHECK:
            return None
        case Patrol.CMCI:
            return settings.platform.patrol_by_cmci
        case Patrol.AS_CORRECTED:
            return settings.platform.patrol_as_corrected
