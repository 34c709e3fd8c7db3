"""Faults as the journal's events make them, and how much of the history is kept."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.decode.meaning import UnitKind
from ringfence.diagnosis.fault_case import Ending, Stage
from ringfence.diagnosis.spread import Sighting, Spot, spot_of
from ringfence.diagnosis.suspects import lies_in
from ringfence.hypervisor.port import Token
from ringfence.journal import events as ev
from ringfence.journal import faults
from ringfence.journal.events import (
    Carried,
    Cleared,
    Closed,
    Event,
    Intended,
    OutcomeEntry,
    Received,
    Started,
    Stopped,
    TrendSeen,
    on_wire,
)
from ringfence.journal.faults import remember
from ringfence.journal.snapshot import decode, encode
from ringfence.journal.state import State, apply
from ringfence.record.evidence import Format, Location, Origin, Record, Registers
from ringfence.world.identities import OWN_CASES, CaseId, CpuId, DomainId, Frame, StepId
from ringfence.world.situation import Suspect
from ringfence.world.steps import ExchangeFrame, HealHost, OfflineCpu, OfflineFrame, OnlineFrame, Status, Step

CASE = CaseId(OWN_CASES + 1)
PLACE = (("socket", 0), ("channel", 1), ("slot", 0), ("rank", 0), ("bank", 3), ("row", 0x12))
DIMM = "socket 0 channel 1 slot 0"


def after(*events: Event) -> State:
    state = State()
    for event in events:
        apply(state, event)
    return state


def error(at_ms: int, *, frame: int = 0x10, syndrome: int = 1, left_over: bool = False) -> Received:
    return Received(
        at_ms=at_ms, token=Token(at_ms), case=None, urgent=False, severity="corrected", summary="",
        record=Record(origin=Origin("-"), format=Format.TYPED, raw=b""), corrected=True, left_over=left_over,
        frame=Frame(frame), rank=f"{DIMM} rank 0", dimm=DIMM, syndrome=syndrome, place=PLACE,
        unit_kind=UnitKind.MEMORY,
    )  # fmt: skip


def trend(
    at_ms: int, case: CaseId | None = CASE, suspect: Suspect = Suspect.PAGE, name: str = "page 0x10"
) -> TrendSeen:
    return TrendSeen(at_ms=at_ms, suspect=suspect, name=name, count=3, distinct=1, window_ms=9, case=case)


def closed(at_ms: int, state: str) -> Closed:
    return Closed(at_ms=at_ms, case=CASE, outcome=(OutcomeEntry(None, state, "II.1"),))


def done(step: Step, order: int = 1) -> tuple[Event, ...]:
    return (
        Intended(at_ms=1, order=StepId(order), case=CASE, step=on_wire(step), dimm=DIMM),
        Carried(at_ms=2, order=StepId(order), status=Status.DONE),
    )


def stage(state: State, suspect: Suspect = Suspect.PAGE, name: str = "page 0x10") -> Stage | None:
    fault = state.faults.of(suspect, name)
    return fault.stage if fault is not None else None


def test_a_fault_goes_with_the_case_that_acts_on_it() -> None:
    assert stage(after(error(1))) is None
    assert stage(after(trend(1))) is Stage.ACTING
    assert stage(after(trend(1), closed(2, "operated"))) is Stage.ISOLATED
    assert stage(after(trend(1), closed(2, "not_operated"))) is Stage.UNTREATED
    assert stage(after(trend(1, None))) is Stage.UNTREATED


def test_a_reboot_puts_back_what_was_taken_out_and_does_not_make_it_good() -> None:
    before = (
        Started(at_ms=0, life=1, version="1", hypervisor="model", boot="1"),
        trend(1),
        *done(OfflineFrame(Frame(0x10))),
    )
    state = after(*before, closed(3, "operated"))
    assert (state.faults.bad.pages, state.faults.back_pages) == (((0x10, 1),), set())
    apply(state, Started(at_ms=4, life=2, version="1", hypervisor="model", boot="2"))
    assert (state.faults.bad.pages, state.faults.back_pages) == (((0x10, 1),), {0x10})
    assert stage(state) is Stage.DIAGNOSED


def test_what_is_bad_is_what_was_taken_out_and_not_put_back() -> None:
    state = after(
        *done(OfflineFrame(Frame(1), 2)), *done(HealHost((Frame(9),), CpuId(3), dom0=False), 2),
        *done(ExchangeFrame(DomainId(1), Frame(5)), 3),
        *done(OfflineCpu(CpuId(7)), 4), *done(OnlineFrame(Frame(9)), 5),
    )  # fmt: skip
    assert state.faults.bad.pages == ((1, 2), (5, 1))
    assert state.faults.bad.cpus == (3, 7)


def test_a_replaced_dimm_begins_anew_with_its_ranks_rows_and_pages() -> None:
    rank = trend(3, None, Suspect.RANK, f"{DIMM} rank 0")
    state = after(error(1), error(2), rank, trend(3), *done(OfflineFrame(Frame(0x10))))
    assert state.seen(Suspect.PAGE, "0x10", 100) and state.seen(Suspect.ROW, f"{DIMM} rank 0 bank 3 row 0x12", 100)
    apply(state, Cleared(at_ms=5, suspect=Suspect.DIMM, name=DIMM, how=Ending.REPLACED, who="root"))
    assert not any(state.history.values())
    assert stage(state, Suspect.RANK, f"{DIMM} rank 0") is stage(state, Suspect.DIMM, DIMM) is Stage.REPLACED
    assert (state.faults.bad.pages, state.pages_offlined(DIMM)) == ((), 0)


def test_an_acquitted_page_is_not_reopened_by_what_was_left_over_and_a_new_error_opens_a_new_fault() -> None:
    acquitted = Cleared(at_ms=5, suspect=Suspect.PAGE, name="page 0x10", how=Ending.ACQUITTED, who="root")
    state = after(error(1), trend(2), closed(3, "operated"), acquitted, error(6, left_over=True))
    assert stage(state) is Stage.ACQUITTED
    assert state.seen(Suspect.PAGE, "0x10", 100) == ()
    apply(state, error(7))
    assert len(state.seen(Suspect.PAGE, "0x10", 100)) == 1
    apply(state, trend(8))
    fault = state.faults.of(Suspect.PAGE, "page 0x10")
    assert fault is not None
    assert (fault.stage, fault.opened_ms, fault.who) == (Stage.ACTING, 8, "")


def test_a_storm_of_one_cell_does_not_push_out_the_other_syndrome_of_its_rank() -> None:
    """B.8: what predicts a UE is that there are two, however many errors the one has."""
    state = after(error(0, syndrome=2), *(error(n, syndrome=1) for n in range(1, 2000)))
    seen = state.seen(Suspect.RANK, f"{DIMM} rank 0", 10_000)
    assert {each.syndrome for each in seen} == {1, 2}
    assert sum(each.count for each in seen) == 2000


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=60), st.integers(2, 8))
def test_a_bounded_history_counts_exactly_and_keeps_the_places_it_has_room_for(
    seen: list[tuple[int, int]], room: int
) -> None:
    kept: deque[Sighting] = deque(maxlen=room)
    for at_ms, (place, count) in enumerate(seen):
        remember(kept, Sighting(at_ms, count, place, kind=UnitKind.MEMORY))
    assert len(kept) <= room
    assert sum(each.count for each in kept) == sum(count for _, count in seen)
    assert [each.at_ms for each in kept] == sorted(each.at_ms for each in kept)
    places = {place for place, _ in seen}
    if len(places) <= room // 2:
        assert {spot_of(each).syndrome for each in kept} == places


# --- what comes after an end ------------------------------------------------------------------------------------------


def of_module(at_ms: int, *, happened_ms: int | None = None, left_over: bool = False) -> ev.Received:
    return ev.Received(
        at_ms=at_ms, token=None, case=None, urgent=False, severity="corrected", summary="", corrected=not left_over,
        left_over=left_over, happened_ms=happened_ms, frame=Frame(5), dimm="A1", rank="A1 rank 0", syndrome=1,
        record=Record(origin=Origin("-"), format=Format.PRINTK, raw=b"", registers=Registers()),
        place=(("label", "A1"), ("rank", 0)), unit_kind="memory",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("late", "counted"),
    [
        (of_module(30), True),
        (of_module(30, happened_ms=21), True),
        (of_module(30, happened_ms=20), False),
        (of_module(30, happened_ms=5), False),
        (of_module(30, left_over=True), False),
    ],
)
def test_after_a_part_was_replaced_only_what_happened_since_counts(late: ev.Received, counted: bool) -> None:
    state = State()
    for each in (of_module(10), ev.Cleared(at_ms=20, suspect=Suspect.DIMM, name="A1", how=Ending.REPLACED), late):
        apply(state, each)
    assert sorted(key for key, seen in state.history.items() if seen) == (
        [(Suspect.DIMM, "A1"), (Suspect.PAGE, "0x5"), (Suspect.RANK, "A1 rank 0")] if counted else []
    )
    fault = state.faults.of(Suspect.DIMM, "A1")
    assert fault is not None
    assert fault.ended


def test_the_pages_of_a_module_that_was_replaced_are_at_fault_no_more() -> None:
    state = State()
    step = OfflineFrame(Frame(5))
    trend = ev.TrendSeen(
        at_ms=1, suspect=Suspect.PAGE, name="page 0x5", count=10, distinct=1, window_ms=1, case=CaseId(9)
    )
    for each in (
        trend,
        ev.Intended(at_ms=2, order=StepId(1), case=CaseId(9), step=ev.on_wire(step), dimm="A1"),
        ev.Carried(at_ms=3, order=StepId(1), status=Status.DONE),
        ev.Cleared(at_ms=4, suspect=Suspect.DIMM, name="A1", how=Ending.REPLACED),
    ):
        apply(state, each)
    page = state.faults.of(Suspect.PAGE, "page 0x5")
    assert page is not None
    assert page.ended
    assert not state.faults.bad.pages


# --- a part is cleared whose history is long --------------------------------------------------------------------------

OTHER = "socket 0 channel 0 slot 0"


def long_history(pages: int = 512, each: int = 32) -> State:
    """Two modules interleaved, each cell a place of its own: a storm's history."""
    state = State(now_ms=pages * each)
    for page in range(pages):
        seen = (
            Sighting(
                page * each + number, 1, number, Frame(page), None,
                Location(socket=0, channel=number % 2, slot=0, rank=0, bank=3, row=page, column=number), "",
                UnitKind.MEMORY,
            )
            for number in range(each)
        )  # fmt: skip
        state.history[Suspect.PAGE, f"{page:#x}"] = deque(seen, each)
    return state


def counted_for(state: State, name: str) -> int:
    """How many errors of a module anybody sees who reads the history."""
    seen = (each for key in list(state.history) for each in state.sightings(key))
    return sum(lies_in(spot_of(each), Suspect.DIMM, name) for each in seen)


def test_what_a_cleared_part_leaves_is_looked_at_piece_by_piece_and_counts_no_more_from_the_first_moment_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state, looked = long_history(), [0]

    def counting(spot: Spot, suspect: Suspect, name: str) -> bool:
        looked[0] += 1
        return lies_in(spot, suspect, name)

    with monkeypatch.context() as watched:
        watched.setattr(faults, "lies_in", counting)
        apply(state, Cleared(at_ms=state.now_ms, suspect=Suspect.DIMM, name=DIMM, how=Ending.REPLACED))
        assert 0 < looked[0] <= faults.FORGOTTEN_AT_ONCE
        looked[0] = 0
        for number in range(64):
            apply(state, Stopped(at_ms=state.now_ms + number))
        assert 0 < looked[0] <= 64 * faults.FORGOTTEN_EACH
    assert counted_for(state, DIMM) == 0
    assert counted_for(state, OTHER) == 512 * 16
    assert decode(encode(state)) == state
    for _ in range(2_000):
        apply(state, Stopped(at_ms=state.now_ms))
    assert not state.forgetting
    assert counted_for(state, OTHER) == sum(map(len, state.history.values())) == 512 * 16


def test_an_error_after_the_end_counts_where_older_ones_are_still_to_be_forgotten() -> None:
    state = long_history()
    apply(state, Cleared(at_ms=state.now_ms, suspect=Suspect.DIMM, name=DIMM, how=Ending.REPLACED))
    apply(state, error(state.now_ms + 1, frame=0x1F0))
    assert [each.at_ms for each in state.sightings((Suspect.PAGE, "0x1f0")) if each.location.channel == 1] == [
        state.now_ms
    ]


def test_part_after_part_may_be_cleared_and_what_waits_stays_bounded() -> None:
    state = long_history(pages=64)
    ends = [f"{place} slot {slot}" for place in ("socket 0 channel 1", "socket 0 channel 0") for slot in range(9)]
    for name in ends:
        apply(state, Cleared(at_ms=state.now_ms, suspect=Suspect.DIMM, name=name, how=Ending.REPLACED))
        assert all(len(parts) <= faults.PARTS_FORGOTTEN for parts in state.forgetting.values())
    assert counted_for(state, DIMM) == counted_for(state, OTHER) == 0
