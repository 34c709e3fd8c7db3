"""The cases of the comparison: what happens to a host, in words and as a function on the model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ringfence.hypervisor.model import faults
from ringfence.hypervisor.model.clock import MILLISECOND
from ringfence.hypervisor.model.domains import DomainSpec
from ringfence.service.comparison_scene import Scene
from ringfence.world.domain import DomainKind, McaHandler
from ringfence.world.identities import DOM0, PAGE_SHIFT, CpuId, GuestFrame, PhysAddr, SocketId

READ_LATER_MS: Final = 60_000
"""When a guest reads a page with a latent error that it was not told of: after two of Xen's polls."""
WITHIN_NS: Final = MILLISECOND // 2
"""A guest of the model stays in its machine check for a millisecond at least (``guests.BEHAVIOURS``)."""

Happens = Callable[[Scene], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Something that happens to a host. ``must_halt``: nothing bounds its effect, the host has to halt (I.2x)."""

    says: str
    platform: str = "cascade-lake"
    guests: tuple[DomainSpec, ...] = ()
    happens: Happens
    must_halt: bool = False


PAGE: Final = GuestFrame(5)
NEXT_PAGE: Final = GuestFrame(6)
CPU: Final = CpuId(3)


def _guest(
    kind: DomainKind,
    handler: McaHandler = McaHandler.NONE,
    *,
    name: str = "guest",
    mca: bool = False,
    superpages: bool = False,
) -> DomainSpec:
    return DomainSpec(
        name=name, kind=kind, memory_pages=1 << 12, handler=handler, mca_enabled=mca, whole_superpages=superpages,
        dirty_pages_per_s=100,
    )  # fmt: skip


_PV_HANDLER: Final = _guest(DomainKind.PV, McaHandler.TRAP)
_PV: Final = _guest(DomainKind.PV)
_HVM_MCA: Final = _guest(DomainKind.HVM, mca=True)
_HVM: Final = _guest(DomainKind.HVM)


def _corrected(scene: Scene) -> None:
    addr = scene.host.address(scene.names["guest"], PAGE)
    scene.host.inject(faults.CacheCorrected(cpu=CPU, addr=addr))


def _stuck_cell(scene: Scene) -> None:
    addr = scene.address("guest", PAGE)
    scene.host.inject(faults.Storm(cpu=CPU, addr=addr, count=12, interval_ns=100 * MILLISECOND))


def _written_back(scene: Scene, addr: PhysAddr) -> None:
    scene.host.inject(faults.CacheWriteback(cpu=CPU, addr=addr))


def _latent(scene: Scene, guest: str = "guest") -> None:
    """A latent error in a page of a guest, which reads it later if nobody told it."""
    _written_back(scene, scene.address(guest, PAGE))
    scene.wait(READ_LATER_MS)
    scene.read_unless_warned(guest, PAGE)


def _latent_granted(scene: Scene) -> None:
    scene.host.grant(scene.names["owner"], PAGE, scene.names["backend"])
    _latent(scene, "owner")


def _latent_shared(scene: Scene) -> None:
    scene.host.share((scene.names["one"], PAGE), (scene.names["other"], PAGE))
    _latent(scene, "one")


def _latent_free(scene: Scene) -> None:
    _written_back(scene, scene.hits(scene.host.free_address()))


def _latent_dom0(scene: Scene) -> None:
    page = scene.host.dom0_page(expendable=True)
    _written_back(scene, scene.hits(scene.host.address(DOM0, page)))


def _latent_heap(scene: Scene) -> None:
    _written_back(scene, scene.hits(scene.host.hypervisor_address(reclaimable=True)))


def _consumed(scene: Scene) -> None:
    scene.address("guest", PAGE)
    scene.host.consume(scene.names["guest"], PAGE)


def _consumed_in_dom0(scene: Scene) -> None:
    page = scene.host.dom0_page(expendable=True)
    scene.hits(scene.host.address(DOM0, page))
    scene.host.consume(DOM0, page)


def _consumed_in_hypervisor(scene: Scene) -> None:
    scene.host.consume_in_hypervisor(CPU, scene.host.hypervisor_address(reclaimable=False))


def _then_another_page(scene: Scene) -> None:
    """The second comes while the guest is still in the machine check of the first."""
    _consumed(scene)
    scene.host.clock.run_for(WITHIN_NS)
    scene.wait(0)
    if scene.living("guest") is not None:
        _written_back(scene, scene.address("guest", NEXT_PAGE))


def _then_the_same_page(scene: Scene) -> None:
    _consumed(scene)
    scene.wait(10_000)
    if scene.living("guest") is not None:
        _written_back(scene, PhysAddr((scene.pages[0] << PAGE_SHIFT) + 64))


def _unlocated(scene: Scene) -> None:
    scene.host.inject(faults.Unlocated(socket=SocketId(0)))


def _context_corrupt(scene: Scene) -> None:
    scene.host.inject(faults.ContextCorrupt(cpu=CPU))


CASES: Final[tuple[Case, ...]] = (
    Case(says="corrected error", guests=(_HVM_MCA,), happens=_corrected),
    Case(says="stuck cell: twelve corrected errors in a page", guests=(_HVM_MCA,), happens=_stuck_cell),
    Case(says="latent, page of a PV guest with a handler", guests=(_PV_HANDLER,), happens=_latent),
    Case(says="latent, page of a PV guest without one", guests=(_PV,), happens=_latent),
    Case(says="latent, page of an HVM guest with MCA", guests=(_HVM_MCA,), happens=_latent),
    Case(says="latent, page of an HVM guest without MCA", guests=(_HVM,), happens=_latent),
    Case(
        says="latent, page that an HVM guest has granted to a PV guest",
        guests=(
            _guest(DomainKind.HVM, name="owner", mca=True),
            _guest(DomainKind.PV, McaHandler.TRAP, name="backend"),
        ),
        happens=_latent_granted,
    ),
    Case(
        says="latent, page that two HVM guests share copy-on-write",
        guests=(_guest(DomainKind.HVM, name="one", mca=True), _guest(DomainKind.HVM, name="other", mca=True)),
        happens=_latent_shared,
    ),
    Case(
        says="latent, in a superpage of an HVM guest with MCA that cannot be split",
        guests=(_guest(DomainKind.HVM, mca=True, superpages=True),),
        happens=_latent,
    ),
    Case(says="latent, free page", happens=_latent_free),
    Case(says="latent, page of Dom0 that it can lose", guests=(_HVM_MCA,), happens=_latent_dom0),
    Case(says="latent, page of the hypervisor's heap that it can lose", guests=(_HVM_MCA,), happens=_latent_heap),
    Case(says="consumed by a PV guest with a handler", guests=(_PV_HANDLER,), happens=_consumed),
    Case(says="consumed by a PV guest without one", guests=(_PV,), happens=_consumed),
    Case(says="consumed by an HVM guest with MCA", guests=(_HVM_MCA,), happens=_consumed),
    Case(says="consumed by an HVM guest without MCA", guests=(_HVM,), happens=_consumed),
    Case(says="consumed by Dom0, page that it can lose", guests=(_HVM_MCA,), happens=_consumed_in_dom0),
    Case(says="consumed by the hypervisor", guests=(_HVM_MCA,), happens=_consumed_in_hypervisor, must_halt=True),
    Case(
        says="consumed by an HVM guest with MCA; half a millisecond later, latent in another page of it",
        guests=(_HVM_MCA,),
        happens=_then_another_page,
    ),
    Case(
        says="consumed by an HVM guest with MCA; ten seconds later, latent in the same page",
        guests=(_HVM_MCA,),
        happens=_then_the_same_page,
    ),
    Case(says="memory controller cannot say where", guests=(_HVM_MCA,), happens=_unlocated),
    Case(says="fatal: context of a core corrupt", guests=(_HVM_MCA,), happens=_context_corrupt, must_halt=True),
    *(
        Case(says=says, platform="turin", guests=guests, happens=happens, must_halt=must_halt)
        for says, guests, happens, must_halt in (
            ("corrected error", (_HVM_MCA,), _corrected, False),
            ("latent, page of an HVM guest with MCA", (_HVM_MCA,), _latent, False),
            ("consumed by an HVM guest with MCA", (_HVM_MCA,), _consumed, False),
            ("consumed by a PV guest with a handler", (_PV_HANDLER,), _consumed, False),
            ("fatal: context of a core corrupt", (_HVM_MCA,), _context_corrupt, True),
        )
    ),
)
"""What is compared. Where a guest is hit it is the only one, but where a page has two."""
