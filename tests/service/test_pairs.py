"""Two errors at a time, through the real treatment: what one case owes, the other does not undo."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from ringfence.decision.decide import decide
from ringfence.decision.enumeration_report import Breaches
from ringfence.decision.flow import State
from ringfence.decision.policy import DEFAULT
from ringfence.errors import IllegalEventError
from ringfence.service import treatment
from ringfence.service.enumeration import Pair, enumerate_pairs
from ringfence.service.pair_explorer import (
    CONSUMED_P,
    CONSUMED_Q,
    FOUND_P,
    FOUND_Q,
    GUESTS,
    ON_A_GRANTED_PAGE,
    ON_ONE_DOMAIN,
    OWNER,
    ErrorKind,
    Guest,
    PairExplorer,
    World,
)
from ringfence.service.treatment import Treatment
from ringfence.world.domain import DomainKind, McaHandler
from ringfence.world.identities import CaseId
from ringfence.world.situation import Situation
from ringfence.world.steps import (
    AskDom0,
    DestroyDomain,
    HaltHost,
    LastWords,
    NotifyGuest,
    Order,
    PauseDomain,
    Result,
    Status,
    Step,
    UnpauseDomain,
)
from ringfence.world.treatment import Alarm, Answered, Dom0Says, DomainGone, Entry, StepEnded, TimePassed, Wanted

TRAP = Guest(DomainKind.PV, McaHandler.TRAP, mca_enabled=False)


def some_pairs() -> Iterator[Pair]:
    """The pairs on a granted page, every pair with some guests while Dom0 cannot be asked, and some while it can."""
    for first, second in ON_A_GRANTED_PAGE[1:8:2]:
        yield GUESTS[0], first, second, False
    for guest in (GUESTS[4],):
        for first, second in ON_ONE_DOMAIN:
            yield guest, first, second, False
    for first, second in ((FOUND_P, CONSUMED_P), (CONSUMED_P, FOUND_Q), (CONSUMED_P, CONSUMED_Q)):
        yield GUESTS[4], first, second, True


def test_no_pair_of_errors_breaks_a_law() -> None:
    report = enumerate_pairs(some_pairs())
    assert report.broken == ()
    assert report.beginnings > 30
    assert report.paths > 1_000_000


class Seat:
    """A treatment to which errors are reported and whose orders are carried out as a test wants."""

    def __init__(self, guest: Guest = TRAP, *, able: bool) -> None:
        self.treatment = Treatment(DEFAULT)
        self.world = World(able=able)
        self._situations = PairExplorer(guest, FOUND_P, FOUND_Q, able=able, breaches=Breaches())
        self.orders: list[Order] = []
        self.entries: list[Entry] = []
        self.alarms: list[Alarm] = []

    def situation(self, error: ErrorKind | None = None) -> Situation:
        return self._situations.situation(self.world, error)

    def report(self, error: ErrorKind) -> CaseId | None:
        situation = replace(self.situation(error), open_cases=self.treatment.open_cases)
        finding = error.finding
        case, wanted = self.treatment.decided(decide(finding, situation, DEFAULT), finding.severity, situation)
        self.take(wanted)
        return case

    def take(self, wanted: tuple[Wanted, ...]) -> None:
        self.orders += [each for each in wanted if isinstance(each, Order)]
        self.entries += [each for each in wanted if isinstance(each, Entry)]
        self.alarms += [each for each in wanted if isinstance(each, Alarm)]

    def carry_out(self, **results: Status) -> list[Step]:
        """All that is ordered, and what follows from it: done, or as ``results`` says by the step's kind."""
        done = []
        while self.orders:
            order = self.orders.pop(0)
            status = results.get(type(order.step).__name__, Status.DONE)
            done.append(order.step)
            self.take(self.treatment.told(StepEnded(order.id, Result(status)), self.situation()))
        return done

    def states(self) -> dict[CaseId, str]:
        """The last state of each case's part of the owner."""
        return {entry.case: entry.state for entry in self.entries if entry.domain == OWNER and entry.state}


def test_the_end_of_one_case_does_not_let_a_domain_run_that_another_holds() -> None:
    seat = Seat(able=False)
    seat.report(CONSUMED_P)
    seat.report(CONSUMED_Q)
    told = [order for order in seat.orders if order.case == CaseId(1)]
    for order in told:
        seat.take(seat.treatment.told(StepEnded(order.id, Result(Status.DONE)), seat.situation()))
    notify = next(order for order in seat.orders if isinstance(order.step, NotifyGuest))
    before = len(seat.orders)
    seat.take(seat.treatment.told(StepEnded(notify.id, Result(Status.DONE)), seat.situation()))
    assert seat.states()[CaseId(1)] == State.GUEST_HEALED
    assert not any(isinstance(order.step, UnpauseDomain) for order in seat.orders[before:])
    assert any(isinstance(step, UnpauseDomain) for step in seat.carry_out()), "the last one lets it run"


def test_a_consumed_error_cancels_the_question_and_a_late_answer_is_refused() -> None:
    seat = Seat(able=True)
    first = seat.report(FOUND_P)
    assert any(isinstance(step, AskDom0) for step in seat.carry_out())
    second = seat.report(CONSUMED_P)
    assert first is not None
    assert second is not None
    assert seat.states()[first] == State.SUPERSEDED
    before = seat.treatment.parts
    with pytest.raises(IllegalEventError) as refused:
        seat.treatment.told(Answered(first, OWNER, Dom0Says.NOTIFY), seat.situation())
    assert refused.value.event == "says_notify"
    assert seat.treatment.parts == before
    seat.carry_out()
    assert seat.states()[second] == State.ASKING


def test_a_domain_that_is_killed_ends_both_cases_once() -> None:
    seat = Seat(Guest(DomainKind.PV, McaHandler.NONE, mca_enabled=False), able=False)
    seat.report(CONSUMED_P)
    seat.report(CONSUMED_Q)
    done = seat.carry_out(DestroyDomain=Status.RUNNING)
    assert sum(isinstance(step, DestroyDomain) for step in done) == 2
    seat.take(seat.treatment.told(DomainGone(OWNER), seat.situation()))
    assert set(seat.states().values()) == {State.KILLED}
    assert [entry.ended for entry in seat.entries].count(True) == 2
    assert seat.treatment.open_cases == ()


def test_who_was_stopped_over_an_error_stays_stopped_when_a_later_one_takes_its_place() -> None:
    seat = Seat(able=True)
    seat.report(CONSUMED_P)
    seat.carry_out()
    seat.report(CONSUMED_P)
    part = seat.treatment.parts[-1]
    assert part.position.stopped
    assert part.subject.consumed
    assert any(isinstance(order.step, PauseDomain) for order in seat.orders)


def test_a_second_report_about_an_open_page_makes_no_second_case() -> None:
    seat = Seat(able=True)
    first = seat.report(CONSUMED_P)
    assert seat.report(FOUND_P) == first
    assert len(seat.treatment.open_cases) == 1


def test_an_alarm_that_is_not_wanted_any_more_is_ignored() -> None:
    seat = Seat(able=True)
    case = seat.report(FOUND_P)
    seat.carry_out()
    assert case is not None
    seat.take(seat.treatment.told(Answered(case, OWNER, Dom0Says.OPERATE), seat.situation()))
    assert seat.treatment.told(TimePassed(seat.alarms[0].alarm), seat.situation()) == ()
    assert seat.states()[case] == State.OPERATING


def test_when_there_is_no_room_for_another_case_the_host_halts_after_its_last_words(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(treatment, "MAX_OPEN_CASES", 1)
    seat = Seat(able=True)
    seat.report(FOUND_P)
    seat.carry_out()
    seat.report(CONSUMED_Q)
    done = [type(step) for step in seat.carry_out()]
    assert done.index(PauseDomain) < done.index(LastWords) < done.index(HaltHost)
    assert set(seat.states().values()) == {State.HALTED}


def test_a_copy_of_a_seat_goes_its_own_way() -> None:
    seat = Seat(able=True)
    case = seat.report(FOUND_P)
    seat.carry_out()
    assert case is not None
    twin = seat.treatment.copy()
    assert twin.parts == seat.treatment.parts
    twin.told(Answered(case, OWNER, Dom0Says.LEAVE), seat.situation())
    assert twin.parts != seat.treatment.parts
    assert seat.treatment.parts[0].position.state is State.ASKING
