"""What the hardware signals to the software that runs on it, as values.

An interrupt is never delivered inside the call that caused it: it is an event of the machine's clock, so that whoever
handles it sees a machine at rest. What cannot wait has happened already by then: a CPU that took a machine check runs
nothing more until it returns from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from ringfence.world.identities import CpuId


@dataclass(frozen=True, slots=True)
class MachineCheck:
    """#MC, vector 18. ``cpus`` are in the handler with MCIP set, the first of them is the one that was hit, if any was.

    A broadcast (``local`` False) gathers all online CPUs: ``absent`` are those that did not come before the rendezvous
    timed out. ``local``: LMCE on Intel, every #MC on AMD (SDM vol. 3B 17.3.1.5, APM vol. 2 9.3.1.2).
    """

    cpus: tuple[CpuId, ...]
    local: bool
    absent: tuple[CpuId, ...] = ()


@dataclass(frozen=True, slots=True)
class Cmci:
    """Intel's corrected machine check interrupt, on every online CPU that shares the bank (SDM vol. 3B 17.5).

    The number of the bank is for traces: hardware does not give it, a handler scans the banks that it owns.
    """

    cpus: tuple[CpuId, ...]
    bank: int


@dataclass(frozen=True, slots=True)
class ThresholdInterrupt:
    """AMD's error threshold interrupt: MCA_MISC0.ErrCnt has overflowed (APM vol. 2 9.3.3). ``bank`` as in ``Cmci``."""

    cpu: CpuId
    bank: int


@dataclass(frozen=True, slots=True)
class DeferredInterrupt:
    """AMD's deferred error interrupt (PPR 55898, MCA_CONFIG.DeferredIntType). ``bank`` as in ``Cmci``."""

    cpu: CpuId
    bank: int


Interrupt = MachineCheck | Cmci | ThresholdInterrupt | DeferredInterrupt


class InterruptSink(Protocol):
    """The software that the machine runs: what it does on interrupts."""

    def interrupt(self, signal: Interrupt) -> None:
        """An interrupt has arrived. Called from the clock; may use the machine's whole interface."""

    def shut_down(self, cpu: CpuId, why: str) -> None:
        """The processor entered the shutdown state: nothing runs any more but a reset."""
