"""The life of domains: made, paused, resumed, ended, made anew; their memory and their turns on the CPUs with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ringfence.hypervisor.model.core import Core
from ringfence.hypervisor.model.domains import DomainSpec, ModelDomain, dom0, of_spec
from ringfence.hypervisor.model.frames import FrameTable, Holder, Owner
from ringfence.hypervisor.model.mappings import Mappings
from ringfence.hypervisor.model.observer import DomainChanged
from ringfence.hypervisor.model.scheduler import Scheduler
from ringfence.world.domain import DomainState
from ringfence.world.identities import DOM0, SUPERPAGE_FRAMES, DomainId, Frame, GuestFrame, PhysAddr
from ringfence.world.identities import PAGE_BYTES as PAGE

DEAD_KEPT: Final = 32
"""Ended domains that are still shown with what became of them; older ones are forgotten when a new one starts."""


@dataclass(frozen=True, slots=True)
class XenMemory:
    """The hypervisor's own memory: an image that it cannot do without, and a heap of which it can give pages up."""

    image: range
    heap: range

    def reclaimable(self, frame: Frame) -> bool:
        """Whether the hypervisor can give up a frame: the lower half of the heap are free slots and caches."""
        return frame in range(self.heap.start, self.heap.start + len(self.heap) // 2)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Something that a guest would do now if it ran."""

    incarnation: int
    action: Callable[[], None]


class Life:
    """All domains of one boot. ``on_gone`` hears of each that ends."""

    def __init__(self, core: Core, *, dom0_pages: int, dom0_vcpus: int, xen_pages: int) -> None:
        self._core = core
        self.on_gone: Callable[[DomainId, str], None] = _nobody_hears
        self.frames = FrameTable(core.machine.memory_map.frames)
        image = self.frames.allocate(xen_pages // 2, Owner(Holder.XEN_FIXED))[0]
        heap = self.frames.allocate(xen_pages // 2, Owner(Holder.XEN_HEAP))[0]
        self.xen = XenMemory(image, heap)
        self.mappings = Mappings(self.frames, can_unmap=self._can_unmap, reclaimable=self.xen.reclaimable)
        cpus = core.machine.settings.topology.cpus
        self.scheduler = Scheduler(cpus, now=lambda: core.now_ns, watch=core.tell)
        self._domains: dict[DomainId, ModelDomain] = {}
        self._next = DomainId(1)
        self._waiting: dict[DomainId, list[_Waiting]] = {}
        self.closed = False
        """No new guest may start (DegradeHost)."""
        self._admit(dom0(dom0_pages, dom0_vcpus), "the host booted")

    # --- who is there --------------------------------------------------------------------------------------------

    @property
    def domains(self) -> tuple[ModelDomain, ...]:
        """All domains that were ever here in this boot, by number."""
        return tuple(self._domains.values())

    def get(self, number: DomainId) -> ModelDomain | None:
        """The domain of this number."""
        return self._domains.get(number)

    def living(self, number: DomainId) -> ModelDomain | None:
        """The domain of this number if it lives."""
        domain = self._domains.get(number)
        return domain if domain is not None and domain.lives else None

    @property
    def dom0(self) -> ModelDomain:
        """The control domain."""
        return self._domains[DOM0]

    # --- the life cycle ------------------------------------------------------------------------------------------

    def create(self, spec: DomainSpec) -> ModelDomain:
        """Starts a guest. Raises ValueError if memory does not suffice or no guest may start."""
        if self.closed:
            raise ValueError("this host takes no new guests: it is degraded")
        for dead in [domain.id for domain in self.domains if not domain.lives][:-DEAD_KEPT]:
            del self._domains[dead]
        domain = of_spec(self._next, spec)
        self._admit(domain, "created")
        self._next = DomainId(self._next + 1)
        return domain

    def pause(self, domain: ModelDomain, because: str) -> None:
        """No vCPU of it runs any more."""
        self._become(domain, DomainState.PAUSED, because)
        self.scheduler.stop(domain.id)

    def resume(self, domain: ModelDomain, because: str) -> None:
        """It runs again, and does what had to wait for that."""
        self._become(domain, DomainState.RUNNING, because)
        self.scheduler.go(domain.id)
        for waiting in self._waiting.pop(domain.id, []):
            if waiting.incarnation == domain.incarnation:
                self._core.after_ns(0, waiting.action)

    def end(self, domain: ModelDomain, state: DomainState, because: str) -> None:
        """It ends: its memory is free, or offline where that was pending."""
        self._take_down(domain)
        self._become(domain, state, because)
        self.on_gone(domain.id, because)

    def renew(self, domain: ModelDomain, because: str) -> None:
        """Its memory is made anew under the same number: a restart or a restore. Raises MemoryError."""
        if domain.lives:
            self._take_down(domain)
        domain.begin_anew()
        self._become(domain, DomainState.PAUSED, because)
        self._admit_memory(domain)
        self.resume(domain, because)

    def run_then(self, domain: ModelDomain, ms: int, action: Callable[[], None]) -> None:
        """Does something after a while, and not before the domain runs then; never if it has ended or begun anew."""
        incarnation = domain.incarnation

        def act() -> None:
            if domain.incarnation != incarnation or not domain.lives:
                return
            if domain.state is DomainState.PAUSED:
                self._waiting.setdefault(domain.id, []).append(_Waiting(incarnation, act))
            else:
                action()

        self._core.after_ms(ms, act)

    # --- memory --------------------------------------------------------------------------------------------------

    def balloon_out(self, domain: ModelDomain, page: GuestFrame) -> Frame:
        """A guest gives a page up. Raises KeyError if it has none there."""
        frame = self.frames.frame_of(domain.id, page)
        if frame is None:
            raise KeyError(f"domain {domain.id} has no page {page:#x}")
        self.mappings.forget_frame(frame)
        self.frames.release(frame, ballooned_by=domain.id)
        return frame

    def exchange(self, domain: ModelDomain, frame: Frame) -> Frame:
        """Gives a domain another frame for one of its own; the old one is offline. Raises MemoryError or KeyError."""
        owner = self.frames.owner(frame)
        if owner is None or owner.domain != domain.id or owner.guest_frame is None:
            raise KeyError(f"domain {domain.id} does not have frame {frame:#x}")
        new = Frame(self.frames.allocate(1, owner)[0].start)
        self.mappings.move(frame, new)
        self.frames.offline(frame, broken=False, crash_again=False)
        self.frames.release(frame)
        return new

    def share(self, first: tuple[DomainId, GuestFrame], second: tuple[DomainId, GuestFrame]) -> Frame:
        """Two guests share the first one's frame; the second's is free. Raises KeyError."""
        frame = self.frames.frame_of(*first)
        spare = self.frames.frame_of(*second)
        if frame is None or spare is None:
            raise KeyError(f"not both of {first} and {second} have a page there")
        self.mappings.forget_frame(spare)
        self.frames.release(spare)
        self.frames.give(frame, Owner(Holder.SHARED))
        for domain, page in (first, second):
            self.mappings.share(frame, domain, page)
        return frame

    def address(self, domain: DomainId, page: GuestFrame) -> PhysAddr:
        """Where a page is. Raises KeyError."""
        frame = self.frames.frame_of(domain, page)
        if frame is None:
            frame = self.mappings.shared(domain, page)
        if frame is None:
            raise KeyError(f"domain {domain} has no page {page:#x}")
        return PhysAddr(frame * PAGE)

    # --- within --------------------------------------------------------------------------------------------------

    def _can_unmap(self, number: DomainId) -> bool:
        domain = self._domains[number]
        return self._core.behaviour.unmaps_all_kinds or domain.has_hap

    def _admit(self, domain: ModelDomain, because: str) -> None:
        self._domains[domain.id] = domain
        try:
            self._admit_memory(domain)
        except MemoryError as error:
            del self._domains[domain.id]
            raise ValueError(str(error)) from error
        self._core.tell(DomainChanged(self._core.now_ns, domain.id, None, domain.state, because))
        self.resume(domain, because)

    def _admit_memory(self, domain: ModelDomain) -> None:
        whole = domain.spec is not None and domain.spec.whole_superpages
        owner = Owner(Holder.DOMAIN, domain.id, GuestFrame(0), whole)
        self.frames.allocate(domain.memory_pages, owner, align=SUPERPAGE_FRAMES if whole else 1)
        self.scheduler.add(domain.id, len(domain.vcpus))

    def _take_down(self, domain: ModelDomain) -> None:
        self.scheduler.remove(domain.id)
        self._waiting.pop(domain.id, None)
        self.mappings.forget_domain(domain.id)
        self.frames.release_all_of(domain.id)
        for frame in self.mappings.orphans():
            self.frames.release(frame)

    def _become(self, domain: ModelDomain, state: DomainState, because: str) -> None:
        if domain.state is state:
            return
        before, domain.state = domain.state, state
        self._core.tell(DomainChanged(self._core.now_ns, domain.id, before, state, because))


def _nobody_hears(domain: DomainId, because: str) -> None:
    """Before the hypervisor is there."""
