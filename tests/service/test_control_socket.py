"""What one client does holds up nobody else: slow readers, idle ones, too many, and a writer that is busy."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT, Operation
from ringfence.errors import JournalFullError
from ringfence.journal import events as ev
from ringfence.journal.store import Journal, Reader
from ringfence.service import answers
from ringfence.service import control_protocol as say
from ringfence.service.control import Bounds, Control, News
from ringfence.service.kernel_log import to_kernel_log
from ringfence.service.model_world import ModelWorld, nothing
from ringfence.service.policy_source import loaded
from ringfence.service.rights import Roster
from ringfence.service.writer import INBOX, BusyError, Desk, Writer
from ringfence.views.exposition import Exposition
from ringfence.world.identities import DomainId

EVENTS = 3_000


def written(path: Path) -> None:
    """A journal with a long history."""
    refusals = (
        ev.Instructed(at_ms=number, domain=DomainId(1), operation="pause", who="me", refused="x" * 200)
        for number in range(EVENTS - 1)
    )
    with Journal(path, fsync=False) as journal:
        journal.append(ev.Started(at_ms=0, life=1, version="0", hypervisor="old", boot="41", wall_ms=1_000), *refusals)


def health(desk: Desk, door: answers.Doorkeeping) -> say.Health:
    return answers.health(desk, door, state_dir=Path("/state"), started_wall_ms=0, policy_problem="")


class Place:
    """A control socket in this process."""

    def __init__(self, control: Control, writer: Writer) -> None:
        self.control, self.writer = control, writer

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_unix_connection(str(self.control.path), limit=1 << 20)

    async def ask(self, request: say.Request) -> say.Reply:
        reader, writer = await self.connect()
        writer.write(say.line_of(request))
        reply = say.reply_of(await reader.readline())
        writer.close()
        return reply


async def no_numbers(form: Exposition) -> str:
    return f"nothing in {form.name}"


async def no_files(_: str) -> say.Refused:
    return say.Refused(code=say.Code.FAILED, message="there are no files here")


@asynccontextmanager
async def place(tmp_path: Path, bounds: Bounds) -> AsyncIterator[Place]:
    journal = tmp_path / "journal.sqlite"
    loop = asyncio.get_running_loop()
    news, ended = News(), asyncio.Event()

    def told(last: int) -> None:
        loop.call_soon_threadsafe(news.tell, last)

    def over(_: BaseException | None) -> None:
        loop.call_soon_threadsafe(ended.set)

    writer = Writer(
        journal,
        lambda boot: ModelWorld(nothing(), DEFAULT, seed=1, boot=boot),
        loaded(None),
        plugins={},
        told=told,
        ended=over,
    )
    control = Control(
        tmp_path / "s",
        journal,
        writer,
        news,
        status=health,
        roster=Roster,
        reload=no_files,
        metrics=no_numbers,
        test=no_files,
        bounds=bounds,
    )
    writer.start()
    await news.after(EVENTS)
    async with asyncio.TaskGroup() as group:
        await control.open(group)
        try:
            yield Place(control, writer)
        finally:
            control.close()
            writer.stop("the test is over")
            await ended.wait()
    writer.join()


@pytest.fixture
def history(tmp_path: Path) -> Path:
    written(tmp_path / "journal.sqlite")
    return tmp_path


def test_a_reader_that_does_not_read_is_dropped_and_counted_and_nobody_waits_for_it(history: Path) -> None:
    async def scene() -> say.Reply:
        async with place(history, Bounds(slow_s=1.0, buffer_bytes=4096)) as at:
            _, writer = await at.connect()
            writer.write(say.line_of(say.Events(after=0, last=say.MOST_EVENTS, follow=True)))
            writer.transport.pause_reading()  # type: ignore[attr-defined] # a transport that reads, as it is here
            answered = await at.ask(say.Domains())
            assert not at.control.counted.slow_readers, "who asked did not have to wait for the end of the slow one"
            while not at.control.counted.slow_readers:
                await asyncio.sleep(0.02)
            writer.close()
            assert isinstance(answered, say.DomainList)
            return await at.ask(say.Status())

    reply = asyncio.run(asyncio.wait_for(scene(), 10))
    assert isinstance(reply, say.Health)
    assert reply.slow_readers == 1


def test_a_whole_history_arrives_in_order_and_without_a_gap(history: Path) -> None:
    async def scene() -> list[say.Reply]:
        async with place(history, Bounds()) as at:
            reader, writer = await at.connect()
            writer.write(say.line_of(say.Events(after=0, last=EVENTS)))
            found: list[say.Reply] = []
            while not found or isinstance(found[-1], say.Event):
                found.append(say.reply_of(await reader.readline()))
            writer.close()
            return found

    *told, end = asyncio.run(asyncio.wait_for(scene(), 10))
    assert [each.number for each in told if isinstance(each, say.Event)] == list(range(1, EVENTS + 1))
    assert end == say.End(last=EVENTS)
    last = told[-1]
    assert isinstance(last, say.Event)
    assert last.wall_ms == 1_000 + EVENTS - 2, "on the clock of the life that it is of"
    assert "domain 1" in last.text, "a domain of another boot has no name of this one"


def test_who_follows_hears_what_comes(history: Path) -> None:
    async def scene() -> say.Reply:
        async with place(history, Bounds()) as at:
            reader, writer = await at.connect()
            writer.write(say.line_of(say.Events(last=0, follow=True)))
            await asyncio.sleep(0.1)
            await at.ask(say.Do(operation=Operation.PAUSE, domain="mail-hvm"))
            reply = say.reply_of(await reader.readline())
            writer.close()
            return reply

    reply = asyncio.run(asyncio.wait_for(scene(), 10))
    assert isinstance(reply, say.Event)
    assert "instructs: pause mail-hvm" in reply.text


def test_a_client_too_many_is_told_so_and_a_place_is_free_again_when_one_leaves(history: Path) -> None:
    async def scene() -> tuple[say.Reply, say.Reply]:
        async with place(history, Bounds(clients=2)) as at:
            first = [await at.connect() for _ in range(2)]
            while at.control.counted.clients < 2:
                await asyncio.sleep(0.01)
            refused = await at.ask(say.Status())
            for _, writer in first:
                writer.close()
            while at.control.counted.clients:
                await asyncio.sleep(0.01)
            return refused, await at.ask(say.Status())

    refused, answered = asyncio.run(asyncio.wait_for(scene(), 10))
    assert isinstance(refused, say.Refused)
    assert refused.code is say.Code.BUSY
    assert isinstance(answered, say.Health)
    assert answered.turned_away == 1


def test_a_client_that_says_nothing_is_let_go(history: Path) -> None:
    async def scene() -> bytes:
        async with place(history, Bounds(idle_s=0.1)) as at:
            reader, writer = await at.connect()
            said = await reader.read()
            writer.close()
            return said

    assert asyncio.run(asyncio.wait_for(scene(), 10)) == b""


def test_a_writer_that_is_busy_says_so_instead_of_letting_questions_pile_up(history: Path) -> None:
    async def scene() -> say.Reply:
        async with place(history, Bounds()) as at:
            go_on, taken = threading.Event(), threading.Event()

            def hold(_: Desk) -> None:
                taken.set()
                go_on.wait(10)

            at.writer.ask(hold)
            await asyncio.to_thread(taken.wait)
            for _ in range(INBOX):
                at.writer.ask(lambda _: None)
            with pytest.raises(BusyError):
                at.writer.ask(lambda _: None)
            refused = await at.ask(say.Status())
            go_on.set()
            return refused

    refused = asyncio.run(asyncio.wait_for(scene(), 10))
    assert isinstance(refused, say.Refused)
    assert refused.code is say.Code.BUSY


def test_a_writer_that_has_ended_answers_nobody_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    ended = threading.Event()
    writer = Writer(
        tmp_path / "no-such-directory" / "journal.sqlite",
        lambda boot: ModelWorld(nothing(), DEFAULT, seed=1, boot=boot),
        loaded(None),
        plugins={},
        told=lambda _: None,
        ended=lambda _: ended.set(),
    )
    early = writer.ask(lambda _: None)
    writer.start()
    assert ended.wait(10)
    assert early.cancelled()
    with pytest.raises(BusyError):
        writer.ask(lambda _: None)


class FillingJournal(Journal):
    """Its disk is full from a moment on."""

    full = False

    def append(self, *events: ev.Event) -> int:
        if self.full:
            raise JournalFullError(self.path, tuple(ev.to_text(event) for event in events))
        return super().append(*events)


def test_a_full_disk_is_said_and_ends_neither_the_service_nor_what_it_does(
    history: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Writer.__init__.__kwdefaults__ or {}, "opening", FillingJournal)
    monkeypatch.setattr(to_kernel_log, "__defaults__", ("/no/such/log",))

    async def scene() -> list[say.Reply]:
        async with place(history, Bounds()) as at:
            monkeypatch.setattr(FillingJournal, "full", True)
            done = await at.ask(say.Do(operation=Operation.PAUSE, domain="mail-hvm"))
            full = await at.ask(say.Status())
            monkeypatch.setattr(FillingJournal, "full", False)
            again = await at.ask(say.Do(operation=Operation.PAUSE, domain="mail-hvm"))
            while isinstance(well := await at.ask(say.Status()), say.Health) and well.unwritten:
                await asyncio.sleep(0.01)  # what waits for room is tried again every RETRY_MS
            return [done, full, again, well]

    done, full, again, well = asyncio.run(asyncio.wait_for(scene(), 10))
    assert isinstance(done, say.Done)
    assert isinstance(full, say.Health)
    assert full.unwritten > 0
    assert "disk takes nothing (it was full)" in full.problems[0]
    assert isinstance(again, say.Refused)
    assert isinstance(well, say.Health)
    assert (well.unwritten, well.problems) == (0, ())
    with Reader(history / "journal.sqlite") as reader:
        instructed = [event for _, event in reader.events(EVENTS) if isinstance(event, ev.Instructed)]
    assert [bool(event.refused) for event in instructed] == [False, True]
