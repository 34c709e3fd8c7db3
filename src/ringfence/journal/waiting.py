"""A journal on a disk that takes nothing yet: what it holds is read, and what is to be written waits for the disk.

A host whose file system was mounted read-only after an I/O error, or that has come up with a full disk, is one on which
errors are to be expected. The service begins on it as it goes on when that happens later: it acts, nothing is
acknowledged, events wait in memory and go to the kernel's log (``service.ledger``), until the file can be opened.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from ringfence.errors import JournalDamagedError, JournalError, JournalUnwritableError, NotWrittenError
from ringfence.journal.events import Event
from ringfence.journal.reading import Readable
from ringfence.journal.schema import FAULTS, failure, migrate, version_of
from ringfence.journal.store import Journal, connected, locked

Opening = Callable[[Path], Journal]
"""Opens a journal for writing. Raises ``JournalError``."""


def opened_or_waiting(path: Path, opening: Opening) -> Journal:
    """The journal, opened for writing; one that waits if its disk takes nothing. Raises ``JournalError`` otherwise."""
    try:
        return opening(path)
    except JournalUnwritableError as error:
        return WaitingJournal(path, opening, error)


class WaitingJournal(Journal):
    """Until its file can be written every ``append`` raises ``NotWrittenError``; from then on it is a journal as any.

    Raises the error ``because`` of which it waits if what is there cannot be read either.
    """

    def __init__(self, path: Path, opening: Opening, because: JournalError) -> None:
        try:
            Readable.__init__(self, _as_it_is(path), path)
        except FAULTS as error:
            raise because from error
        self._opening, self._lock = opening, -1
        self._limit_bytes, self._reserve_bytes, self._reserve = 0, 1, path.with_name(path.name + ".reserve")
        self.trouble = because.args[0] if because.args else str(because)
        try:
            self._last, self._crc = self._end()
        except FAULTS as error:
            self.close()
            raise failure(path, error) from error
        except BaseException:
            self.close()
            raise

    def append(self, *events: Event) -> int:
        """As ``Journal.append``: it is tried to open the file first."""
        if not events:
            return self._last
        try:
            journal = self._opened()
        except JournalDamagedError:
            raise
        except JournalError as error:
            self.trouble = str(error)
            texts = tuple(row[4] for row in self._rows(events))
            raise NotWrittenError(self.path, str(error), texts, advice=error.advice) from error
        if (journal.last, journal.crc_of_last) != (self._last, self._crc):
            journal.close()
            why = f"it has {journal.last} events, and had {self._last} while it could not be written"
            raise JournalError(self.path, why, advice="Start Ringfence again: it goes on with what is there.")
        # What it knew of itself holds no more, and it is nothing but a journal now: whoever has it need not know.
        self.__dict__.clear()
        self.__dict__.update(journal.__dict__)
        self.__class__ = Journal  # type: ignore[assignment]  # a class of its own until now, with the same methods
        return self.append(*events)

    def _opened(self) -> Journal:
        with locked(self.path):
            pass  # the disk takes something
        # All connections of a process to one file have one index of its WAL: while this one reads, it is read-only.
        self._connection.close()
        try:
            return self._opening(self.path)
        except JournalError:
            try:
                self._connection = _as_it_is(self.path)
            except FAULTS as error:
                raise failure(self.path, error) from error
            raise

    def refill(self) -> bool:
        """As ``Journal.refill``; there is none yet."""
        return False


def _as_it_is(path: Path) -> sqlite3.Connection:
    """What is there, for reading; an empty journal if nothing is. Raises ``sqlite3.Error``."""
    if path.exists():
        connection = connected(path)
        if version_of(connection, path):
            return connection
        connection.close()
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, path)
    connection.execute("PRAGMA query_only = ON")
    return connection
