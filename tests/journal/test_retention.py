"""What goes from a journal is of no use any more: the state, and what is said of open cases, stay as they were."""

from __future__ import annotations

import json
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.errors import JournalDamagedError, JournalError
from ringfence.hypervisor.port import Token
from ringfence.journal import events as ev
from ringfence.journal import retention, store
from ringfence.journal.archive import Archive
from ringfence.journal.lives import lives
from ringfence.journal.reading import Readable
from ringfence.journal.recall import recall
from ringfence.journal.retention import Bounds, Plan, carry_out, plan, plan_upto, tidy
from ringfence.journal.state import State, apply
from ringfence.journal.store import Journal, Reader
from ringfence.service import resumption
from ringfence.service.ledger import Ledger
from ringfence.service.simulation import run
from ringfence.service.simulation.metered import Meter, MeteredJournal
from ringfence.service.simulation.scenario import SCENARIOS
from ringfence.service.simulation.script import script
from ringfence.service.simulation.simulate import play
from ringfence.views import chain
from tests.journal.histories import history, state_after, written

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

DAY_MS = 24 * 3600 * 1000


def compacted(journal: Journal, upto: int) -> ev.Compacted:
    """Let go of all that may go up to an event."""
    said = [each for each in carry_out(journal, plan_upto(journal, upto, "the test wants it"), at_ms=1) if each]
    assert len(said) == 1
    return said[0]


def told(journal: Readable, state: State) -> dict[int, str]:
    """What ``ringfence explain`` says of each open case."""
    stored = [event for _, event in journal.events()]
    names, cases = chain.names_of(stored), chain.by_case(stored)
    return {case: chain.text(chain.chain(case, cases[case], names)) for case in state.cases if case in cases}


def dated(journal: Readable) -> dict[int, int | None]:
    """For each event the wall clock's time at 0 of its clock."""
    begun, epoch_ms = lives(journal), None
    found: dict[int, int | None] = {}
    for number, _ in journal.events():
        while begun and begun[0].number <= number:
            epoch_ms = begun.pop(0).epoch_ms
        found[number] = epoch_ms
    return found


def joined_to(journal: Journal) -> list[object]:
    """What evidence that is found again after a reset would be joined to."""
    ledger = cast(Ledger, SimpleNamespace(journal=journal, settle=lambda: None))
    received = [event for event in history(1) if isinstance(event, ev.Received) and event.severity != "CORRECTED"]
    return [resumption.known(ledger, each.record) for each in received]


@cache
def with_something_open(seed: int) -> list[int]:
    """After how many events of a history a case is open."""
    state, found = State(), []
    for number, event in enumerate(history(seed), 1):
        apply(state, event)
        found += [number] if state.cases and number > 2 else []
    return found


# --- laws -----------------------------------------------------------------------------------------------------------


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(1, 4), data=st.data())
def test_what_counts_is_the_same_after_any_compactions_of_any_history(seed: int, data: st.DataObject) -> None:
    events = history(seed)
    anywhere = st.integers(2, len(events))
    events = events[: data.draw(st.sampled_from(with_something_open(seed)) | anywhere, label="written")]
    with tempfile.TemporaryDirectory() as directory, written(Path(directory) / "j", events) as journal:
        state = state_after(events)
        explained, joined = told(journal, state), joined_to(journal)
        dates = dated(journal)
        for upto in sorted(data.draw(st.sets(st.integers(1, len(events)), min_size=1, max_size=3), label="upto")):
            apply(state, compacted(journal, upto))
            assert recall(journal).state == state
            assert told(journal, state) == explained
            assert joined_to(journal) == joined
            assert {
                number: epoch for number, epoch in dated(journal).items() if number in dates
            }.items() <= dates.items()
        with Reader(journal.path) as reader:
            left = reader.check()
            assert recall(reader).state == state
        assert left == len(journal.kept) + journal.last - journal.base.number


def test_the_service_never_misses_what_went(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whole simulated lives, with a compaction of all that there is at each start after a kill: the laws hold."""
    whole: dict[int, ev.Stored] = {}
    compactions = 0

    class Compacting(MeteredJournal):
        def __init__(self, path: Path, meter: Meter) -> None:
            nonlocal compactions
            super().__init__(path, meter)
            with Reader(path) as reader:
                whole.update(reader.events())
            if self.last:
                compacted(self, self.last)
                compactions += 1

    class Everything(Reader):
        def events(self, *args: object, **options: object) -> Iterator[tuple[int, ev.Stored]]:
            whole.update(super().events())
            yield from sorted(whole.items())

    monkeypatch.setattr(run, "MeteredJournal", Compacting)
    monkeypatch.setattr(run, "Reader", Everything)
    for seed in (1, 2, 3):
        whole.clear()
        _, broken = play(SCENARIOS["default"], script(SCENARIOS["default"], seed, 6), seed=seed, hours=6)
        assert broken == ()
    assert compactions > 5


# --- what stays, by name ------------------------------------------------------------------------------------------


def test_most_of_a_history_goes_and_what_is_open_stays_with_its_orders_its_start_and_its_names(tmp_path: Path) -> None:
    events = next(
        history(seed)[:upto]
        for seed in range(1, 9)
        for upto in range(len(history(seed)), 60, -1)
        if state_after(history(seed)[:upto]).orders and state_after(history(seed)[:upto]).unacknowledged
    )
    state = state_after(events)
    with written(tmp_path / "j", events) as journal:
        compacted(journal, len(events))
        stayed = [event for number, event in journal.events() if number <= len(events)]
    assert len(stayed) < len(events) / 2
    assert {event.order for event in stayed if isinstance(event, ev.Intended)} >= state.orders.keys()
    arrived = {getattr(event, "token", None) for event in events}
    assert {getattr(event, "token", None) for event in stayed} >= {*state.unacknowledged} & arrived
    assert any(isinstance(event, ev.Started) for event in stayed)
    named = {event.domain for event in stayed if isinstance(event, ev.DomainChanged)}
    assert named >= {*state.domains}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    with written(path, history(1)) as made:
        yield made


def by_hand(journal: Journal, *statements: str) -> None:
    for statement in statements:
        journal._connection.execute(statement)


def test_what_is_after_the_base_or_kept_cannot_be_deleted_and_nothing_comes_before_it(journal: Journal) -> None:
    last = journal.last
    compacted(journal, last)
    kept = journal.kept[0]
    for statement in (
        f"DELETE FROM event WHERE number = {kept}",
        f"DELETE FROM event WHERE number = {last + 1}",
        f"INSERT INTO event SELECT {last}, at_ms, kind, case_number, text, crc FROM event WHERE number = {kept}",
        "UPDATE event SET text = '{}'",
    ):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            by_hand(journal, statement)
    assert journal.append(ev.Stopped(at_ms=2)) == last + 2
    assert compacted(journal, last + 2).events == 2
    assert journal.append(ev.Stopped(at_ms=3)) == last + 4


@pytest.mark.parametrize(
    ("deed", "what"),
    [
        ("UPDATE event SET text = text || ' ' WHERE number = {kept}", "event {kept} is not what was written"),
        ("DELETE FROM event WHERE number = {kept}", "event {kept} is not what was written"),
        ("DELETE FROM event WHERE number = {last}", "the events {last} to {last} are missing"),
        ("UPDATE base SET crc = crc + 1", "event {last} is not what was written"),
        ("DELETE FROM base", "its base is missing"),
        ("UPDATE snapshot_part SET data = x'00'", "the snapshot after event {base} is not what was written"),
    ],
)
def test_damage_after_a_compaction_is_found(journal: Journal, path: Path, deed: str, what: str) -> None:
    compacted(journal, journal.last)
    names = {"kept": journal.kept[1], "last": journal.last, "base": journal.base.number}
    for trigger in ("no_update", "no_delete", "base_is_founded", "base_stays"):
        by_hand(journal, f"DROP TRIGGER {trigger}")
    by_hand(journal, deed.format(**names))
    with Reader(path) as reader, pytest.raises(JournalDamagedError, match=what.format(**names)):
        reader.check()


def test_a_reader_goes_on_while_a_compaction_takes_its_events_away(journal: Journal, path: Path) -> None:
    with Reader(path) as reader:
        reading = reader.events()
        first = next(reading)
        compacted(journal, journal.last)
        journal.append(ev.Stopped(at_ms=5))
        numbers = [first[0], *(number for number, _ in reading)]
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == journal.last
        assert list(reader.events(journal.base.number))[-1] == (journal.last, ev.Stopped(at_ms=5))


def test_events_of_a_later_version_stay_for_it_to_put_together(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with written(path, history(1)[:9]) as journal:
        with monkeypatch.context() as later:
            later.setattr(store, "to_text", lambda _: '{"kind":"Foreseen","at_ms":2}')
            journal.append(ev.Stopped(at_ms=1))
        with pytest.raises(JournalError, match="1 of its old events are of a later version") as refused:
            plan_upto(journal, 10, "")
        assert "later version" in refused.value.advice
        assert plan_upto(journal, 9, "").upto == 9


def test_there_is_no_compaction_up_to_an_event_that_is_not_there(journal: Journal) -> None:
    with pytest.raises(JournalError, match="there is no event 100000"):
        plan_upto(journal, 100_000, "")


# --- the bounds -----------------------------------------------------------------------------------------------------


def stopped(day: int) -> ev.Event:
    return ev.Stopped(at_ms=day * DAY_MS)


def started(wall_ms: int | None, life: int) -> ev.Event:
    return ev.Started(at_ms=0, life=life, version="1", hypervisor="model", boot=str(life), wall_ms=wall_ms)


def test_what_is_older_than_the_bound_of_days_goes_by_the_wall_clock_of_each_life(path: Path) -> None:
    lives_of_five_days: list[ev.Event] = [
        event
        for life, wall_ms in ((1, 0), (2, None), (3, 10 * DAY_MS), (4, 20 * DAY_MS))
        for event in (started(wall_ms, life), *map(stopped, range(5)))
    ]
    with written(path, lives_of_five_days) as journal:
        assert retention.too_old(journal, 100, 50 * DAY_MS) == 0
        assert retention.too_old(journal, 47, 50 * DAY_MS) == 1 + 3
        assert retention.too_old(journal, 41, 50 * DAY_MS) == 6, "what has no date may be younger"
        assert retention.too_old(journal, 38, 50 * DAY_MS) == 12 + 1 + 2
        assert retention.too_old(journal, 30, 50 * DAY_MS) == 18
        assert retention.too_old(journal, 1, 50 * DAY_MS) == 24
        wanted = plan(journal, Bounds(limit_bytes=1 << 30, keep_days=38, least=1), 50 * DAY_MS)
        assert wanted is not None
        assert (wanted.upto, wanted.because) == (15, "they are older than 38 days")
        assert plan(journal, Bounds(limit_bytes=1 << 30, keep_days=38, least=16), 50 * DAY_MS) is None
        assert plan(journal, Bounds(limit_bytes=1 << 30), 50 * DAY_MS) is None


def test_a_journal_stays_within_its_bound_of_bytes_for_ever(path: Path) -> None:
    limit_bytes = 1 << 18
    bounds = Bounds(limit_bytes=limit_bytes, least=1)
    with Journal(path, fsync=False, reserve_bytes=0, limit_bytes=limit_bytes) as journal:
        journal.append(started(0, 1))
        for _ in range(40):
            journal.append(*(ev.Stopped(at_ms=1, because="x" * 500) for _ in range(40)))
            if wanted := plan(journal, bounds, 0):
                assert wanted.because == f"the journal may have {limit_bytes} bytes"
                for _ in carry_out(journal, wanted, 0):
                    pass
                assert journal.used_bytes <= 0.75 * limit_bytes
        assert journal.last > 1600
        assert recall(journal).state.applied == journal.last
    assert path.stat().st_size <= limit_bytes


def test_what_goes_is_in_the_archive_first_and_the_archive_has_a_bound_as_well(
    journal: Journal, tmp_path: Path
) -> None:
    events, directory = history(1), tmp_path / "archive"
    before = dict(journal.texts())
    for upto in (40, len(events)):
        for _ in carry_out(journal, plan_upto(journal, upto, "", Archive(directory, 1 << 20)), 0):
            pass
    files = sorted(directory.iterdir())
    assert [each.name for each in files] == [
        "events-000000000001-000000000040.jsonl.zst",
        f"events-000000000041-{len(events):012}.jsonl.zst",
    ]
    lines = [json.loads(line) for each in files for line in zstd.ZstdFile(each).read().splitlines()]
    assert [(each["number"], each["event"]) for each in lines] == [(n, json.loads(text)) for n, text in before.items()]
    journal.append(ev.Stopped(at_ms=9))
    plan_upto(journal, journal.last, "", Archive(directory, files[1].stat().st_size))
    assert next(each.name for each in sorted(directory.iterdir())).startswith(f"events-{len(events) + 1:012}")


def test_a_plan_can_be_handed_from_one_process_to_another(journal: Journal) -> None:
    wanted = plan_upto(journal, 30, "because")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(wanted), type=Plan) == wanted


def test_unacknowledged_arrivals_stay_whole(path: Path) -> None:
    waiting = ev.Lost(at_ms=1, count=3, urgent=True, token=Token(7))
    done = ev.Lost(at_ms=1, count=4, urgent=True, token=Token(8))
    with written(path, [waiting, done, ev.Acknowledged(at_ms=2, tokens=(Token(8),))]) as journal:
        compacted(journal, 3)
        assert [event for number, event in journal.events() if number <= 3] == [waiting]


# --- how it goes ----------------------------------------------------------------------------------------------------


def test_what_was_begun_and_left_lying_is_tidied_up(journal: Journal, path: Path) -> None:
    steps = carry_out(journal, plan_upto(journal, journal.last, ""), 0)
    assert next(each for each in steps if each is not None).upto == journal.last - 1
    numbers = [number for number, _ in journal.events()]
    (lying,) = journal._connection.execute("SELECT count(*) FROM event").fetchone()
    assert lying > len(numbers)
    for _ in tidy(journal):
        pass
    (lying,) = journal._connection.execute("SELECT count(*) FROM event").fetchone()
    assert lying == len(numbers)
    assert [number for number, _ in journal.events()] == numbers


def test_what_was_kept_goes_once_it_is_not_needed_any_more(path: Path) -> None:
    events = history(1)
    upto = next(at for at in range(40, len(events)) if state_after(events[:at]).cases)
    with written(path, events[:upto]) as journal:
        compacted(journal, upto)
        kept = journal.kept
        assert kept
        journal.append(*events[upto:])
        compacted(journal, journal.last)
        assert not {*kept} <= {*journal.kept}
        assert recall(journal).state.cases == state_after(events).cases
    with Reader(path) as reader:
        reader.check()
