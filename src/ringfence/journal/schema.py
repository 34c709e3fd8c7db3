"""The tables of a journal's file, and how a file of an earlier version comes to have them."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path
from typing import Final

from ringfence.errors import JournalDamagedError, JournalError

APPLICATION_ID: Final = 0x52464A4C
"""SQLite's application id of a journal: "RFJL"."""

COMMON: Final = ("Received", "Acknowledged")
"""The kinds that a storm consists of: they are not in the index of kinds, so that each of them costs one page less."""

IS_RARE: Final = " AND ".join(f"kind <> '{kind}'" for kind in COMMON)
"""What the index of kinds is limited to. A query has to say the same, or SQLite does not use it (SQLite,
"Partial Indexes", section 3).
"""

IN_ORDER: Final = """CREATE TRIGGER in_order BEFORE INSERT ON event
    WHEN NEW.number <> max((SELECT coalesce(max(number), 0) FROM event), (SELECT number FROM base)) + 1
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END"""
"""An event has the next number: after the last one, or after the base if nothing stands after it."""

BASE_IS_FOUNDED: Final = """CREATE TRIGGER base_is_founded BEFORE UPDATE ON base
    WHEN NEW.number < OLD.number
        OR NOT EXISTS (SELECT 1 FROM event WHERE number = NEW.number AND crc = NEW.crc)
        OR NOT EXISTS (SELECT 1 FROM snapshot WHERE number = NEW.number AND event_crc = NEW.crc)
    BEGIN SELECT RAISE(ABORT, 'a base rests on an event and on the snapshot after it'); END"""
"""The base only moves on, to an event that is there, and of which there is a snapshot."""

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
    (
        f"CREATE INDEX event_of_kind ON event (kind) WHERE {IS_RARE}",
        # The chain is checked from the base on: what stood before it may go, but for what is kept.
        "CREATE TABLE base (one INTEGER PRIMARY KEY CHECK (one = 1), number INTEGER NOT NULL, crc INTEGER NOT NULL)",
        "INSERT INTO base VALUES (1, 0, 0)",
        "CREATE TABLE kept (number INTEGER PRIMARY KEY, crc_before INTEGER NOT NULL)",
        """CREATE TABLE snapshot (
            number INTEGER PRIMARY KEY,
            event_crc INTEGER NOT NULL,
            version INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            crc INTEGER NOT NULL)""",
        """CREATE TABLE snapshot_part (
            number INTEGER NOT NULL, part INTEGER NOT NULL, data BLOB NOT NULL, UNIQUE (number, part))""",
        "DROP TRIGGER no_delete",
        """CREATE TRIGGER no_delete BEFORE DELETE ON event
            WHEN OLD.number > (SELECT number FROM base) OR OLD.number IN (SELECT number FROM kept)
            BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END""",
        "DROP TRIGGER in_order",
        IN_ORDER,
        BASE_IS_FOUNDED,
        """CREATE TRIGGER base_stays BEFORE DELETE ON base
            BEGIN SELECT RAISE(ABORT, 'a journal has one base'); END""",
        """CREATE TRIGGER base_is_held BEFORE DELETE ON snapshot
            WHEN OLD.number = (SELECT number FROM base)
            BEGIN SELECT RAISE(ABORT, 'the base rests on this snapshot'); END""",
        """CREATE TRIGGER snapshot_stays BEFORE UPDATE ON snapshot
            BEGIN SELECT RAISE(ABORT, 'a snapshot is not changed'); END""",
    ),
)
"""Entry n takes a file from schema version n to n + 1. Entries are never changed once released, only added."""

FAULTS: Final = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises; the second where the damage is in a text, or is quoted in SQLite's message."""

DAMAGED: Final = (
    "Keep the file. `ringfence journal salvage` makes a new journal of what can be read; `ringfence run` does so by "
    "itself unless the configuration says journal.on-damage = refuse."
)


def damaged(path: Path, what: object) -> JournalDamagedError:
    """The error for a file that is not what was written."""
    return JournalDamagedError(path, f"the journal is damaged: {what}", advice=DAMAGED)


def code_of(error: Exception) -> int | None:
    """SQLite's primary result code, None if the error is not SQLite's."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


ROOM_LEFT: Final = 64 << 20
"""With so much free, it is not the disk that is full: SQLite's cache and a group of events need far less."""


SQLITE_SAYS_FULL: Final = "database or disk is full"
"""The words of SQLITE_FULL (sqlite3_errstr)."""


def full_in_words(path: Path) -> tuple[str, str]:
    """What is full when SQLite says that the database or the disk is, and what can be done about it.

    SQLite has one code for both (SQLITE_FULL): the journal's own limit is told by the room that the disk has.
    """
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError:
        free = 0
    if free > ROOM_LEFT:
        said = "the journal has reached its limit, journal.limit-bytes in the configuration"
        return said, "Raise journal.limit-bytes, or keep events for less time (the keys of [journal])."
    return f"the disk is full: {free >> 20} MiB are free", "Make room on the disk of the state directory."


def failure(path: Path, error: Exception) -> JournalError:
    """The error of this house for one of ``FAULTS``."""
    # Python's own errors (a text that is no UTF-8) carry no code
    if code_of(error) in {None, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}:
        return damaged(path, error)
    if code_of(error) == sqlite3.SQLITE_FULL:
        said, advice = full_in_words(path)
        return JournalError(path, said, advice=advice)
    return JournalError(path, str(error), advice="See that the disk works and has room, and that the file is writable.")


def version_of(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of a file, which must be a journal's, or empty."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application != APPLICATION_ID and (application or version or tables):
        raise JournalError(path, "this is no journal of Ringfence", advice="Name another file for the journal.")
    if version < 0 or (application == APPLICATION_ID and version == 0):
        raise damaged(path, f"it cannot have the schema version {version}")
    if version > len(MIGRATIONS):
        raise JournalError(
            path,
            f"schema version {version} is newer than this version of Ringfence knows ({len(MIGRATIONS)})",
            advice="Use the version of Ringfence that wrote it, or a newer one.",
        )
    return version


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to this version's schema, each step whole or not at all."""
    for version in range(version_of(connection, path), len(MIGRATIONS)):
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
