"""A state recalled from a snapshot is the state: whichever snapshot it is, and whatever is wrong with another."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.errors import JournalDamagedError
from ringfence.journal.events import Compacted, Event
from ringfence.journal.recall import recall
from ringfence.journal.snapshot import SHAPE
from ringfence.journal.store import Journal, Reader
from tests.journal.histories import base_at, history, put_snapshot, state_after, written


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def events() -> tuple[Event, ...]:
    return history(1)


@pytest.fixture
def journal(path: Path, events: tuple[Event, ...]) -> Iterator[Journal]:
    with written(path, events) as made:
        yield made


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(1, 3), data=st.data())
def test_the_state_recalled_from_any_snapshot_is_the_state_of_all_events(seed: int, data: st.DataObject) -> None:
    events = history(seed)
    places = data.draw(st.sets(st.integers(1, len(events)), min_size=1, max_size=3))
    upto = data.draw(st.integers(0, len(events)))
    with tempfile.TemporaryDirectory() as directory, written(Path(directory) / "j", events) as journal:
        for place in places:
            put_snapshot(journal, events[:place])
        whole, part = recall(journal), recall(journal, upto)
    assert whole.state == state_after(events)
    assert (whole.number, whole.since, whole.passed_over) == (len(events), max(places), ())
    assert part.state == state_after(events[:upto])
    assert part.since == max((place for place in places if place <= upto), default=0)


def test_a_snapshot_whose_writing_was_cut_off_is_none(journal: Journal, events: tuple[Event, ...], path: Path) -> None:
    half = journal.put_snapshot(9, 0, SHAPE, b"x" * (1 << 20))
    next(half), next(half)
    assert journal.snapshots() == ()
    put_snapshot(journal, events[:20])
    assert [each.number for each in journal.snapshots()] == [20]
    with Reader(path) as reader:
        assert reader.check() == len(events)
        assert recall(reader).since == 20


def test_what_is_wrong_with_a_snapshot_is_said_and_the_one_before_it_is_used(
    journal: Journal, events: tuple[Event, ...], path: Path
) -> None:
    put_snapshot(journal, events[:10])
    put_snapshot(journal, events[:20], version=SHAPE + 1)
    put_snapshot(journal, events[:30])
    put_snapshot(journal, events[:40])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TRIGGER snapshot_stays")
        connection.execute("UPDATE snapshot SET event_crc = event_crc + 1 WHERE number = 40")
        connection.execute("UPDATE snapshot_part SET data = substr(data, 2) || x'00' WHERE number = 30")
        connection.commit()
    recalled = recall(journal)
    assert recalled.state == state_after(events)
    assert recalled.since == 10
    assert recalled.passed_over == (
        "the snapshot after event 40 is of other events than the journal has",
        "the snapshot after event 30 is not what was written",
        "the snapshot after event 20 was made by another version",
    )


def test_old_snapshots_go_but_the_one_that_the_base_rests_on_stays(journal: Journal, events: tuple[Event, ...]) -> None:
    for place in (10, 20, 30, 40):
        put_snapshot(journal, events[:place])
    journal.raise_base(base_at(journal, 10), Compacted(at_ms=0, upto=10, events=10, bytes=0))
    journal.drop_snapshots(leave=2)
    assert [each.number for each in journal.snapshots()] == [40, 30, 10]
    with pytest.raises(sqlite3.IntegrityError, match="the base rests on this snapshot"):
        journal._connection.execute("DELETE FROM snapshot")


def test_where_events_are_gone_the_snapshot_of_another_version_is_read_by_names(
    journal: Journal, events: tuple[Event, ...]
) -> None:
    put_snapshot(journal, events[:50], version=SHAPE + 1)
    assert recall(journal).since == 0
    journal.raise_base(base_at(journal, 50), last := Compacted(at_ms=0, upto=50, events=50, bytes=0))
    recalled = recall(journal)
    assert recalled.since == 50
    assert recalled.passed_over == ("the snapshot after event 50 was made by another version",)
    assert recalled.state == state_after((*events, last))


def test_without_a_snapshot_of_what_is_gone_nothing_is_made_up(
    journal: Journal, events: tuple[Event, ...], path: Path
) -> None:
    put_snapshot(journal, events[:50])
    journal.raise_base(base_at(journal, 50), Compacted(at_ms=0, upto=50, events=50, bytes=0))
    journal._connection.execute("UPDATE snapshot_part SET data = x'00'")
    with pytest.raises(JournalDamagedError, match="no snapshot is left of the 50 events before its base"):
        recall(journal)


@pytest.mark.parametrize(
    ("to", "crc"),
    [(60, 0), (50, 1), (10_000, 0)],
    ids=["no snapshot there", "another event's CRC", "no such event"],
)
def test_the_file_itself_refuses_a_base_that_rests_on_nothing(
    journal: Journal, events: tuple[Event, ...], to: int, crc: int
) -> None:
    put_snapshot(journal, events[:50])
    found = crc if crc or to > len(events) else base_at(journal, to).crc
    with pytest.raises(sqlite3.IntegrityError, match="a base rests on an event and on the snapshot after it"):
        journal._connection.execute("UPDATE base SET number = ?, crc = ?", (to, found))
    with pytest.raises(sqlite3.IntegrityError, match="a journal has one base"):
        journal._connection.execute("DELETE FROM base")
