"""The processors: the state of each logical CPU, its registers, and how interrupts reach it.

A broadcast #MC stops every online CPU at once and then waits for all to come to the rendezvous; the software is told
when all are there, or when the wait has timed out and the stuck ones are given up (SDM vol. 3B 17.10.4.1 leaves the
rendezvous to software; its gathering is in the hardware's part here, so that every software meets the same one).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from ringfence.arch.mcg import EIPV, LMCE_S, MCIP, RIPV
from ringfence.hypervisor.model.banks import Bank
from ringfence.hypervisor.model.clock import Clock
from ringfence.hypervisor.model.interrupts import Interrupt, InterruptSink, MachineCheck
from ringfence.hypervisor.model.register_file import RegisterFile
from ringfence.hypervisor.model.templates import Platform, Scope
from ringfence.hypervisor.model.topology import Place, Topology
from ringfence.world.identities import CpuId


class CpuState(StrEnum):
    """What a logical CPU does."""

    RUNNING = "running"
    IN_MACHINE_CHECK = "in the machine-check handler"
    STUCK = "stuck"
    OFFLINE = "offline"


@dataclass(slots=True)
class LogicalCpu:
    """One logical CPU."""

    registers: RegisterFile
    state: CpuState = CpuState.RUNNING
    cr4_mce: bool = False

    @property
    def takes_machine_checks(self) -> bool:
        """Whether a #MC would be fine: CR4.MCE is set and no other one is in progress."""
        return self.cr4_mce and not MCIP.of(self.registers.mcg_status)


@dataclass(frozen=True, slots=True)
class Rendezvous:
    """``gather_ns``: how long it takes at least, at most twice that; ``timeout_ns``: how long it waits in vain."""

    gather_ns: int
    timeout_ns: int


class Processors:
    """All logical CPUs of a machine."""

    def __init__(
        self, platform: Platform, topology: Topology, *, clock: Clock, random: Random, rendezvous: Rendezvous
    ) -> None:
        self._platform = platform
        self._topology = topology
        self._clock = clock
        self._random = random
        self._rendezvous = rendezvous
        self._generation = 0
        self.sink: InterruptSink | None = None
        self.shut_down = False
        self.on_interrupt: Callable[[Interrupt], None] = lambda _signal: None
        banks: dict[tuple[int, ...], Bank] = {}
        self._sharers: dict[int, list[CpuId]] = {}
        self.cpus: Mapping[CpuId, LogicalCpu] = {
            cpu: LogicalCpu(
                RegisterFile(scheme=platform.scheme, mcg_cap=platform.mcg_cap, banks=self._banks_of(cpu, banks))
            )
            for cpu in topology.cpus
        }
        self._banks = tuple(banks.values())

    def _banks_of(self, cpu: CpuId, built: dict[tuple[int, ...], Bank]) -> dict[int, Bank]:
        place = self._topology.place(cpu)
        reached: dict[int, Bank] = {}
        for number, spec in self._platform.banks.items():
            key = _owner(spec.scope, place)
            if key is None:
                continue
            key = (number, *key)
            if key not in built:
                built[key] = Bank(spec.rules)
            reached[number] = built[key]
            self._sharers.setdefault(id(built[key]), []).append(cpu)
        return reached

    def sharers(self, bank: Bank) -> tuple[CpuId, ...]:
        """The CPUs that reach a bank."""
        return tuple(self._sharers[id(bank)])

    def reaching(self, cpu: CpuId, number: int) -> tuple[Bank, CpuId]:
        """The bank in which a unit near ``cpu`` logs, and the CPU that reaches it: ``cpu``, or its socket's first."""
        if number not in self.cpus[cpu].registers.banks:
            cpu = self._topology.of_socket(self._topology.place(cpu).socket)[0]
        return self.cpus[cpu].registers.banks[number], cpu

    def online(self, cpus: tuple[CpuId, ...]) -> tuple[CpuId, ...]:
        """Those of ``cpus`` that are not offline."""
        return tuple(cpu for cpu in cpus if self.cpus[cpu].state is not CpuState.OFFLINE)

    def signal(self, interrupt: Interrupt, *, delay_ns: int = 0) -> None:
        """Tells the software, from the clock; not if the machine was reset or shut down in the meantime."""
        generation = self._generation
        self.on_interrupt(interrupt)

        def deliver() -> None:
            if generation == self._generation and not self.shut_down and self.sink is not None:
                self.sink.interrupt(interrupt)

        self._clock.after(delay_ns, deliver)

    def machine_check(self, victim: CpuId | None, *, restart: int, local: bool) -> None:
        """#MC. ``restart``: RIPV and EIPV of the victim's MCG_STATUS; all others go on where they were (RIPV).

        A target that cannot take it shuts the machine down (SDM vol. 3A 7.15, interrupt 18; vol. 3B 17.3.1.2).
        """
        targets = self.online(self._topology.cpus) if victim is None or not local else (victim,)
        coming = [cpu for cpu in targets if self.cpus[cpu].state is not CpuState.STUCK]
        absent = tuple(cpu for cpu in targets if self.cpus[cpu].state is CpuState.STUCK)
        for cpu in coming:
            if not self.cpus[cpu].takes_machine_checks:
                why = "MCIP is set" if self.cpus[cpu].cr4_mce else "CR4.MCE is clear"
                self._shut_down(cpu, f"#MC while {why}")
                return
        if victim in coming:
            coming.remove(victim)
            coming.insert(0, victim)
        for cpu in coming:
            mine = restart if cpu == victim else RIPV.mask
            lmce = LMCE_S.mask if local and self._platform.broadcasts else 0
            self.cpus[cpu].registers.mcg_status = MCIP.mask | mine | lmce
            self.cpus[cpu].state = CpuState.IN_MACHINE_CHECK
        if not coming:
            return
        self.signal(MachineCheck(tuple(coming), local, absent), delay_ns=self._gathering_ns(local, bool(absent)))

    def _gathering_ns(self, local: bool, waits_in_vain: bool) -> int:
        if local:
            return 0
        if waits_in_vain:
            return self._rendezvous.timeout_ns
        return self._rendezvous.gather_ns + self._random.randrange(self._rendezvous.gather_ns + 1)

    def _shut_down(self, cpu: CpuId, why: str) -> None:
        self.shut_down = True
        generation = self._generation

        def tell() -> None:
            if generation == self._generation and self.sink is not None:
                self.sink.shut_down(cpu, why)

        self._clock.after(0, tell)

    def reset(self, *, cold: bool) -> None:
        """All CPUs start anew; interrupts that were on their way are gone. Banks keep their errors unless ``cold``."""
        self._generation += 1
        self.shut_down = False
        for bank in self._banks:
            if cold:
                bank.cold_reset()
            else:
                bank.warm_reset()
        for cpu in self.cpus.values():
            cpu.registers.reset()
            cpu.state = CpuState.RUNNING
            cpu.cr4_mce = False


CONTEXT_LOST = 0
"""``restart`` of a victim that cannot go on."""
RESTARTABLE = RIPV.mask
"""``restart`` where the saved instruction can be restarted and has nothing to do with the error, as far as is told."""
AT_THE_INSTRUCTION = RIPV.mask | EIPV.mask
"""``restart`` where the saved instruction is the one that consumed the error."""


def _owner(scope: Scope, place: Place) -> tuple[int, ...] | None:
    """What tells a CPU's bank from others of the same number; None if the CPU does not reach it."""
    match scope:
        case Scope.THREAD:
            return (place.socket, place.core, place.thread)
        case Scope.CORE:
            return (place.socket, place.core)
        case Scope.SOCKET:
            return (place.socket,)
        case Scope.NODE_BASE:
            return (place.socket,) if (place.core, place.thread) == (0, 0) else None
