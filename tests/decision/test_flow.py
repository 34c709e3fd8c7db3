"""The flow of one part: what follows what, what is refused, and where each guest's ladder leads."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.decision.flow import ENDS, RUNGS, TABLE, Event, Facts, Position, State, advance, allowed, halting
from ringfence.decision.orders import Subject, alarm_ms, counts, event_of, on_entering
from ringfence.decision.policy import Deadlines, Policy
from ringfence.decision.rows import Row
from ringfence.errors import IllegalEventError
from ringfence.world.domain import Dom0State, Domain, DomainKind, McaHandler
from ringfence.world.identities import DomainId, Frame, GuestFrame
from ringfence.world.situation import Situation
from ringfence.world.steps import (
    AskDom0,
    DestroyDomain,
    InjectVmce,
    IsolateFrame,
    NotifyGuest,
    OfflineFrame,
    PauseDomain,
    Result,
    Status,
    Step,
    UnpauseDomain,
)

DOMU = DomainId(3)
FAILURES = {
    State.ASKING: Event.SAYS_NOTIFY,
    State.TELLING: Event.REFUSED,
    State.INJECTING: Event.REFUSED,
    State.REQUESTING: Event.SAYS_LEAVE,
}


def facts(
    kind: DomainKind = DomainKind.PV,
    handler: McaHandler = McaHandler.NONE,
    *,
    mca: bool = False,
    consumed: bool = False,
    able: bool = True,
    numbered: bool = True,
    vmce: bool = True,
) -> Facts:
    return Facts(
        kind=kind, handler=handler, mca_enabled=mca, consumed=consumed, dom0_able=able, numbered=numbered, vmce=vmce
    )


def rows_until_killed(start: Facts, *, held: bool = False) -> list[str]:
    """The rows that are tried while everything is refused."""
    position = Position(state=State.CONTAINING, row=Row.ALONE, held=held)
    event, rows = Event.DONE, []
    while position.state is not State.KILLING:
        position = advance(position, event, start).position
        rows.append(str(position.row))
        event = FAILURES.get(position.state, Event.DONE)
    return rows


@pytest.mark.parametrize(
    ("guest", "rows"),
    [
        (facts(), "I.2c-dom0 I.3a-dom0 I.3a-kill"),
        (facts(able=False), "I.3a-kill"),
        (facts(handler=McaHandler.AGENT), "I.2c-dom0 I.3a-handler I.3a-dom0 I.3a-kill"),
        (facts(handler=McaHandler.AGENT, consumed=True), "I.2c-dom0 I.3a-dom0 I.3a-kill"),
        (facts(handler=McaHandler.TRAP, consumed=True, able=False), "I.3a-handler I.3a-kill"),
        (facts(handler=McaHandler.TRAP, numbered=False), "I.2c-dom0 I.3a-dom0 I.3a-kill"),
        (facts(mca=True, able=False), "I.3a-kill"),
        (facts(DomainKind.HVM, mca=True), "I.2c-dom0 I.3b-inject I.3b-dom0 I.3b-kill"),
        (facts(DomainKind.HVM, mca=True, vmce=False, able=False), "I.3b-kill"),
        (facts(DomainKind.HVM, McaHandler.TRAP, mca=True, able=False), "I.3b-pv I.3b-inject I.3b-kill"),
        (facts(DomainKind.PVH), "I.2c-dom0 I.3b-dom0 I.3b-kill"),
    ],
)
def test_what_cannot_be_delivered_falls_to_the_next_row(guest: Facts, rows: str) -> None:
    assert rows_until_killed(guest) == rows.split()


def test_a_domain_that_must_not_run_is_not_told() -> None:
    assert rows_until_killed(facts(handler=McaHandler.TRAP), held=True) == ["I.2c-dom0", "I.3a-dom0", "I.3a-kill"]


@pytest.mark.parametrize("event", [Event.SAYS_LEAVE, Event.DEADLINE, Event.DOM0_LOST, Event.FAILED])
def test_dom0_is_not_asked_again_after_it_let_the_question_pass(event: Event) -> None:
    asking = Position(state=State.ASKING, row=Row.ASK_DOM0)
    moved = advance(asking, event, facts()).position
    assert moved.dom0_out
    assert moved.state is State.KILLING


def test_a_consumer_that_ran_and_did_not_heal_is_stopped_again() -> None:
    told = Position(state=State.AWAITING_GUEST, row=Row.PV_HANDLER)
    moved = advance(told, Event.DEADLINE, facts(handler=McaHandler.TRAP, consumed=True)).position
    assert (moved.state, moved.stopped) == (State.REQUESTING, True)
    assert on_entering(moved, subject(consumed=True), situation(), Policy()) == (
        PauseDomain(DOMU),
        AskDom0(DOMU, Deadlines().dom0_ms, operate=True),
    )


def test_dom0_gets_time_before_a_halt_only_if_it_can_use_it() -> None:
    position = Position(state=State.HEALING, row=Row.SELF_HEAL)
    assert halting(position, dom0_able=True).state is State.SAVING_EVIDENCE
    assert halting(position, dom0_able=False).state is State.SPEAKING
    assert advance(position, Event.FAILED, facts(able=False)).position.row is Row.HALT


def test_whoever_consumed_the_error_and_can_neither_stand_nor_die_halts_the_host_at_once() -> None:
    killing = Position(state=State.KILLING, row=Row.PV_KILL, stopped=True)
    assert advance(killing, Event.FAILED, facts(consumed=True, able=True)).position.state is State.SPEAKING
    assert advance(killing, Event.FAILED, facts()).position.state is State.STUCK


def test_a_pair_that_is_not_in_the_table_is_refused_with_what_was_allowed() -> None:
    for state, event in product(State, Event):
        if event in allowed(state):
            continue
        with pytest.raises(IllegalEventError) as refused:
            advance(Position(state=state, row=Row.ALONE), event, facts())
        assert (refused.value.state, refused.value.event) == (state, event)
        assert refused.value.allowed == allowed(state)


def test_an_end_allows_nothing_and_every_other_state_something() -> None:
    for state in State:
        assert bool(allowed(state)) != (state in ENDS)


def test_the_table_has_one_edge_a_pair() -> None:
    assert len({(edge.state, edge.event) for edge in TABLE}) == len(TABLE)


def test_each_ladder_ends_in_a_rung_that_always_applies() -> None:
    for pv, last in ((True, Row.PV_KILL), (False, Row.HVM_KILL)):
        assert [rung.row for rung in RUNGS if rung.pv is pv][-1] is last


def test_every_state_in_which_somebody_else_is_waited_for_has_an_alarm() -> None:
    answered = {Event.SAYS_NOTIFY, Event.SAVED, Event.APPROVED, Event.DEADLINE}
    for state in State:
        if answered & set(allowed(state)):
            assert alarm_ms(state, Deadlines()) is not None


@given(
    st.builds(
        Position,
        state=st.sampled_from(State),
        row=st.sampled_from(Row),
        dom0_out=st.booleans(),
        held=st.booleans(),
        stopped=st.booleans(),
        inform=st.booleans(),
        told=st.integers(0, 8),
    )
)
def test_a_position_is_the_same_after_the_journal(position: Position) -> None:
    assert Position.decode(position.encode()) == position


# --- orders ---------------------------------------------------------------------------------------------------------


def subject(*, consumed: bool = False, pages: int = 1, numbered: bool = True) -> Subject:
    return Subject(
        domain=DOMU,
        pages=tuple(GuestFrame(0x10 + number) for number in range(pages)),
        numbered=numbered,
        frames=((Frame(0x900), 1),),
        consumed=consumed,
    )


def situation(handler: McaHandler = McaHandler.AGENT) -> Situation:
    domain = Domain(id=DOMU, name="domu", kind=DomainKind.PV, handler=handler)
    return Situation(now_ms=0, dom0=Dom0State(has_handler=True), domains=(domain,))


def at(state: State, *, stopped: bool = False, inform: bool = False, told: int = 0) -> Position:
    return Position(state=state, row=Row.ALONE, stopped=stopped, inform=inform, told=told)


def came_back(state: State, *results: tuple[Step, Status], mcip: bool = False, consumed: bool = False) -> Event | None:
    ended = tuple((step, Result(status)) for step, status in results)
    return event_of(at(state), subject(consumed=consumed), ended, in_machine_check=mcip)


def test_first_aid_stops_the_consumer_before_anything_else() -> None:
    steps = on_entering(at(State.CONTAINING, stopped=True), subject(consumed=True), situation(), Policy())
    assert steps == (PauseDomain(DOMU), IsolateFrame(Frame(0x900)), OfflineFrame(Frame(0x900)))


def test_a_domain_that_is_not_held_any_more_is_let_run_after_all_else() -> None:
    steps = on_entering(at(State.INJECTED), subject(), situation(), Policy(), was_stopped=True)
    assert steps == (UnpauseDomain(DOMU),)


def test_only_offlining_may_be_pending() -> None:
    assert came_back(State.TAKING_OUT, (OfflineFrame(Frame(1)), Status.PENDING)) is Event.DONE
    assert came_back(State.CONTAINING, (IsolateFrame(Frame(1)), Status.PENDING)) is Event.NOT_ISOLATED
    assert came_back(State.KILLING, (DestroyDomain(DOMU), Status.PENDING)) is Event.FAILED
    assert came_back(State.TELLING, (NotifyGuest(DOMU, ()), Status.PENDING)) is Event.FAILED


def test_that_a_consumer_could_not_be_stopped_is_known_while_other_steps_still_run() -> None:
    pause, ask = (PauseDomain(DOMU), Status.FAILED), (AskDom0(DOMU, 0, operate=True), Status.RUNNING)
    assert came_back(State.REQUESTING, pause, ask, consumed=True) is Event.NOT_STOPPED
    assert came_back(State.REQUESTING, (PauseDomain(DOMU), Status.RUNNING), ask, consumed=True) is None


def test_who_only_lost_a_page_need_not_stand_once_it_cannot_reach_it() -> None:
    pause = (PauseDomain(DOMU), Status.FAILED)
    assert came_back(State.CONTAINING, pause, (IsolateFrame(Frame(1)), Status.DONE)) is Event.DONE
    assert came_back(State.CONTAINING, pause, (IsolateFrame(Frame(1)), Status.RUNNING)) is None
    assert came_back(State.CONTAINING, pause, (IsolateFrame(Frame(1)), Status.FAILED)) is Event.NOT_STOPPED


def test_a_vmce_of_unknown_fate_is_not_tried_again_even_in_a_machine_check() -> None:
    inject = InjectVmce(DOMU, GuestFrame(0x10))
    assert came_back(State.INJECTING, (inject, Status.UNKNOWN), mcip=True) is Event.UNCERTAIN
    assert came_back(State.INJECTING, (inject, Status.REFUSED), mcip=True) is Event.IN_MACHINE_CHECK
    assert came_back(State.INJECTING, (inject, Status.REFUSED)) is Event.REFUSED


def test_one_vmce_is_injected_for_each_lost_page_in_turn() -> None:
    three = subject(pages=3)
    steps = [on_entering(at(State.INJECTING_AGAIN, told=told), three, situation(), Policy()) for told in range(3)]
    assert steps == [(InjectVmce(DOMU, GuestFrame(0x10 + number)),) for number in range(3)]
    done = ((InjectVmce(DOMU, GuestFrame(0x12)), Result(Status.DONE)),)
    events = [event_of(at(State.INJECTING_AGAIN, told=told), three, done, in_machine_check=False) for told in range(3)]
    assert events == [Event.MORE_PAGES, Event.MORE_PAGES, Event.DONE]


def test_who_cannot_be_told_of_every_page_is_not_informed_either() -> None:
    informing = at(State.INFORMING, inform=True)
    told = on_entering(informing, subject(), situation(), Policy())
    assert told == (NotifyGuest(DOMU, (GuestFrame(0x10),), must_act=False),)
    assert on_entering(informing, subject(numbered=False), situation(), Policy()) == ()
    assert on_entering(informing, subject(), situation(McaHandler.NONE), Policy()) == ()


def test_a_pause_beside_a_destroy_decides_nothing() -> None:
    assert not counts(PauseDomain(DOMU), State.KILLING)
    assert counts(PauseDomain(DOMU), State.CONTAINING)
    assert counts(PauseDomain(DOMU), State.HOLDING)


@pytest.mark.parametrize(("incarnation", "told"), [(3, True), (4, False)])
def test_who_was_made_anew_since_is_not_told_of_pages_that_it_has_not_lost(incarnation: int, told: bool) -> None:
    position = Position(state=State.INFORMING, row=Row.PV_DOM0, inform=True)
    subject = Subject(domain=DomainId(7), pages=(GuestFrame(5),), incarnation=3)
    guest = Domain(id=DomainId(7), name="web", kind=DomainKind.PV, handler=McaHandler.AGENT, incarnation=incarnation)
    situation = Situation(now_ms=0, dom0=Dom0State(has_handler=True), domains=(guest,))
    steps = on_entering(position, subject, situation, Policy())
    assert [type(step).__name__ for step in steps] == (["NotifyGuest"] if told else [])
