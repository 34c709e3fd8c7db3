"""Accesses of domains to their memory, and what becomes of those that end in a machine check."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from ringfence.hypervisor.model.core import Core
from ringfence.hypervisor.model.domains import FIRST_VCPU, Access, ModelDomain, Vcpu
from ringfence.hypervisor.model.life import Life
from ringfence.hypervisor.model.machine import Access as Outcome
from ringfence.hypervisor.model.observer import Touched
from ringfence.world.domain import DomainState
from ringfence.world.frames import MappingKind
from ringfence.world.identities import PAGE_BYTES, PAGE_SHIFT, CpuId, DomainId, Frame, GuestFrame, PhysAddr, VcpuId
from ringfence.world.situation import Context, Running

FUTILE_ROUNDS: Final = 8
"""An instruction that ends in a machine check so often, and nobody treats it, hangs the machine."""


class Accesses:
    """What domains read. ``on_hang`` is told of a CPU that cannot get past an instruction."""

    def __init__(self, core: Core, life: Life, on_hang: Callable[[str], None]) -> None:
        self._core = core
        self._life = life
        self._on_hang = on_hang

    # --- who runs ------------------------------------------------------------------------------------------------

    def who(self, cpu: CpuId) -> Running:
        """Who runs on a CPU, or ran when its access ended in a machine check."""
        if cpu in self._core.caught:
            return self._core.caught[cpu]
        if cpu in self._core.acting:
            return self._core.acting[cpu]
        return self.scheduled(cpu)

    def scheduled(self, cpu: CpuId) -> Running:
        """Whose turn it is on a CPU."""
        vcpu = self._life.scheduler.running(cpu)
        if vcpu is None:
            return Running(cpu=cpu, context=Context.IDLE)
        return Running(cpu=cpu, context=Context.GUEST, domain=vcpu[0], vcpu=vcpu[1])

    def catch(self, cpu: CpuId) -> None:
        """A CPU has just been caught by a machine check: keeps who ran."""
        self._core.caught.setdefault(cpu, self.who(cpu))

    # --- reading -------------------------------------------------------------------------------------------------

    def read(
        self, domain: ModelDomain, page: GuestFrame, *, vcpu: VcpuId = FIRST_VCPU, instruction: bool = False
    ) -> None:
        """A guest reads one of its pages, as soon as its vCPU has the CPU. A page that is gone crashes it."""
        access = Access(page, None, instruction)
        self._life.run_then(domain, 0, lambda: self._turn(domain, vcpu, access))

    def _turn(self, domain: ModelDomain, vcpu: VcpuId, access: Access) -> None:
        wait = self._life.scheduler.next_turn_ns(domain.id, vcpu)
        if wait is None:
            return
        if wait:
            self._core.after_ns(wait, lambda: self._again(domain, vcpu, access))
            return
        self._do(domain, vcpu, access)

    def _again(self, domain: ModelDomain, vcpu: VcpuId, access: Access) -> None:
        if domain.lives:
            self._life.run_then(domain, 0, lambda: self._turn(domain, vcpu, access))

    def _do(self, domain: ModelDomain, number: VcpuId, access: Access) -> None:
        addr = self._reachable(domain.id, access)
        cpu = self._life.scheduler.cpu_of(domain.id, number)
        frame = None if addr is None else Frame(addr >> PAGE_SHIFT)
        if addr is None:
            self._core.tell(Touched(self._core.now_ns, domain.id, access.page, None, cpu, None))
            self._life.end(domain, DomainState.CRASHED, "it reached for a page that was taken away")
            return
        machine = self._core.machine
        outcome = machine.fetch(cpu, addr) if access.instruction else machine.load(cpu, addr)
        self._core.tell(Touched(self._core.now_ns, domain.id, access.page, frame, cpu, outcome))
        vcpu = domain.vcpus[number]
        vcpu.stuck_at = None
        if outcome is Outcome.MACHINE_CHECK:
            vcpu.stuck_at = replace(access, addr=addr, rounds=access.rounds + 1)
            self.catch(cpu)
        elif outcome is Outcome.NOT_RUNNING:
            vcpu.stuck_at = access

    def _reachable(self, domain: DomainId, access: Access) -> PhysAddr | None:
        """Where the access goes now: the page may have moved, or be gone."""
        offset = (access.addr or 0) % PAGE_BYTES
        if access.page is not None:
            frame = self._life.mappings.reach(domain, access.page)
            return None if frame is None else PhysAddr(frame * PAGE_BYTES + offset)
        addr = access.addr
        if addr is None:
            return None
        ways = self._life.mappings.of(Frame(addr >> PAGE_SHIFT))
        return addr if any(way.domain == domain for way in ways) else None

    # --- stuck instructions --------------------------------------------------------------------------------------

    def treated(self, domain: ModelDomain) -> None:
        """The guest's own handler has taken over: what its vCPUs were stuck at is not repeated as it was."""
        for vcpu in domain.vcpus:
            vcpu.stuck_at = None

    def consumed(self, domain: ModelDomain, page: GuestFrame) -> VcpuId | None:
        """The vCPU that is stuck at this page, None if none is."""
        for vcpu in domain.vcpus:
            if vcpu.stuck_at is not None and vcpu.stuck_at.page == page:
                return vcpu.id
        return None

    def repeat_stuck(self) -> None:
        """After a machine check: the vCPUs that are stuck try again when they run."""
        for domain in self._life.domains:
            for vcpu in domain.vcpus if domain.lives else ():
                if vcpu.stuck_at is None:
                    continue
                if vcpu.stuck_at.rounds >= FUTILE_ROUNDS:
                    self._on_hang(f"{domain.name} cannot get past an instruction: #MC without end")
                    return
                self._life.run_then(domain, 0, partial(self._retry, domain, vcpu))

    def _retry(self, domain: ModelDomain, vcpu: Vcpu) -> None:
        if vcpu.stuck_at is not None:
            self._turn(domain, vcpu.id, vcpu.stuck_at)

    # --- devices and the hypervisor itself ------------------------------------------------------------------------

    def dma(self, domain: ModelDomain, page: GuestFrame) -> None:
        """A device of the domain reads the page, if the IOMMU lets it."""
        frame = self._life.frames.frame_of(domain.id, page)
        ways = () if frame is None else self._life.mappings.of(frame)
        allowed = any(way.domain == domain.id and way.kind is MappingKind.IOMMU for way in ways)
        if frame is None or not allowed:
            self._core.tell(Touched(self._core.now_ns, domain.id, page, None, None, None))
            return
        outcome = self._core.machine.dma_read(PhysAddr(frame * PAGE_BYTES))
        self._core.tell(Touched(self._core.now_ns, domain.id, page, frame, None, outcome))

    def copy_out(self, frames: tuple[Frame, ...], cpu: CpuId, acting: Running) -> bool:
        """Somebody copies whole pages on a CPU; False, and no further, at the first that ends in a machine check."""
        self._core.acting[cpu] = acting
        try:
            for frame in frames:
                if self._core.machine.read_frame(cpu, frame) is Outcome.MACHINE_CHECK:
                    self.catch(cpu)
                    return False
        finally:
            del self._core.acting[cpu]
        return True
