"""What the journal adds up to: counts only grow, their labels are few, and hostile names cannot make them many."""

from __future__ import annotations

from dataclasses import fields

from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.decode.meaning import UnitKind
from ringfence.hypervisor.port import Token
from ringfence.journal import events as ev
from ringfence.journal.state import State, apply, replay
from ringfence.journal.tallies import DIMMS_TOLD_APART, OTHER, Series, Tallies
from ringfence.record.evidence import Format, Origin, Record
from ringfence.world.identities import CaseId, DomainId, Frame, StepId
from ringfence.world.situation import Seat, Suspect
from ringfence.world.steps import OfflineFrame, Status
from tests.journal.strategies import events

RECORD = Record(origin=Origin("-", None), format=Format.PRINTK, raw=b"")


def received(dimm: str | None, *, count: int = 1, severity: str = "CORRECTED", left_over: bool = False) -> ev.Received:
    return ev.Received(
        at_ms=1, token=Token(1), case=None, urgent=False, record=RECORD, severity=severity, summary="", count=count,
        corrected=True, dimm=dimm, unit_kind=UnitKind.MEMORY, left_over=left_over,
    )  # fmt: skip


def tallies_of(*given: ev.Event) -> Tallies:
    return replay(enumerate(given, 1)).tallies


def series(tallies: Tallies) -> dict[str, Series]:
    return {each.name: getattr(tallies, each.name) for each in fields(tallies) if each.name != "dimms"}


@settings(max_examples=40)
@given(st.lists(events, max_size=30))
def test_no_count_ever_falls(given: list[ev.Event]) -> None:
    state, before = State(), dict[str, Series]()
    for event in given:
        apply(state, event)
        now = {name: dict(counts) for name, counts in series(state.tallies).items()}
        for name, counts in before.items():
            assert all(now[name][labels] >= count for labels, count in counts.items())
        before = now


def test_errors_are_counted_as_often_as_their_source_counted_them() -> None:
    assert tallies_of(received("A1"), received("A1", count=40), received(None)).errors == {
        ("CORRECTED", "memory", "A1"): 41,
        ("CORRECTED", "memory", ""): 1,
    }


def test_what_an_earlier_boot_left_is_counted_apart() -> None:
    found = tallies_of(received("A1", severity="FATAL", left_over=True))
    assert (found.errors, found.left_over) == ({}, {("FATAL",): 1})


def test_names_without_end_become_one() -> None:
    found = tallies_of(
        *(received(f"made up {number}") for number in range(DIMMS_TOLD_APART + 7)), received("made up 0")
    )
    assert len(found.errors) == DIMMS_TOLD_APART + 1
    assert found.errors["CORRECTED", "memory", OTHER] == 7
    assert found.errors["CORRECTED", "memory", "made up 0"] == 2


def test_words_that_this_version_does_not_know_become_one() -> None:
    found = tallies_of(
        received(None, severity="WORSE"),
        ev.Decided(at_ms=1, case=CaseId(1), domain=None, seat=Seat.DOM0, row="IX.9"),
        ev.Closed(at_ms=1, case=CaseId(1), outcome=(ev.OutcomeEntry(None, "beamed up", "IX.9"),)),
        ev.Instructed(at_ms=1, domain=DomainId(1), operation="bless", who="me"),
    )
    assert list(found.errors) == [(OTHER, "memory", "")]
    assert found.decisions == {(OTHER, "Dom0"): 1}
    assert found.outcomes == {(OTHER, OTHER): 1}
    assert found.instructions == {(OTHER, "taken"): 1}


def test_an_order_is_counted_when_an_attempt_ends_by_its_step() -> None:
    step = ev.on_wire(OfflineFrame(Frame(1)))

    def attempt(status: Status) -> tuple[ev.Event, ...]:
        intended = ev.Intended(at_ms=1, order=StepId(1), case=CaseId(1), step=step)
        return intended, ev.Carried(at_ms=1, order=StepId(1), status=status)

    stray = ev.Carried(at_ms=1, order=StepId(9), status=Status.DONE)
    found = tallies_of(*attempt(Status.FAILED), *attempt(Status.DONE), stray)
    assert found.orders == {("OfflineFrame", "failed"): 1, ("OfflineFrame", "done"): 1, (OTHER, "done"): 1}
    assert tallies_of(*attempt(Status.RUNNING)).orders == {}


def test_trends_and_words_of_people_are_counted() -> None:
    case = CaseId(1)
    found = tallies_of(
        ev.TrendSeen(at_ms=1, suspect=Suspect.RANK, name="r", count=3, distinct=3, window_ms=1),
        ev.ApprovalAsked(at_ms=1, case=case, domain=None, operation="destroy", deadline_ms=2),
        ev.ApprovalGiven(at_ms=1, case=case, domain=None, operation="destroy", granted=False, who="me"),
        ev.DeadlinePassed(at_ms=1, case=case, domain=None, which=ev.Deadline.ANSWER),
    )
    assert found.trends == {("rank",): 1}
    assert found.approvals == {("asked",): 1, ("denied",): 1}
    assert found.deadlines == {("answer",): 1}
