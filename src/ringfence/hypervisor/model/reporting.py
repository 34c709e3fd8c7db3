"""From a detected error to what is latched and signalled: the path that every error in the machine takes."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

from ringfence.arch.mci_status import PCC, VAL
from ringfence.hypervisor.model.banks import Bank, Signal
from ringfence.hypervisor.model.clock import Clock, Nanoseconds
from ringfence.hypervisor.model.interrupts import Cmci, DeferredInterrupt, Interrupt, ThresholdInterrupt
from ringfence.hypervisor.model.processors import AT_THE_INSTRUCTION, CONTEXT_LOST, RESTARTABLE, Processors
from ringfence.hypervisor.model.templates import Kind, Meant, Platform, Sighting, Template
from ringfence.quick import quick
from ringfence.world.identities import CpuId, PhysAddr

TRACE_ITEMS: Final = 10_000
"""What the trace keeps: some minutes of a storm, a few megabytes."""

COLLECTED_ITEMS: Final = 16
"""One fault is reported by a handful of units at most."""

CONSUMPTIONS: Final = frozenset({Kind.DATA_LOAD, Kind.INSTRUCTION_FETCH})
_OF_A_CPU: Final = CONSUMPTIONS | {Kind.CONTEXT_CORRUPT}


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedError:
    """What the hardware did with one error: for traces and tests, software cannot see it.

    ``cpus``: those that can read the bank. ``status``: as the unit handed it to the bank. ``kept``: False if an earlier
    error stayed in the bank instead.
    """

    at_ns: Nanoseconds
    kind: Kind
    cpus: tuple[CpuId, ...]
    bank: int
    status: int
    addr: PhysAddr | None
    meant: Meant
    kept: bool


class Reporter:
    """Latches errors in banks and raises what they ask for."""

    def __init__(self, platform: Platform, processors: Processors, clock: Clock) -> None:
        self._platform = platform
        self._processors = processors
        self._clock = clock
        self.trace: deque[LoggedError | Interrupt] = deque(maxlen=TRACE_ITEMS)
        self._collected: deque[LoggedError] = deque(maxlen=COLLECTED_ITEMS)
        processors.on_interrupt = self.trace.append

    @property
    def is_shut_down(self) -> bool:
        """Whether the machine has stopped: then nothing is reported any more."""
        return self._processors.shut_down

    def collect(self) -> deque[LoggedError]:
        """A queue into which everything reported from now on goes, until the next call."""
        self._collected = deque(maxlen=COLLECTED_ITEMS)
        return self._collected

    def report(
        self, kind: Kind, seen: Sighting, cpu: CpuId, *, instead: Template | None = None, hit: CpuId | None = None
    ) -> LoggedError:
        """An error of this kind was detected by, or near, ``cpu``.

        ``instead``: not the platform's usual template. ``hit``: the CPU that a #MC is about, if that is another.
        """
        template = instead or self._platform.templates[kind]
        number = template.bank(seen)
        bank, reader = self._processors.reaching(cpu, number)
        detected = template.detected(seen)
        latched = bank.log(detected)
        logged = LoggedError(
            at_ns=self._clock.now_ns,
            kind=kind,
            cpus=self._processors.sharers(bank),
            bank=number,
            status=detected.status | VAL.mask,
            addr=seen.addr,
            meant=template.meant,
            kept=latched.kept,
        )
        self.trace.append(logged)
        self._collected.append(logged)
        victim = hit if hit is not None else self._victim(kind, template, cpu, reader)
        for signal in sorted(latched.signals, key=_ORDER.index):
            self._raise(signal, bank, number, victim, kind)
        return logged

    def _victim(self, kind: Kind, template: Template, cpu: CpuId, reader: CpuId) -> CpuId | None:
        """Whom a #MC is about: the CPU that was hit; on AMD else the one that owns the bank, on Intel else nobody."""
        if kind in _OF_A_CPU or (PCC.mask & template.status and self._platform.broadcasts):
            return cpu
        return None if self._platform.broadcasts else reader

    def _raise(self, signal: Signal, bank: Bank, number: int, victim: CpuId | None, kind: Kind) -> None:
        sharers = self._processors.online(self._processors.sharers(bank))
        match signal:
            case Signal.MACHINE_CHECK:
                self.machine_check(self._present(victim, sharers), kind)
            case _ if not sharers:
                pass  # nobody is there to be interrupted: the error waits in its bank
            case Signal.CMCI:
                self._processors.signal(Cmci(sharers, number))
            case Signal.THRESHOLD:
                self._processors.signal(ThresholdInterrupt(sharers[0], number))
            case Signal.DEFERRED:
                self._processors.signal(DeferredInterrupt(sharers[0], number))

    def _present(self, victim: CpuId | None, sharers: tuple[CpuId, ...]) -> CpuId | None:
        """The victim, or if that CPU is offline (its socket's first may be) another that takes its part."""
        if victim is None or self._processors.online((victim,)):
            return victim
        if self._platform.broadcasts:
            return None
        return sharers[0] if sharers else CpuId(0)

    def machine_check(self, victim: CpuId | None, kind: Kind | None) -> None:
        """Raises #MC. ``kind`` None: nothing says why."""
        local = victim is not None and self._is_local(victim, kind)
        self._processors.machine_check(victim, restart=self._restart(kind), local=local)

    def _is_local(self, victim: CpuId, kind: Kind | None) -> bool:
        if not self._platform.broadcasts:
            return True
        return kind in CONSUMPTIONS and self._processors.cpus[victim].registers.lmce_enabled

    def _restart(self, kind: Kind | None) -> int:
        match kind:
            case Kind.DATA_LOAD:
                return AT_THE_INSTRUCTION
            case Kind.INSTRUCTION_FETCH:
                return AT_THE_INSTRUCTION if self._platform.eipv_on_fetch else RESTARTABLE
            case None | Kind.SCRUB_UNCORRECTED | Kind.CACHE_WRITEBACK if self._platform.poisons:
                return RESTARTABLE
            case _:
                return CONTEXT_LOST


_ORDER: Final = (Signal.DEFERRED, Signal.THRESHOLD, Signal.CMCI, Signal.MACHINE_CHECK)
"""In which order the signals of one error go out; real parts promise none."""
