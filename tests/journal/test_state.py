"""What a replay rebuilds (law L9)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.hypervisor.port import Token
from ringfence.journal import state as limits
from ringfence.journal.case import Approval, Outcome, Part, Question, Reply
from ringfence.journal.events import (
    Acknowledged,
    Answered,
    ApprovalAsked,
    ApprovalGiven,
    Asked,
    Carried,
    Closed,
    Deadline,
    DeadlinePassed,
    Decided,
    Dom0Changed,
    DomainChanged,
    Event,
    EvidenceSaved,
    Hit,
    Impacted,
    Intended,
    Lost,
    OutcomeEntry,
    PluginSaid,
    Progressed,
    Received,
    Started,
    Stopped,
    Stored,
    Superseded,
    TrendSeen,
    Unread,
    Unrecognised,
    on_wire,
)
from ringfence.journal.numbers import Numbers
from ringfence.journal.state import State, apply, replay
from ringfence.journal.store import Journal
from ringfence.record.evidence import Format, Origin, Record, Registers
from ringfence.world.domain import DomainKind, DomainState
from ringfence.world.identities import OWN_CASES, CaseId, DomainId, Frame, GuestFrame, StepId
from ringfence.world.situation import OpenCase, PluginVerdict, Seat, Suspect
from ringfence.world.steps import (
    DestroyDomain,
    ExchangeFrame,
    InjectVmce,
    OfflineFrame,
    OnlineFrame,
    Order,
    Status,
    Step,
)
from ringfence.world.treatment import Dom0Says
from tests.journal.strategies import events

CASE, GUEST, OTHER = CaseId(1), DomainId(5), DomainId(6)
HOUR_MS = 3600 * 1000


def after(*stored: Stored) -> State:
    return replay(enumerate(stored, 1))


def record(raw: bytes = b"mce", **registers: int) -> Record:
    registers.setdefault("status", 0x9C00_0040_0001_0090)
    return Record(origin=Origin("-"), format=Format.TYPED, raw=raw, registers=Registers(**registers))


def received(
    at_ms: int = 0,
    token: int = 1,
    case: CaseId | None = None,
    evidence: Record | None = None,
    *,
    part: int = 0,
    left_over: bool = False,
    corrected: bool = False,
    count: int = 1,
    frame: int | None = None,
    rank: str | None = None,
    syndrome: int | None = None,
    dimm: str | None = None,
) -> Received:
    return Received(
        at_ms=at_ms,
        token=Token(token),
        case=case,
        urgent=not corrected,
        record=evidence or record(),
        severity="CORRECTED" if corrected else "SRAO",
        summary="",
        part=part,
        left_over=left_over,
        corrected=corrected,
        count=count,
        frame=Frame(frame) if frame is not None else None,
        rank=rank,
        syndrome=syndrome,
        dimm=dimm,
    )


def asked(domain: DomainId = GUEST) -> Asked:
    return Asked(at_ms=1, case=CASE, domain=domain, deadline_ms=100)


def intended(step: Step, order: int = 1, attempt: int = 1, dimm: str | None = None) -> Intended:
    return Intended(at_ms=2, order=StepId(order), case=CASE, step=on_wire(step), attempt=attempt, dimm=dimm)


def carried(status: Status, order: int = 1) -> Carried:
    return Carried(at_ms=3, order=StepId(order), status=status)


def started(at_ms: int = 0, boot: str = "one", life: int = 1, wall_ms: int | None = None) -> Started:
    return Started(at_ms=at_ms, life=life, version="1", hypervisor="model", boot=boot, wall_ms=wall_ms)


# --- the law ----------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(st.lists(st.tuples(st.lists(events, min_size=1, max_size=5), st.booleans()), max_size=8))
def test_every_prefix_of_a_journal_gives_the_state_that_its_writer_had(groups: list[tuple[list[Event], bool]]) -> None:
    """L9. After a group whose flag is set the writer is killed, and its next life takes up what it reads."""
    then = [State()]
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "journal.db"
        journal, state = Journal(path, fsync=False, reserve_bytes=0), State()
        for group, killed in groups:
            journal.append(*group)
            for event in group:
                assert apply(state, event) is state
                then.append(state.snapshot())
            if killed:
                journal.close()
                journal = Journal(path, fsync=False, reserve_bytes=0)
                state = replay(journal.events())
        stored = list(journal.events())
        journal.close()
    assert len(stored) == len(then) - 1
    for length, state_then in enumerate(then):
        assert replay(stored[:length]) == state_then


@settings(max_examples=300)
@given(st.lists(events, max_size=30))
def test_the_state_never_gives_a_number_away_twice_and_no_case_is_both_open_and_closed(happened: list[Event]) -> None:
    state, given_away = State(), set[int]()
    for event in happened:
        for number in (getattr(event, "case", None), getattr(event, "by", None)):
            given_away.update((number,) if number is not None else ())
        apply(state, event)
        assert state.next_case not in given_away
        assert not state.cases.keys() & state.outcomes.keys()
        assert all(case in state.cases for case, _ in state.questions)
        assert all(case in state.cases for case, _, _ in state.approvals)
        assert state.next_order > max(state.orders, default=0)


# --- cases ------------------------------------------------------------------------------------------------------------


def test_a_case_is_open_from_its_first_event_to_its_outcome() -> None:
    impact = Impacted(
        at_ms=2,
        case=CASE,
        consumer=Hit(party="nobody", certainty="proven"),
        losers=(
            Hit(party="DomU", certainty="proven", domain=GUEST),
            Hit(party="DomU", certainty="proven", domain=OTHER),
        ),
        certainty="proven",
        frames=((Frame(0x20), 512),),
    )
    state = after(received(1, case=CASE, frame=0x10), impact)
    assert state.open_cases == (
        OpenCase(CASE, frozenset({Frame(0x10), Frame(0x20)}), frozenset({GUEST, OTHER}), False),
    )
    assert state.cases[CASE].severity == "SRAO"
    outcome = (OutcomeEntry(GUEST, "healed", "I.3a-handler"), OutcomeEntry(OTHER, "killed", "I.3a-kill"))
    apply(state, Closed(at_ms=3, case=CASE, outcome=outcome))
    assert not state.cases
    assert state.outcomes == {CASE: Outcome(outcome)}
    assert state.is_closed(CASE)
    assert state.next_case == CaseId(2)


def test_parts_of_a_case_end_one_by_one() -> None:
    def part(domain: DomainId, state: str, ended: bool) -> Progressed:
        return Progressed(at_ms=1, case=CASE, domain=domain, event="told", state=state, row="I.3b-inject", ended=ended)

    state = after(part(GUEST, "injecting", False), part(OTHER, "gone", True))
    assert not state.cases[CASE].has_ended
    apply(state, part(GUEST, "healed", True))
    assert state.cases[CASE].has_ended
    assert state.cases[CASE].parts[GUEST] == Part("healed", "I.3b-inject", "", True, since_ms=1)


def test_what_comes_after_the_outcome_changes_it_no_more_and_is_counted() -> None:
    state = after(
        Closed(at_ms=1, case=CASE, outcome=(OutcomeEntry(None, "halted", "I.2x"),)),
        Closed(at_ms=2, case=CASE, outcome=()),
        Superseded(at_ms=3, case=CASE, by=CaseId(9)),
        asked(),
    )
    assert state.outcomes[CASE].entries == (OutcomeEntry(None, "halted", "I.2x"),)
    assert not state.questions
    assert not state.cases
    assert state.strays == 3


def test_a_further_report_of_a_closed_case_opens_nothing_and_is_no_stray() -> None:
    state = after(Closed(at_ms=1, case=CASE, outcome=()), received(2, case=CASE))
    assert (state.cases, state.received, state.strays) == ({}, 1, 0)


def test_a_case_that_was_taken_over_names_the_other() -> None:
    state = after(received(1, case=CASE), asked(), Superseded(at_ms=2, case=CASE, by=CaseId(4)))
    assert state.outcomes[CASE].superseded_by == CaseId(4)
    assert not state.questions
    assert state.next_case == CaseId(5)


def test_what_was_decided_said_and_saved_is_known_of_an_open_case() -> None:
    state = after(
        Decided(at_ms=1, case=CASE, domain=GUEST, seat=Seat.DOM0, row="II.2", answer=Dom0Says.OPERATE),
        PluginSaid(at_ms=1, case=CASE, plugin="site", answer="", because="late"),
        EvidenceSaved(at_ms=1, case=CASE),
    )
    case = state.cases[CASE]
    assert case.decided[GUEST].answer is Dom0Says.OPERATE
    assert case.verdicts == [PluginVerdict("site", "", "late")]
    assert case.evidence_saved


def test_outcomes_are_kept_in_a_bounded_number_and_old_cases_stay_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "OUTCOMES_KEPT", 3)
    closed = [1_000_000, *range(1, 6)]
    state = after(*(Closed(at_ms=0, case=CaseId(n), outcome=()) for n in closed), asked(), received(case=CaseId(7)))
    assert list(state.outcomes) == [CaseId(3), CaseId(4), CaseId(5)]
    assert all(state.is_closed(CaseId(number)) for number in closed)
    assert not state.questions
    assert list(state.cases) == [CaseId(7)]


def test_the_numbers_of_dom0s_own_cases_are_counted_apart() -> None:
    state = after(*(Closed(at_ms=0, case=CaseId(n), outcome=()) for n in (3, OWN_CASES + 1)), received(case=CaseId(5)))
    assert (state.last_seat_case, state.next_case) == (5, OWN_CASES + 2)
    assert not state.is_closed(CaseId(6))


@given(st.lists(st.integers(0, 12)))
def test_numbers_are_a_set_in_as_few_runs_as_can_be(added: list[int]) -> None:
    numbers = Numbers()
    for number in added:
        numbers.add(number)
    assert [number for number in range(-1, 14) if number in numbers] == sorted(set(added))
    assert len(numbers.runs) == sum(number - 1 not in added for number in set(added))


# --- questions, approvals, deadlines --------------------------------------------------------------------------------


def test_a_question_waits_until_it_is_answered() -> None:
    state = after(asked(), asked(OTHER))
    assert state.questions[CASE, GUEST] == Question(CASE, GUEST, 100)
    apply(state, Answered(at_ms=2, case=CASE, domain=GUEST, says=Dom0Says.NOTIFY, status=Status.REFUSED))
    assert list(state.questions) == [(CASE, OTHER)]
    assert state.cases[CASE].answers == {GUEST: Reply(Dom0Says.NOTIFY, Status.REFUSED)}


def passed(which: Deadline) -> DeadlinePassed:
    return DeadlinePassed(at_ms=100, case=CASE, domain=GUEST, which=which)


def test_a_deadline_once_passed_is_never_unpassed() -> None:
    state = after(asked(), passed(Deadline.ANSWER), asked())
    assert not state.questions
    assert (GUEST, Deadline.ANSWER) in state.cases[CASE].passed


def ended(domain: DomainId) -> DomainChanged:
    return DomainChanged(
        at_ms=2, domain=domain, name="web", domain_kind=DomainKind.PV, state=DomainState.DESTROYED, because="xl"
    )


@pytest.mark.parametrize(
    "end",
    [
        Closed(at_ms=2, case=CASE, outcome=()),
        Progressed(at_ms=2, case=CASE, domain=GUEST, event="late", state="killed", row="I.3a-kill", ended=True),
        ended(GUEST),
        started(5, boot="two", life=2),
    ],
    ids=("outcome", "part ended", "domain gone", "host rebooted"),
)
def test_a_question_that_nobody_asks_any_more_is_gone(end: Event) -> None:
    assert not after(started(), asked(), end).questions


def test_a_question_outlives_a_life_of_the_process() -> None:
    assert after(started(), asked(), started(5, life=2)).questions


def test_a_persons_word_is_waited_for_and_kept() -> None:
    wanted = ApprovalAsked(at_ms=1, case=CASE, domain=GUEST, operation="migrate", deadline_ms=50)
    state = after(wanted)
    assert list(state.approvals.values()) == [Approval(CASE, GUEST, "migrate", 50)]
    apply(state, ApprovalGiven(at_ms=2, case=CASE, domain=GUEST, operation="migrate", granted=False, who="ann"))
    assert not state.approvals
    assert state.cases[CASE].approved == {(GUEST, "migrate"): False}
    assert not after(wanted, passed(Deadline.APPROVAL)).approvals
    assert not after(wanted, Closed(at_ms=2, case=CASE, outcome=())).approvals


# --- orders -----------------------------------------------------------------------------------------------------------


def test_an_order_is_open_from_its_intent_to_its_end() -> None:
    inject, destroy = InjectVmce(GUEST, GuestFrame(7)), DestroyDomain(OTHER)
    state = after(started(life=3), intended(inject), intended(destroy, 2, attempt=2))
    assert [(each.order, each.attempt, each.running, each.life, each.boot) for each in state.orders.values()] == [
        (Order(StepId(1), inject), 1, False, 3, "one"),
        (Order(StepId(2), destroy), 2, False, 3, "one"),
    ]
    apply(state, carried(Status.RUNNING, 2))
    assert state.orders[StepId(2)].running
    apply(state, carried(Status.UNKNOWN, 1))
    apply(state, carried(Status.FAILED, 2))
    assert not state.orders
    assert [result.status for result in state.cases[CASE].ended_orders.values()] == [Status.UNKNOWN, Status.FAILED]
    assert state.next_order == StepId(3)


def test_an_order_stays_open_when_its_case_is_closed_and_over_a_reboot() -> None:
    step = intended(DestroyDomain(GUEST))
    state = after(started(), step, Closed(at_ms=2, case=CASE, outcome=()), started(5, boot="two", life=2))
    assert state.orders[StepId(1)].boot == "one"
    apply(state, carried(Status.DONE))
    assert not state.orders
    assert state.strays == 0


def test_an_end_without_an_intent_is_counted_and_changes_nothing() -> None:
    state = after(intended(DestroyDomain(GUEST)), carried(Status.DONE), carried(Status.FAILED))
    assert state.strays == 1
    assert state.cases[CASE].ended_orders[StepId(1)].status is Status.DONE


def test_pages_taken_out_of_use_are_charged_to_their_dimm() -> None:
    state = after(
        received(case=CASE, dimm="A1"),
        intended(OfflineFrame(Frame(1), 512), 1),
        intended(OfflineFrame(Frame(600)), 2),
        intended(ExchangeFrame(GUEST, Frame(700)), 3, dimm="B2"),
        intended(OfflineFrame(Frame(800)), 4),
        carried(Status.DONE, 1),
        carried(Status.PENDING, 2),
        carried(Status.DONE, 3),
        carried(Status.FAILED, 4),
    )
    assert (state.pages_offlined("A1"), state.pages_offlined("B2"), state.pages_offlined("C3")) == (513, 1, 0)
    apply(state, intended(OnlineFrame(Frame(600)), 5))
    apply(state, carried(Status.DONE, 5))
    assert state.pages_offlined("A1") == 512
    apply(state, intended(OfflineFrame(Frame(1), 512), 6))
    apply(state, carried(Status.DONE, 6))
    assert state.pages_offlined("A1") == 512


# --- evidence ---------------------------------------------------------------------------------------------------------


def test_an_arrival_is_durable_also_if_part_of_it_does_not_say_how_bad_it_is() -> None:
    silent = Record(origin=Origin("-"), format=Format.TYPED, raw=b"silent", registers=Registers())
    unread = Unrecognised(at_ms=0, raw=b"silent", why="", token=Token(7))
    assert after(unread).is_durable(Token(7), (silent,))
    later = Unrecognised(at_ms=0, raw=b"silent", why="", token=Token(7), part=1)
    for stored, records in (
        ((unread, received(token=7, part=1)), (silent, record())),
        ((received(token=7), later), (record(), silent)),
    ):
        state = after(*stored)
        assert state.is_durable(Token(7), records)
        assert not state.is_durable(Token(7), (silent,))


def test_an_arrival_that_is_durable_is_known_until_it_is_acknowledged() -> None:
    state = after(received(token=7, evidence=record(b"a")), received(token=7, evidence=record(b"b"), part=1), asked())
    assert state.is_durable(Token(7), (record(b"a"), record(b"b")))
    assert not state.is_durable(Token(8), (record(b"a"), record(b"b")))
    apply(state, Acknowledged(at_ms=2, tokens=(Token(7), Token(99))))
    assert not state.is_durable(Token(7), (record(b"a"), record(b"b")))


@pytest.mark.parametrize("other", [record(b"b"), record(b"a", tsc=2), record(b"a")])
def test_a_number_that_a_source_uses_again_does_not_hide_new_evidence(other: Record) -> None:
    state = after(received(token=7, evidence=record(b"a", tsc=1)))
    assert not state.is_durable(Token(7), (other,))
    assert not state.is_durable(Token(7), (record(b"a", tsc=1), other))
    assert not state.is_durable(Token(7))


def test_another_boot_counts_its_arrivals_anew() -> None:
    state = after(started(), received(token=7), started(5, boot="two"))
    assert not state.is_durable(Token(7), (record(),))


def test_a_question_or_a_loss_is_known_by_its_number() -> None:
    state = after(
        Asked(at_ms=1, case=CASE, domain=GUEST, deadline_ms=9, token=Token(3)),
        Lost(at_ms=1, count=4, urgent=False, token=Token(4)),
        Lost(at_ms=1, count=2, urgent=True),
    )
    assert state.is_durable(Token(3))
    assert state.is_durable(Token(4))
    assert (state.lost_urgent, state.lost_nonurgent) == (2, 4)


def test_the_arrivals_that_are_remembered_are_bounded() -> None:
    many = limits.TOKENS_KEPT + 5
    state = after(*(received(token=n) for n in range(many)))
    assert len(state.unacknowledged) == limits.TOKENS_KEPT
    assert not state.is_durable(Token(4), (record(),))
    assert state.is_durable(Token(5), (record(),))


def test_corrected_errors_are_counted_per_page_and_distinct_syndromes_per_rank() -> None:
    state = after(
        *(received(n, corrected=True, frame=0x10 + n % 2, rank="0/1", syndrome=n % 3, count=2) for n in range(6)),
        received(6, corrected=True, frame=0x10, rank="0/2"),
        received(7, frame=0x10, rank="0/1", syndrome=9),
        received(8, corrected=True, left_over=True, frame=0x10, rank="0/1", syndrome=9),
    )
    assert sum(each.count for each in state.seen(Suspect.PAGE, "0x10", HOUR_MS)) == 7
    assert {each.syndrome for each in state.seen(Suspect.RANK, "0/1", HOUR_MS)} == {0, 1, 2}
    assert {each.frame for each in state.seen(Suspect.RANK, "0/1", HOUR_MS)} == {Frame(0x10), Frame(0x11)}
    assert state.seen(Suspect.DIMM, "A1", HOUR_MS) == ()


def test_only_the_window_that_is_asked_for_counts() -> None:
    state = after(*(received(n * HOUR_MS, corrected=True, frame=1) for n in range(5)), Stopped(at_ms=5 * HOUR_MS))
    assert [each.at_ms // HOUR_MS for each in state.seen(Suspect.PAGE, "0x1", 3 * HOUR_MS)] == [3, 4]


def test_the_history_is_bounded_in_time_in_number_and_in_suspects(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SUSPECTS_KEPT", 3)
    monkeypatch.setattr(limits, "SIGHTINGS_KEPT", 4)
    monkeypatch.setattr(limits, "SIGHTINGS_OF_A_PAGE", 4)
    state = after(*(received(n, corrected=True, frame=1) for n in range(6)))
    assert [(each.at_ms, each.count) for each in state.history[Suspect.PAGE, "0x1"]] == [(0, 1), (1, 1), (2, 1), (3, 3)]
    for frame in (2, 3, 1, 4):
        apply(state, received(7, corrected=True, frame=frame))
    assert [name for _, name in state.history] == ["0x3", "0x1", "0x4"]
    apply(state, received(8 + limits.HISTORY_MS, corrected=True, frame=1))
    assert [each.at_ms for each in state.history[Suspect.PAGE, "0x1"]] == [8 + limits.HISTORY_MS]


@pytest.mark.parametrize(
    ("wall_ms", "seen"),
    [((HOUR_MS, 5 * HOUR_MS), 1), ((HOUR_MS, 2 * HOUR_MS), 2), ((None, None), 2)],
    ids=("three hours down", "just rebooted", "no wall clock"),
)
def test_history_goes_on_where_the_hosts_clock_begins_anew(wall_ms: tuple[int | None, int | None], seen: int) -> None:
    before, anew = wall_ms
    state = after(
        started(10 * HOUR_MS, wall_ms=before),
        received(11 * HOUR_MS - 1, corrected=True, frame=1),
        started(0, boot="two", wall_ms=anew),
        received(1000, corrected=True, frame=1),
    )
    assert len(state.seen(Suspect.PAGE, "0x1", 3 * HOUR_MS)) == seen
    assert state.now_ms == 1000


def test_a_trend_that_acts_ahead_has_a_case_of_its_own() -> None:
    trend = TrendSeen(
        at_ms=1, suspect=Suspect.RANK, name="0/1", count=9, distinct=4, window_ms=HOUR_MS, frames=(Frame(8),), case=CASE
    )
    assert after(trend).open_cases == (OpenCase(CASE, frozenset({Frame(8)}), frozenset(), False),)


# --- the host ---------------------------------------------------------------------------------------------------------


def test_dom0_stays_hurt_over_a_life_of_the_process_until_a_probe_or_a_boot() -> None:
    hurt = Dom0Changed(at_ms=1, has_handler=True, hurt=True)
    assert after(started(), hurt, started(2, life=2)).dom0_hurt
    assert not after(started(), hurt, Dom0Changed(at_ms=2, has_handler=True, hurt=False)).dom0_hurt
    assert not after(started(), hurt, started(2, boot="two", life=2)).dom0_hurt


def test_domains_are_known_while_they_exist() -> None:
    came = DomainChanged(at_ms=1, domain=GUEST, name="web", domain_kind=DomainKind.PV, state=DomainState.RUNNING)
    assert after(came).domains[GUEST].name == "web"
    assert not after(came, ended(GUEST)).domains


def test_a_life_that_was_killed_can_be_told_from_one_that_ended() -> None:
    assert after(started()).running
    assert not after(started(), Stopped(at_ms=1)).running


def test_the_numbers_of_an_event_that_cannot_be_read_are_not_given_away_again() -> None:
    state = after(Unread(kind="Foreseen", text="{}", why="", case=8, order=13, token=21))
    assert (state.unread, state.next_case, state.next_order) == (1, CaseId(9), StepId(14))
    assert state.is_durable(Token(21))
