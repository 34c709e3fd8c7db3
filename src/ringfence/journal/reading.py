"""Reading a journal's file: its events, each checked against the chain, and the snapshots that stand beside them.

Each row carries a CRC-32 over its columns, begun with the CRC of the row before it. What is before the base is gone but
for the rows that are kept, each of which has the CRC before it written down.
"""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.journal.events import Event, Stored, from_text
from ringfence.journal.schema import COMMON, FAULTS, IS_RARE, damaged, failure
from ringfence.world.identities import CaseId

BATCH: Final = 512
"""Events that are read at a time: no read transaction is held while they are used, so the WAL can be checkpointed."""

Columns = tuple[int, int, str, int | None, str]
"""Number, time, kind, case and text of a row."""


def crc_of(columns: Columns, crc_before: int) -> int:
    """The CRC of a row: over all its columns, so that an altered one is found as well, and the row before it."""
    number, at_ms, kind, case, text = columns
    return zlib.crc32(f"{number}\0{at_ms}\0{kind}\0{case}\0{text}".encode(), crc_before)


@dataclass(frozen=True, slots=True)
class Base:
    """The last event of which nothing need be there any more: the chain begins with its CRC. 0 if none was dropped."""

    number: int
    crc: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot of the state after event ``number``, as ``journal.snapshot`` of that ``version`` encoded it.

    ``fits`` says whether the chain has that event, with that CRC.
    """

    number: int
    event_crc: int
    version: int
    bytes: int
    crc: int
    fits: bool


_AFTER_BASE: Final = """
    SELECT event.number, event.at_ms, event.kind, event.case_number, event.text, event.crc,
        CASE WHEN event.number = :base + 1 THEN :base_crc ELSE before.crc END
    FROM event LEFT JOIN event AS before ON before.number = event.number - 1
    WHERE event.number > max(:after, :base) ORDER BY event.number LIMIT :batch"""
_KEPT: Final = """
    SELECT kept.number, event.at_ms, event.kind, event.case_number, event.text, event.crc, kept.crc_before
    FROM kept LEFT JOIN event ON event.number = kept.number
    WHERE kept.number > :after AND kept.number <= :base ORDER BY kept.number LIMIT :batch"""
_OF_SOME: Final = """
    SELECT event.number, event.at_ms, event.kind, event.case_number, event.text, event.crc,
        CASE WHEN event.number = :base + 1 THEN :base_crc ELSE coalesce(kept.crc_before, before.crc) END
    FROM event
    LEFT JOIN event AS before ON before.number = event.number - 1
    LEFT JOIN kept ON kept.number = event.number
    WHERE (WHICH) AND event.number > :after AND (event.number > :base OR kept.number IS NOT NULL)
    ORDER BY event.number LIMIT :batch"""
_OF_CASE: Final = _OF_SOME.replace("(WHICH)", "event.case_number = :case")
_OF_KINDS: Final = _OF_SOME.replace("(WHICH)", "event.kind IN (SELECT value FROM json_each(:kinds))")
_OF_RARE_KINDS: Final = _OF_KINDS.replace("WHERE", f"WHERE {IS_RARE.replace('kind', 'event.kind')} AND", 1)
_EVERY_SNAPSHOT: Final = """
    SELECT snapshot.number, event_crc, version, bytes, snapshot.crc, CASE
        WHEN snapshot.number = base.number THEN event_crc = base.crc
        WHEN snapshot.number > base.number THEN coalesce(event_crc = event.crc, 0) ELSE 0 END
    FROM base, snapshot LEFT JOIN event ON event.number = snapshot.number ORDER BY snapshot.number DESC"""


_Read = tuple[int, int, str, int | None, str, int, int | None]
"""A row as it is read: its columns, its CRC, the CRC before it. What they are is not certain before it is checked."""


@dataclass(slots=True)
class _Asked:
    """What is asked of a query; ``after`` moves on."""

    after: int
    case: CaseId | None
    kinds: str

    def of(self, base: Base) -> dict[str, int | str | None]:
        return {
            "after": self.after, "case": self.case, "kinds": self.kinds, "batch": BATCH,
            "base": base.number, "base_crc": base.crc,
        }  # fmt: skip


class Readable:
    """A journal whose events can be read, whoever holds it open."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection, self.path = connection, path

    @property
    def base(self) -> Base:
        """Where the chain begins. Raises ``JournalDamagedError`` if that is lost."""
        try:
            return self._base()
        except FAULTS as error:
            raise failure(self.path, error) from error

    def _base(self) -> Base:
        number, crc = self._connection.execute("SELECT number, crc FROM base").fetchone() or (None, None)
        if not isinstance(number, int) or not isinstance(crc, int):
            raise damaged(self.path, "its base is missing")
        return Base(number, crc)

    def _head(self) -> int:
        (head,) = self._connection.execute("SELECT number FROM head").fetchone() or (None,)
        if not isinstance(head, int):
            raise damaged(self.path, "its head is missing")
        return head

    @property
    def last(self) -> int:
        """The number of the last event, 0 if there is none."""
        try:
            return self._head()
        except FAULTS as error:
            raise failure(self.path, error) from error

    @property
    def used_bytes(self) -> int:
        """What the file holds; what was dropped leaves room in it, which is used again."""
        try:
            size, free, page = (
                self._connection.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("page_count", "freelist_count", "page_size")
            )
        except FAULTS as error:
            raise failure(self.path, error) from error
        used: int = (size - free) * page
        return used

    @property
    def kept(self) -> tuple[int, ...]:
        """The numbers of the events that were kept when the base passed them, oldest first."""
        try:
            return tuple(number for (number,) in self._connection.execute("SELECT number FROM kept ORDER BY number"))
        except FAULTS as error:
            raise failure(self.path, error) from error

    def first_of(self, cases: Iterable[CaseId]) -> int:
        """The number of the first event that any of these cases has; the next number if they have none."""
        query = "SELECT min(number) FROM event WHERE case_number = ?"
        try:
            numbers = [self._connection.execute(query, (case,)).fetchone()[0] for case in cases]
        except FAULTS as error:
            raise failure(self.path, error) from error
        return min((number for number in numbers if isinstance(number, int)), default=self.last + 1)

    def at_ms(self, number: int) -> int:
        """The time of an event on the host's clock, as its row has it. Raises ``JournalDamagedError``."""
        return self._of_row("SELECT at_ms FROM event WHERE number = ?", number)

    def crc_at(self, number: int) -> int:
        """The CRC of an event's row. Raises ``JournalDamagedError``."""
        return self._of_row("SELECT crc FROM event WHERE number = ?", number)

    def _of_row(self, query: str, number: int) -> int:
        try:
            (value,) = self._connection.execute(query, (number,)).fetchone() or (None,)
        except FAULTS as error:
            raise failure(self.path, error) from error
        if not isinstance(value, int):
            raise damaged(self.path, f"event {number} is missing")
        return value

    def events(
        self, after: int = 0, *, case: CaseId | None = None, kinds: Iterable[type[Event]] = ()
    ) -> Iterator[tuple[int, Stored]]:
        """The events after number ``after`` with their numbers, oldest first; of one case or of some kinds if given.

        Of what is not after the base only what was kept is given. What is appended while one reads is given as well.
        Raises ``JournalDamagedError`` where an event is not what was written, or is missing.
        """
        names = tuple(kind.__name__ for kind in kinds)
        for number, text in self.texts(after, case=case, kinds=names):
            yield number, from_text(text)

    def texts(
        self, after: int = 0, *, case: CaseId | None = None, kinds: Iterable[str] = ()
    ) -> Iterator[tuple[int, str]]:
        """As ``events``, each as it stands on the disk."""
        names = tuple(kinds)
        some: str | None = None
        if case is not None:
            some = _OF_CASE
        elif names:
            some = _OF_KINDS if {*names} & {*COMMON} else _OF_RARE_KINDS
        asked = _Asked(after, case, json.dumps(names))
        try:
            while batch := self._batch(asked, some):
                for number, text in batch:
                    asked.after = number
                    yield number, text
        except FAULTS as error:
            raise failure(self.path, error) from error

    def _batch(self, asked: _Asked, some: str | None) -> list[tuple[int, str]]:
        """The next events, checked. In one transaction: what is before the base may be dropped at any time."""
        connection = self._connection
        connection.execute("BEGIN")
        try:
            base, head = self._base(), self._head()
            if some is not None:
                rows = connection.execute(some, asked.of(base)).fetchall()
                return self._checked(rows)
            if asked.after < base.number:
                rows = connection.execute(_KEPT, asked.of(base)).fetchall()
                if rows:
                    return self._checked(rows)
                asked.after = base.number
            rows = connection.execute(_AFTER_BASE, asked.of(base)).fetchall()
            return self._checked(rows, asked.after, head)
        finally:
            if connection.in_transaction:
                connection.execute("COMMIT")

    def _checked(self, rows: list[_Read], after: int | None = None, head: int = 0) -> list[tuple[int, str]]:
        """Numbers and texts of rows. ``after``: the rows should be those that come next, up to ``head``.

        What comes before damage is given first: the damage is met, and said, when the next rows are asked for.
        """
        found: list[tuple[int, str]] = []
        for number, at_ms, kind, case, text, crc, crc_before in rows:
            wrong = ""
            if after is not None:
                after += 1
                wrong = f"event {after} is missing" if number != after else ""
            if not wrong and (crc_before is None or crc_of((number, at_ms, kind, case, text), crc_before) != crc):
                wrong = f"event {number} is not what was written"
            if wrong and found:
                return found
            if wrong:
                raise damaged(self.path, wrong)
            found.append((number, text))
        if after is not None and not rows and after < head:
            raise damaged(self.path, f"the events {after + 1} to {head} are missing")
        return found

    def snapshots(self) -> tuple[Snapshot, ...]:
        """The snapshots that are there, the newest first."""
        try:
            rows = self._connection.execute(_EVERY_SNAPSHOT).fetchall()
        except FAULTS as error:
            raise failure(self.path, error) from error
        return tuple(
            Snapshot(number, event_crc, version, size, crc, bool(fits))
            for number, event_crc, version, size, crc, fits in rows
        )

    def snapshot_data(self, wanted: Snapshot) -> bytes | None:
        """The bytes of a snapshot; None if they are not those that were written."""
        query = "SELECT data FROM snapshot_part WHERE number = ? ORDER BY part"
        try:
            data = b"".join(part for (part,) in self._connection.execute(query, (wanted.number,)))
        except (*FAULTS, TypeError):
            return None
        return data if len(data) == wanted.bytes and zlib.crc32(data) == wanted.crc else None
