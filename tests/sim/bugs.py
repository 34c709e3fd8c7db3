"""Deliberate bugs: each is planted into rules, flow, action, journal, loop or queues, and must make one law fail.

They are other bugs than those of ``tests.decision.bugs``, or the same place seen from the running system.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from ringfence.action import carry
from ringfence.decision import decide, flow, orders
from ringfence.decision.flow import Event, State
from ringfence.decision.laws import Law
from ringfence.decision.rows import Row
from ringfence.diagnosis import containment, containment_facts, containment_grounds
from ringfence.hypervisor.model import operations, queues, vmce
from ringfence.hypervisor.model.domains import DomainSpec
from ringfence.hypervisor.model.door import Door
from ringfence.journal import events as ev
from ringfence.journal.state import apply
from ringfence.service import resumption, treatment
from ringfence.service.evidence import Evidence, Piece
from ringfence.service.ledger import Ledger
from ringfence.service.loop import Loop
from ringfence.service.simulation.acts import Act, Busy, Instructed, Kill, MemoryHit, Place, Script, Way, Wrong
from ringfence.service.simulation.scenario import SCENARIOS, Scenario
from ringfence.service.simulation.witness import is_uncorrected
from ringfence.world.domain import DomainKind, McaHandler
from ringfence.world.identities import DomainId, Frame, GuestFrame
from ringfence.world.steps import (
    DestroyDomain,
    IsolateFrame,
    NotifyGuest,
    OfflineFrame,
    Order,
    PauseDomain,
    Result,
    Status,
    Step,
)

Plant = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Bug:
    """``plant`` puts it in, ``law`` is the one that must fail.

    ``script`` is played if there is one, else seeds of ``scenario`` until the law fails.
    """

    name: str
    law: Law
    plant: Plant
    scenario: Scenario = SCENARIOS["quiet"]
    script: Script = ()


def _steps(change: Callable[[tuple[Step, ...], Any], tuple[Step, ...]]) -> Plant:
    """Every state's steps, changed: those at once, and those on a move."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        right = orders.on_entering

        def wrong(*given: Any, **named: Any) -> tuple[Step, ...]:
            return change(right(*given, **named), given[1])

        patch.setattr("ringfence.service.treatment.on_entering", wrong)
        patch.setattr(decide, "on_entering", wrong)

    return plant


def _without(kind: type[Step]) -> Plant:
    return _steps(lambda steps, _: tuple(step for step in steps if not isinstance(step, kind)))


def _told(change: Callable[[tuple[GuestFrame, ...]], tuple[GuestFrame, ...]]) -> Plant:
    return _steps(
        lambda steps, _: tuple(
            replace(step, pages=change(step.pages)) if isinstance(step, NotifyGuest) else step for step in steps
        )
    )


def _edge(state: State, event: Event, target: State) -> Plant:
    def plant(patch: pytest.MonkeyPatch) -> None:
        right = flow._BY_PAIR[state, event]
        patch.setitem(flow._BY_PAIR, (state, event), replace(right, target=target, marks=(), row=None))

    return plant


def _corrected_pauses(patch: pytest.MonkeyPatch) -> None:
    right = decide.on_corrected

    def wrong(finding: Any, situation: Any, policy: Any) -> tuple[Step, ...]:
        return (*right(finding, situation, policy), PauseDomain(DomainId(1)))

    patch.setattr("ringfence.service.treatment.on_corrected", wrong)


def _fatal_is_noted(patch: pytest.MonkeyPatch) -> None:
    kept = tuple(rule for rule in decide.FIRST_ROWS if rule.name not in {"fatal", "unconfined"})
    patch.setattr(decide, "FIRST_ROWS", kept)


def _no_last_words(patch: pytest.MonkeyPatch) -> None:
    def wrong(position: flow.Position, *, dom0_able: bool) -> flow.Position:
        return replace(position, state=State.HALTING, row=Row.HALT)

    patch.setattr(flow, "halting", wrong)
    patch.setattr(decide, "halting", wrong)


def _dom0_is_always_able(patch: pytest.MonkeyPatch) -> None:
    right = decide.facts_of
    patch.setattr("ringfence.service.treatment.facts_of", lambda *given: replace(right(*given), dom0_able=True))


def _no_alarms(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("ringfence.service.treatment.alarm_ms", lambda *_: None)


def _heirless_are_superseded(patch: pytest.MonkeyPatch) -> None:
    """Whoever is superseded has an heir; here nobody is asked."""

    def wrong(self: treatment.Treatment, new: Any, situation: Any) -> Any:
        for case in list(self._cases.values()):
            if case is new or not case.frames & new.frames:
                continue
            for part in case.parts:
                if Event.SUPERSEDED in flow.allowed(part.position.state):
                    yield from self._apply(part, Event.SUPERSEDED, situation, "by another")

    patch.setattr(treatment.Treatment, "_superseded", wrong)


def _acknowledged_first(patch: pytest.MonkeyPatch) -> None:
    right = Loop._arrived

    def wrong(self: Loop, arrivals: Any) -> None:
        for arrival in arrivals:
            if hasattr(arrival, "token"):
                self._host.acknowledge(arrival.token)
        right(self, arrivals)

    patch.setattr(Loop, "_arrived", wrong)


def _counts_before_it_is_written(patch: pytest.MonkeyPatch) -> None:
    def wrong(self: Ledger, *events: ev.Event) -> None:
        for event in events:
            apply(self.state, event)
        self.journal.append(*events)

    patch.setattr(Ledger, "write", wrong)


def _intent_after_the_effect(patch: pytest.MonkeyPatch) -> None:
    right = carry.carry_out
    kept: list[Any] = []
    write = Ledger.write

    def late(self: Ledger, *events: ev.Event) -> None:
        if len(events) == 1 and isinstance(events[0], ev.Intended):
            kept.append((self, events[0]))
        else:
            write(self, *events)

    def wrong(host: Any, order: Order) -> Result:
        result = right(host, order)
        for owner, event in kept:
            write(owner, event)
        kept.clear()
        return result

    patch.setattr(Ledger, "write", late)
    patch.setattr("ringfence.service.ledger.carry_out", wrong)


def _repeated_without_a_look(patch: pytest.MonkeyPatch) -> None:
    """An order of which the end is not known is carried out again, whatever its kind."""
    patch.setattr(resumption, "taken_up", lambda host, order: None)


def _ended_twice(patch: pytest.MonkeyPatch) -> None:
    right = Ledger.carried

    def wrong(self: Ledger, order: Any, result: Result) -> None:
        right(self, order, result)
        if result.status is Status.DONE:
            right(self, order, result)

    patch.setattr(Ledger, "carried", wrong)


def _never_closed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Ledger, "closing", lambda self: ())


def _boot_and_ends_apart(patch: pytest.MonkeyPatch) -> None:
    """The cases of an earlier boot are not closed."""
    patch.setattr(resumption, "ends_of_earlier_boot", lambda ledger: ())


def _lent(patch: pytest.MonkeyPatch) -> None:
    """Nonurgent telemetry may have every entry."""
    patch.setattr(queues, "URGENT_ENTRIES", 0)


def _uncounted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Door, "lose", lambda self, count, urgent: None)


def _leaks(patch: pytest.MonkeyPatch) -> None:
    right = vmce.page_lost

    def wrong(page: GuestFrame, *, consumed: bool) -> vmce.VirtualBank:
        bank = right(page, consumed=consumed)
        return replace(bank, status=bank.status | 0x0090 << 16)

    patch.setattr(vmce, "page_lost", wrong)


def _pauses_before_it_looks(patch: pytest.MonkeyPatch) -> None:
    right = operations.Operations.restore

    def wrong(self: operations.Operations, number: DomainId, on_end: Any) -> Result:
        domain = self._life.living(number)
        if domain is not None:
            self._life.pause(domain, "it is being restored")
        return right(self, number, on_end)

    patch.setattr(operations.Operations, "restore", wrong)


def _hit(at_ms: int, way: Way, place: Place = Place.GUEST, domain: str = "pv-trap", **given: Any) -> Act:
    return MemoryHit(at_ms=at_ms, way=way, place=place, domain=domain, page=given.pop("page", 77), **given)


_STORM_THEN_UE: Script = (
    Busy(at_ms=2_000, for_ms=60_000),
    _hit(2_100, Way.STORM, domain="pv-plain", line=63, count=60, interval_ms=20),
    *(_hit(20_000 + number, Way.READ, domain="hvm-mca", page=100 + number) for number in range(4)),
    *(_hit(20_100 + number, Way.WRITTEN_BACK, Place.FREE) for number in range(8)),
)
"""Dom0 is silent while corrected errors fill the telemetry, and uncorrected ones follow."""

_KILLED_IN_AN_OPERATION: Script = tuple(
    act
    for number in range(24)
    for act in (
        Kill(at_ms=10_000 + number * 300_000, calls=12 + 2 * number, dead_ms=500),
        _hit(10_001 + number * 300_000, Way.WRITTEN_BACK, domain="hvm-plain", page=50 + number),
    )
)
"""A kill at every other call of what Dom0 does about an error of which it restarts the guest."""

_SUPERPAGES = replace(
    SCENARIOS["quiet"],
    guests=(
        DomainSpec(
            name="pv-super", kind=DomainKind.PV, handler=McaHandler.TRAP, memory_pages=1 << 13, whole_superpages=True
        ),
    ),
)

_SILENT: Script = (
    Busy(at_ms=2_000, for_ms=30_000),
    # A guest that waits for its turn on the CPU reads nothing just then.
    *(_hit(2_100 + 10 * number, Way.READ, page=70 + number) for number in range(4)),
)
"""Dom0 does not answer while a guest consumes errors."""


BUGS: tuple[Bug, ...] = (
    Bug("first aid leaves the mappings", Law.L1, _without(IsolateFrame)),
    Bug("the consumer is not stopped", Law.L1, _without(PauseDomain), script=_SILENT),
    Bug("a loser is superseded by a case of which it has no part", Law.L2, _heirless_are_superseded),
    Bug("a killed domain is not destroyed", Law.L2, _without(DestroyDomain), SCENARIOS["no-dom0"]),
    Bug("no alarm is set", Law.L2, _no_alarms, SCENARIOS["hostile-guests"]),
    Bug("an outcome is not written", Law.L2, _never_closed),
    Bug("an arrival is acknowledged before it is durable", Law.L2, _acknowledged_first),
    Bug("what an earlier boot left stays open", Law.L2, _boot_and_ends_apart, SCENARIOS["last-words"]),
    Bug("a corrected error pauses a domain", Law.L3, _corrected_pauses),
    Bug("what is fatal degrades the host", Law.L4, _fatal_is_noted, SCENARIOS["last-words"]),
    Bug("no last words", Law.L4, _no_last_words, SCENARIOS["last-words"]),
    Bug(
        "a host that could not heal itself goes on",
        Law.L4,
        _edge(State.HEALING, Event.FAILED, State.HEALED),
        script=(_hit(5_000, Way.WRITTEN_BACK, Place.XEN_VITAL),),
    ),
    Bug("Dom0 is asked although it has no handler", Law.L5, _dom0_is_always_able, SCENARIOS["no-dom0"]),
    Bug(
        "Dom0 is asked again when its time has passed",
        Law.L5,
        _edge(State.ASKING, Event.DEADLINE, State.ASKING),
        script=_SILENT,
    ),
    Bug(
        "a neighbour is stopped",
        Law.L6,
        _steps(
            lambda steps, _: tuple(
                PauseDomain(DomainId(step.domain + 1)) if isinstance(step, PauseDomain) else step for step in steps
            )
        ),
    ),
    Bug("a guest is told of a page beside", Law.L7, _told(lambda pages: tuple(GuestFrame(each ^ 1) for each in pages))),
    Bug(
        "a guest is told of a part of what it lost",
        Law.L7,
        _told(lambda pages: pages[:1]),
        script=tuple(
            _hit(5_000 + number, Way.WRITTEN_BACK, domain="pv-super", page=512 * number + 3) for number in range(3)
        ),
        scenario=_SUPERPAGES,
    ),
    Bug("a vMCE has a model-specific code of the host", Law.L7, _leaks),
    Bug(
        "a restore that is refused has paused the domain",
        Law.L8,
        _pauses_before_it_looks,
        script=(Instructed(at_ms=5_000, wrong=Wrong.RESTORE_WITHOUT, domain="hvm-mca"),),
    ),
    Bug("the state counts what is not written yet", Law.L9, _counts_before_it_is_written, SCENARIOS["kills"]),
    Bug("an intent is written after its effect", Law.L9, _intent_after_the_effect),
    Bug("the end of an order is written twice", Law.L9, _ended_twice),
    Bug("an open order is repeated without a look", Law.L9, _repeated_without_a_look, script=_KILLED_IN_AN_OPERATION),
    Bug("nonurgent telemetry takes what is kept for urgent", Law.L10, _lent, script=_STORM_THEN_UE),
    Bug("what is dropped is not counted", Law.L10, _uncounted, script=_STORM_THEN_UE),
)


# --- where the hypervisor acts alone ----------------------------------------------------------------------------------

_XEN = SCENARIOS["xen-4.20"]
_XEN_FATAL = replace(SCENARIOS["last-words"], name="last-words under xen-4.20", personality="xen-4.20")


def _history_is_news(patch: pytest.MonkeyPatch) -> None:
    for module in (decide, containment, containment_facts, containment_grounds):
        patch.setattr(module, "is_past", lambda finding, situation: False)


def _evidence_is_dropped(patch: pytest.MonkeyPatch) -> None:
    take = Evidence.take

    def careless(self: Evidence, pieces: Sequence[Piece], **given: Any) -> None:
        take(self, [each for each in pieces if not is_uncorrected(each.record)], **given)

    patch.setattr(Evidence, "take", careless)


ALSO_FOUND_ALONE = (
    "a killed domain is not destroyed",
    "an outcome is not written",
    "an arrival is acknowledged before it is durable",
    "a corrected error pauses a domain",
    "a restore that is refused has paused the domain",
    "an intent is written after its effect",
    "the end of an order is written twice",
)
"""Of the bugs above, those that the laws find on a host on which Xen acts alone as well."""

BUGS_ALONE: tuple[Bug, ...] = (
    *(replace(bug, scenario=_XEN) for bug in BUGS if bug.name in ALSO_FOUND_ALONE),
    Bug("uncorrected errors are not written", Law.L2, _evidence_is_dropped, _XEN),
    Bug("what an earlier boot left halts the host again", Law.L4, _history_is_news, _XEN_FATAL),
    Bug(
        "the page beside is taken out of use",
        Law.L6,
        _steps(
            lambda steps, _: tuple(
                OfflineFrame(Frame(step.frame + 1)) if isinstance(step, OfflineFrame) else step for step in steps
            )
        ),
        _XEN,
    ),
)
"""Bugs in Dom0's seat, on a host on which Xen acts alone."""
