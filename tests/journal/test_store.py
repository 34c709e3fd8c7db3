"""The journal's file: what was appended is there, whole and in order, or the reader says that it is not."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ringfence.errors import JournalError, JournalFullError
from ringfence.journal import reading, schema, store
from ringfence.journal.events import Closed, Event, Lost, OutcomeEntry, Started, Stopped, Unread, from_text, to_text
from ringfence.journal.store import Journal, Reader
from ringfence.world.identities import CaseId


def lost(number: int, note: int = 0) -> Lost:
    return Lost(at_ms=number, count=note, urgent=False)


def closed(case: int) -> Closed:
    return Closed(at_ms=case, case=CaseId(case), outcome=(OutcomeEntry(None, "healed", "I.2n"),))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.db"


def open_journal(path: Path, **options: int) -> Journal:
    return Journal(path, fsync=False, reserve_bytes=options.pop("reserve_bytes", 0), **options)


def stored(path: Path) -> list[object]:
    with Reader(path) as reader:
        return [event for _, event in reader.events()]


def by_hand(path: Path, *statements: str) -> None:
    """Do to the file what nobody should do."""
    with closing(sqlite3.connect(path)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


# --- appending and reading --------------------------------------------------------------------------------------------


def test_events_are_read_in_the_order_of_writing_with_numbers_from_one(path: Path) -> None:
    with open_journal(path) as journal:
        assert journal.append(lost(9), lost(3)) == 2
        assert journal.append() == 2
        assert journal.append(lost(4)) == 3
        assert list(journal.events()) == [(1, lost(9)), (2, lost(3)), (3, lost(4))]
    with open_journal(path) as journal:
        assert journal.last == 3
        journal.append(Stopped(at_ms=5))
        assert list(journal.events(after=2)) == [(3, lost(4)), (4, Stopped(at_ms=5))]


def test_more_events_than_a_batch_are_read_whole(path: Path) -> None:
    wanted = [lost(number) for number in range(2 * reading.BATCH + 7)]
    with open_journal(path) as journal:
        journal.append(*wanted)
    assert stored(path) == wanted


def test_a_reader_follows_a_writer_that_goes_on(path: Path) -> None:
    with open_journal(path) as journal:
        journal.append(lost(1))
        with Reader(path) as reader:
            reading = reader.events()
            assert next(reading) == (1, lost(1))
            journal.append(lost(2))
            assert next(reading) == (2, lost(2))
            assert next(reading, None) is None
            journal.append(lost(3))
            assert list(reader.events(after=2)) == [(3, lost(3))]


def test_the_events_of_one_case_are_found(path: Path) -> None:
    with open_journal(path) as journal:
        journal.append(closed(1), lost(2), closed(2), closed(1))
    with Reader(path) as reader:
        assert list(reader.events(case=CaseId(1))) == [(1, closed(1)), (4, closed(1))]


def test_a_kind_that_a_later_version_wrote_is_read_around(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = '{"kind":"Foreseen","at_ms":2}'
    with open_journal(path) as journal:
        journal.append(lost(1))
        with monkeypatch.context() as later:
            later.setattr(store, "to_text", lambda _: text)
            journal.append(lost(2))
        journal.append(lost(3))
    first, foreseen, last = stored(path)
    assert (first, last) == (lost(1), lost(3))
    assert isinstance(foreseen, Unread)
    assert foreseen.text == text


# --- append-only, one writer --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE event SET text = '{}' WHERE number = 1",
        "DELETE FROM event WHERE number = 2",
        "INSERT OR REPLACE INTO event VALUES (1, 0, 'Lost', NULL, '{}', 0)",
        "INSERT INTO event VALUES (5, 0, 'Lost', NULL, '{}', 0)",
    ],
)
def test_the_file_itself_refuses_changes_to_what_is_written(path: Path, statement: str) -> None:
    with open_journal(path) as journal:
        journal.append(lost(1), lost(2))
    with pytest.raises(sqlite3.IntegrityError, match="append-only"):
        by_hand(path, statement)
    assert stored(path) == [lost(1), lost(2)]


def test_a_second_writer_is_refused_and_told_what_to_do(path: Path) -> None:
    with open_journal(path) as journal:
        with pytest.raises(JournalError, match="another process writes this journal") as refused:
            open_journal(path)
        assert refused.value.advice == "Stop the other Ringfence, or give this one a journal of its own."
        journal.append(lost(1))
    with open_journal(path) as journal:
        assert journal.last == 1


def test_a_journal_can_be_closed_twice(path: Path) -> None:
    journal = open_journal(path)
    journal.close()
    somebody_elses = os.open(path, os.O_RDONLY)
    journal.close()
    os.fstat(somebody_elses)
    os.close(somebody_elses)


def test_what_is_appended_is_synced_unless_the_simulator_asks_otherwise(path: Path) -> None:
    for fsync, synchronous in ((True, 2), (False, 0)):
        with Journal(path, fsync=fsync) as journal:
            assert journal._connection.execute("PRAGMA synchronous").fetchone() == (synchronous,)
            assert journal._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


# --- kills ----------------------------------------------------------------------------------------------------------

GROUP = 3
WRITER = f"""
import sys
from ringfence.journal.events import Lost
from ringfence.journal.store import Journal
journal = Journal(sys.argv[1], reserve_bytes=0)
while True:
    last = journal.append(*(Lost(at_ms=journal.last + n, count=n, urgent=False) for n in range(1, {GROUP} + 1)))
    print(last, flush=True)
"""


def test_after_a_kill_all_that_was_acknowledged_is_there_and_no_group_is_torn(path: Path) -> None:
    for life in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        acknowledged = 0
        for _ in range(5 + 40 * life):
            acknowledged = int(writer.stdout.readline())
        with pytest.raises(JournalError, match="another process"):
            open_journal(path)
        writer.send_signal(signal.SIGKILL)
        rest = writer.stdout.read()
        writer.wait()
        writer.stdout.close()
        acknowledged = int(rest.split()[-1]) if rest.split() and rest.endswith("\n") else acknowledged
        with open_journal(path) as journal:
            numbers = [number for number, _ in journal.events()]
            times = [event.at_ms for _, event in journal.events()]
        assert numbers == times == list(range(1, len(numbers) + 1))
        assert len(numbers) >= acknowledged
        assert len(numbers) % GROUP == 0


def test_wherever_the_log_of_the_file_is_cut_off_a_prefix_of_whole_groups_is_left(path: Path, tmp_path: Path) -> None:
    groups = [[lost(10 * group + each, 1 << 40) for each in range(GROUP)] for group in range(12)]
    whole = [[event for group in groups[:count] for event in group] for count in range(len(groups) + 1)]
    journal = open_journal(path)
    journal.append(*groups[0])
    for group in groups[1:]:
        journal.append(*group)
    wal = Path(f"{path}-wal").read_bytes()
    found = []
    for size in range(0, len(wal) + 1, 1021):
        cut = tmp_path / f"cut{size}.db"
        shutil.copyfile(path, cut)
        Path(f"{cut}-wal").write_bytes(wal[:size])
        with open_journal(cut) as taken_up:
            left = [event for _, event in taken_up.events()]
            assert left in whole
            taken_up.append(lost(99))
            assert [event for _, event in taken_up.events()] == [*left, lost(99)]
        found.append(len(left))
    journal.close()
    assert found == sorted(found)
    assert len(set(found)) > len(groups) // 2


# --- versions ---------------------------------------------------------------------------------------------------------


def test_a_file_that_a_kill_left_without_a_schema_becomes_a_journal(path: Path) -> None:
    by_hand(path, "PRAGMA journal_mode = WAL", "CREATE TABLE soon_gone (x)", "DROP TABLE soon_gone")
    with pytest.raises(JournalError, match="the journal is empty"):
        Reader(path)
    with open_journal(path) as journal:
        journal.append(lost(1))
    assert stored(path) == [lost(1)]


@pytest.fixture
def later_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """A file of today's version with an event, met by a version that has these statements as its next migration."""
    with open_journal(path) as journal:
        journal.append(closed(1))

    def upgrade(*statements: str) -> None:
        monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, statements))

    yield upgrade


def test_a_file_of_an_earlier_version_is_migrated_with_its_events(
    path: Path, later_schema: Callable[..., None]
) -> None:
    later_schema("CREATE TABLE note (text)", "INSERT INTO note SELECT kind FROM event")
    with open_journal(path) as journal:
        journal.append(lost(2))
        assert list(journal.events()) == [(1, closed(1)), (2, lost(2))]
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT text FROM note").fetchall() == [("Closed",)]
    assert connection.execute("PRAGMA user_version").fetchone() == (len(schema.MIGRATIONS),)
    connection.close()


@pytest.fixture
def of_schema_1(path: Path) -> Path:
    """A file as the first released version wrote it: its statements, and rows with its chain of CRCs."""
    events: list[Event] = [Started(at_ms=1, life=1, version="1", hypervisor="model"), lost(2), closed(3)]
    rows, crc = [], 0
    for number, event in enumerate(events, 1):
        columns = (number, event.at_ms, type(event).__name__, getattr(event, "case", None), to_text(event))
        crc = zlib.crc32("\0".join(map(str, columns)).encode(), crc)
        rows.append((*columns, crc))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        for statement in schema.MIGRATIONS[0]:
            connection.execute(statement)
        connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", rows)
        connection.execute("UPDATE head SET number = ?, crc = ?", (len(rows), crc))
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.commit()
    return path


def test_a_file_of_schema_1_is_read_as_it_is_and_upgraded_by_its_next_writer(of_schema_1: Path) -> None:
    before = [Started(at_ms=1, life=1, version="1", hypervisor="model"), lost(2), closed(3)]
    with Reader(of_schema_1) as reader:
        assert reader.check() == 3
        assert [event for _, event in reader.events()] == before
        assert list(reader.events(case=CaseId(3))) == [(3, closed(3))]
        assert list(reader.events(kinds=(Started,))) == [(1, before[0])]
        assert reader.snapshots() == ()
    with open_journal(of_schema_1) as journal:
        assert journal.append(lost(4)) == 4
    with Reader(of_schema_1) as reader:
        assert [event for _, event in reader.events()] == [*before, lost(4)]
        assert reader.check() == 4
    with closing(sqlite3.connect(of_schema_1)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (2,)


def test_rare_kinds_are_found_without_reading_the_whole_journal(path: Path) -> None:
    with open_journal(path) as journal:
        journal.append(*map(closed, range(1, 9)), Started(at_ms=1, life=1, version="1", hypervisor="model"))
        plan = journal._connection.execute(
            f"EXPLAIN QUERY PLAN {reading._OF_RARE_KINDS}",
            {"after": 0, "case": None, "kinds": '["Started"]', "batch": 9, "base": 0, "base_crc": 0},
        ).fetchall()
        assert any("event_of_kind" in step[3] for step in plan), plan
        assert [number for number, _ in journal.events(kinds=(Started,))] == [9]


def test_a_migration_that_fails_leaves_the_file_as_it_was(
    path: Path, later_schema: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context():
        later_schema("CREATE TABLE note (text)", "INSERT INTO nowhere VALUES (1)")
        with pytest.raises(JournalError, match="nowhere"):
            open_journal(path)
    monkeypatch.undo()
    with open_journal(path) as journal:
        assert list(journal.events()) == [(1, closed(1))]
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM sqlite_master WHERE name = 'note'").fetchone() == (0,)
    connection.close()


def test_a_file_of_a_newer_version_is_refused_and_left_alone(path: Path) -> None:
    open_journal(path).close()
    by_hand(path, "PRAGMA user_version = 99")
    before = path.read_bytes()
    for opener in (open_journal, Reader):
        with pytest.raises(JournalError, match="schema version 99 is newer") as refused:
            opener(path)
        assert refused.value.advice == "Use the version of Ringfence that wrote it, or a newer one."
    assert path.read_bytes() == before


def test_somebody_elses_database_is_refused_and_left_alone(path: Path) -> None:
    by_hand(path, "CREATE TABLE event (mine)")
    before = path.read_bytes()
    for opener in (open_journal, Reader):
        with pytest.raises(JournalError, match="this is no journal of Ringfence"):
            opener(path)
    assert path.read_bytes() == before


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def written(path: Path) -> list[Event]:
    events: list[Event] = [Started(at_ms=1, life=1, version="1", hypervisor="model"), *map(closed, range(2, 30))]
    with open_journal(path) as journal:
        journal.append(*events)
    return events


ALLOW = ("DROP TRIGGER no_update", "DROP TRIGGER no_delete", "DROP TRIGGER in_order")


@pytest.mark.parametrize(
    ("deed", "what"),
    [
        ("UPDATE event SET text = replace(text, 'healed', 'halted') WHERE number = 7", "event 7 is not what was writ"),
        ("UPDATE event SET case_number = 3 WHERE number = 7", "event 7 is not what was written"),
        ("UPDATE event SET text = x'ff' WHERE number = 7", "event 7 is not what was written"),
        ("UPDATE event SET text = CAST(x'ff' AS TEXT) WHERE number = 7", "Could not decode"),
        ("DELETE FROM event WHERE number = 7", "event 7 is missing"),
        ("DELETE FROM event WHERE number > 20", "the events 21 to 29 are missing"),
        ("DELETE FROM event", "the events 1 to 29 are missing"),
        ("DELETE FROM head", "its head is missing"),
        ("UPDATE event SET number = CASE number WHEN 7 THEN 100 ELSE number END", "event 7 is missing"),
    ],
)
def test_an_event_that_was_altered_or_removed_is_found(path: Path, written: list[Event], deed: str, what: str) -> None:
    by_hand(path, *ALLOW, deed)
    with Reader(path) as reader, pytest.raises(JournalError, match=what) as damaged:
        reader.check()
    assert "damaged" in str(damaged.value)
    assert "ringfence journal salvage" in damaged.value.advice


@pytest.mark.parametrize("deed", ["DELETE FROM event WHERE number > 20", "DELETE FROM event", "DELETE FROM head"])
def test_nothing_is_appended_where_the_end_is_lost(path: Path, written: list[Event], deed: str) -> None:
    by_hand(path, *ALLOW, deed)
    with pytest.raises(JournalError, match="the journal is damaged: the last event is"):
        open_journal(path)


def test_events_that_changed_places_are_found(path: Path, written: list[Event]) -> None:
    swap = [f"UPDATE event SET number = {new} WHERE number = {old}" for old, new in ((7, 100), (8, 7), (100, 8))]
    by_hand(path, *ALLOW, *swap)
    with pytest.raises(JournalError, match="event 7 is not what was written"):
        stored(path)


def test_no_flipped_bit_gives_an_event_that_was_not_written(path: Path, written: list[Event], tmp_path: Path) -> None:
    whole = path.read_bytes()
    hurt = tmp_path / "hurt.db"
    found = 0
    for at in range(0, len(whole), 37):
        flipped = bytearray(whole)
        flipped[at] ^= 1 << at % 8
        hurt.write_bytes(flipped)
        try:
            assert stored(hurt) == written
        except JournalError:
            found += 1
    assert found > 20


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be looked at", b"SQLite format 3\0" * 99])
def test_what_is_no_database_is_refused_with_an_advice(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for opener in (open_journal, Reader):
        with pytest.raises(JournalError) as refused:
            opener(path)
        assert refused.value.advice
    assert path.read_bytes() == content


def test_a_journal_that_is_not_there_or_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no such journal"):
        Reader(tmp_path / "none.db")
    with pytest.raises(JournalError, match="No such file or directory"):
        open_journal(tmp_path / "none" / "journal.db")


def test_check_counts_what_is_sound(path: Path, written: list[Event]) -> None:
    with Reader(path) as reader:
        assert reader.check() == len(written)


# --- a full disk ----------------------------------------------------------------------------------------------------

BULK = 1 << 16


def fill(journal: Journal) -> tuple[int, JournalFullError]:
    """Append until nothing goes in any more: how many events are in, and how it was said."""
    try:
        for _ in range(1000):
            journal.append(lost(journal.last + 1), Stopped(at_ms=0, because="x" * 1000))
    except JournalFullError as full:
        return journal.last, full
    raise AssertionError("it never filled up")


def test_at_its_bound_a_journal_uses_its_reserve_then_says_so_and_hands_the_events_back(path: Path) -> None:
    with open_journal(path, limit_bytes=BULK, reserve_bytes=BULK) as journal:
        assert journal.has_reserve
        while journal.has_reserve:
            journal.append(lost(journal.last + 1), Stopped(at_ms=0, because="x" * 1000))
        at_bound = journal.last
        last, full = fill(journal)
        assert last > at_bound + 20
        assert "no room for 2 event(s)" in str(full)
        assert full.advice
        assert [from_text(text) for text in full.unwritten] == [lost(last + 1), Stopped(at_ms=0, because="x" * 1000)]
        assert sum(1 for _ in journal.events()) == last
    with open_journal(path, limit_bytes=8 * BULK) as journal:
        assert journal.append(lost(1)) == last + 1


def test_without_a_reserve_a_full_journal_says_so_at_once(path: Path) -> None:
    with open_journal(path, limit_bytes=BULK) as journal:
        last, _ = fill(journal)
        assert list(journal.events())[-1][0] == last


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB; skipped where one may not mount."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", where], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)


def test_a_disk_that_is_full_gives_the_reserve_back_and_room_brings_it_again(small_disk: Path) -> None:
    filler = small_disk / "filler"
    with Journal(small_disk / "journal.db", reserve_bytes=1 << 17) as journal:
        assert journal.has_reserve
        with filler.open("wb") as file, pytest.raises(OSError, match="No space"):
            while True:
                os.write(file.fileno(), bytes(4096))
        while journal.has_reserve:
            journal.append(lost(journal.last + 1))
        at_bound = journal.last
        last, full = fill(journal)
        assert last > at_bound + 12
        assert len(full.unwritten) == 2
        assert not journal.refill()
        filler.unlink()
        assert journal.refill()
        assert journal.append(lost(0)) == last + 1
    assert len(stored(small_disk / "journal.db")) == last + 1
