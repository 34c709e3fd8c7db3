"""A damaged journal gives what it still holds: each event as it was written, none that was not; the loss is said."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ringfence.errors import JournalDamagedError, JournalError
from ringfence.journal import events as ev
from ringfence.journal.recall import recall
from ringfence.journal.retention import carry_out, plan_upto
from ringfence.journal.salvage import doubt, opened, salvage, set_aside
from ringfence.journal.state import apply
from ringfence.journal.store import Journal, Reader
from tests.journal.histories import history, put_snapshot, state_after, written

ALLOW = ("DROP TRIGGER no_update", "DROP TRIGGER no_delete", "DROP TRIGGER base_is_founded", "DROP TRIGGER base_stays")


def by_hand(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for statement in (*ALLOW, *statements):
            connection.execute(statement)
        connection.commit()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "new.sqlite"


@pytest.fixture
def events(path: Path) -> tuple[ev.Event, ...]:
    """What is written: no snapshot, nothing dropped."""
    found = history(1)[:200]
    written(path, found).close()
    return found


@pytest.fixture
def compacted(path: Path) -> dict[int, str]:
    """What is written, by number: with a base, events kept before it, and a later snapshot."""
    found = history(2)[:200]
    middle = next(at for at in range(len(found) // 3, len(found)) if state_after(found[:at]).cases)
    with written(path, found) as journal:
        for _ in carry_out(journal, plan_upto(journal, middle, "it is old"), 0):
            pass
        put_snapshot(journal, found[: len(found) - 9])
        return dict(journal.texts())


def read(path: Path) -> dict[int, str]:
    with Reader(path) as reader:
        reader.check()
        return dict(reader.texts())


# --- where the damage is --------------------------------------------------------------------------------------------


def test_a_journal_that_is_whole_is_taken_over_whole(path: Path, into: Path, events: tuple[ev.Event, ...]) -> None:
    before = path.read_bytes()
    said = salvage(path, into, "a test")
    assert (said.read, said.lost, said.because) == (len(events), 0, "a test")
    assert path.read_bytes() == before
    assert [ev.from_text(text) for text in read(into).values()] == [*events, said]
    with Reader(into) as reader:
        assert reader.base.number == 0
        assert recall(reader).state == apply(state_after(events), said)


def test_an_event_that_was_altered_is_lost_and_nothing_else(
    path: Path, into: Path, events: tuple[ev.Event, ...]
) -> None:
    by_hand(path, "UPDATE event SET text = replace(text, 'at_ms', 'at_mS') WHERE number = 50")
    said = salvage(path, into, "")
    assert (said.read, said.lost, said.lost_from, said.lost_to) == (len(events) - 1, 1, 50, 50)
    left = {number: event for number, event in enumerate(events, 1) if number != 50}
    assert {number: ev.from_text(text) for number, text in read(into).items()} == {**left, len(events) + 1: said}
    with Reader(into) as reader:
        assert recall(reader).state == apply(state_after(left.values()), said)


def test_of_what_stands_behind_a_gap_the_first_cannot_be_checked_and_is_lost_with_it(
    path: Path, into: Path, events: tuple[ev.Event, ...]
) -> None:
    by_hand(path, "DELETE FROM event WHERE number BETWEEN 50 AND 59")
    said = salvage(path, into, "")
    assert (said.lost, said.lost_from, said.lost_to) == (11, 50, 60)
    assert [*read(into)] == [*range(1, 50), *range(61, len(events) + 2)]


def test_a_lost_end_keeps_its_numbers_so_that_none_is_given_away_twice(
    path: Path, into: Path, events: tuple[ev.Event, ...]
) -> None:
    last = len(events)
    by_hand(path, "DELETE FROM event WHERE number > 60")
    said = salvage(path, into, "")
    assert (said.lost, said.lost_from, said.lost_to) == (last - 60, 61, last)
    with Journal(into, reserve_bytes=0) as journal:
        assert journal.last == last + 1
        assert recall(journal).state.last_order >= state_after(events).last_order
        assert recall(journal).state.next_case > state_after(events).last_case


def test_damage_before_a_snapshot_costs_the_state_nothing(path: Path, into: Path, events: tuple[ev.Event, ...]) -> None:
    with Journal(path, reserve_bytes=0) as journal:
        put_snapshot(journal, events[:80])
    by_hand(path, "DELETE FROM event WHERE number BETWEEN 20 AND 29")
    said = salvage(path, into, "")
    assert said.lost == 11
    with Reader(into) as reader:
        assert recall(reader).state == apply(state_after(events), said)


def test_after_a_compaction_the_base_and_what_was_kept_are_taken_over(
    path: Path, into: Path, compacted: dict[int, str]
) -> None:
    with Reader(path) as reader:
        state = recall(reader).state
    said = salvage(path, into, "")
    assert said.lost == 0
    assert {number: text for number, text in read(into).items() if number <= max(compacted)} == compacted
    with Reader(into) as reader:
        assert recall(reader).state == apply(state, said)


def test_the_salvaged_journal_can_be_compacted_and_salvaged_again(
    path: Path, into: Path, tmp_path: Path, events: tuple[ev.Event, ...]
) -> None:
    by_hand(path, "DELETE FROM event WHERE number IN (30, 70)")
    salvage(path, into, "")
    with Journal(into, reserve_bytes=0) as journal:
        state = recall(journal).state
        for each in carry_out(journal, plan_upto(journal, journal.last, ""), 0):
            state = apply(state, each) if each is not None else state
        assert recall(journal).state == state
    again = salvage(into, tmp_path / "again.sqlite", "")
    assert again.lost == 0
    assert read(tmp_path / "again.sqlite").items() >= read(into).items()


def test_a_salvage_never_takes_the_place_of_a_file(path: Path, into: Path, events: tuple[ev.Event, ...]) -> None:
    into.write_text("mine")
    with pytest.raises(JournalError, match="there is a file of this name"):
        salvage(path, into, "")
    assert into.read_text() == "mine"
    with pytest.raises(JournalError, match="there is no such journal"):
        salvage(path.with_name("none"), path.with_name("other"), "")


@pytest.mark.parametrize("made", ["events", "compacted"])
def test_a_file_that_sqlite_cannot_open_any_more_is_carved_for_its_rows(
    path: Path, into: Path, made: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(made)
    before = read(path)
    with Reader(path) as reader:
        state = recall(reader).state
    content = path.read_bytes()
    path.write_bytes(b"\xff" * 4096 + content[4096:])
    said = salvage(path, into, "")
    left = read(into)
    assert left.pop(max(left)) == ev.to_text(said)
    assert left == before
    with Reader(into) as reader:
        assert recall(reader).state == apply(state, said)


def test_what_stands_in_the_wal_alone_is_carved_as_well(path: Path, into: Path) -> None:
    events = history(1)[:150]
    with Journal(path, fsync=False, reserve_bytes=0) as journal:
        journal.append(*events[:50])
        journal._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        journal.append(ev.Stopped(at_ms=1, because="x" * 20_000), *events[50:])
        copy, wal = path.read_bytes(), path.with_name(f"{path.name}-wal").read_bytes()
    hurt = path.with_name("hurt.sqlite")
    hurt.write_bytes(bytes(4096) + copy[4096:])
    hurt.with_name("hurt.sqlite-wal").write_bytes(wal)
    for end in range(3):  # SQLite may not take a WAL whose frames are hurt; the rows in the others are there
        hurt.with_name("hurt.sqlite-wal").write_bytes(wal[: 32 + end] + b"\xff" + wal[33 + end :] if end else wal)
        said = salvage(hurt, into, "")
        texts = {ev.to_text(event) for event in (*events, ev.Stopped(at_ms=1, because="x" * 20_000))}
        left = read(into)
        assert left.pop(max(left)) == ev.to_text(said)
        assert {*left.values()} <= texts
        assert said.read >= 50
        if not end:
            assert said.read == 151
        into.unlink()


# --- any damage -----------------------------------------------------------------------------------------------------


def hurts(whole: bytes, seed: int) -> Iterator[tuple[str, bytes]]:
    """Flipped bits, sectors of nothing and of noise, and lost ends, all over a file."""
    chance = random.Random(seed)
    for _ in range(24):
        at, hurt = chance.randrange(len(whole)), bytearray(whole)
        hurt[at] ^= 1 << chance.randrange(8)
        yield f"bit {at}", bytes(hurt)
    for at in chance.sample(range(0, len(whole), 512), 8):
        yield f"zeros {at}", whole[:at] + bytes(512) + whole[at + 512 :]
        yield f"noise {at}", whole[:at] + chance.randbytes(512) + whole[at + 512 :]
    for _ in range(10):
        size = chance.randrange(len(whole))
        yield f"cut {size}", whole[:size]


@pytest.mark.parametrize("made", ["events", "compacted"])
def test_whatever_is_damaged_nothing_crashes_nothing_is_made_up_and_what_is_lost_is_counted(
    path: Path, tmp_path: Path, made: str, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue(made)
    with Reader(path) as reader:
        before = dict(reader.texts())
    whole = path.read_bytes()
    hurt, into = tmp_path / "hurt" / "journal.sqlite", tmp_path / "hurt" / "new.sqlite"
    shares = []
    for what, content in hurts(whole, seed=len(made)):
        shutil.rmtree(hurt.parent, ignore_errors=True)
        hurt.parent.mkdir()
        hurt.write_bytes(content)
        said = salvage(hurt, into, what)
        assert hurt.read_bytes() == content, what
        left = read(into)
        assert left.pop(max(left)) == ev.to_text(said), what
        assert left.items() <= before.items(), what
        assert said.read == len(left), what
        with Journal(into, fsync=False, reserve_bytes=0) as journal:
            recall(journal)
            journal.append(ev.Stopped(at_ms=1))
        shares.append(said.read / len(before))
    whole_ones = sum(share == 1 for share in shares)
    assert whole_ones > len(shares) / 4, "most small damage costs nothing"
    assert sum(shares) / len(shares) > 0.75
    assert min(shares) < 1


# --- a service that starts --------------------------------------------------------------------------------------------


def test_a_damaged_journal_is_set_aside_under_a_dated_name_and_the_service_goes_on_with_what_it_held(
    path: Path, events: tuple[ev.Event, ...]
) -> None:
    by_hand(path, "DELETE FROM event WHERE number > 60")
    damaged = path.read_bytes()
    with opened(path) as journal:
        assert journal.last == len(events) + 1
        *_, (_, said) = journal.events()
        assert isinstance(said, ev.Salvaged)
        assert said.because.startswith(f"{path}: the journal is damaged: the last event is")
    (aside,) = set_aside(path)
    assert aside.name.startswith("journal.sqlite.damaged-20")
    assert aside.read_bytes() == damaged
    with opened(path) as journal:
        assert journal.last == len(events) + 1
    assert len(set_aside(path)) == 1


def test_an_operator_can_have_a_damaged_journal_refused(path: Path, events: tuple[ev.Event, ...]) -> None:
    by_hand(path, "DELETE FROM event WHERE number > 60")
    before = path.read_bytes()
    with pytest.raises(JournalDamagedError) as refused:
        opened(path, refuse=True)
    assert "ringfence journal salvage" in refused.value.advice
    assert path.read_bytes() == before
    assert not set_aside(path)


def test_damage_in_the_middle_is_not_looked_for_unless_the_journal_is_in_doubt(
    path: Path, events: tuple[ev.Event, ...]
) -> None:
    by_hand(path, "UPDATE event SET text = '{}' WHERE number = 7")
    with opened(path) as journal, pytest.raises(JournalDamagedError, match="event 7 is not what was written"):
        recall(journal)
    assert not set_aside(path)
    doubt(path)
    with pytest.raises(JournalDamagedError):
        opened(path, refuse=True)
    with opened(path) as journal:
        assert recall(journal).number == len(events) + 1
    assert len(set_aside(path)) == 1
    doubt(path)
    with opened(path) as journal:
        assert journal.last == len(events) + 1
    assert len(set_aside(path)) == 1, "a doubt that is dispelled sets nothing aside"


@pytest.mark.parametrize("content", [b"", b"no database at all" * 99, bytes(8192)])
def test_a_file_that_holds_nothing_of_a_journal_gives_an_empty_one(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    if content == bytes(8192):
        with opened(path) as journal:
            assert journal.last <= 1
        return
    with opened(path) as journal:
        assert [type(event) for _, event in journal.events()] == ([ev.Salvaged] if content else [])
    assert len(set_aside(path)) == bool(content)


def test_somebody_elses_database_is_neither_set_aside_nor_touched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (x)")
    before = path.read_bytes()
    with pytest.raises(JournalError, match="this is no journal of Ringfence"):
        opened(path)
    assert path.read_bytes() == before
    assert not set_aside(path)
