"""The journal's file: SQLite in WAL mode, one writer, append-only, every event durable when ``append`` returns.

Each row carries a CRC-32 over its text and the CRC of the row before it: an event that was altered, lost in the middle
or put out of order is found by whoever reads; so is a lost end, for the last number and CRC stand in a table of their
own as well. A disk that is full is met with a reserve, kept beside the journal.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from ringfence.errors import JournalError, JournalFullError, JournalUnwritableError, NotWrittenError, SlowDiskError
from ringfence.journal.apart import Apart, Job
from ringfence.journal.events import Compacted, Event, to_text
from ringfence.journal.reading import Base, Readable, crc_of
from ringfence.journal.schema import FAULTS, code_of, damaged, failure, migrate, version_of

T = TypeVar("T")

SIDE_FILES: Final = ("-wal", "-shm", ".lock", ".reserve")
"""What the names of the files beside a journal end in: SQLite's own, the writer's lock, the reserve."""

UPKEEP_BYTES: Final = 32 << 20
"""By so much the file may pass its limit while room is made: a snapshot of a large state, and what is kept."""

RESERVE_BYTES: Final = 4 << 20
"""Kept free for a full disk: at least two hundred and fifty calls of ``append``, at four pages of the WAL each."""

LIMIT_BYTES: Final = 1 << 32
"""The file's bound unless the operator sets another: some three million events."""

WAL_PAGES: Final = 4096
"""At so many pages (16 MiB) the writer brings the WAL home by itself. In a service that is done before, beside it: the
writer would stand still for as long as the disk takes for all of them."""

BUSY_MS: Final = 100
"""So long the writer waits for a lock that somebody's tool holds on the file, and then goes on without having written:
it is tried again. (SQLite's own default with Python's is 5 s, in which nobody would be treated.)"""

SNAPSHOTS: Final = 2
"""Beside the one of the base: the newest, and one more for the case that it cannot be read."""

PART_BYTES: Final = 1 << 18
"""Of a snapshot, written at once: about a millisecond's work."""

DROPPED_AT_ONCE: Final = 128
"""Events that leave the file in one transaction: about two milliseconds' work."""

PATIENCE_S: Final = 0.02
"""So long a service waits for the disk before it goes on without: of the 50 ms in which an uncorrected error is acted
upon, what is left is for the rest. Disks that work answer in a few milliseconds."""

STEP_S: Final = 0.001
"""So long the writer waits for the disk in a step of upkeep, before it is free for others."""

_INSERT: Final = "INSERT INTO event (number, at_ms, kind, case_number, text, crc) VALUES (?, ?, ?, ?, ?, ?)"

_Row = tuple[int, int, str, int | None, str, int]

_WITHOUT_UPKEEP: Final = (
    "CREATE TEMP VIEW base AS SELECT 1 AS one, 0 AS number, 0 AS crc",
    "CREATE TEMP VIEW kept AS SELECT 0 AS number, 0 AS crc_before WHERE 0",
    "CREATE TEMP VIEW snapshot AS SELECT 0 AS number, 0 AS event_crc, 0 AS version, 0 AS bytes, 0 AS crc WHERE 0",
)
"""What a file of schema version 1 lacks for one who only reads it: nothing of it was ever dropped."""

_DISK_FAILS: Final = frozenset(
    {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_NOMEM}
)
"""What may pass: the events are tried again, and acting does not wait for them. (EIO, EROFS, a file that is gone, a
lock that somebody's tool holds, memory.)"""


DISK_TAKES_NOTHING: Final = frozenset({errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO})
"""What the kernel says of a disk that may be written to again later, and of none that is named wrongly."""


def connected(path: Path) -> sqlite3.Connection:
    """A connection that only reads. Raises ``sqlite3.Error``.

    On a disk that is read-only SQLite cannot read a file in WAL mode that was closed in order, as it can make none of
    the files beside it (SQLite, "Write-Ahead Logging", section 5): it is told then that nobody changes the file.
    """
    name = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(name, uri=True, isolation_level=None)
    try:
        connection.execute("PRAGMA application_id").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if code_of(error) != sqlite3.SQLITE_CANTOPEN or path.with_name(f"{path.name}-wal").exists():
            raise
        connection = sqlite3.connect(f"{name}&immutable=1", uri=True, isolation_level=None)
    return connection


_TAKES_NOTHING: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY})


class Reader(Readable):
    """A journal opened for reading, while its writer goes on or after it ended. Raises ``JournalError``."""

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        if not path.exists():
            raise JournalError(path, "there is no such journal", advice="See the path, or start Ringfence first.")
        try:
            connection = connected(path)
        except FAULTS as error:
            raise failure(path, error) from error
        super().__init__(connection, path)
        try:
            version = version_of(self._connection, self.path)
            if version == 0:
                raise JournalError(path, "the journal is empty", advice="Start Ringfence first.")
            for statement in _WITHOUT_UPKEEP if version == 1 else ():
                self._connection.execute(statement)
        except BaseException as error:
            self._connection.close()
            if isinstance(error, FAULTS):
                raise failure(self.path, error) from error
            raise

    def check(self) -> int:
        """Read and check everything: SQLite's own structures, each event, each snapshot. Returns how many events."""
        try:
            verdict = self._connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
        except FAULTS as error:
            raise failure(self.path, error) from error
        if verdict != "ok":
            raise damaged(self.path, verdict)
        for each in self.snapshots():
            if self.snapshot_data(each) is None:
                raise damaged(self.path, f"the snapshot after event {each.number} is not what was written")
        return sum(1 for _ in self.texts())

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _lock(path: Path) -> int:
    """The writer's place at a journal, as a file descriptor. Raises ``JournalError`` if it is taken."""
    try:
        lock = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        kind = JournalUnwritableError if error.errno in DISK_TAKES_NOTHING else JournalError
        raise kind(
            path, error.strerror or str(error), advice="See that the directory exists and may be written."
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise JournalError(
            path,
            "another process writes this journal",
            advice="Stop the other Ringfence, or give this one a journal of its own.",
        ) from error
    return lock


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Have the writer's place at a journal without opening it. Raises ``JournalError`` if it is taken."""
    lock = _lock(path)
    try:
        yield
    finally:
        os.close(lock)


class Journal(Readable):
    """The journal opened for writing. There is one writer at a time; a second one gets a ``JournalError``.

    ``fsync`` is only ever false where nothing must survive the machine (the simulator). ``limit_bytes`` bounds the
    file; ``reserve_bytes`` are kept for when it or the disk is full, 0 for no reserve. Close it in the thread that
    opened it.

    ``patience_s``: whoever writes waits no longer for the disk; None: as long as it takes. What the disk has not
    answered for by then goes on in a thread of its own (``late``), and only ``catch_up`` tells what came of it.
    """

    _apart: Apart | None = None
    _late: tuple[Job[None], list[_Row]] | None = None

    def __init__(
        self,
        path: str | Path,
        *,
        fsync: bool = True,
        limit_bytes: int = LIMIT_BYTES,
        reserve_bytes: int = RESERVE_BYTES,
        patience_s: float | None = None,
    ) -> None:
        self.path = path = Path(path)
        self._limit_bytes = limit_bytes
        self._reserve = self.path.with_name(self.path.name + ".reserve")
        self._reserve_bytes = reserve_bytes
        self.trouble = ""
        """Why the last events could not be written; empty if they were."""
        self._lock = _lock(path)
        try:
            one_thread = patience_s is None
            connection = sqlite3.connect(path, isolation_level=None, timeout=5.0, check_same_thread=one_thread)
            super().__init__(connection, path)
            try:
                version_of(self._connection, self.path)  # before anything is changed in a file that is not ours
                self._wal()
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if fsync else 'OFF'}")
                self._connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
                migrate(self._connection, self.path)
                self._last, self._crc = self._end()
                self._connection.execute("BEGIN IMMEDIATE")  # whether it can be written at all
                self._connection.execute("ROLLBACK")
                self._connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            except BaseException:
                self._connection.close()
                raise
        except BaseException as error:
            os.close(self._lock)
            if not isinstance(error, FAULTS):
                raise
            found = failure(self.path, error)
            if code_of(error) in _TAKES_NOTHING:
                raise JournalUnwritableError(self.path, str(error), advice=found.advice) from error
            raise found from error
        if fsync:
            self._sync_directory()
        self.refill()
        if patience_s is not None:
            self._patience_s = patience_s
            self._apart = Apart("journal's disk")

    def _end(self) -> tuple[int, int]:
        """Number and CRC of the last event. Without it nothing is appended: that would hide the loss."""
        base = self._base()
        last: tuple[int, int] = self._connection.execute(
            "SELECT number, crc FROM event WHERE number > ? ORDER BY number DESC LIMIT 1", (base.number,)
        ).fetchone() or (base.number, base.crc)
        head: tuple[int, int] | None = self._connection.execute("SELECT number, crc FROM head").fetchone()
        if head is None or last != head:
            raise damaged(self.path, f"the last event is {last}, and should be {head}")
        return head

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
    def crc_of_last(self) -> int:
        """The CRC of the last event, 0 if there is none."""
        return self._crc

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
        ``NotWrittenError`` (as well) when the disk fails or is read-only; ``SlowDiskError`` when it has not answered in
        time: then ``late`` says how many of these events it was given.
        """
        if self._apart is None:
            if rows := self._rows(events):
                self._commit(rows)
                self._written(rows)
            return self._last
        before = self._apart.job
        if self._late is not None or (before is not None and not before.ended(self._patience_s)):
            raise SlowDiskError(self.path, tuple(map(to_text, events)))
        # Only now: a step of upkeep that has ended may have written an event.
        if rows := self._rows(events):
            job = self._apart.begin(lambda: self._commit(rows))
            if not job.ended(self._patience_s):
                self._late = job, rows
                raise SlowDiskError(self.path, tuple(row[4] for row in rows))
            job.outcome()
            self._written(rows)
        return self._last

    @property
    def late(self) -> int:
        """Events that the disk was given and had not answered for in time: ``catch_up`` tells what came of them."""
        return len(self._late[1]) if self._late is not None else 0

    @property
    def late_s(self) -> float:
        """How long the disk has not answered, seconds; 0 if nothing is late."""
        return time.monotonic() - self._late[0].began_s if self._late is not None else 0.0

    def catch_up(self, wait_s: float = 0.0) -> int | None:
        """How many of the events that were ``late`` are durable, all or none; None if the disk has not answered yet.

        Raises ``JournalError`` as ``append`` does, but for ``NotWrittenError``: these events may be tried again.
        """
        if self._late is None:
            return 0
        job, rows = self._late
        if not job.ended(wait_s):
            return None
        self._late = None
        try:
            job.outcome()
        except NotWrittenError:
            return 0
        self._written(rows)
        return len(rows)

    def _written(self, rows: list[_Row]) -> None:
        self.trouble = ""
        self._last, self._crc = rows[-1][0], rows[-1][-1]

    def _commit(self, rows: list[_Row]) -> None:
        try:
            self._write(rows)
        except FAULTS as error:
            self.trouble = str(error)
            if code_of(error) != sqlite3.SQLITE_FULL:
                raise self._not_written(rows, error) from error
            self._write_with_reserve(rows)

    def _rows(self, events: Iterable[Event]) -> list[_Row]:
        rows: list[_Row] = []
        number, crc = self._last, self._crc
        for event in events:
            number += 1
            columns = (number, event.at_ms, type(event).__name__, getattr(event, "case", None), to_text(event))
            crc = crc_of(columns, crc)
            rows.append((*columns, crc))
        return rows

    def _write(self, rows: list[_Row]) -> None:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            self._insert(connection, rows)
            connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _insert(self, connection: sqlite3.Connection, rows: list[_Row]) -> None:
        connection.executemany(_INSERT, rows)
        connection.execute("UPDATE head SET number = ?, crc = ?", (rows[-1][0], rows[-1][-1]))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _not_written(self, rows: list[_Row], error: Exception) -> JournalError:
        found = failure(self.path, error)
        if code_of(error) not in _DISK_FAILS:
            return found
        return NotWrittenError(self.path, str(error), tuple(row[4] for row in rows), advice=found.advice)

    def _write_with_reserve(self, rows: list[_Row]) -> None:
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
            if code_of(error) == sqlite3.SQLITE_FULL:
                raise JournalFullError(self.path, tuple(row[4] for row in rows)) from error
            raise self._not_written(rows, error) from error

    def begin_wal_anew(self) -> None:
        """Bring home what somebody beside the writer has left of the WAL: the next transaction stands at its beginning.

        While the writer writes, there is always a little that nobody else can bring home. A disk that fails shows in
        the next ``append``.
        """
        with suppress(sqlite3.Error):
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    # --- upkeep: each call is one short transaction, and a kill between any two of them loses nothing

    def stepwise(self, what: Callable[[], T]) -> Generator[None, None, T]:
        """Do a step of upkeep without waiting for the disk: yields until it has ended. Raises what it raises.

        Where whoever writes waits for the disk anyway (no ``patience_s``) it is done at once.
        """
        if self._apart is None:
            return what()
        while self._late is not None or ((before := self._apart.job) is not None and not before.ended(STEP_S)):
            yield
        job = self._apart.begin(what)
        while not job.ended(STEP_S):
            yield
        return job.outcome()

    def put_snapshot(self, number: int, event_crc: int, version: int, data: bytes) -> Iterator[None]:
        """Put a snapshot of the state after event ``number`` into the file, a part at each step.

        It is there with the last step. Raises ``JournalError`` if the disk fails or is full.
        """
        if (yield from self.stepwise(lambda: self._has_snapshot(number))):
            return
        for part, at in enumerate(range(0, len(data), PART_BYTES)):
            yield
            yield from self.stepwise(partial(self._put_part, number, part, data[at : at + PART_BYTES]))
        yield
        meta = (number, event_crc, version, len(data), zlib.crc32(data))
        yield from self.stepwise(partial(self._put_meta, meta))

    def _has_snapshot(self, number: int) -> bool:
        with self._upkeep() as connection:
            connection.execute("DELETE FROM snapshot_part WHERE number NOT IN (SELECT number FROM snapshot)")
            return connection.execute("SELECT 1 FROM snapshot WHERE number = ?", (number,)).fetchone() is not None

    def _put_part(self, number: int, part: int, data: bytes) -> None:
        with self._upkeep() as connection:
            row = (number, part, data)
            connection.execute("INSERT INTO snapshot_part (number, part, data) VALUES (?, ?, ?)", row)

    def _put_meta(self, meta: tuple[int, int, int, int, int]) -> None:
        with self._upkeep() as connection:
            connection.execute("INSERT INTO snapshot VALUES (?, ?, ?, ?, ?)", meta)

    def drop_snapshots(self, leave: int) -> None:
        """Drop all snapshots but the newest ``leave`` and the one that the base rests on."""
        with self._upkeep() as connection:
            connection.execute(
                """DELETE FROM snapshot WHERE number <> (SELECT number FROM base)
                    AND number NOT IN (SELECT number FROM snapshot ORDER BY number DESC LIMIT ?)""",
                (leave,),
            )
            connection.execute("DELETE FROM snapshot_part WHERE number NOT IN (SELECT number FROM snapshot)")

    def keep(self, numbers: Iterable[int]) -> None:
        """These events will stay when the base passes them."""
        query = """INSERT OR IGNORE INTO kept
            SELECT event.number, CASE WHEN event.number = base.number + 1 THEN base.crc ELSE before.crc END
            FROM json_each(?) JOIN event ON event.number = value LEFT JOIN event AS before ON before.number = value - 1
            CROSS JOIN base WHERE event.number > base.number"""
        with self._upkeep() as connection:
            connection.execute(query, (json.dumps(tuple(numbers)),))

    def raise_base(self, to: Base, event: Compacted) -> None:
        """Nothing up to this event need be there any more but what is kept, and the snapshot after it. Says so."""
        rows = self._rows((event,))
        with self._upkeep() as connection:
            connection.execute("UPDATE base SET number = ?, crc = ?", (to.number, to.crc))
            self._insert(connection, rows)
        self._last, self._crc = rows[-1][0], rows[-1][-1]

    def let_go(self, numbers: Iterable[int]) -> None:
        """These events, which were kept, need not be there any more."""
        with self._upkeep() as connection:
            query = "DELETE FROM kept WHERE number IN (SELECT value FROM json_each(?))"
            connection.execute(query, (json.dumps(tuple(numbers)),))

    def drop(self, most: int = DROPPED_AT_ONCE) -> int:
        """Delete some events that are not after the base and not kept. Returns how many; 0: there are none any more."""
        with self._upkeep() as connection:
            deleted = connection.execute(
                """DELETE FROM event WHERE number IN (
                    SELECT number FROM event WHERE number <= (SELECT number FROM base)
                    AND number NOT IN (SELECT number FROM kept) ORDER BY number LIMIT ?)""",
                (most,),
            )
            return deleted.rowcount

    def shrink(self) -> None:
        """Give the file's free room back to the disk. This writes all of it anew: not in a service that must act."""
        try:
            self._connection.execute("VACUUM")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except FAULTS as error:
            raise failure(self.path, error) from error

    @contextmanager
    def _upkeep(self) -> Iterator[sqlite3.Connection]:
        try:
            # A file at its limit gets smaller by nothing but this, and this writes first.
            self._bound(self._reserve_bytes + UPKEEP_BYTES)
            try:
                with self._transaction() as connection:
                    yield connection
            finally:
                self._bound(0 if self.has_reserve else self._reserve_bytes)
        except FAULTS as error:
            raise failure(self.path, error) from error

    def close(self) -> None:
        """Let go of the file and of the writer's place. A second call does nothing.

        A disk that does not answer is not waited for: file and place are let go by the process' end.
        """
        if self._apart is not None and not self._apart.close():
            return
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
