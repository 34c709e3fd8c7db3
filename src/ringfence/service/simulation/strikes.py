"""Errors put into the model host: which page or unit an act hits, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Protocol, assert_never

from ringfence.hypervisor.model import faults
from ringfence.hypervisor.model.clock import MILLISECOND
from ringfence.hypervisor.model.host import ModelHost
from ringfence.service.simulation.acts import DOM0_NAME, MemoryHit, Place, Unit, UnitHit, Way
from ringfence.world.identities import PAGE_BYTES as PAGE
from ringfence.world.identities import CpuId, DomainId, GuestFrame, PhysAddr, SocketId

REMAPPED: Final = frozenset({Place.GRANTED, Place.SHARED, Place.FOREIGN, Place.DEVICE, Place.DEVICE_FIXED})
"""Places that a page comes to by being mapped once more."""


class Onlooker(Protocol):
    """Who is told of each error, and knows what is lost."""

    @property
    def lost(self) -> set[range]:
        """Runs of frames that were reported as lost in this boot."""
        ...

    def struck(self) -> None:
        """An error is put in now."""
        ...


class Strikes:
    """Hits one host. ``ids`` are the numbers of the guests that live there now, by name; it changes with the run."""

    def __init__(self, host: ModelHost, onlooker: Onlooker, ids: dict[str, DomainId]) -> None:
        self._host, self._onlooker, self._ids = host, onlooker, ids
        self._last_page: tuple[str, GuestFrame] | None = None

    def read_again(self) -> bool:
        """A guest reads the page that was hit last; False if it is no living guest's."""
        if self._last_page is None:
            return False
        name, page = self._last_page
        domain = self._ids.get(name)
        if domain is None:
            return False
        self._host.read(domain, page)
        return True

    def hit(self, act: MemoryHit) -> bool:  # noqa: PLR0912 (one arm a way)
        """An error of memory; False if there is no such page now, or nobody runs who could read it."""
        at = self._placed(act)
        if at is None:
            return False
        domain, page, addr = at
        cpu = CpuId(act.cpu)
        if domain is not None:
            self._last_page = (act.domain if domain != 0 else DOM0_NAME, page)
        self._onlooker.struck()
        line = PhysAddr(addr + act.line * 64)
        match act.way:
            case Way.READ | Way.FETCHED if domain is not None:
                return self._host.consume(domain, page, instruction=act.way is Way.FETCHED) is not None
            case Way.READ | Way.FETCHED | Way.FOUND:
                self._host.inject(faults.Uncorrectable(addr=line))
            case Way.XEN_READ:
                self._host.consume_in_hypervisor(cpu, line)
            case Way.WRITTEN_BACK:
                self._host.inject(faults.CacheWriteback(cpu=cpu, addr=line))
            case Way.DMA:
                self._host.inject(faults.Uncorrectable(addr=line))
                if domain is not None:
                    self._host.dma(domain, page)
            case Way.CORRECTED | Way.STUCK:
                fault = faults.Correctable(addr=line, device=act.device, bits=act.bits, stuck=act.way is Way.STUCK)
                if self._host.machine.health(line) is not None:
                    return False  # whoever reads it would take in what is bad there already
                self._host.inject(fault)
                if act.way is Way.CORRECTED:
                    self._host.machine.load(cpu, line)
            case Way.STORM:
                interval_ns = act.interval_ms * MILLISECOND
                self._host.inject(faults.Storm(cpu=cpu, addr=line, count=act.count, interval_ns=interval_ns))
            case Way.CACHED:
                self._host.inject(faults.CacheCorrected(cpu=cpu, addr=line))
            case never:
                assert_never(never)
        return True

    def _placed(self, act: MemoryHit) -> tuple[DomainId | None, GuestFrame, PhysAddr] | None:
        """Whose page an act hits, its number there, and its address; None if there is none now."""
        try:
            return self._placed_or_raise(act)
        except KeyError:
            return None

    def _placed_or_raise(  # noqa: PLR0912 (one arm a place)
        self, act: MemoryHit
    ) -> tuple[DomainId | None, GuestFrame, PhysAddr] | None:
        host, page = self._host, GuestFrame(act.page)
        match act.place:
            case Place.XEN | Place.XEN_VITAL:
                return None, page, host.hypervisor_address(reclaimable=act.place is Place.XEN)
            case Place.FREE:
                return None, page, host.free_address()
            case Place.DOM0 | Place.DOM0_VITAL:
                page = host.dom0_page(expendable=act.place is Place.DOM0)
                return DomainId(0), page, host.address(DomainId(0), page)
            case Place.SAME_PAGE:
                if self._last_page is None:
                    return None
                name, page = self._last_page
                domain = DomainId(0) if name == DOM0_NAME else self._ids[name]
                return domain, page, host.address(domain, page)
            case _:
                pass
        domain = self._ids[act.domain]
        addr = host.address(domain, page)
        other = DomainId(0) if act.other in {"", DOM0_NAME} else self._ids[act.other]
        if act.place in REMAPPED and (self._is_lost(addr) or self._is_lost(host.address(other, page))):
            return None
        match act.place:
            case Place.GUEST | Place.SAME_DOMAIN:
                pass
            case Place.GRANTED:
                host.grant(domain, page, other)
            case Place.SHARED:
                host.share((domain, page), (other, page))
                addr = host.address(domain, page)
            case Place.FOREIGN:
                host.map_foreign(domain, page, other)
            case Place.DEVICE | Place.DEVICE_FIXED:
                host.device_maps(domain, page, removable=act.place is Place.DEVICE)
            case Place.BALLOONED:
                return None, page, PhysAddr(host.balloon_out(domain, page) * PAGE)
            case never:
                assert_never(never)
        return domain, page, addr

    def _is_lost(self, addr: PhysAddr) -> bool:
        """Whether a page is known to be lost: no hypervisor lets it be mapped once more."""
        frame = addr // PAGE
        return any(frame in run for run in self._onlooker.lost)

    def hit_unit(self, act: UnitHit) -> None:
        """An error of a unit."""
        self._onlooker.struck()
        self._host.inject(_UNITS[act.unit](CpuId(act.cpu), SocketId(act.socket)))


_UNITS: Final[dict[Unit, Callable[[CpuId, SocketId], faults.Fault]]] = {
    Unit.UNLOCATED: lambda _, socket: faults.Unlocated(socket=socket),
    Unit.CONTEXT: lambda cpu, _: faults.ContextCorrupt(cpu=cpu),
    Unit.CACHE_TAGS: lambda cpu, _: faults.CacheUncorrected(cpu=cpu),
    Unit.LINK_CORRECTED: lambda _, socket: faults.InterconnectCorrected(socket=socket),
    Unit.LINK: lambda _, socket: faults.InterconnectUncorrected(socket=socket),
    Unit.SPURIOUS: lambda *_: faults.SpuriousMachineCheck(),
    Unit.STUCK_CPU: lambda cpu, _: faults.Stuck(cpu=cpu),
}
