"""What ``ringfence demo`` plays: a host with a handful of guests, and half a minute that passes every row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringfence.decision.policy import Answer, DomainRule, Policy
from ringfence.hypervisor.model.domains import DomainSpec
from ringfence.service.simulation.acts import (
    DOM0_NAME,
    Act,
    HandlerGone,
    Instructed,
    MemoryHit,
    Place,
    Unit,
    UnitHit,
    Way,
    Wrong,
)
from ringfence.service.simulation.scenario import Machine, Scenario
from ringfence.world.domain import DomainKind, McaHandler

_PAGES: Final = 1 << 12


def _guest(name: str, kind: DomainKind, handler: McaHandler = McaHandler.NONE, *, mca: bool = False) -> DomainSpec:
    return DomainSpec(
        name=name, kind=kind, memory_pages=_PAGES, handler=handler, mca_enabled=mca, dirty_pages_per_s=100
    )


_PV, _PVH, _HVM = DomainKind.PV, DomainKind.PVH, DomainKind.HVM
_TRAP, _AGENT = McaHandler.TRAP, McaHandler.AGENT

SCENARIO: Final = Scenario(
    name="demo",
    says="a handful of guests, and half a minute that passes every row of the concept",
    machine=Machine(platform="turin", sockets=1, cores=8, threads=2),
    guests=(
        _guest("shop-pv", _PV, _TRAP),
        _guest("batch-pv", _PV, _AGENT),
        _guest("old-pv", _PV),
        _guest("older-pv", _PV),
        _guest("app-pvh", _PVH, _TRAP, mca=True),
        _guest("mail-hvm", _HVM, mca=True),
        _guest("cache-hvm", _HVM, mca=True),
        _guest("win-hvm", _HVM),
        _guest("test-hvm", _HVM),
    ),
    memory={},
    units={},
    mishaps={},
    policy=Policy(domains=(DomainRule(name="batch-*", on_srar=Answer.BOTH, inform_of_ce=True),)),
)
"""The host: turin logs a physical address with what it defers, and a syndrome with what it corrects."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What happens, in words and as an act."""

    says: str
    act: Act


def _read(at_ms: int, domain: str, page: int) -> MemoryHit:
    return MemoryHit(at_ms=at_ms, way=Way.READ, place=Place.GUEST, domain=domain, page=page)


def _written_back(at_ms: int, place: Place, domain: str = "", page: int = 0, other: str = "") -> MemoryHit:
    return MemoryHit(at_ms=at_ms, way=Way.WRITTEN_BACK, place=place, domain=domain, page=page, other=other)


SCENES: Final[tuple[Scene, ...]] = (
    Scene(
        "A bit flips in a page of shop-pv, and ECC corrects it.",
        MemoryHit(at_ms=1_000, way=Way.CORRECTED, place=Place.GUEST, domain="shop-pv", page=100),
    ),
    Scene(
        "A cell is stuck: twelve corrected errors in one page of mail-hvm.",
        MemoryHit(
            at_ms=2_000, way=Way.STORM, place=Place.GUEST, domain="mail-hvm", page=200, count=12, interval_ms=100
        ),
    ),
    Scene(
        "A bit flips in a page of batch-pv, whose agent wants to hear of such things.",
        MemoryHit(at_ms=3_800, way=Way.CORRECTED, place=Place.GUEST, domain="batch-pv", page=101),
    ),
    Scene("A cache line goes bad on its way to a page that nobody owns.", _written_back(4_500, Place.FREE)),
    Scene(
        "A cache line goes bad on its way to a page of shop-pv, which has a PV MCA handler.",
        _written_back(6_000, Place.GUEST, "shop-pv", 300),
    ),
    Scene("mail-hvm reads a page that has gone bad. It enabled MCA.", _read(8_000, "mail-hvm", 301)),
    Scene("app-pvh reads a page that has gone bad. It has a synchronous handler.", _read(9_500, "app-pvh", 302)),
    Scene("win-hvm reads a page that has gone bad: no handler, MCA not enabled.", _read(11_000, "win-hvm", 303)),
    Scene("old-pv reads a page that has gone bad: no handler.", _read(12_500, "old-pv", 304)),
    Scene("batch-pv reads a page that has gone bad: it has an agent only.", _read(14_000, "batch-pv", 305)),
    Scene("Dom0's MCA handler goes away.", HandlerGone(at_ms=17_500, for_ms=5_000)),
    Scene("shop-pv reads a page that has gone bad. Dom0 cannot be asked.", _read(18_000, "shop-pv", 306)),
    Scene("older-pv reads a page that has gone bad, and nobody can help it.", _read(19_000, "older-pv", 307)),
    Scene("test-hvm reads a page that has gone bad, and nobody can help it.", _read(20_500, "test-hvm", 308)),
    Scene(
        "Dom0 is back. A page that mail-hvm has granted to shop-pv goes bad.",
        _written_back(23_000, Place.GRANTED, "mail-hvm", 309, "shop-pv"),
    ),
    Scene("Somebody tells the hypervisor to pause Dom0.", Instructed(at_ms=26_000, wrong=Wrong.PAUSE_DOM0)),
    Scene("A page of Dom0 goes bad that it can do without.", _written_back(26_500, Place.DOM0, DOM0_NAME)),
    Scene("A memory controller found bad data and cannot say where.", UnitHit(at_ms=28_000, unit=Unit.UNLOCATED)),
    *(
        Scene(
            "One rank shows syndrome after syndrome: an uncorrected error is to be expected.",
            MemoryHit(
                at_ms=28_500 + 100 * device,
                way=Way.CORRECTED,
                place=Place.GUEST,
                domain="shop-pv",
                page=100,
                line=device,
                device=device,
            ),
        )
        for device in (1, 2, 3)
    ),
    Scene("A core loses its own state. Nothing on it can be trusted.", UnitHit(at_ms=30_500, unit=Unit.CONTEXT)),
)
"""In the order of their times."""
