"""A full disk stops no treatment: what cannot be written goes to the last resort, and nothing of it is acknowledged."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT
from ringfence.errors import JournalFullError
from ringfence.hypervisor.port import Ended, Question, Token
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service import kernel_log, ledger
from ringfence.service.loop import Loop
from tests.contract.backends import BACKENDS, World


class Filling(Journal):
    """A journal on a disk that is full for a while. (The journal's own tests fill a real one.)"""

    full = False

    def append(self, *events: ev.Event) -> int:
        if self.full and events:
            raise JournalFullError(self.path, tuple(ev.to_text(event) for event in events))
        return super().append(*events)


def tokens(world: World) -> set[Token]:
    """What waits to be acknowledged; a question that is answered waits no more."""
    return {each.token for each in world.host.arrivals() if not isinstance(each, Ended | Question)}


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(ledger.Ledger.__init__, "__defaults__", (lines.extend,))
    return lines


def test_a_guest_is_treated_while_the_disk_is_full_and_all_of_it_is_written_once_there_is_room(
    tmp_path: Path, said: list[str]
) -> None:
    world = BACKENDS["model concept"]()
    with Filling(tmp_path / "j.sqlite", fsync=False) as journal:
        loop = Loop(world.host, journal, DEFAULT)
        journal.full = True
        world.consumed()
        waiting = tokens(world)
        for _ in range(5):
            loop.turn()
            world.settle(500)
        assert "guest_healed" in {outcome.entries[0].state for outcome in loop.state.outcomes.values()}
        assert waiting <= tokens(world), "acknowledged, and not on the disk"
        assert any('"kind":"Received"' in line for line in said)
        assert not [event for _, event in journal.events() if isinstance(event, ev.Received)]
        journal.full = False
        for _ in range(3):
            loop.turn()
            world.settle(500)
        stored = [event for _, event in journal.events()]
        assert "guest_healed" in {event.outcome[0].state for event in stored if isinstance(event, ev.Closed)}
        received = [event.token for event in stored if isinstance(event, ev.Received)]
        assert received and len(received) == len(set(received)), "written twice"
        assert not world.host.arrivals()


class Tight(Filling):
    """A journal on a disk that has room for so many events at a time."""

    room = 0

    def append(self, *events: ev.Event) -> int:
        if len(events) > self.room:
            raise JournalFullError(self.path, ())
        self.room -= len(events)
        return super().append(*events)


def test_what_waits_is_written_as_far_as_there_is_room_in_its_order_and_nothing_twice(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "WRITTEN_AT_ONCE", 4)
    world = BACKENDS["model concept"]()
    with Tight(tmp_path / "j.sqlite", fsync=False) as journal:
        kept = ledger.Ledger(world.host, journal)
        told = [ev.Stopped(at_ms=0, because=str(number)) for number in range(30)]
        for each in told:
            kept.write(each)
        assert kept.unwritten == 30
        for room in (10, 9, 14):
            journal.room = room
            world.settle(ledger.RETRY_MS)
            assert kept.is_durable == (room == 14)
        stored = [event.because for _, event in journal.events() if isinstance(event, ev.Stopped)]
        assert stored == [each.because for each in told]


def test_the_kernels_log_takes_lines_that_are_cut_to_its_bound(tmp_path: Path) -> None:
    fifo = tmp_path / "kmsg"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    assert kernel_log.to_kernel_log(("short", "x" * 5_000), str(fifo))
    lines = os.read(reader, 65_536).splitlines()
    os.close(reader)
    assert lines[0] == b"<2>ringfence: short"
    assert len(lines[1]) <= kernel_log.MOST_BYTES + 3


def test_without_a_kernels_log_standard_error_has_them(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert not kernel_log.to_kernel_log(("short",), str(tmp_path / "missing"))
    assert b"ringfence: short" in capfdbinary.readouterr().err
