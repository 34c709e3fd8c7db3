"""A full disk stops no treatment: what cannot be written goes to the last resort, and nothing of it is acknowledged."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from ringfence.decision.policy import DEFAULT
from ringfence.errors import JournalFullError
from ringfence.hypervisor.port import Ended, Question, Token
from ringfence.journal import events as ev
from ringfence.journal.recall import recall
from ringfence.journal.snapshot import decode, encode
from ringfence.journal.state import State, apply
from ringfence.journal.store import Journal, Reader
from ringfence.service import answers, kernel_log, ledger
from ringfence.service.answers import Doorkeeping
from ringfence.service.evidence import Piece
from ringfence.service.loop import Loop
from ringfence.service.model_world import ModelWorld, Play, nothing
from ringfence.service.policy_source import loaded
from ringfence.service.simulation.acts import Rebooted
from ringfence.service.writer import Desk, Writer
from tests.contract.backends import BACKENDS, World
from tests.service.sources.reports import Fault, registers

T = TypeVar("T")
POISON = registers(Fault(1001.0, 0x777, 1, 7, 1, fatal=True))


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
            pieces = 1 + (kept.unwritten + 3) // 4
            assert any(kept.is_durable for _ in range(pieces)) == (room == 14)
        stored = [event.because for _, event in journal.events() if isinstance(event, ev.Stopped)]
        assert stored == [each.because for each in told]


def test_what_waited_is_written_a_piece_a_turn_and_whoever_must_be_acted_upon_meanwhile_waits_for_no_more(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "WRITTEN_AT_ONCE", 4)
    world = BACKENDS["model concept"]()
    with Filling(tmp_path / "j.sqlite", fsync=False) as journal:
        kept = ledger.Ledger(world.host, journal)
        journal.full = True
        for number in range(20):
            kept.write(ev.Stopped(at_ms=0, because=str(number)))
        journal.full = False
        world.settle(ledger.RETRY_MS)
        told = len(said)
        for turn in range(4):
            kept.write(ev.Stopped(at_ms=0, because=str(20 + turn)))
            assert journal.last == 4 * (turn + 1)
        assert len(said) == told, "the disk takes them: it is no last resort"
        while not kept.is_durable:
            assert kept.wake_ms is not None
            assert kept.wake_ms <= kept.now_ms, "it goes on at once"
        stored = [event.because for _, event in journal.events() if isinstance(event, ev.Stopped)]
        assert stored == [str(number) for number in range(24)]


def test_while_much_waits_for_the_disk_nothing_is_taken_that_can_wait_and_all_that_cannot(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "ROOM_FOR_ALL", 1)
    world = BACKENDS["model concept"]()
    with Filling(tmp_path / "j.sqlite", fsync=False) as journal:
        loop = Loop(world.host, journal, DEFAULT)
        journal.full = True
        loop.note(ev.ConfigurationLoaded(at_ms=0, digest=""))
        assert not loop.has_room
        world.corrected()
        world.consumed()
        for _ in range(3):
            loop.turn()
            world.settle(500)
        assert "guest_healed" in {outcome.entries[0].state for outcome in loop.state.outcomes.values()}
        assert loop.state.received == 1, "the uncorrected one alone"
        journal.full = False
        for _ in range(4):
            loop.turn()
            world.settle(500)
        received = [event.token for _, event in journal.events() if isinstance(event, ev.Received)]
        assert loop.state.received == len(received) == len(set(received)) > 1
        assert not world.host.arrivals()
        assert recall(journal).state == loop.state


def problems(desk: Desk) -> tuple[str, ...]:
    """What health says is wrong."""
    health = answers.health(
        desk, Doorkeeping(), state_dir=Path("/"), started_wall_ms=0, policy_problem="", problems=(), notes=(),
        configuration=("", ""), at_restart=(),
    )  # fmt: skip
    return health.problems


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MiB; skipped where one may not mount."""
    where = tmp_path / "disk"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(where)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small file system cannot be mounted here")
    try:
        yield where
    finally:
        subprocess.run(["umount", where], check=True)


def test_after_more_than_disk_reserve_and_memory_took_it_goes_on_by_itself_once_there_is_room(
    small_disk: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real disk that is full, in a real writer's thread: what is acknowledged after it is on the disk, once."""
    monkeypatch.setattr(ledger, "MOST_UNWRITTEN", 30)
    path, filler = small_disk / "journal.sqlite", small_disk / "filler"
    began, ended = threading.Event(), list[BaseException | None]()
    writer = Writer(
        path,
        lambda boot: ModelWorld(nothing(), DEFAULT, seed=1, boot=boot),
        loaded(None, otherwise=DEFAULT),
        plugins={},
        told=lambda _: began.set(),
        ended=ended.append,
        opening=partial(Journal, reserve_bytes=1 << 18),
    )

    def ask(what: Callable[[Desk], T]) -> T:
        return writer.ask(what).result(10)

    def eventually(what: Callable[[Desk], object]) -> None:
        end = time.monotonic() + 20
        while not ask(what):
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.02)

    def tell(desk: Desk) -> tuple[int, int]:
        desk.loop.note(ev.ConfigurationLoaded(at_ms=0, digest="", text="x" * 20_000))
        return desk.loop.unwritten

    writer.start()
    try:
        assert began.wait(10)
        with filler.open("wb") as file, suppress(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))
        while not ask(tell)[1]:
            pass
        assert not ask(lambda desk: desk.loop.is_durable)
        assert any("takes nothing" in each for each in ask(problems))
        filler.unlink()
        eventually(lambda desk: desk.loop.unwritten == (0, 0))
        assert ask(lambda desk: desk.loop.is_durable)
        assert ask(lambda desk: desk.loop.take([Piece(POISON)], urgent=True)), "acknowledged"
        state, kept = ask(lambda desk: (decode(encode(desk.loop.state)), desk.unkept))
        assert kept
        (told,) = (each for each in ask(problems) if "found no room" in each)
        assert told.startswith(f"{kept} events ")
        assert not any("takes nothing" in each for each in ask(problems))
    finally:
        writer.stop("the test ends")
        writer.join(10)
    assert ended == [None]
    with Reader(path) as reader:
        stored = [event for number, event in reader.events() if number <= state.applied]
        again = State()
        for event in stored:
            apply(again, event)
        assert decode(encode(again)) == state
        assert [(each.count, each.unit) for each in stored if isinstance(each, ev.Lost)] == [(kept, "events")]
        assert sum(isinstance(each, ev.Received) for each in stored) == 1
        assert sum(isinstance(each, ev.Started) for each in stored) == 2


@pytest.mark.parametrize("kept", [1_000, 5])
def test_what_was_taken_and_waits_for_the_disk_outlives_a_reset_of_the_model_host(
    tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """The process lives on, so does what it has taken: a source that erases what is durable must not be told so."""
    monkeypatch.setattr(ledger, "MOST_UNWRITTEN", kept)
    path, clock_s = tmp_path / "journal.sqlite", [0.0]
    played = Play(nothing().scenario, lambda hour: () if hour else (Rebooted(at_ms=1_000, cold=True),))
    began, ended = threading.Event(), list[BaseException | None]()
    opened = list[Filling]()

    def opening(where: Path) -> Journal:
        opened.append(Filling(where, fsync=False))
        return opened[-1]

    writer = Writer(
        path,
        lambda boot: ModelWorld(played, DEFAULT, seed=1, boot=boot, now_s=lambda: clock_s[0]),
        loaded(None, otherwise=DEFAULT),
        plugins={},
        told=lambda _: began.set(),
        ended=ended.append,
        opening=opening,
    )

    def ask(what: Callable[[Desk], T]) -> T:
        return writer.ask(what).result(10)

    def eventually(what: Callable[[Desk], object]) -> None:
        end = time.monotonic() + 20
        while not ask(what):
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.02)

    writer.start()
    try:
        assert began.wait(10)
        opened[0].full = True
        assert not ask(lambda desk: desk.loop.take([Piece(POISON)], urgent=True))
        boot = ask(lambda desk: desk.world.host.boot)
        clock_s[0] = 2.0
        eventually(lambda desk: desk.loop.state.boot not in {"", str(boot)})
        assert not ask(lambda desk: desk.loop.is_durable), "its source would erase it"
        opened[0].full = False
        clock_s[0] = 4.0
        eventually(lambda desk: desk.loop.is_durable)
        state, unkept = ask(lambda desk: (decode(encode(desk.loop.state)), desk.unkept))
        assert (unkept > 0) == (kept == 5)
    finally:
        writer.stop("the test ends")
        writer.join(10)
    assert ended == [None]
    with Reader(path) as reader:
        stored = [event for number, event in reader.events() if number <= state.applied]
    again = State()
    for event in stored:
        apply(again, event)
    assert decode(encode(again)) == state
    kinds = [type(event) for event in stored if isinstance(event, ev.Received | ev.Started)]
    assert kinds[:3] == [ev.Started, ev.Received, ev.Started]
    assert sum(each.count for each in stored if isinstance(each, ev.Lost)) == unkept


def test_the_kernels_log_takes_lines_that_are_cut_to_its_bound(tmp_path: Path) -> None:
    fifo = tmp_path / "kmsg"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    assert kernel_log.to_kernel_log(("short", "x" * 5_000), str(fifo))
    lines = os.read(reader, 65_536).splitlines()
    os.close(reader)
    assert lines[0] == b"<7>ringfence: short", "on a console it would hold up whoever must act"
    assert len(lines[1]) <= kernel_log.MOST_BYTES + 3


def test_the_kernels_log_is_opened_anew_before_it_takes_no_more_of_one_who_has_opened_it(tmp_path: Path) -> None:
    """What a kernel does that limits the rate: it takes ten lines an open, and says of the others that it has them."""
    kmsg, lines = tmp_path / "kmsg", tuple(f"line {number}" for number in range(35))
    kmsg.touch()
    opened: list[int] = []
    opens = os.open

    def counted(path: str, flags: int) -> int:
        opened.append(len(kmsg.read_bytes().splitlines()))
        return opens(path, flags | os.O_APPEND)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(os, "open", counted)
        assert kernel_log.to_kernel_log(lines, str(kmsg))
    assert kmsg.read_text().splitlines() == [f"<7>ringfence: {line}" for line in lines]
    assert opened == [0, 10, 20, 30]


def test_without_a_kernels_log_standard_error_has_them(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert not kernel_log.to_kernel_log(("short",), str(tmp_path / "missing"))
    assert b"ringfence: short\n" in capfdbinary.readouterr().err


def test_on_standard_error_each_line_is_a_write_of_its_own_and_a_reader_that_is_gone_is_no_fault(
    tmp_path: Path,
) -> None:
    """Where it is the kernel's log, a write is one line, and what is longer than a line fails."""
    reader, error = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    reader.settimeout(10)
    saved = os.dup(2)
    try:
        os.dup2(error.fileno(), 2)
        assert not kernel_log.to_kernel_log(("one", "two"), str(tmp_path / "missing"))
        assert [reader.recv(4096), reader.recv(4096)] == [b"ringfence: one\n", b"ringfence: two\n"]
        reader.close()
        assert not kernel_log.to_kernel_log(("three",), str(tmp_path / "missing"))
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        error.close()
