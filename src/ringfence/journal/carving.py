"""The rows of a journal whose file SQLite cannot open any more: taken from its pages, one by one.

Where the first page is damaged, SQLite knows neither tables nor roots. The rows are still there: each leaf of a table
says how many cells it has and where (SQLite, "Database File Format", sections 1.6, 2 and 4). What table a row is of is
told by its shape. Nothing is believed here: whoever uses the rows checks their CRCs (``journal.salvage``).
"""

from __future__ import annotations

import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ringfence.journal.schema import MIGRATIONS

PAGE_BYTES: Final = 4096
"""Of every journal: SQLite's default, and never set otherwise."""
_LEAF: Final = 0x0D
"""The type of a page that is a leaf of a table."""
_HEADER_BYTES: Final = 100
"""Of the file, at the beginning of the first page."""
_WAL_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_INTEGERS: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
"""The bytes of each serial type that is an integer."""
_MOST_BYTES: Final = 1 << 26
"""Of one row: far more than any has. A damaged length is not followed."""

Value = int | float | str | bytes | None


def carved(path: Path) -> sqlite3.Connection:
    """A temporary database with the tables of a journal, and the rows that were found. Raises OSError."""
    connection = sqlite3.connect("", isolation_level=None)
    for migration in MIGRATIONS:
        for statement in migration:
            if not statement.startswith(("CREATE TRIGGER", "DROP TRIGGER", "CREATE INDEX", "INSERT")):
                connection.execute(statement)
    heads: list[tuple[int, int]] = []
    connection.execute("BEGIN")
    for rowid, values in _Pages(path).rows():
        match values:
            case (None, int(), str(), None | int(), str(), int()):
                connection.execute("INSERT OR REPLACE INTO event VALUES (?, ?, ?, ?, ?, ?)", (rowid, *values[1:]))
            case (None, int(), int(), int(), int()):
                connection.execute("INSERT OR REPLACE INTO snapshot VALUES (?, ?, ?, ?, ?)", (rowid, *values[1:]))
            case (int(), int(), bytes()):
                connection.execute("INSERT OR REPLACE INTO snapshot_part VALUES (?, ?, ?)", values)
            case (None, int(before)):
                connection.execute("INSERT OR REPLACE INTO kept VALUES (?, ?)", (rowid, before))
            case (None, int(number), int(crc)):
                heads.append((number, crc))
            case _:
                pass  # of SQLite's own tables, or damaged
    if heads:
        connection.execute("INSERT INTO head VALUES (1, ?, ?)", max(heads))
    # If events before the oldest snapshot were dropped, it is the one that the base rests on.
    connection.execute(
        """INSERT INTO base SELECT 1, number, event_crc FROM snapshot AS oldest
            WHERE number > (SELECT count(*) FROM event WHERE number <= oldest.number) ORDER BY number LIMIT 1"""
    )
    connection.execute("COMMIT")
    return connection


class _Pages:
    """The pages of a database and of its WAL, each as it was committed last."""

    def __init__(self, path: Path) -> None:
        wal = path.with_name(f"{path.name}-wal")
        self._path = path
        self._wal = wal
        self._count = sum(each.stat().st_size // PAGE_BYTES for each in (path, wal) if each.exists())
        self._in_wal = self._frames()

    def _frames(self) -> dict[int, int]:
        """Where in the WAL the pages are that were committed there."""
        found: dict[int, int] = {}
        try:
            with self._wal.open("rb") as file:
                salts = _WAL_HEADER.unpack(file.read(_WAL_HEADER.size))[4:6]
                pending: dict[int, int] = {}
                while len(header := file.read(_FRAME.size)) == _FRAME.size:
                    page, commits, *rest = _FRAME.unpack(header)
                    if tuple(rest[:2]) != salts:
                        break
                    pending[page] = file.tell()
                    file.seek(PAGE_BYTES, 1)
                    if commits:
                        found |= pending
                        pending.clear()
        except (OSError, struct.error):
            pass  # there is none, or it is too short to be one
        return {page: at for page, at in found.items() if page <= self._count}

    def page(self, number: int) -> bytes:
        """A page by its number, from 1; what is not there is empty."""
        at = self._in_wal.get(number)
        path, at = (self._path, (number - 1) * PAGE_BYTES) if at is None else (self._wal, at)
        try:
            with path.open("rb") as file:
                file.seek(at)
                return file.read(PAGE_BYTES)
        except (OSError, ValueError):
            return b""  # a sector that cannot be read

    def rows(self) -> Iterator[tuple[int, tuple[Value, ...]]]:
        """The rows of all leaves: number and values."""
        for number in range(1, self._count + 1):
            page = self.page(number)
            at = _HEADER_BYTES if number == 1 else 0
            if len(page) < PAGE_BYTES or page[at] != _LEAF:
                continue
            cells = int.from_bytes(page[at + 3 : at + 5], "big")
            for cell in range(min(cells, PAGE_BYTES // 2)):
                place = at + 8 + 2 * cell
                try:
                    yield self._row(page, int.from_bytes(page[place : place + 2], "big"))
                except (IndexError, ValueError):
                    continue

    def _row(self, page: bytes, at: int) -> tuple[int, tuple[Value, ...]]:
        size, at = _varint(page, at)
        rowid, at = _varint(page, at)
        if not 0 < size <= _MOST_BYTES:
            raise ValueError
        local = _local_bytes(size)
        payload = page[at : at + local]
        following = int.from_bytes(page[at + local : at + local + 4], "big") if local < size else 0
        parts = [payload]
        left = size - local
        while left > 0:
            more = self.page(following)
            if len(more) < PAGE_BYTES:
                raise ValueError
            parts.append(more[4 : 4 + min(left, PAGE_BYTES - 4)])
            left -= PAGE_BYTES - 4
            following = int.from_bytes(more[:4], "big")
        return rowid, tuple(_values(b"".join(parts)))


def _local_bytes(size: int) -> int:
    """How much of a payload stands in its cell; the rest is in overflow pages (section 1.6)."""
    most, least = PAGE_BYTES - 35, (PAGE_BYTES - 12) * 32 // 255 - 23
    if size <= most:
        return size
    found = least + (size - least) % (PAGE_BYTES - 4)
    return found if found <= most else least


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer, and what comes after it. Raises IndexError."""
    value = 0
    for _ in range(8):
        byte = data[at]
        at += 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at
    value = value << 8 | data[at]
    return (value - (1 << 64) if value >> 63 else value), at + 1


def _values(record: bytes) -> Iterator[Value]:
    """The values of a record (section 2.1). Raises IndexError or ValueError for what is none."""
    end, at = _varint(record, 0)
    body = end
    while at < end:
        kind, at = _varint(record, at)
        size = _INTEGERS.get(kind, 8 if kind == 7 else max(0, kind - 12) // 2)
        raw = record[body : body + size]
        if len(raw) < size:
            raise ValueError
        body += size
        if kind in _INTEGERS:
            yield int.from_bytes(raw, "big", signed=True)
        elif kind in {8, 9}:
            yield kind - 8
        elif kind >= 12:
            yield raw.decode() if kind % 2 else raw
        else:
            yield None
