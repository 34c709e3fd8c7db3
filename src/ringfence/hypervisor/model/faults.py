"""The faults that can be injected: a closed union, each with what it stands for in a real machine.

A fault is put into the machine, it is not an error yet: what is logged, when and by whom follows from the platform and
from what is then read or scrubbed. Those that name a CPU or a unit show at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.world.identities import CpuId, PhysAddr, SocketId


@dataclass(frozen=True, slots=True, kw_only=True)
class Correctable:
    """A few wrong bits in a line of memory that ECC can correct, found when it is next read or scrubbed.

    ``device`` (DRAM chip of the rank) and ``bits`` (which of its four data lines, a non-zero mask) make the syndrome.
    ``stuck``: a cell is broken and is wrong again at each read; else the next correction heals it (a transient upset).
    """

    addr: PhysAddr
    device: int = 0
    bits: int = 1
    stuck: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncorrectable:
    """More wrong bits in a line than ECC can correct: latent until a read or the patrol scrubber finds it.

    ``permanent``: the line goes bad again after it was written; else a store of the whole line heals it.
    """

    addr: PhysAddr
    permanent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumedData:
    """``cpu`` loads from a line that has just gone bad: ``Uncorrectable`` and a load in one."""

    cpu: CpuId
    addr: PhysAddr


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumedInstruction:
    """``cpu`` fetches an instruction from a line that has just gone bad."""

    cpu: CpuId
    addr: PhysAddr


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextCorrupt:
    """The core's own state is lost (PCC): nothing on this CPU can be trusted any more."""

    cpu: CpuId


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlocated:
    """A memory controller found an uncorrected, unconsumed error and could not log its address (ADDRV=0).

    A memory controller that neither poisons nor defers cannot do this: there it is fatal.
    """

    socket: SocketId


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCorrected:
    """The last-level cache of ``cpu`` corrected an error of its data array."""

    cpu: CpuId
    addr: PhysAddr


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheWriteback:
    """A dirty line went bad in the last-level cache and is written back as poison: memory holds poison from then on."""

    cpu: CpuId
    addr: PhysAddr


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheUncorrected:
    """The last-level cache lost a line's tag or state: what it held, and where, is not known. Fatal."""

    cpu: CpuId


@dataclass(frozen=True, slots=True, kw_only=True)
class InterconnectCorrected:
    """A link between sockets saw a CRC error and retried."""

    socket: SocketId


@dataclass(frozen=True, slots=True, kw_only=True)
class InterconnectUncorrected:
    """A link between sockets failed. Fatal."""

    socket: SocketId


@dataclass(frozen=True, slots=True, kw_only=True)
class SpuriousMachineCheck:
    """A #MC without any bank that says why (a broadcast from outside of the processor: MCERR#)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """``count`` correctable errors of one stuck cell, read by ``cpu`` every ``interval_ns`` from now on.

    Reads that the CPU cannot do at their instant (it is in a machine check) are left out; a reset ends the storm.
    """

    cpu: CpuId
    addr: PhysAddr
    count: int
    interval_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stuck:
    """The CPU hangs: it executes nothing and does not come to a rendezvous (until a reset)."""

    cpu: CpuId


UnitFault = (
    ContextCorrupt
    | Unlocated
    | CacheCorrected
    | CacheWriteback
    | CacheUncorrected
    | InterconnectCorrected
    | InterconnectUncorrected
)
"""Faults that a unit of the machine detects at once."""

Fault = (
    Correctable | Uncorrectable | ConsumedData | ConsumedInstruction | Storm | SpuriousMachineCheck | Stuck | UnitFault
)
"""A second error in a bank that still holds one (overflow) is simply a second fault."""
