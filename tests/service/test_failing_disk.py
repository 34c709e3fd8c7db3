"""A disk that fails or is read-only stops no treatment; as with a full one, nothing is acknowledged meanwhile."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT
from ringfence.errors import JournalFullError, NotWrittenError
from ringfence.hypervisor.port import Ended, Question, Token
from ringfence.journal import events as ev
from ringfence.journal.recall import recall
from ringfence.journal.store import Journal, Reader
from ringfence.service import ledger
from ringfence.service.loop import Loop
from tests.contract.backends import BACKENDS, World


@contextmanager
def no_write_succeeds(journal: Journal) -> Iterator[None]:
    """Every write to a file fails with EFBIG (setrlimit(2), RLIMIT_FSIZE), which SQLite knows as an I/O error."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def read_only(journal: Journal) -> Iterator[None]:
    """SQLite says what it says on a file system that was remounted read-only; root may write anywhere else."""
    journal._connection.execute("PRAGMA query_only = ON")
    try:
        yield
    finally:
        journal._connection.execute("PRAGMA query_only = OFF")


@contextmanager
def locked(journal: Journal) -> Iterator[None]:
    """Somebody's tool holds the file's lock for writing."""
    with closing(sqlite3.connect(journal.path, isolation_level=None)) as tool:
        tool.execute("BEGIN IMMEDIATE")
        yield


FAILINGS: tuple[Callable[[Journal], AbstractContextManager[None]], ...] = (no_write_succeeds, read_only, locked)


def lost(number: int) -> ev.Lost:
    return ev.Lost(at_ms=number, count=number, urgent=False)


def tokens(world: World) -> set[Token]:
    return {each.token for each in world.host.arrivals() if not isinstance(each, Ended | Question)}


@pytest.mark.parametrize("failing", FAILINGS)
def test_events_that_were_not_written_are_handed_back_and_can_be_tried_again(
    tmp_path: Path, failing: Callable[[Journal], AbstractContextManager[None]]
) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.append(lost(1))
        for _ in range(3):
            with failing(journal), pytest.raises(NotWrittenError) as failed:
                journal.append(lost(2), lost(3))
            assert not isinstance(failed.value, JournalFullError)
            assert [ev.from_text(text) for text in failed.value.unwritten] == [lost(2), lost(3)]
            assert failed.value.advice
            assert journal.trouble
        assert journal.append(lost(2), lost(3)) == 3
        assert not journal.trouble
    with Reader(tmp_path / "j") as reader:
        assert [event for _, event in reader.events()] == [lost(1), lost(2), lost(3)]
        assert reader.check() == 3


@pytest.mark.parametrize("failing", FAILINGS)
def test_a_guest_is_treated_while_the_disk_fails_and_all_of_it_is_written_once_it_works(
    tmp_path: Path, failing: Callable[[Journal], AbstractContextManager[None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(ledger.Ledger.__init__, "__defaults__", (said.extend,))
    world = BACKENDS["model concept"]()
    with Journal(tmp_path / "j") as journal:
        loop = Loop(world.host, journal, DEFAULT)
        before = journal.last
        with failing(journal):
            world.consumed()
            waiting = tokens(world)
            for _ in range(5):
                loop.turn()
                world.settle(500)
        assert "guest_healed" in {outcome.entries[0].state for outcome in loop.state.outcomes.values()}
        assert waiting <= tokens(world), "acknowledged, and not on the disk"
        assert any('"kind":"Received"' in line for line in said)
        assert journal.last == before
        for _ in range(4):
            loop.turn()
            world.settle(500)
        stored = [event for _, event in journal.events()]
        assert "guest_healed" in {event.outcome[0].state for event in stored if isinstance(event, ev.Closed)}
        received = [event.token for event in stored if isinstance(event, ev.Received)]
        assert received and len(received) == len(set(received)), "written twice"
        assert not world.host.arrivals()
        assert recall(journal).state == loop.state
