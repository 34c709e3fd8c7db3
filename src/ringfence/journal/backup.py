"""A copy of a journal as it is at one moment, while it is written: complete, checked, and in place only then."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from ringfence.errors import JournalError
from ringfence.journal.schema import FAULTS, failure, version_of
from ringfence.journal.store import Reader

PAGES: Final = 1024
"""Copied at a time (4 MiB), between two words of progress."""
UNFINISHED: Final = ".unfinished"

Progress = Callable[[int, int], object]
"""Is told how many pages are copied, and how many there are."""


def backup(path: Path, to: Path, progress: Progress = lambda *_: None) -> int:
    """Copy the journal ``path`` to ``to``, replacing what is there in one step. Returns how many events it holds.

    All of it is of one moment: the copy is made within one read transaction (SQLite, "Online Backup API"; a reader does
    not hold the writer up in WAL mode, but the WAL grows meanwhile). The copy is one file, without a WAL of its own.
    Raises ``JournalError`` if it cannot be made, ``JournalDamagedError`` if what was copied does not hold.
    """
    unfinished = to.with_name(to.name + UNFINISHED)
    try:
        unfinished.unlink(missing_ok=True)
        with Reader(path):
            pass  # it is a journal, and says so better than SQLite does
        _copy(path, unfinished, progress)
        with Reader(unfinished) as reader:
            events = reader.check()
        for end in ("-wal", "-shm"):
            unfinished.with_name(unfinished.name + end).unlink(missing_ok=True)
        unfinished.rename(to)
        _sync(to.absolute().parent)
    except OSError as error:
        raise JournalError(to, error.strerror or str(error), advice="See that the directory is there.") from error
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return events


def _copy(path: Path, to: Path, progress: Progress) -> None:
    try:
        with (
            closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as source,
            closing(sqlite3.connect(to, isolation_level=None)) as copy,
        ):
            os.chmod(to, 0o600)  # noqa: PTH101 (a journal is nobody else's)
            source.execute("BEGIN")
            version_of(source, path)
            source.backup(copy, pages=PAGES, progress=lambda _, left, all_: progress(all_ - left, all_), sleep=0.0)
            copy.execute("PRAGMA journal_mode = DELETE")
    except FAULTS as error:
        raise failure(to, error) from error


def _sync(directory: Path) -> None:
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
