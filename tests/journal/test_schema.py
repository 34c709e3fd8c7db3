"""What is full is said in words: the journal's own limit, or the disk."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from ringfence.journal.schema import ROOM_LEFT, SQLITE_SAYS_FULL, failure, full_in_words


def full(path: Path) -> sqlite3.Error:
    """The error of a database that may not grow."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
        connection.execute("PRAGMA max_page_count = 2")
        with pytest.raises(sqlite3.OperationalError) as raised:
            connection.execute("INSERT INTO t VALUES (zeroblob(1000000))")
    return raised.value


def test_a_journal_at_its_limit_names_the_key(tmp_path: Path) -> None:
    error = full(tmp_path / "j.sqlite")
    assert str(error) == SQLITE_SAYS_FULL
    said = failure(tmp_path / "j.sqlite", error)
    assert "the journal has reached its limit, journal.limit-bytes" in str(said)
    assert said.advice.startswith("Raise journal.limit-bytes")


def test_a_full_disk_is_said_to_be_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = ROOM_LEFT >> 1

    monkeypatch.setattr("ringfence.journal.schema.shutil.disk_usage", lambda _: Usage)
    assert full_in_words(tmp_path / "j.sqlite") == (
        "the disk is full: 32 MiB are free", "Make room on the disk of the state directory.",
    )  # fmt: skip
