"""A machine on the bench: booted, with everything that it signals written down."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TypeVar

from ringfence.arch import msrs
from ringfence.hypervisor.model.banks import Scheme
from ringfence.hypervisor.model.clock import HOUR, Clock
from ringfence.hypervisor.model.interrupts import Interrupt
from ringfence.hypervisor.model.machine import Machine, Patrol, Settings
from ringfence.hypervisor.model.start_up import enable_machine_check
from ringfence.hypervisor.model.templates import Platform
from ringfence.hypervisor.model.topology import Topology
from ringfence.record.evidence import Registers
from ringfence.world.identities import CpuId

T = TypeVar("T", bound=Interrupt)

TOPOLOGY = Topology(sockets=2, cores=2, threads=2)


class Rig:
    """``heard``: interrupts in their order, each with its instant. ``stopped``: why the machine shut down."""

    def __init__(
        self, platform: Platform, *, seed: int = 1, patrol: Patrol = Patrol.MACHINE_CHECK, boot: bool = True
    ) -> None:
        self.clock = Clock()
        self.heard: list[tuple[int, Interrupt]] = []
        self.stopped: list[str] = []
        self.machine = Machine(
            Settings(platform=platform, topology=TOPOLOGY, patrol=patrol, patrol_pass_ns=HOUR),
            clock=self.clock,
            random=Random(seed),
            sink=self,
        )
        if boot:
            self.boot()

    def boot(self, *, threshold: int = 1, local: bool = True, interrupts: bool = True) -> None:
        for cpu in TOPOLOGY.cpus:
            enable_machine_check(self.machine, cpu, threshold=threshold, local=local, interrupts=interrupts)

    def interrupt(self, signal: Interrupt) -> None:
        self.heard.append((self.clock.now_ns, signal))

    def shut_down(self, cpu: CpuId, why: str) -> None:
        self.stopped.append(f"CPU {cpu}: {why}")

    def signals(self, kind: type[T]) -> list[T]:
        return [signal for _, signal in self.heard if isinstance(signal, kind)]

    def handled(self, *cpus: int) -> None:
        """What a handler does at its end: MCG_STATUS is cleared, IRET."""
        for number in cpus:
            self.machine.wrmsr(CpuId(number), msrs.MCG_STATUS, 0)
            self.machine.leave_machine_check(CpuId(number))

    def registers(self, cpu: int, bank: int) -> Registers:
        """One bank as a kernel reads it."""

        def read(msr: int) -> int:
            return self.machine.rdmsr(CpuId(cpu), msr)

        platform = self.machine.settings.platform
        first = msrs.MC0_CTL + msrs.MC_STRIDE * bank
        plain = Registers(
            status=read(first + msrs.Legacy.STATUS),
            addr=read(first + msrs.Legacy.ADDR),
            misc=read(first + msrs.Legacy.MISC),
            mcg_status=read(msrs.MCG_STATUS),
            mcg_cap=read(msrs.MCG_CAP),
        )
        if platform.scheme is not Scheme.SMCA:
            return plain
        base = msrs.SMCA_BANK0 + msrs.SMCA_STRIDE * bank
        return replace(
            plain,
            config=read(base + msrs.Smca.CONFIG),
            ipid=read(base + msrs.Smca.IPID),
            synd=read(base + msrs.Smca.SYND),
            destat=read(base + msrs.Smca.DESTAT),
            deaddr=read(base + msrs.Smca.DEADDR),
        )
