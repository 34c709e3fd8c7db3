"""A model host with a seat that does what a test tells it, and a list of all facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from ringfence.arch.mci_status import PCC, UC
from ringfence.hypervisor.model.domains import DomainSpec
from ringfence.hypervisor.model.host import HostSettings, ModelHost
from ringfence.hypervisor.model.machine import Settings
from ringfence.hypervisor.model.observer import Fact
from ringfence.hypervisor.model.platforms import PLATFORMS
from ringfence.hypervisor.port import Arrival, Ended, Telemetry
from ringfence.record.evidence import Record
from ringfence.world.domain import Domain, DomainKind, McaHandler
from ringfence.world.identities import CaseId, DomainId, StepId
from ringfence.world.situation import Situation
from ringfence.world.steps import HaltHost, LastWords, Order, Result, Step
from ringfence.world.treatment import Told, Wanted

Answering = Callable[[Record, Situation], tuple[Step, ...]]
FactKind = TypeVar("FactKind")


def halts_on_fatal(record: Record, situation: Situation) -> tuple[Step, ...]:
    """The least that a seat does."""
    status = record.registers.status or 0
    return (LastWords(), HaltHost()) if UC.of(status) and PCC.of(status) else ()


@dataclass
class ScriptedSeat:
    """A seat: every uncorrected record is a case, for which ``answering`` says the steps."""

    answering: Answering = halts_on_fatal
    records: list[Record] = field(default_factory=list)
    situations: list[Situation] = field(default_factory=list)
    told_of: list[Told] = field(default_factory=list)
    on_told: Callable[[Told, Situation], tuple[Wanted, ...]] = lambda what, situation: ()
    orders: list[Order] = field(default_factory=list)
    _cases: count[int] = field(default_factory=lambda: count(1))
    _steps: count[int] = field(default_factory=lambda: count(1))

    def order(self, step: Step) -> Order:
        made = Order(StepId(next(self._steps)), step)
        self.orders.append(made)
        return made

    def reported(
        self, records: Sequence[Record], situation_of: Callable[[Record], Situation]
    ) -> tuple[tuple[CaseId | None, ...], tuple[Wanted, ...]]:
        cases: list[CaseId | None] = []
        wanted: list[Wanted] = []
        for record in records:
            self.records.append(record)
            self.situations.append(situation_of(record))
            wanted += [self.order(step) for step in self.answering(record, self.situations[-1])]
            cases.append(CaseId(next(self._cases)) if UC.of(record.registers.status or 0) else None)
        return tuple(cases), tuple(wanted)

    def told(self, what: Told, situation: Situation) -> tuple[Wanted, ...]:
        self.told_of.append(what)
        return self.on_told(what, situation)


@dataclass
class Staged:
    """The host, its seat, what happened."""

    host: ModelHost
    seat: ScriptedSeat
    facts: list[Fact]
    _orders: count[int] = field(default_factory=lambda: count(1000))

    def of(self, kind: type[FactKind]) -> list[FactKind]:
        """The facts of a kind."""
        return [fact for fact in self.facts if isinstance(fact, kind)]

    def domain(self, number: DomainId) -> Domain:
        known = self.host.situation(None).domain(number)
        assert known is not None
        return known

    def do(self, step: Step) -> Result:
        """Dom0 orders a step."""
        return self.host.carry_out(Order(StepId(next(self._orders)), step))

    def done(self, step: Step, ms: int = 60_000) -> Result:
        """The same, to its end."""
        order = Order(StepId(next(self._orders)), step)
        self.host.carry_out(order)
        self.host.advance(ms)
        return self.host.probe(order)

    def take(self) -> list[Arrival]:
        """Everything that arrives, each acknowledged."""
        taken: list[Arrival] = []
        while arrivals := self.host.arrivals():
            taken += arrivals
            for each in arrivals:
                if not isinstance(each, Ended):
                    self.host.acknowledge(each.token)
        return taken

    def records(self) -> list[Record]:
        """The records of all telemetry that arrives."""
        return [record for each in self.take() if isinstance(each, Telemetry) for record in each.records]


def stage(
    personality: str = "concept", platform: str = "cascade-lake", answering: Answering = halts_on_fatal, seed: int = 1
) -> Staged:
    """A host with a handler in Dom0 and no guest."""
    seat = ScriptedSeat(answering)
    facts: list[Fact] = []
    settings = HostSettings(
        personality=personality, machine=Settings(platform=PLATFORMS[platform], patrol_pass_ns=0), dom0_pages=1 << 12,
        xen_pages=1 << 8,
    )  # fmt: skip
    host = ModelHost(settings, seed=seed, seat=seat, observer=facts.append)
    host.set_dom0_handler(True)
    return Staged(host, seat, facts)


def guest(
    staged: Staged,
    kind: DomainKind = DomainKind.HVM,
    *,
    handler: McaHandler = McaHandler.NONE,
    mca: bool = True,
    behaviour: str = "heals",
    vcpus: int = 1,
    shadow: bool = False,
    superpages: bool = False,
    pages: int = 1024,
) -> DomainId:
    """A guest that runs."""
    return staged.host.create(
        DomainSpec(
            name=f"guest{len(staged.facts)}", kind=kind, memory_pages=pages, handler=handler, mca_enabled=mca,
            behaviour=behaviour, vcpus=vcpus, shadow=shadow, whole_superpages=superpages,
        )
    )  # fmt: skip
