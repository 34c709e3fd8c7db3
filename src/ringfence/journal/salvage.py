"""What a damaged journal still holds, taken over into a new one. The damaged file is never written to.

An event is taken over if its CRC holds with the CRC of the event before it as the file has it, so none is made up: of
what stands behind a gap the first one cannot be checked and is lost with it. Numbers and CRCs stay what they were: what
stands before the last gap becomes events that are kept before the new journal's base (``journal.schema``), and the
snapshot after the base is what the events that were found, from the newest good snapshot on, amount to.
"""

from __future__ import annotations

import glob
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Final

from ringfence.errors import FormatError, JournalDamagedError, JournalError
from ringfence.journal.carving import carved
from ringfence.journal.events import Salvaged, Stored, from_text
from ringfence.journal.reading import Columns, Readable, Snapshot, crc_of
from ringfence.journal.recall import recall
from ringfence.journal.schema import BASE_IS_FOUNDED, FAULTS, IN_ORDER, failure
from ringfence.journal.snapshot import SHAPE, decode, encode
from ringfence.journal.state import State, apply
from ringfence.journal.store import LIMIT_BYTES, PART_BYTES, SIDE_FILES, Journal, Reader, locked

BLOCK: Final = 256
"""Events that are asked for at once; where that fails, halves of them."""
LEAST_ROW_BYTES: Final = 32
"""No event takes less: the file's size bounds how many there can be, whatever its damaged parts say."""
WRITTEN_AT_ONCE: Final = 2_000
"""Events taken over in one transaction."""

Row = tuple[Columns, int, int]
"""An event's columns, its CRC, and the CRC before it."""


@dataclass(slots=True)
class Found:
    """What was found: how many events hold, and which of those that should be there are lost."""

    read: int = 0
    lost: int = 0
    lost_from: int = 0
    lost_to: int = 0

    def is_lost(self, first: int, last: int) -> None:
        """These are not there."""
        if first <= last:
            self.lost += last - first + 1
            self.lost_from = self.lost_from or first
            self.lost_to = last


class Wreck:
    """A damaged journal. Whatever can be read of it is read, and nothing is believed that does not hold."""

    def __init__(self, path: Path) -> None:
        """Raises ``JournalError`` if there is no such file."""
        if not path.exists():
            raise JournalError(path, "there is no such journal", advice="See the path.")
        self.path = path
        self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        if (
            self._one("SELECT count(*), 0 FROM sqlite_master") is None
            or self._one("SELECT number, 0 FROM head") is None
        ):
            self._connection.close()
            self._connection = carved(path)  # its first page is damaged, or the one that leads to all of its tables
        self._connection.text_factory = lambda raw: raw.decode(errors="replace")
        wal = path.with_name(f"{path.name}-wal")
        size = path.stat().st_size + (wal.stat().st_size if wal.exists() else 0)
        base = self._one("SELECT number, crc FROM base")
        founded = self._rows("SELECT number, event_crc FROM snapshot")
        self.base, self.base_crc = base if base is not None and base in founded else (0, 0)
        self._kept: dict[int, int] = dict(self._rows("SELECT number, crc_before FROM kept ORDER BY number"))
        most = self.base + size // LEAST_ROW_BYTES
        ends = [
            number
            for query in (
                "SELECT number, crc FROM head",
                "SELECT number, crc FROM event ORDER BY number DESC LIMIT 1",
                "SELECT max(rowid), 0 FROM event WHERE case_number IS NOT NULL",
            )
            if (row := self._one(query)) is not None and self.base <= (number := row[0]) <= most
        ]
        self.end = max(ends, default=0)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def _one(self, query: str) -> tuple[int, int] | None:
        for found in self._rows(query):
            return found
        return None

    def _rows(self, query: str) -> list[tuple[int, int]]:
        """Pairs of numbers, as far as they can be read."""
        found: list[tuple[int, int]] = []
        try:
            for row in self._connection.execute(query):
                if all(isinstance(each, int) for each in row):
                    found.append(row)  # noqa: PERF401 (what comes before the damage is kept)
        except FAULTS:
            pass
        return found

    def _stored(self, first: int, last: int) -> Iterator[tuple[Columns, object]]:
        """The rows of events, and what they have for a CRC; around what cannot be read."""
        query = """SELECT number, at_ms, kind, case_number, text, crc FROM event
            WHERE number BETWEEN ? AND ? ORDER BY number"""
        try:
            rows = self._connection.execute(query, (first, last)).fetchall()
        except (*FAULTS, MemoryError, OverflowError):
            if first < last:
                middle = (first + last) // 2
                yield from self._stored(first, middle)
                yield from self._stored(middle + 1, last)
            return
        for *columns, crc in rows:
            yield tuple(columns), crc

    def events(self, found: Found) -> Iterator[Row]:
        """The events that hold, oldest first; ``found`` is told what is lost as it comes to it."""
        for number in sorted(self._kept):
            if number > self.base:
                break
            held = None
            for columns, crc in self._stored(number, number):
                held = self._held(columns, crc, self._kept[number])
            if held is None:
                found.is_lost(number, number)
            else:
                found.read += 1
                yield held
        yield from self._after_base(found)

    def _after_base(self, found: Found) -> Iterator[Row]:
        expected, crc_before = self.base + 1, self.base_crc if self.base or not self._kept else None
        for first in range(self.base + 1, self.end + 1, BLOCK):
            for columns, crc in self._stored(first, min(self.end, first + BLOCK - 1)):
                number = columns[0]
                if number < expected:
                    continue
                if number > expected:
                    found.is_lost(expected, number - 1)
                    crc_before = None
                held = self._held(columns, crc, crc_before)
                if held is None:
                    found.is_lost(number, number)
                else:
                    found.read += 1
                    yield held
                expected, crc_before = number + 1, crc if isinstance(crc, int) else None
        found.is_lost(expected, self.end)

    @staticmethod
    def _held(columns: Columns, crc: object, crc_before: int | None) -> Row | None:
        if crc_before is None or not isinstance(crc, int):
            return None
        try:
            holds = crc_of(columns, crc_before) == crc
        except (OverflowError, UnicodeEncodeError):
            return None
        return (columns, crc, crc_before) if holds else None

    def snapshots(self) -> Iterator[tuple[int, State]]:
        """The states that snapshots hold, the newest first, each with the number of its event; those that can be read.

        One that another version made comes last: its state is what that version counted.
        """
        known: list[Snapshot] = []
        query = "SELECT number, event_crc, version, bytes, crc FROM snapshot ORDER BY number DESC"
        with suppress(*FAULTS):
            for number, event_crc, version, size, crc in self._connection.execute(query):
                known.append(Snapshot(number, event_crc, version, size, crc, fits=True))
        readable = Readable(self._connection, self.path)
        for each in sorted(known, key=lambda each: each.version != SHAPE):
            data = readable.snapshot_data(each)
            if data is None or each.number > self.end:
                continue
            with suppress(FormatError):
                yield each.number, decode(data)


def what_holds(path: Path, found: Found) -> Iterator[tuple[int, Stored]]:
    """The events of a damaged journal that hold, oldest first; ``found`` is told what is lost as it comes to it.

    The file may be in use. Raises ``JournalError`` if there is none.
    """
    wreck = Wreck(path)
    try:
        for columns, _, _ in wreck.events(found):
            yield columns[0], from_text(columns[4])
    finally:
        wreck.close()


def state_of_what_holds(path: Path, found: Found) -> State:
    """What a damaged journal's events come to, from its newest good snapshot on; ``found`` is told what is lost.

    Raises ``JournalError`` if there is no such file.
    """
    wreck = Wreck(path)
    try:
        since, state = next(wreck.snapshots(), (0, State()))
        for columns, _, _ in wreck.events(found):
            if columns[0] > since:
                apply(state, from_text(columns[4]))
    finally:
        wreck.close()
    return state


def salvage(path: Path, into: Path, because: str) -> Salvaged:
    """Make the journal ``into``, which must not be there, of what ``path`` holds; it is durable when this returns.

    Returns the event that the new journal ends with. Raises ``JournalError`` if ``path`` is not there, or ``into``
    cannot be written.
    """
    if into.exists():
        raise JournalError(into, "there is a file of this name", advice="Name one that is not there.")
    wreck = Wreck(path)
    try:
        found = Found()
        for _ in wreck.events(found):
            pass  # the first time only to see what is lost
        with Journal(into, reserve_bytes=0) as journal:
            at_ms = _Taking(wreck, found.lost_to).into(journal)
    finally:
        wreck.close()
    event = Salvaged(
        at_ms=at_ms, read=found.read, lost=found.lost, lost_from=found.lost_from, lost_to=found.lost_to, because=because
    )
    with Journal(into, reserve_bytes=0) as journal:
        journal.append(event)
    return event


class _Taking:
    """Takes what holds over into a new journal, whose base is behind the last gap and not before the best snapshot."""

    def __init__(self, wreck: Wreck, gap_end: int) -> None:
        self._wreck = wreck
        self._since, self._state = next(wreck.snapshots(), (0, State()))
        self._base = max(wreck.base, gap_end, self._since)
        self._last, self._crc, self._at_ms = 0, 0, 0
        self._base_crc = wreck.base_crc if self._base == wreck.base else None

    def into(self, journal: Journal) -> int:
        """Fill an empty journal. Returns the time of the last event, on the host's clock."""
        connection = journal._connection  # nobody else may write events that are not the next
        try:
            for trigger in ("in_order", "base_is_founded"):
                connection.execute(f"DROP TRIGGER {trigger}")
            rows = self._wreck.events(Found())
            while some := tuple(islice(rows, WRITTEN_AT_ONCE)):
                connection.execute("BEGIN")
                for row in some:
                    self._take(connection, row)
                connection.execute("COMMIT")
            connection.execute("BEGIN")
            self._end(connection)
            for trigger in (IN_ORDER, BASE_IS_FOUNDED):
                connection.execute(trigger)
            connection.execute("COMMIT")
        except FAULTS as error:
            raise failure(journal.path, error) from error
        return self._at_ms

    def _take(self, connection: sqlite3.Connection, row: Row) -> None:
        columns, crc, crc_before = row
        number = columns[0]
        connection.execute("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", (*columns, crc))
        if number <= self._base:
            connection.execute("INSERT INTO kept VALUES (?, ?)", (number, crc_before))
            if number > self._since:
                apply(self._state, from_text(columns[4]))
        elif self._base_crc is None:
            self._base_crc = crc_before
        self._last, self._crc, self._at_ms = number, crc, columns[1]

    def _end(self, connection: sqlite3.Connection) -> None:
        if self._base_crc is None:
            self._base_crc = self._crc if self._last == self._base else 0
        base = (self._base, self._base_crc)
        connection.execute("UPDATE base SET number = ?, crc = ?", base)
        connection.execute("UPDATE head SET number = ?, crc = ?", max(base, (self._last, self._crc)))
        if not self._base:
            return
        data = encode(self._state)
        connection.execute("INSERT INTO snapshot VALUES (?, ?, ?, ?, ?)", (*base, SHAPE, len(data), zlib.crc32(data)))
        for part, at in enumerate(range(0, len(data), PART_BYTES)):
            connection.execute(
                "INSERT INTO snapshot_part (number, part, data) VALUES (?, ?, ?)",
                (self._base, part, data[at : at + PART_BYTES]),
            )


# --- the journal of a service that must not stand still ---------------------------------------------------------------

DOUBTED: Final = ".doubted"
"""What the name of the file ends in that says: this journal was found damaged while it was in use."""
_SALVAGING: Final = ".salvaging"
_SALVAGED: Final = ".salvaged"
_SET_ASIDE: Final = ".damaged-"
_DATABASE: Final = ("-wal", "-shm", "")
"""A database's files, by what their names end in. The WAL goes first: without it a database is an earlier state of
itself, while a new database would take an old WAL for its own."""


def doubt(path: Path) -> None:
    """This journal was found damaged: it is looked through before it is opened again."""
    with suppress(OSError):  # then the damage has to be found once more
        _beside(path, DOUBTED).touch()


def set_aside(path: Path) -> tuple[Path, ...]:
    """The damaged files of this journal that were set aside, oldest first."""
    return tuple(sorted(path.parent.glob(f"{glob.escape(path.name)}{_SET_ASIDE}*Z")))


def opened(
    path: Path, *, refuse: bool = False, limit_bytes: int = LIMIT_BYTES, patience_s: float | None = None
) -> Journal:
    """The journal of a service, opened for writing. One that is damaged is set aside under a name with the date, and a
    new one is made of what it still holds; with ``refuse``, ``JournalDamagedError`` is raised instead.

    Damage is found here if it is in the file's structure or at its end, or if the journal is in ``doubt``. A kill at
    any point of it is made good by the next call. Raises ``JournalError`` as ``Journal`` does; ``patience_s`` as there.
    """
    try:
        with locked(path):
            _finish(path)
            if _beside(path, DOUBTED).exists() and path.exists():
                _look_through(path)
        journal = Journal(path, limit_bytes=limit_bytes, patience_s=patience_s)
    except JournalDamagedError as error:
        if refuse:
            raise
        with locked(path):
            _replace(path, str(error))
        journal = Journal(path, limit_bytes=limit_bytes, patience_s=patience_s)
    _beside(path, DOUBTED).unlink(missing_ok=True)
    return journal


def _look_through(path: Path) -> None:
    with Reader(path) as reader:
        reader.check()
        recall(reader)


def _replace(path: Path, because: str) -> None:
    salvaging = _beside(path, _SALVAGING)
    _remove(salvaging)
    salvage(path, salvaging, because)
    if _beside(salvaging, "-wal").exists():
        raise JournalError(salvaging, "it could not be brought to an end", advice="See that the disk works.")
    salvaging.rename(_beside(path, _SALVAGED))
    _sync(path.absolute().parent)
    _finish(path)


def _finish(path: Path) -> None:
    """Put what was salvaged in the place of what is damaged: to be done again after a kill, until it is done."""
    salvaged = _beside(path, _SALVAGED)
    if not salvaged.exists():
        return
    when = datetime.fromtimestamp(salvaged.stat().st_mtime, UTC)
    aside = _beside(path, f"{_SET_ASIDE}{when:%Y%m%dT%H%M%S.%f}Z")
    for end in _DATABASE:
        with suppress(FileNotFoundError):
            _beside(path, end).rename(_beside(aside, end))
    for end in SIDE_FILES:
        _beside(_beside(path, _SALVAGING), end).unlink(missing_ok=True)
    salvaged.rename(path)
    _sync(path.absolute().parent)


def _remove(path: Path) -> None:
    for end in (*_DATABASE, *SIDE_FILES):
        _beside(path, end).unlink(missing_ok=True)


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _sync(directory: Path) -> None:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
