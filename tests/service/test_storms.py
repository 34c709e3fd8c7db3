"""What came together counts as if it had come one by one, and holds up nothing that cannot wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.decision.policy import DEFAULT
from ringfence.diagnosis.finding import diagnose
from ringfence.hypervisor.model.host import ModelHost
from ringfence.journal import events as ev
from ringfence.journal.state import SIGHTINGS_OF_A_PAGE, State, apply, replay
from ringfence.journal.store import Journal
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.evidence import Origin, Record
from ringfence.record.repeats import Repeats, unpacked
from ringfence.service import seen, storms
from ringfence.service.evidence import Piece
from ringfence.service.loop import Loop
from ringfence.service.sources.aggregation import Aggregation
from ringfence.service.wiring import model_host
from ringfence.world.situation import Suspect
from tests.service.sources.structs import CORRECTED, amd, mce, uncorrected

POLICY = replace(DEFAULT, trends=replace(DEFAULT.trends, page_count=3, dimm_count=8))
LONG = 128

pages = st.integers(0, 3).map(lambda page: 0x2_0000_0000 + page * 4096)
intel = st.builds(
    mce,
    addr=st.builds(lambda page, line: page + line * 64, pages, st.integers(0, 2)),
    status=st.sampled_from((CORRECTED, CORRECTED + (2 << 38), 0x8C00_0040_0001_0092)),
    misc=st.sampled_from((0x86, 0x8C)),
    bank=st.sampled_from((7, 13)),
)
zen = st.builds(amd, addr=pages, synd=st.sampled_from((0x5D_0000_0100, 0x5D_0000_0200)))
storm = st.lists(intel | zen, min_size=1, max_size=40)


def records(reports: Iterable[StructMce]) -> list[Record]:
    return [each.record(origin=Origin("s"), raw=each.pack()) for each in reports]


def together(reports: Iterable[StructMce], kinds_apart: int = 100) -> list[Record | Repeats]:
    held = Aggregation("s", kinds_apart)
    assert not held.take(b"".join(each.pack() for each in reports), LONG)
    return list(held.release())


def counted(state: State) -> dict[tuple[Suspect, str], int]:
    return {key: sum(each.count for each in sightings) for key, sightings in state.history.items()}


def syndromes(state: State) -> dict[tuple[Suspect, str], set[int | None]]:
    return {key: {each.syndrome for each in sightings} for key, sightings in state.history.items()}


def one_by_one(reports: Iterable[StructMce]) -> State:
    state = State()
    for record in records(reports):
        received = seen.received(
            diagnose(record), at_ms=5, token=None, case=None, urgent=False, part=0, sink=None
        )  # fmt: skip
        apply(state, received)
    return state


def at_once(items: Sequence[Record | Repeats]) -> State:
    state = State()
    for item in items:
        if isinstance(item, Repeats):
            apply(state, seen.repeated(diagnose(item.first), item, at_ms=5, apart=True))
        else:
            finding = diagnose(item)
            apply(state, seen.received(finding, at_ms=5, token=None, case=None, urgent=False, part=0, sink=None))
    return state


@contextmanager
def life(path: Path) -> Iterator[tuple[Loop, ModelHost]]:
    host = model_host(POLICY, seed=1)
    with Journal(path, fsync=False, reserve_bytes=0) as journal:
        yield Loop(host, journal, POLICY), host


def stored(path: Path) -> list[ev.Stored]:
    with Journal(path, fsync=False, reserve_bytes=0) as journal:
        return [event for _, event in journal.events()]


def told(loop: Loop, host: ModelHost, items: Sequence[Record | Repeats]) -> None:
    """Hand a storm over, and let all be done that follows from it."""
    pieces = [Piece(item) for item in items if isinstance(item, Record)]
    loop.take(pieces, urgent=False, repeats=[item for item in items if isinstance(item, Repeats)])
    for _ in range(40):
        loop.turn()
        loop.catch_up()
        host.advance(storms.ACT_EVERY_MS)


# --- the law ---------------------------------------------------------------------------------------------------------


@given(storm)
def test_each_part_adds_up_to_the_same_as_one_by_one(reports: list[StructMce]) -> None:
    alone, storms_state = one_by_one(reports), at_once(together(reports))
    assert counted(storms_state) == counted(alone)
    assert syndromes(storms_state) == syndromes(alone)
    assert storms_state.received == alone.received == len(reports)


@given(storm)
def test_each_page_adds_up_to_the_same_even_where_kinds_are_too_many_to_be_told_apart(
    reports: list[StructMce],
) -> None:
    def of_pages(state: State) -> dict[str, int]:
        return {name: count for (suspect, name), count in counted(state).items() if suspect is Suspect.PAGE}

    assert of_pages(at_once(together(reports, 1))) == of_pages(one_by_one(reports))


@settings(max_examples=25, deadline=None)
@given(storm)
def test_a_threshold_is_passed_as_it_would_be_one_by_one(reports: list[StructMce]) -> None:
    def trends(items: Sequence[Record | Repeats]) -> set[tuple[Suspect, str]]:
        with TemporaryDirectory() as directory:
            path = Path(directory, "j.sqlite")
            with life(path) as (loop, host):
                told(loop, host, items)
            return {(each.suspect, each.name) for each in stored(path) if isinstance(each, ev.TrendSeen)}

    assert trends(together(reports)) == trends(records(reports))


# --- what is kept ----------------------------------------------------------------------------------------------------


def test_every_reports_own_time_and_address_are_in_the_journal(tmp_path: Path) -> None:
    reports = [mce(at, addr=0x2_0000_0000 + at * 64) for at in range(1_000)]
    path = tmp_path / "j.sqlite"
    with life(path) as (loop, host):
        told(loop, host, together(reports))
    (event,) = (each for each in stored(path) if isinstance(each, ev.Repeated))
    structs = unpacked(event.packed, event.struct_bytes, event.reports)
    read = [StructMce.unpack(structs[at : at + LONG]) for at in range(0, len(structs), LONG)]
    assert [(each.addr, each.time, each.tsc) for each in read] == [(each.addr, each.time, each.tsc) for each in reports]
    assert event.last_s == reports[-1].time


def test_beyond_its_bound_a_storm_is_kept_by_page_and_its_number_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storms, "KEPT_AT_ONCE", 100)
    path = tmp_path / "j.sqlite"
    with life(path) as (loop, host):
        for _ in range(3):
            loop.take([], urgent=False, repeats=[each for each in together([mce()] * 60) if isinstance(each, Repeats)])
        assert (loop.state.received, loop.state.together, loop.state.summed) == (180, 180, 120)
        host.advance(1_000)
        # A second later there is room again.
        loop.take([], urgent=False, repeats=[each for each in together([mce()] * 60) if isinstance(each, Repeats)])
        assert loop.state.summed == 120
    kept = [each for each in stored(path) if isinstance(each, ev.Repeated)]
    assert [bool(each.packed) for each in kept] == [True, False, False, True]
    assert all(each.pages == ((0x20_0000, 60),) and each.last_s == mce().time for each in kept)


def test_a_replay_gives_the_state_that_the_storm_left(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    reports = [mce(at, addr=0x2_0000_0000 + at % 7 * 4096, misc=0x86 | at % 30 << 20) for at in range(500)]
    with life(path) as (loop, host):
        told(loop, host, together(reports, 4))
        state = loop.state.snapshot()
    with Journal(path, fsync=False, reserve_bytes=0) as journal:
        assert replay(journal.events()) == state


# --- what cannot wait ------------------------------------------------------------------------------------------------


def test_what_is_uncorrected_after_all_is_taken_one_by_one(tmp_path: Path) -> None:
    """Sources sort it out by its bits; the diagnosis has the last word."""
    error = uncorrected()
    (first,) = records([error])
    path = tmp_path / "j.sqlite"
    with life(path) as (loop, _):
        loop.take([], urgent=False, repeats=[Repeats(first, error.pack() * 3, LONG)])
    received = [each for each in stored(path) if isinstance(each, ev.Received)]
    assert [each.urgent for each in received] == [True, True, True]
    assert not any(isinstance(each, ev.Repeated) for each in stored(path))


def test_one_part_is_acted_upon_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "j.sqlite"
    reports = [mce(at, addr=0x2_0000_0000 + at % 20 * 4096) for at in range(storms.STORM_REPORTS)]
    with life(path) as (loop, host):
        loop.take([], urgent=False, repeats=[each for each in together(reports) if isinstance(each, Repeats)])
        found = list[int]()
        for _ in range(4):
            before = loop.state.applied
            loop.catch_up()
            loop.catch_up()  # it is not time yet
            found.append(loop.state.applied - before)
            assert loop.wake_ms is not None
            host.advance(storms.ACT_EVERY_MS)
    trends = Counter(type(each).__name__ for each in stored(path))["TrendSeen"]
    assert trends == 4 and all(found)


def test_parts_that_wait_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storms, "PARTS_WAITING", 5)
    with life(tmp_path / "j.sqlite") as (loop, host):
        reports = [mce(at, addr=0x2_0000_0000 + at % 50 * 4096) for at in range(500)]
        told(loop, host, together(reports))
    trends = [each for each in stored(tmp_path / "j.sqlite") if isinstance(each, ev.TrendSeen)]
    assert 0 < len(trends) <= 5


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_a_page_that_errs_for_an_hour_is_counted_exactly_in_few_sightings() -> None:
    state, page = State(), (Suspect.PAGE, "0x200000")
    (storm,) = together([mce()] * 50)
    assert isinstance(storm, Repeats)
    event = seen.repeated(diagnose(storm.first), storm, at_ms=0, apart=False)
    for half in range(7_200):
        apply(state, msgspec.structs.replace(event, at_ms=half * 500))
    assert len(state.history[page]) <= SIGHTINGS_OF_A_PAGE
    assert counted(state)[page] == 7_200 * 50
    # What came last is where it was, to the second.
    assert [each.at_ms for each in state.history[page]][-3:] == [3_597_000, 3_598_000, 3_599_000]
    assert sum(each.count for each in state.history[page] if each.at_ms >= 3_590_000) == 10 * 2 * 50
