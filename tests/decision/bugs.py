"""Deliberate bugs: each is planted into rules, flow, orders or treatment, and must make one named law fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

import pytest

from ringfence.decision import decide, flow, orders
from ringfence.decision.flow import Edge, Event, Facts, Go, Move, Position, Rung, State
from ringfence.decision.laws import Law
from ringfence.decision.orders import Subject
from ringfence.decision.policy import Policy
from ringfence.decision.rows import Row
from ringfence.errors import IllegalEventError
from ringfence.service import treatment
from ringfence.world.identities import DomainId, GuestFrame
from ringfence.world.situation import Situation
from ringfence.world.steps import InjectVmce, NotifyGuest, PauseDomain, Result, Status, Step
from ringfence.world.treatment import Told, Wanted


class FoundBy(Enum):
    PARTS = auto()
    BEGINNINGS = auto()
    PAIRS = auto()


@dataclass(frozen=True)
class Bug:
    """``plant`` puts it in; ``law`` is the one that must fail, and ``found_by`` the enumeration that finds it."""

    name: str
    law: Law
    found_by: FoundBy
    plant: Callable[[pytest.MonkeyPatch], None]


def _table(patch: pytest.MonkeyPatch, table: tuple[Edge, ...]) -> None:
    patch.setattr(flow, "TABLE", table)
    patch.setattr(flow, "_BY_PAIR", {(edge.state, edge.event): edge for edge in table})


def _edge(state: State, event: Event, change: Callable[[Edge], Edge | None]) -> Callable[[pytest.MonkeyPatch], None]:
    """The table with one edge changed, or without it."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        changed = [change(edge) if (edge.state, edge.event) == (state, event) else edge for edge in flow.TABLE]
        _table(patch, tuple(edge for edge in changed if edge is not None))

    return plant


def _no_edges(states: set[State], event: Event) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(patch: pytest.MonkeyPatch) -> None:
        _table(patch, tuple(edge for edge in flow.TABLE if edge.event is not event or edge.state not in states))

    return plant


def _steps(change: Callable[[Step, Subject], tuple[Step, ...]]) -> Callable[[pytest.MonkeyPatch], None]:
    """Every step that is ordered, changed."""
    right = orders.on_entering

    def wrong(
        position: Position, subject: Subject, situation: Situation, policy: Policy, *, was_stopped: bool = False
    ) -> tuple[Step, ...]:
        steps = right(position, subject, situation, policy, was_stopped=was_stopped)
        return tuple(each for step in steps for each in change(step, subject))

    def plant(patch: pytest.MonkeyPatch) -> None:
        for module in (orders, decide, treatment):
            patch.setattr(module, "on_entering", wrong)

    return plant


def _host_numbers(step: Step, subject: Subject) -> tuple[Step, ...]:
    if isinstance(step, NotifyGuest):
        return (replace(step, pages=tuple(GuestFrame(frame) for frame, _ in subject.frames)),)
    return (step,)


def _first_page_again(step: Step, subject: Subject) -> tuple[Step, ...]:
    return (replace(step, page=subject.pages[0]),) if isinstance(step, InjectVmce) else (step,)


def _never_pauses(step: Step, _: Subject) -> tuple[Step, ...]:
    return () if isinstance(step, PauseDomain) else (step,)


def _pauses_the_neighbour(step: Step, subject: Subject) -> tuple[Step, ...]:
    beside = DomainId((subject.domain or 0) + 1)
    return (step, PauseDomain(beside)) if isinstance(step, NotifyGuest) else (step,)


def _first_rows(change: Callable[[decide.FirstRow], decide.FirstRow | None]) -> Callable[[pytest.MonkeyPatch], None]:
    def plant(patch: pytest.MonkeyPatch) -> None:
        changed = (change(rule) for rule in decide.FIRST_ROWS)
        patch.setattr(decide, "FIRST_ROWS", tuple(rule for rule in changed if rule is not None))

    return plant


def _asks_again(patch: pytest.MonkeyPatch) -> None:
    right = Rung.applies

    def wrong(self: Rung, position: Position, facts: Facts) -> bool:
        return right(self, replace(position, dom0_out=False), facts)

    patch.setattr(Rung, "applies", wrong)


def _swallows_the_illegal(patch: pytest.MonkeyPatch) -> None:
    right = flow.advance

    def wrong(position: Position, event: Event, facts: Facts) -> Move:
        try:
            return right(position, event, facts)
        except IllegalEventError:
            return Move(position, "whatever")

    patch.setattr(flow, "advance", wrong)


def _unknown_counts_as_refused(patch: pytest.MonkeyPatch) -> None:
    right = orders.event_of

    def wrong(
        position: Position, subject: Subject, ended: tuple[tuple[Step, Result], ...], *, in_machine_check: bool
    ) -> Event | None:
        known = tuple((s, Result(Status.REFUSED) if r.status is Status.UNKNOWN else r) for s, r in ended)
        return right(position, subject, known, in_machine_check=in_machine_check)

    patch.setattr(orders, "event_of", wrong)


def _lets_anybody_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(treatment.Treatment, "_is_held_by_another", lambda *_: False)


def _inherits_nothing(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(treatment, "_inherit", lambda *_: None)


def _ignores_wrong_answers(patch: pytest.MonkeyPatch) -> None:
    right = treatment.Treatment.told

    def wrong(self: treatment.Treatment, what: Told, situation: Situation) -> tuple[Wanted, ...]:
        try:
            return right(self, what, situation)
        except IllegalEventError:
            return ()

    patch.setattr(treatment.Treatment, "told", wrong)


def _counts_every_pause_as_done(patch: pytest.MonkeyPatch) -> None:
    right = orders.counts
    patch.setattr(orders, "counts", lambda step, state: not isinstance(step, PauseDomain) and right(step, state))


_PARTS, _BEGINNINGS, _PAIRS = FoundBy

BUGS: tuple[Bug, ...] = (
    Bug("the consumer is not stopped", Law.L1, _PARTS, _steps(_never_pauses)),
    Bug("that the consumer could not be stopped is not noticed", Law.L1, _PARTS, _counts_every_pause_as_done),
    Bug(
        "a guest that was silent runs on while Dom0 is asked", Law.L1, _PARTS,
        _edge(State.AWAITING_GUEST, Event.DEADLINE, lambda edge: replace(edge, target=State.REQUESTING)),
    ),
    Bug(
        "a guest that refused counts as healed", Law.L2, _PARTS,
        _edge(State.TELLING, Event.REFUSED, lambda edge: replace(edge, target=State.GUEST_HEALED)),
    ),
    Bug(
        "a mapping that stays is forgotten", Law.L1, _PARTS,
        _edge(State.CONTAINING, Event.NOT_ISOLATED, lambda edge: replace(edge, target=Go.FIRST, marks=())),
    ),
    Bug("a silent Dom0 is waited for", Law.L2, _PARTS, _edge(State.REQUESTING, Event.DEADLINE, lambda _: None)),
    Bug(
        "a domain that could not be killed counts as killed", Law.L2, _PARTS,
        _edge(State.KILLING, Event.FAILED, lambda edge: replace(edge, target=State.KILLED)),
    ),
    Bug(
        "MCIP is waited for without end", Law.L2, _PARTS,
        _edge(State.INJECTING_AGAIN, Event.IN_MACHINE_CHECK, lambda edge: replace(edge, target=State.AWAITING_MCIP)),
    ),
    Bug(
        "a part on its way to a halt does not hear that the host has halted", Law.L2, _PARTS,
        _no_edges({State.SPEAKING, State.HALTING}, Event.HOST_HALTED),
    ),
    Bug(
        "a corrected error takes the page out", Law.L3, _BEGINNINGS,
        _first_rows(lambda rule: replace(rule, state=State.TAKING_OUT) if rule.name == "corrected" else rule),
    ),
    Bug(
        "the host halts without last words", Law.L4, _PARTS,
        _edge(State.SAVING_EVIDENCE, Event.SAVED, lambda edge: replace(edge, target=State.HALTING)),
    ),
    Bug(
        "an unconfined error does not halt", Law.L4, _BEGINNINGS,
        _first_rows(lambda rule: None if rule.name == "unconfined" else rule),
    ),
    Bug(
        "what an earlier boot left halts again", Law.L4, _BEGINNINGS,
        _first_rows(lambda rule: None if rule.name == "left-over" else rule),
    ),
    Bug("Dom0 is asked again after its time is up", Law.L5, _PARTS, _asks_again),
    Bug(
        "Dom0 is asked without a handler", Law.L5, _PARTS,
        _edge(State.CONTAINING, Event.DONE, lambda edge: replace(edge, target=State.ASKING, row=Row.ASK_DOM0)),
    ),
    Bug("a neighbour is paused", Law.L6, _PARTS, _steps(_pauses_the_neighbour)),
    Bug("a guest is told the host's frame numbers", Law.L7, _PARTS, _steps(_host_numbers)),
    Bug("each vMCE carries the first page", Law.L7, _PARTS, _steps(_first_page_again)),
    Bug("an event that is not allowed is taken", Law.L8, _PARTS, _swallows_the_illegal),
    Bug("a vMCE of unknown fate is injected again", Law.L9, _PARTS, _unknown_counts_as_refused),
    Bug("one error lets a domain run that another has stopped", Law.L1, _PAIRS, _lets_anybody_run),
    Bug("who takes a part's place inherits nothing", Law.L1, _PAIRS, _inherits_nothing),
    Bug("an answer that nobody waits for is taken", Law.L8, _PAIRS, _ignores_wrong_answers),
)  # fmt: skip
