"""The world's side of the model host: time, guests, faults, and what does not work. No software there can do this."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from ringfence.hypervisor.model import faults
from ringfence.hypervisor.model.clock import MILLISECOND, Clock
from ringfence.hypervisor.model.core import Core
from ringfence.hypervisor.model.domains import FIRST_VCPU, Access, DomainSpec, ModelDomain
from ringfence.hypervisor.model.healing import is_expendable
from ringfence.hypervisor.model.last_words import LastWords
from ringfence.hypervisor.model.life import Life
from ringfence.hypervisor.model.machine import Access as Outcome
from ringfence.hypervisor.model.machine import CpuState, Machine, Settings
from ringfence.hypervisor.model.memory_map import line_of
from ringfence.hypervisor.model.observer import ErrorId, Injected, Observer, Ran, Rebooted, Sink, Touched
from ringfence.hypervisor.model.operations import Rates
from ringfence.hypervisor.model.personality import BEHAVIOURS
from ringfence.hypervisor.model.xen import Xen
from ringfence.world.domain import Checkpoint, DomainState
from ringfence.world.frames import FrameFacts, Mapping, MappingKind
from ringfence.world.identities import (
    DOM0,
    PAGE_BYTES,
    PAGE_SHIFT,
    CpuId,
    DomainId,
    Frame,
    GuestFrame,
    PhysAddr,
    VcpuId,
)
from ringfence.world.situation import Context, Destination, Running
from ringfence.world.steps import Step
from ringfence.world.treatment import TreatingSeat

TRUTHS_KEPT: Final = 4096
"""Faults that are remembered: a model host may run for years. Whoever wants all of them watches (``Observer``)."""
LINES_KEPT: Final = 16_384
"""Lines of memory that are looked at by who copies a domain; those that are well again go when there are so many."""

_CONSUMED: Final = (faults.ConsumedData, faults.ConsumedInstruction)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """What a model host is. ``personality`` is a key of ``personality.BEHAVIOURS``.

    ``first_boot`` is the number of the boot that it begins with: a host that comes again after its process has ended
    counts on. ``dom0_pages`` and ``xen_pages`` are what Dom0 and the hypervisor have of the memory; Dom0 can lose a
    half of its
    own (page cache, processes), the hypervisor a quarter (free slots and caches of its heap).
    """

    name: str = "model"
    first_boot: int = 1
    personality: str = "concept"
    machine: Settings
    dom0_vcpus: int = 2
    dom0_pages: int = 1 << 18
    xen_pages: int = 1 << 14
    migration_pages_per_s: int = 250_000
    disk_pages_per_s: int = 125_000


class Stage:
    """Everything that a simulation can do to a host, and see of it. ``host.ModelHost`` adds the port."""

    def __init__(
        self, settings: HostSettings, *, seed: int, seat: TreatingSeat | None, clock: Clock, observer: Observer
    ) -> None:
        behaviour = BEHAVIOURS[settings.personality]
        if behaviour.treats and seat is None:
            raise ValueError(f"{behaviour.says}: it needs one")
        self.settings: Final = settings
        self.clock: Final = clock
        random = Random(seed)  # noqa: S311 (a simulation's chance, with its seed)
        self.machine: Final = Machine(settings.machine, clock=clock, random=random)
        self._core: Final = Core(
            machine=self.machine,
            clock=clock,
            random=random,
            behaviour=behaviour,
            watch=observer,
            boot=settings.first_boot,
        )
        self._words: Final = LastWords(self._core)
        self._seat = seat if behaviour.treats else None
        self._truth: deque[Injected] = deque(maxlen=TRUTHS_KEPT)
        self._injected = 0
        self._lines: dict[PhysAddr, None] = {}
        self._other: Stage | None = None
        self._life, self._xen = self._start()

    def _start(self) -> tuple[Life, Xen]:
        settings = self.settings
        life = Life(
            self._core, dom0_pages=settings.dom0_pages, dom0_vcpus=settings.dom0_vcpus, xen_pages=settings.xen_pages
        )
        rates = Rates(migration=settings.migration_pages_per_s, disk=settings.disk_pages_per_s)
        xen = Xen(self._core, life, self._words, seat=self._seat, rates=rates, bad_lines=self._bad_lines)
        xen.operations.other = self._other
        self.machine.connect(xen)
        xen.boot()
        return life, xen

    # --- time and its end ------------------------------------------------------------------------------------------

    def advance(self, ms: int) -> None:
        """Lets so much time pass. With a shared clock it passes for all who share it."""
        self.clock.run_for(ms * MILLISECOND)

    def advance_to_next(self, limit_ms: int) -> None:
        """Lets time pass up to the next event, or by ``limit_ms`` if none comes before.

        A part of a millisecond is rounded up, so that time always goes on.
        """
        due = self.clock.next_ns
        limit = self.clock.now_ns + limit_ms * MILLISECOND
        until = limit if due is None else min(limit, -(-due // MILLISECOND) * MILLISECOND)
        self.clock.run_until(max(until, self.clock.now_ns))

    @property
    def boot(self) -> int:
        """Which boot this is, from 1 on."""
        return self._core.boot

    @property
    def halted(self) -> bool:
        """Whether the machine has stopped: only ``reboot`` helps."""
        return self._core.stopped

    def reboot(self, *, cold: bool = False, seat: TreatingSeat | None = None) -> None:
        """Resets the machine and starts the hypervisor, Dom0 and all guests that lived anew, with new memory.

        What the banks (warm) and ERST hold is found, and arrives as LeftOver. ``seat`` is the new boot's; None keeps
        the old one. Dom0's handler is absent until it is set again.
        """
        specs = [domain.spec for domain in self._life.domains if domain.lives and domain.spec is not None]
        if cold:
            self.machine.cold_reset()
        else:
            self.machine.warm_reset()
        if seat is not None and self._core.behaviour.treats:
            self._seat = seat
        self._core.begin_boot()
        self._core.tell(Rebooted(self._core.now_ns, cold))
        self._life, self._xen = self._start()
        for spec in specs:
            self._life.create(spec)

    # --- domains ---------------------------------------------------------------------------------------------------

    def create(self, spec: DomainSpec) -> DomainId:
        """Starts a guest. Raises ValueError if memory does not suffice, or the host takes no guests (DegradeHost)."""
        return self._life.create(spec).id

    def domain_of(self, name: str) -> DomainId:
        """The number of the newest guest of this name. Raises KeyError."""
        for domain in reversed(self._life.domains):
            if domain.name == name:
                return domain.id
        raise KeyError(name)

    def destroy(self, domain: DomainId) -> None:
        """Ends a guest as an operator would, behind everybody's back."""
        self._end(domain, DomainState.DESTROYED, "an operator destroyed it")

    def crash(self, domain: DomainId) -> None:
        """A guest crashes by itself."""
        self._end(domain, DomainState.CRASHED, "it crashed by itself")

    def checkpoint(self, domain: DomainId, *, disks_of_same_moment: bool) -> None:
        """An operator's backup of a running guest: from now on it can be restored."""
        taken = Checkpoint(taken_ms=self._core.now_ms, disks_of_same_moment=disks_of_same_moment)
        self._known(domain).checkpoint = taken

    def balloon_out(self, domain: DomainId, page: GuestFrame) -> Frame:
        """A guest gives a page up; the frame that it had is free or, if it was pending, offline. Raises KeyError."""
        return self._life.balloon_out(self._known(domain), page)

    def grant(self, owner: DomainId, page: GuestFrame, to: DomainId, *, removable: bool = True) -> None:
        """``owner`` grants a page to ``to``, which maps it."""
        self._map(owner, page, Mapping(domain=to, kind=MappingKind.GRANT, removable=removable))

    def map_foreign(self, owner: DomainId, page: GuestFrame, by: DomainId, *, removable: bool = True) -> None:
        """``by`` (Dom0, a device model) maps a page of ``owner``."""
        self._map(owner, page, Mapping(domain=by, kind=MappingKind.FOREIGN, removable=removable))

    def share(self, first: tuple[DomainId, GuestFrame], second: tuple[DomainId, GuestFrame]) -> None:
        """Two guests share a page copy-on-write: its owner is nobody of them (Xen: DOMID_COW). Raises KeyError."""
        self._life.share(first, second)

    def device_maps(self, domain: DomainId, page: GuestFrame, *, removable: bool = True) -> None:
        """A device passed through to the guest reaches the page by DMA."""
        mapping = Mapping(domain=domain, kind=MappingKind.IOMMU, guest_frame=page, removable=removable)
        self._map(domain, page, mapping)

    # --- where things are ------------------------------------------------------------------------------------------

    def address(self, domain: DomainId, page: GuestFrame, offset: int = 0) -> PhysAddr:
        """The host-physical address of a guest's page. Raises KeyError if it has none there."""
        return PhysAddr(self._life.address(domain, page) + offset)

    def hypervisor_address(self, *, reclaimable: bool) -> PhysAddr:
        """An address in the hypervisor's own memory that it can, or cannot, give up."""
        xen = self._life.xen
        frame = next((each for each in xen.heap if self._is_heap(Frame(each))), None) if reclaimable else None
        return PhysAddr((xen.image[-1] if frame is None else frame) * PAGE_BYTES)

    def dom0_page(self, *, expendable: bool) -> GuestFrame:
        """A page of Dom0 that it has still, and that it can, or cannot, lose. Raises KeyError if there is none left."""
        dom0 = self._life.dom0
        for page in range(dom0.memory_pages - 1, -1, -1) if expendable else range(dom0.memory_pages):
            number = GuestFrame(page)
            if is_expendable(number, dom0.memory_pages) is expendable and self._life.mappings.reach(DOM0, number):
                return number
        raise KeyError("Dom0 has no such page left")

    def free_address(self) -> PhysAddr:
        """An address in a page that nobody owns."""
        return PhysAddr(self._life.frames.some_free() * PAGE_BYTES)

    def running(self, cpu: CpuId) -> Running:
        """Whose turn it is on a CPU now."""
        return self._xen.accesses.scheduled(cpu)

    def cpu_of(self, domain: DomainId, vcpu: VcpuId = FIRST_VCPU) -> CpuId:
        """The CPU that a vCPU is pinned to. Raises KeyError."""
        return self._life.scheduler.cpu_of(domain, vcpu)

    def _suspect(self, line: PhysAddr) -> None:
        """Something may be wrong with a line of memory."""
        self._lines[line] = None
        if len(self._lines) > LINES_KEPT:
            self._lines = {each: None for each in self._lines if each == line or self.machine.health(each) is not None}

    # --- faults ----------------------------------------------------------------------------------------------------

    def inject(self, fault: faults.Fault) -> Injected:
        """Puts a fault in, and says what the truth about it is.

        A fault that a CPU consumes is an access of whoever runs there, which has to be repeated afterwards.
        """
        cpu: CpuId | None = getattr(fault, "cpu", None)  # not all faults are of a CPU, or at an address
        running = Running() if cpu is None else self._xen.accesses.who(cpu)
        addr: PhysAddr | None = getattr(fault, "addr", None)
        if addr is not None:
            self._suspect(line_of(addr))
        frame = None if addr is None else Frame(addr >> PAGE_SHIFT)
        owner = None if frame is None else self._life.frames.owner(frame)
        mapped_by = () if frame is None else self._life.mappings.of(frame)
        logged = self.machine.inject(fault)
        truth = Injected(
            at_ns=self._core.now_ns,
            id=ErrorId(self._injected + 1),
            fault=fault,
            frame=frame,
            owner=None if owner is None else owner.domain,
            mapped_by=mapped_by,
            runs=running.domain,
            logged=logged,
        )
        self._injected += 1
        self._truth.append(truth)
        self._core.tell(truth)
        if cpu is not None and self.machine.cpu_state(cpu) is CpuState.IN_MACHINE_CHECK:
            self._core.caught.setdefault(cpu, running)
            if isinstance(fault, _CONSUMED):
                self._interrupted(running, fault)
        return truth

    def consume(self, domain: DomainId, page: GuestFrame, *, instruction: bool = False) -> Injected | None:
        """A line of the guest's page goes bad, and one of its vCPUs that have a CPU now reads it.

        None if none of them has one: it is stopped, or waits for its turn; and if the page was taken away from it,
        which ends a guest that reads it.
        """
        known = self._known(domain)
        if self._life.mappings.reach(domain, page) is None:
            self.read(domain, page)
            return None
        for vcpu in known.vcpus if known.lives else ():
            if self._life.scheduler.next_turn_ns(domain, vcpu.id) == 0:
                kind = faults.ConsumedInstruction if instruction else faults.ConsumedData
                return self.inject(kind(cpu=self.cpu_of(domain, vcpu.id), addr=self.address(domain, page)))
        return None

    def consume_in_hypervisor(self, cpu: CpuId, addr: PhysAddr) -> Injected:
        """The hypervisor itself reads a line that has just gone bad."""
        self._core.acting[cpu] = Running(cpu=cpu, context=Context.HYPERVISOR)
        try:
            return self.inject(faults.ConsumedData(cpu=cpu, addr=addr))
        finally:
            del self._core.acting[cpu]

    def read(self, domain: DomainId, page: GuestFrame) -> None:
        """A guest reads one of its pages as soon as it has its CPU: finds what is latent there."""
        self._xen.accesses.read(self._known(domain), page)

    def dma(self, domain: DomainId, page: GuestFrame) -> None:
        """A device of the domain reads the page, if the IOMMU lets it."""
        self._xen.accesses.dma(self._known(domain), page)

    # --- what does not work ----------------------------------------------------------------------------------------

    def set_dom0_handler(self, present: bool) -> None:
        """Dom0's MCA handler registers (binds VIRQ_MCA), or goes."""
        self._xen.dom0.set_handler(present)

    def hurt_dom0(self, hurt: bool = True) -> None:
        """Dom0 is hurt, or a verified probe shows that it works again; the seat is told."""
        self._xen.dom0.set_hurt(hurt)

    def break_sink(self, sink: Sink, broken: bool = True) -> None:
        """A sink of last words does not work, or works again."""
        if broken:
            self._core.broken_sinks.add(sink)
        else:
            self._core.broken_sinks.discard(sink)

    def fail_next(self, step: type[Step], because: str, times: int = 1) -> None:
        """The next steps of a kind FAIL, whoever orders them, and do nothing. A reboot forgets that."""
        self._xen.carrier.fail_next(step, because, times)

    def connect(self, other: Stage) -> None:
        """Links this host to another one: guests can migrate there. Raises ValueError without a common clock."""
        if other.clock is not self.clock:
            raise ValueError("hosts that are linked share a clock")
        self._other = other
        self._xen.operations.other = other

    @property
    def destination(self) -> Destination:
        """This host as another one sees it that guests move from."""
        healthy = not self.halted and not self._life.closed
        return Destination(name=self.settings.name, healthy=healthy, free_pages=self._life.frames.free_pages)

    def receive(self, spec: DomainSpec) -> bool:
        """Takes a guest in that moves here; False if it cannot."""
        try:
            self._life.create(spec)
        except ValueError:
            return False
        return True

    # --- what is seen from outside ---------------------------------------------------------------------------------

    def ran(self, domain: DomainId, from_ms: int, to_ms: int) -> tuple[Ran, ...]:
        """The spans in which vCPUs of a domain had a slice of a CPU between two instants, the present span included."""
        return self._life.scheduler.ran(domain, from_ms * MILLISECOND, to_ms * MILLISECOND)

    def frame_facts(self, frame: Frame) -> FrameFacts:
        """The truth about a frame: what it is used for, whose it is, and every way to it. Works after a halt, too."""
        return self._life.mappings.facts(frame)

    @property
    def truth(self) -> Sequence[Injected]:
        """The faults that were injected, oldest first, over all boots; the last ``TRUTHS_KEPT``."""
        return tuple(self._truth)

    def console(self, sink: Sink = Sink.SERIAL) -> str:
        """What a text sink has of the hypervisor's words, over all boots."""
        return self._core.printed(sink)

    @property
    def erst(self) -> tuple[bytes, ...]:
        """The CPER records in ERST, oldest first."""
        return self._words.erst

    @property
    def virqs(self) -> int:
        """How often VIRQ_MCA was raised in this boot."""
        return self._xen.dom0.virqs

    def hypercall_mca(self, caller: DomainId, argument: bytes, buffer_bytes: int = 0) -> tuple[int, bytes, bytes]:
        """Hypercall 48 as ``caller`` makes it: ``argument`` is a ``struct xen_mc``, its handles point to a buffer of
        ``buffer_bytes``. Returns the result (0 or a negative errno), the struct and the buffer after it.
        """
        return self._xen.hypercall(caller, argument, buffer_bytes)

    # --- within ----------------------------------------------------------------------------------------------------

    def _known(self, number: DomainId) -> ModelDomain:
        domain = self._life.get(number)
        if domain is None:
            raise KeyError(f"there is no domain {number}")
        return domain

    def _end(self, number: DomainId, state: DomainState, because: str) -> None:
        domain = self._known(number)
        if domain.lives and not domain.is_dom0:
            self._life.end(domain, state, because)

    def _map(self, owner: DomainId, page: GuestFrame, mapping: Mapping) -> None:
        self._life.mappings.add(Frame(self._life.address(owner, page) >> PAGE_SHIFT), mapping)

    def _is_heap(self, frame: Frame) -> bool:
        return self._life.xen.reclaimable(frame) and self._life.frames.owner(frame) is not None

    def _bad_lines(self) -> tuple[PhysAddr, ...]:
        """The lines that were ever said to go bad: what is wrong with them now, a read will tell."""
        return tuple(line for line in self._lines if self.machine.health(line))

    def _interrupted(self, running: Running, fault: faults.ConsumedData | faults.ConsumedInstruction) -> None:
        """The vCPU that was caught has to repeat its instruction."""
        frame = Frame(fault.addr >> PAGE_SHIFT)
        if running.domain is None or running.vcpu is None or running.context is not Context.GUEST:
            return
        ways = [way for way in self._life.mappings.of(frame) if way.domain == running.domain]
        page = next((way.guest_frame for way in ways if way.guest_frame is not None), None)
        fact = Touched(self._core.now_ns, running.domain, page, frame, fault.cpu, Outcome.MACHINE_CHECK)
        self._core.tell(fact)
        if ways:
            vcpu = self._known(running.domain).vcpus[running.vcpu]
            vcpu.stuck_at = Access(page, fault.addr, isinstance(fault, faults.ConsumedInstruction), rounds=1)
