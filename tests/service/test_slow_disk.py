"""A disk that does not answer holds nobody up: what cannot wait is acted upon, and all is written once it answers.

Nothing here stands for a disk: somebody else holds the file's lock for writing, and SQLite waits for him within the
transaction, in the same place and with the same locks of its own as it waits in ``fdatasync`` for a disk that hangs.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT
from ringfence.errors import JournalFullError, NotWrittenError, SlowDiskError
from ringfence.hypervisor.port import Ended, Question, Token
from ringfence.journal import events as ev
from ringfence.journal.recall import recall
from ringfence.journal.retention import tidy
from ringfence.journal.salvage import opened
from ringfence.journal.snapshot import SHAPE, encode
from ringfence.journal.store import PATIENCE_S, Journal, Reader
from ringfence.service import answers, ledger
from ringfence.service import control_protocol as say
from ringfence.service import writer as writing
from ringfence.service.answers import Doorkeeping
from ringfence.service.evidence import Piece
from ringfence.service.loop import Loop
from ringfence.service.measures import Measures
from ringfence.service.model_world import ModelWorld, nothing
from ringfence.service.policy_source import loaded
from ringfence.service.writer import Desk, Writer
from ringfence.world.steps import Status
from tests.contract.backends import BACKENDS, World
from tests.service.sources.reports import Fault, registers

LONG_S = 60.0
POISON = registers(Fault(1001.0, 0x777, 1, 7, 1, fatal=True))
CORRECTED = registers(Fault(1001.0, 0x123, 1, 7, 1))


@contextmanager
def hanging(path: Path, journal: Journal, for_ms: int = int(LONG_S * 1000)) -> Iterator[None]:
    """Within, a transaction lasts until the end of it; or ``for_ms``, and then fails. Patience is short within: the
    disk on which this runs may be slow, too.
    """
    journal._connection.execute(f"PRAGMA busy_timeout = {for_ms}")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        journal._patience_s = PATIENCE_S
        yield
        journal._patience_s = LONG_S


def answered(journal: Journal) -> None:
    """Wait until the disk has answered for what is late; what came of it is the ledger's to ask."""
    if journal._late is not None:
        assert journal._late[0].ended(LONG_S)


def lost(number: int) -> ev.Lost:
    return ev.Lost(at_ms=number, count=number, urgent=False)


def tokens(world: World) -> set[Token]:
    return {each.token for each in world.host.arrivals() if not isinstance(each, Ended | Question)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "j.sqlite"


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(ledger.Ledger.__init__, "__defaults__", (lines.extend,))
    return lines


# --- the journal ------------------------------------------------------------------------------------------------------


def test_who_appends_is_not_held_and_hears_later_that_it_is_durable(path: Path) -> None:
    with Journal(path, patience_s=LONG_S) as journal:
        journal.append(lost(1))
        with hanging(path, journal):
            with pytest.raises(SlowDiskError) as slow:
                journal.append(lost(2), lost(3))
            assert [ev.from_text(text) for text in slow.value.unwritten] == [lost(2), lost(3)]
            assert (journal.late, journal.catch_up(), journal.last) == (2, None, 1)
            assert journal.late_s > 0
            with pytest.raises(SlowDiskError):
                journal.append(lost(4))
            assert journal.late == 2, "the disk was not given it"
        assert journal.catch_up(LONG_S) == 2
        assert (journal.late, journal.late_s, journal.last, journal.trouble) == (0, 0.0, 3, "")
        assert journal.append(lost(4)) == 4
    with Reader(path) as reader:
        assert [event for _, event in reader.events()] == [lost(number) for number in range(1, 5)]
        assert reader.check() == 4


def test_what_the_disk_refuses_in_the_end_may_be_tried_again(path: Path) -> None:
    with Journal(path, patience_s=LONG_S) as journal:
        with hanging(path, journal, for_ms=300):
            with pytest.raises(SlowDiskError):
                journal.append(lost(1))
            assert journal.catch_up(LONG_S) == 0
        assert (journal.late, journal.last) == (0, 0)
        assert "locked" in journal.trouble
        assert journal.append(lost(1)) == 1


def test_a_disk_that_refuses_at_once_does_so_as_without_patience(path: Path) -> None:
    with Journal(path, patience_s=LONG_S) as journal:
        journal._connection.execute("PRAGMA query_only = ON")
        with pytest.raises(NotWrittenError) as refused:
            journal.append(lost(1))
        assert not isinstance(refused.value, SlowDiskError | JournalFullError)
        assert not journal.late
        journal._connection.execute("PRAGMA query_only = OFF")
        assert journal.append(lost(1)) == 1


def test_a_step_of_upkeep_holds_nobody_and_what_is_written_comes_after_it(path: Path, said: list[str]) -> None:
    state = recall(Journal(path.with_name("other"))).state
    with Journal(path, patience_s=LONG_S) as journal:
        journal.append(lost(1))
        crc = journal.crc_of_last
        steps = journal.put_snapshot(1, crc, SHAPE, encode(state))
        with hanging(path, journal):
            for _ in range(5):
                next(steps)
            with pytest.raises(SlowDiskError):
                journal.append(lost(2))
            assert not journal.late, "the disk was not given it"
        for _ in steps:
            pass
        for _ in tidy(journal):
            pass
        assert journal.append(lost(2)) == 2
        assert [each.number for each in journal.snapshots()] == [1]


# --- the seat that must act -------------------------------------------------------------------------------------------


def test_a_guest_is_treated_while_the_disk_hangs_and_all_of_it_is_written_once(path: Path, said: list[str]) -> None:
    world = BACKENDS["model concept"]()
    with Journal(path, patience_s=LONG_S) as journal:
        loop = Loop(world.host, journal, DEFAULT)
        with hanging(path, journal):
            world.consumed()
            waiting = tokens(world)
            for _ in range(5):
                loop.turn()
                world.settle(500)
            assert "guest_healed" in {outcome.entries[0].state for outcome in loop.state.outcomes.values()}
            assert waiting <= tokens(world), "acknowledged, and not on the disk"
            assert any('"kind":"Received"' in line for line in said)
            for order in range(1, loop.state.next_order):
                assert any('"kind":"Intended"' in line and f'"order":{order},' in line for line in said)
        answered(journal)
        for _ in range(4):
            loop.turn()
            world.settle(500)
            answered(journal)
        assert loop.unwritten == (0, 0)
        stored = [event for _, event in journal.events()]
        assert "guest_healed" in {event.outcome[0].state for event in stored if isinstance(event, ev.Closed)}
        received = [event.token for event in stored if isinstance(event, ev.Received)]
        assert received and len(received) == len(set(received)), "written twice"
        assert not world.host.arrivals()
        assert recall(journal).state == loop.state


def test_what_can_wait_is_in_no_kernel_log_and_its_source_is_held_up_before_memory_is_full(
    path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "ROOM_WHILE_SLOW", 8)
    world = BACKENDS["model concept"]()
    with Journal(path, patience_s=LONG_S) as journal:
        loop = Loop(world.host, journal, DEFAULT)
        with hanging(path, journal):
            for _ in range(8):
                assert loop.has_room
                assert not loop.take([Piece(CORRECTED)], urgent=False)
            assert not loop.has_room
            assert not said
            assert not loop.take([Piece(POISON)], urgent=True)
            assert any('"kind":"Received"' in line for line in said)
        loop.stop("the test ends")
        assert sum(isinstance(event, ev.Received) for _, event in journal.events()) == 9


def test_at_the_end_a_disk_that_never_answers_is_left_and_the_kernel_log_has_the_rest(
    path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "LAST_WAIT_S", 0.05)
    world = BACKENDS["model concept"]()
    with Journal(path, patience_s=LONG_S) as journal:
        loop = Loop(world.host, journal, DEFAULT)
        with hanging(path, journal):
            loop.take([Piece(CORRECTED)], urgent=False)
            loop.stop("the test ends")
            assert [type(ev.from_text(line)) for line in said[-2:]] == [ev.Received, ev.Stopped]
        answered(journal)


# --- the service ------------------------------------------------------------------------------------------------------


def test_the_writer_takes_and_answers_while_the_disk_hangs_and_says_so(
    path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "SLOW_S", 0.0)
    began, measures = threading.Event(), Measures()
    writer = Writer(
        path,
        lambda boot: ModelWorld(nothing(), DEFAULT, seed=1, boot=boot),
        loaded(None, otherwise=DEFAULT),
        plugins={},
        told=lambda _: began.set(),
        ended=lambda _: None,
        measures=measures,
        opening=partial(opened, patience_s=LONG_S),
    )

    def status(desk: Desk) -> str:
        health = answers.health(desk, Doorkeeping(), state_dir=path.parent, started_wall_ms=0, policy_problem="")
        return "\n".join(health.problems)

    def poison(desk: Desk) -> int:
        desk.loop.take([Piece(POISON)], urgent=True)
        return desk.loop.state.received

    writer.start()
    try:
        assert began.wait(30)
        journal = writer.ask(lambda desk: desk.journal).result(30)
        assert "has not answered" not in writer.ask(status).result(30)
        with hanging(path, journal):
            measured = sum(measures.latency.histogram.counts)
            assert writer.ask(poison).result(30) == 1
            assert sum(measures.latency.histogram.counts) == measured, "it is not durable yet"
            assert "the journal's disk has not answered for" in writer.ask(status).result(30)
        while writer.ask(lambda desk: desk.loop.unwritten).result(30) != (0, 0):
            pass
        assert writer.ask(lambda _: sum(measures.latency.histogram.counts)).result(30) > measured
        assert "has not answered" not in writer.ask(status).result(30)
    finally:
        writer.stop("the test ends")
        writer.join(30)
    assert not writer.is_alive()
    with Reader(path) as reader:
        assert sum(isinstance(event, ev.Received) for _, event in reader.events()) == 1


def test_whoever_changed_something_is_answered_when_it_is_on_the_disk_or_told_that_it_is_not(
    path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    began = threading.Event()
    writer = Writer(
        path,
        lambda boot: ModelWorld(nothing(), DEFAULT, seed=1, boot=boot),
        loaded(None, otherwise=DEFAULT),
        plugins={},
        told=lambda _: began.set(),
        ended=lambda _: None,
        opening=partial(opened, patience_s=LONG_S),
    )

    def changing(desk: Desk) -> say.Done:
        desk.loop.note(lost(3))
        return say.Done(status=Status.DONE, because="granted")

    writer.start()
    try:
        assert began.wait(30)
        journal = writer.ask(lambda desk: desk.journal).result(30)
        monkeypatch.setattr(writing, "ANSWER_S", LONG_S)
        with hanging(path, journal):
            told = writer.ask(changing)
            assert writer.ask(lambda desk: desk.loop.unwritten).result(30) == (1, 0), (
                "who changes nothing does not wait"
            )
            assert not told.done()
        assert told.result(30).because == "granted"
        with Reader(path) as reader:
            assert any(isinstance(event, ev.Lost) for _, event in reader.events())
        monkeypatch.setattr(writing, "ANSWER_S", 0.0)
        with hanging(path, journal):
            assert writer.ask(changing).result(30).because.startswith("granted; it is not on the disk yet")
    finally:
        writer.stop("the test ends")
        writer.join(30)
    assert not writer.is_alive()
