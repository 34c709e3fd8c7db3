"""The journal's file: SQLite in WAL mode, one writer, append-only, every event durable when ``append`` returns.

Each row carries a CRC-32 over its text and the CRC of the row before it: an event that was altered, lost in the middle
or put out of order is found by whoever reads; so is a lost end, for the last number and CRC stand in a table of their
own as well. A disk that is full is met with a reserve, kept beside the journal.
"""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ringfence.errors import JournalError, JournalFullError
from ringfence.journal.events import Event, Stored, from_text, to_text
from ringfence.world.identities import CaseId

APPLICATION_ID: Final = 0x52464A4C
"""SQLite's application id of a journal: "RFJL"."""

SIDE_FILES: Final = ("-wal", "-shm", ".lock", ".reserve")
"""What the names of the files beside a journal end in: SQLite's own, the writer's lock, the reserve."""

RESERVE_BYTES: Final = 4 << 20
"""Kept free for a full disk: at least three hundred calls of ``append``, at three pages of the WAL each."""

BATCH: Final = 512
"""Events that are read at a time: no read transaction is held while they are used, so the WAL can be checkpointed."""

LIMIT_BYTES: Final = 1 << 32
"""The file's bound unless the operator sets another: some three million events."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE event (
            number INTEGER PRIMARY KEY,
            at_ms INTEGER NOT NULL,
            kind TEXT NOT NULL,
            case_number INTEGER,
            text TEXT NOT NULL,
            crc INTEGER NOT NULL)""",
        "CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, crc INTEGER NOT NULL)",
        "INSERT INTO head VALUES (1, 0, 0)",
        "CREATE INDEX event_of_case ON event (case_number) WHERE case_number IS NOT NULL",
        "CREATE TRIGGER no_update BEFORE UPDATE ON event BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END",
        "CREATE TRIGGER no_delete BEFORE DELETE ON event BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END",
        """CREATE TRIGGER in_order BEFORE INSERT ON event
            WHEN NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM event)
            BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
    ),
)
"""Entry n takes a file from schema version n to n + 1. Entries are never changed once released, only added."""

CORRUPT: Final = (
    "Stop Ringfence and keep the file: copy what can be read with sqlite3's .recover, "
    "then let Ringfence start with a new journal."
)
_INSERT: Final = "INSERT INTO event (number, at_ms, kind, case_number, text, crc) VALUES (?, ?, ?, ?, ?, ?)"

_ALL: Final = """
    SELECT event.number, event.at_ms, event.kind, event.case_number, event.text, event.crc, coalesce(before.crc, 0)
    FROM event LEFT JOIN event AS before ON before.number = event.number - 1
    WHERE event.number > :after ORDER BY event.number LIMIT :batch"""
_OF_CASE: Final = _ALL.replace("WHERE", "WHERE event.case_number = :case AND")
_OF_KINDS: Final = _ALL.replace("WHERE", "WHERE event.kind IN (SELECT value FROM json_each(:kinds)) AND")


Columns = tuple[int, int, str, int | None, str]
"""Number, time, kind, case and text of a row."""


def _crc(columns: Columns, crc_before: int) -> int:
    """The CRC of a row: over all its columns, so that an altered one is found as well, and the row before it."""
    return zlib.crc32("\0".join(map(str, columns)).encode(), crc_before)


def _corrupt(path: Path, what: object) -> JournalError:
    return JournalError(path, f"the journal is damaged: {what}", advice=CORRUPT)


FAULTS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises; the second where the damage is in a text, or is quoted in SQLite's message."""


def _failure(path: Path, error: Exception) -> JournalError:
    # Python's own errors (a text that is no UTF-8) carry no code
    if _code(error) in {None, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}:
        return _corrupt(path, error)
    return JournalError(path, str(error), advice="See that the disk works and has room, and that the file is writable.")


def _code(error: Exception) -> int | None:
    """SQLite's primary result code, None if the error is not SQLite's."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _version(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of a file, which must be a journal's, or empty."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION_ID and (application or version or tables):
        raise JournalError(path, "this is no journal of Ringfence", advice="Name another file for the journal.")
    if version < 0 or (application == APPLICATION_ID and version == 0):
        raise _corrupt(path, f"it cannot have the schema version {version}")
    if version > len(MIGRATIONS):
        raise JournalError(
            path,
            f"schema version {version} is newer than this version of Ringfence knows ({len(MIGRATIONS)})",
            advice="Use the version of Ringfence that wrote it, or a newer one.",
        )
    return version


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to this version's schema, each step whole or not at all."""
    for version in range(_version(connection, path), len(MIGRATIONS)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in MIGRATIONS[version]:
                connection.execute(statement)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise


def _events(
    connection: sqlite3.Connection, path: Path, after: int, case: CaseId | None = None, kinds: Iterable[str] = ()
) -> Iterator[tuple[int, Stored]]:
    """The events after number ``after``, in order, each checked against its CRC."""
    asked = {"after": after, "case": case, "kinds": json.dumps(tuple(kinds)), "batch": BATCH}
    every = case is None and not kinds
    query = _ALL if every else _OF_CASE if case is not None else _OF_KINDS
    try:
        while True:
            (head,) = connection.execute("SELECT number FROM head").fetchone() or (None,)
            if not isinstance(head, int):
                raise _corrupt(path, "its head is missing")
            rows = connection.execute(query, asked).fetchall()
            for *row, crc, crc_before in rows:
                number, text = row[0], row[-1]
                if every and number != after + 1:
                    raise _corrupt(path, f"event {after + 1} is missing")
                if _crc(tuple(row), crc_before) != crc:
                    raise _corrupt(path, f"event {number} is not what was written")
                asked["after"] = after = number
                yield number, from_text(text)
            if not rows:
                break
        if every and after < head:
            raise _corrupt(path, f"the events {after + 1} to {head} are missing")
    except FAULTS as error:
        raise _failure(path, error) from error


class Reader:
    """A journal opened for reading, while its writer goes on or after it ended. Raises ``JournalError``."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.exists():
            raise JournalError(path, "there is no such journal", advice="See the path, or start Ringfence first.")
        try:
            self._connection = sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro", uri=True)
        except sqlite3.Error as error:
            raise _failure(self.path, error) from error
        try:
            if _version(self._connection, self.path) == 0:
                raise JournalError(path, "the journal is empty", advice="Start Ringfence first.")
        except BaseException as error:
            self._connection.close()
            if isinstance(error, FAULTS):
                raise _failure(self.path, error) from error
            raise

    def events(self, after: int = 0, *, case: CaseId | None = None) -> Iterator[tuple[int, Stored]]:
        """The events after number ``after`` with their numbers, oldest first; of one case if ``case`` is given.

        What is appended while one reads is given as well. Raises ``JournalError`` where an event is damaged.
        """
        return _events(self._connection, self.path, after, case)

    def check(self) -> int:
        """Read and check everything: SQLite's own structures and every event. Returns how many events there are."""
        try:
            verdict = self._connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        except FAULTS as error:
            raise _failure(self.path, error) from error
        if verdict != "ok":
            raise _corrupt(self.path, verdict)
        return sum(1 for _ in self.events())

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Journal:
    """The journal opened for writing. There is one writer at a time; a second one gets a ``JournalError``.

    ``fsync`` is only ever false where nothing must survive the machine (the simulator). ``limit_bytes`` bounds the
    file; ``reserve_bytes`` are kept for when it or the disk is full, 0 for no reserve. Close it in the thread that
    opened it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        fsync: bool = True,
        limit_bytes: int = LIMIT_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
    ) -> None:
        self.path = Path(path)
        self._limit_bytes = limit_bytes
        self._reserve = self.path.with_name(self.path.name + ".reserve")
        self._reserve_bytes = reserve_bytes
        self._lock = self._locked()
        try:
            self._connection = sqlite3.connect(self.path, isolation_level=None, timeout=5.0)
            try:
                _version(self._connection, self.path)  # before anything is changed in a file that is not ours
                self._wal()
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'OFF'}")
                _migrate(self._connection, self.path)
                self._last, self._crc = self._head()
            except BaseException:
                self._connection.close()
                raise
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, FAULTS):
                raise _failure(self.path, error) from error
            raise
        if fsync:
            self._sync_directory()
        self.refill()

    def _head(self) -> tuple[int, int]:
        """Number and CRC of the last event. Without it nothing is appended: that would hide the loss."""
        last: tuple[int, int] | None = self._connection.execute(
            "SELECT number, crc FROM event ORDER BY number DESC LIMIT 1"
        ).fetchone()
        head: tuple[int, int] | None = self._connection.execute("SELECT number, crc FROM head").fetchone()
        if head is None or (last or (0, 0)) != head:
            raise _corrupt(self.path, f"the last event is {last}, and should be {head}")
        return head

    def _locked(self) -> int:
        try:
            lock = os.open(self.path.with_name(self.path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise JournalError(
                self.path, error.strerror or str(error), advice="See that the directory exists and may be written."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(lock)
            raise JournalError(
                self.path,
                "another process writes this journal",
                advice="Stop the other Ringfence, or give this one a journal of its own.",
            ) from error
        return lock

    def _wal(self) -> None:
        if self._connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise JournalError(
                self.path, "the file system cannot hold a journal in WAL mode", advice="Put it on a local disk."
            )

    def _sync_directory(self) -> None:
        directory = os.open(self.path.absolute().parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    @property
    def last(self) -> int:
        """The number of the last event, 0 if there is none."""
        return self._last

    @property
    def has_reserve(self) -> bool:
        """Whether the reserve is there; without it the next full disk stops the journal."""
        if self._reserve_bytes == 0:
            return True
        try:
            return self._reserve.stat().st_size >= self._reserve_bytes
        except OSError:
            return False

    def refill(self) -> bool:
        """Put the reserve back if there is room for it; whether it is there now."""
        if not self.has_reserve:
            try:
                with self._reserve.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, self._reserve_bytes)
            except OSError:
                self._reserve.unlink(missing_ok=True)
        self._bound(0 if self.has_reserve else self._reserve_bytes)
        return self.has_reserve

    def _bound(self, extra_bytes: int) -> None:
        page_bytes = self._connection.execute("PRAGMA page_size").fetchone()[0]
        self._connection.execute(f"PRAGMA max_page_count = {(self._limit_bytes + extra_bytes) // page_bytes}")

    def append(self, *events: Event) -> int:
        """Write events, all or none; they are durable when this returns. Returns the number of the last event.

        Raises ``JournalFullError`` (nothing is written; it carries the encoded events) when disk and reserve are full,
        ``JournalError`` when the disk fails.
        """
        rows: list[tuple[int, int, str, int | None, str, int]] = []
        number, crc = self._last, self._crc
        for event in events:
            number += 1
            columns = (number, event.at_ms, type(event).__name__, getattr(event, "case", None), to_text(event))
            crc = _crc(columns, crc)
            rows.append((*columns, crc))
        if not rows:
            return self._last
        try:
            self._write(rows)
        except FAULTS as error:
            if _code(error) != sqlite3.SQLITE_FULL:
                raise _failure(self.path, error) from error
            self._write_with_reserve(rows)
        self._last, self._crc = number, crc
        return number

    def _write(self, rows: list[tuple[int, int, str, int | None, str, int]]) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            connection.executemany(_INSERT, rows)
            connection.execute("UPDATE head SET number = ?, crc = ?", (rows[-1][0], rows[-1][-1]))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise

    def _write_with_reserve(self, rows: list[tuple[int, int, str, int | None, str, int]]) -> None:
        with suppress(OSError):
            self._reserve.unlink()
        try:
            self._bound(self._reserve_bytes)
            # what the WAL holds goes into the file as far as no reader is in the way: its room can be used again
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            pass  # the write that follows says what is wrong
        try:
            self._write(rows)
        except FAULTS as error:
            if _code(error) == sqlite3.SQLITE_FULL:
                raise JournalFullError(self.path, tuple(row[4] for row in rows)) from error
            raise _failure(self.path, error) from error

    def events(self, after: int = 0, *, kinds: Iterable[type[Event]] = ()) -> Iterator[tuple[int, Stored]]:
        """As ``Reader.events``; of some ``kinds`` alone if they are given."""
        return _events(self._connection, self.path, after, kinds=tuple(kind.__name__ for kind in kinds))

    def close(self) -> None:
        """Let go of the file and of the writer's place. A second call does nothing."""
        self._connection.close()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
