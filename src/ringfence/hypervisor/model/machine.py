"""The machine: processors, memory, banks and clock as one, and what software can do with it.

SKELETON: the signatures stand; bodies are being filled in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from ringfence.hypervisor.model.clock import SECOND, Clock, Nanoseconds
from ringfence.hypervisor.model.faults import Fault
from ringfence.hypervisor.model.interrupts import Interrupt, InterruptSink
from ringfence.hypervisor.model.platforms import Meant, Platform
from ringfence.hypervisor.model.topology import Topology
from ringfence.world.identities import CpuId, PhysAddr


class Patrol(StrEnum):
    """How the platform's firmware set the patrol scrubber to signal an uncorrected error (Intel with SER_P only)."""

    MACHINE_CHECK = "SRAO by #MC"
    CMCI = "SRAO by CMCI (S=0)"
    AS_CORRECTED = "as if corrected (UC=0)"


class State(StrEnum):
    """Of the machine."""

    ON = "on"
    SHUT_DOWN = "shut down"


class CpuState(StrEnum):
    """What a logical CPU does."""

    RUNNING = "running"
    IN_MACHINE_CHECK = "in the machine-check handler"
    STUCK = "stuck"
    OFFLINE = "offline"


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
    ``rendezvous_ns``: how long a broadcast #MC takes to gather all CPUs; ``rendezvous_timeout_ns``: how long it waits
    for those that do not come.
    """

    platform: Platform
    topology: Topology = field(default_factory=Topology)
    memory_bytes: int = 16 << 30
    patrol: Patrol = Patrol.MACHINE_CHECK
    patrol_pass_ns: int = 24 * 3600 * SECOND
    rendezvous_ns: int = 20_000
    rendezvous_timeout_ns: int = SECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedError:
    """What the hardware did with one error: for traces and tests, software cannot see it.

    ``cpus``: those that can read the bank. ``kept``: False if an earlier error stayed in the bank instead.
    """

    at_ns: Nanoseconds
    cpus: tuple[CpuId, ...]
    bank: int
    status: int
    addr: PhysAddr | None
    meant: Meant
    kept: bool


class Machine:
    """A machine that is switched on; its firmware has run, no operating system has.

    MCi_CTL, MCi_CTL2 and CR4.MCE are zero as after any reset; ``start_up.enable_machine_check`` does what a kernel
    does about that.
    """

    def __init__(self, settings: Settings, *, clock: Clock, random: Random, sink: InterruptSink | None = None) -> None:
        raise NotImplementedError

    settings: Settings
    clock: Clock

    def connect(self, sink: InterruptSink) -> None:
        """Gives the machine its software."""
        raise NotImplementedError

    # What software can do ------------------------------------------------------------------------------------------

    def rdmsr(self, cpu: CpuId, msr: int) -> int:
        """Reads an MSR (numbers in ``arch.msrs``). Raises GeneralProtection as the processor would."""
        raise NotImplementedError

    def wrmsr(self, cpu: CpuId, msr: int, value: int) -> None:
        """Writes an MSR. Raises GeneralProtection as the processor would, and then nothing has changed."""
        raise NotImplementedError

    def set_cr4_mce(self, cpu: CpuId, enabled: bool) -> None:
        """CR4.MCE: without it a #MC shuts the processor down (SDM vol. 3A 2.5)."""
        raise NotImplementedError

    def load(self, cpu: CpuId, addr: PhysAddr) -> Access:
        """A data load by a program on ``cpu``."""
        raise NotImplementedError

    def fetch(self, cpu: CpuId, addr: PhysAddr) -> Access:
        """An instruction fetch by ``cpu``."""
        raise NotImplementedError

    def store(self, cpu: CpuId, addr: PhysAddr, *, whole_line: bool = False) -> Access:
        """A store. One of the whole line clears its poison (MOVDIR64B, non-temporal stores); a smaller one does not."""
        raise NotImplementedError

    def read_frame(self, cpu: CpuId, frame: int) -> Access:
        """Loads every line of a page, as a copy, a save or a migration does; ends at the first machine check."""
        raise NotImplementedError

    def clear_frame(self, cpu: CpuId, frame: int) -> Access:
        """Stores every line of a page whole."""
        raise NotImplementedError

    def dma_read(self, addr: PhysAddr) -> Access:
        """A device reads a line: finds what is latent there, consumes nothing."""
        raise NotImplementedError

    def leave_machine_check(self, cpu: CpuId) -> None:
        """IRET from the handler: the CPU runs again. MCIP stays as the handler left it: it must have cleared it."""
        raise NotImplementedError

    def offline(self, cpu: CpuId) -> None:
        """Takes a CPU out of use: it executes nothing and takes no part in a rendezvous. Never CPU 0 (ValueError)."""
        raise NotImplementedError

    def online(self, cpu: CpuId) -> None:
        """Brings a CPU back."""
        raise NotImplementedError

    def tsc(self) -> int:
        """The time stamp counter, the same on all CPUs; zero at the last reset."""
        raise NotImplementedError

    # What can be seen from outside -----------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """Whether it runs."""
        raise NotImplementedError

    def cpu_state(self, cpu: CpuId) -> CpuState:
        """What a CPU does."""
        raise NotImplementedError

    @property
    def trace(self) -> tuple[LoggedError | Interrupt, ...]:
        """What the hardware logged and signalled, oldest first; the last ``TRACE_ITEMS`` of it."""
        raise NotImplementedError

    # What happens to it ----------------------------------------------------------------------------------------------

    def inject(self, fault: Fault) -> tuple[LoggedError, ...]:
        """Puts a fault in. Returns what was logged at once (nothing for a latent one)."""
        raise NotImplementedError

    def warm_reset(self) -> None:
        """RESET#, INIT at power good, triple fault: banks keep what they logged, all else starts anew.

        Poison that stands in memory stays; time goes on; the sink is kept and is not told: it caused the reset.
        """
        raise NotImplementedError

    def cold_reset(self) -> None:
        """Power off and on: banks are clear, transient faults of memory are gone, broken cells are still broken."""
        raise NotImplementedError
