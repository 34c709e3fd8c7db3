"""The journal of a running service stays small and its starts short; a damaged one stops no service."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT
from ringfence.errors import JournalError
from ringfence.journal import events as ev
from ringfence.journal import store
from ringfence.journal.recall import recall
from ringfence.journal.salvage import opened, set_aside
from ringfence.journal.store import Journal, Reader
from ringfence.service import ledger, upkeep
from ringfence.service.attendants import House, Problems, keep
from ringfence.service.configuration.configuration import Configuration
from ringfence.service.configuration.journal import JournalSection
from ringfence.service.control import News
from ringfence.service.measures import Measures
from ringfence.service.model_world import ModelWorld, nothing
from ringfence.service.policy_source import loaded
from ringfence.service.upkeep import Upkeep, bring_home
from ringfence.service.writer import Desk, Writer
from tests.journal.histories import history, written
from tests.service.processes import service, until


@dataclass
class Running:
    journal: Path
    writer: Writer
    problems: Problems
    ended: list[BaseException | None]

    async def ask(self, what: Callable[[Desk], object]) -> object:
        return await asyncio.wrap_future(self.writer.ask(what))


@asynccontextmanager
async def running(journal: Path, section: JournalSection) -> AsyncIterator[Running]:
    """A writer on a healthy model, with the journal's attendant that looks all the time."""
    loop, news, over = asyncio.get_running_loop(), News(), asyncio.Event()
    ended: list[BaseException | None] = []

    def end(error: BaseException | None) -> None:
        ended.append(error)
        loop.call_soon_threadsafe(over.set)

    began = asyncio.Event()
    writer = Writer(
        journal,
        lambda boot: ModelWorld(nothing(), DEFAULT, seed=1, boot=boot),
        loaded(None),
        plugins={},
        told=lambda _: (loop.call_soon_threadsafe(began.set), None)[1],
        ended=end,
        opening=partial(opened, limit_bytes=section.limit_bytes),
    )
    writer.start()
    done = [asyncio.ensure_future(each.wait()) for each in (began, over)]
    await asyncio.wait(done, return_when=asyncio.FIRST_COMPLETED)
    house = House(
        state_dir=journal.parent,
        journal=journal,
        writer=writer,
        news=news,
        problems=Problems(),
        configuration=lambda: Configuration(journal=section),
        status=lambda *_: pytest.fail("nobody asked"),
        samples=lambda _: (),
        measures=Measures(),
    )
    task = asyncio.create_task(keep(Upkeep(tick_s=0.01, look_s=0.05), house))
    try:
        yield Running(journal, writer, house.problems, ended)
    finally:
        task.cancel()
        await asyncio.wait({task})
        writer.stop("the test is over")
        await over.wait()
        for each in done:
            each.cancel()
        await asyncio.to_thread(writer.join)


async def eventually(what: Callable[[], object], patience_s: float = 60.0) -> None:
    end_s = time.monotonic() + patience_s
    while not what():
        assert time.monotonic() < end_s, "it did not happen in time"
        await asyncio.sleep(0.02)


def test_after_so_many_events_a_snapshot_is_there_and_what_is_old_has_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.sqlite"
    old = (ev.Stopped(at_ms=at, because="long ago") for at in range(1_200))
    started = ev.Started(at_ms=0, life=1, version="1", hypervisor="model", boot="1", wall_ms=0)
    written(path, [started, *old]).close()

    async def test() -> None:
        async with running(path, JournalSection(snapshot_every_events=1_000, keep_days=1)) as found:
            with Reader(path) as reader:
                await eventually(lambda: reader.base.number >= 1_201)
                await eventually(lambda: reader.last - reader.base.number < 100 and len(reader.kept) < 20)
            assert found.ended == []
            state = await found.ask(lambda desk: desk.loop.state.snapshot())
            with Reader(path) as reader:
                assert recall(reader).state == state
                assert any(isinstance(event, ev.Compacted) for _, event in reader.events())
                reader.check()

    asyncio.run(test())
    with Reader(path) as reader:
        assert recall(reader).since == reader.last, "an orderly end leaves the next start nothing to fold"


def test_an_upkeep_that_fails_is_said_and_the_service_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal.sqlite"
    written(path, [ev.Stopped(at_ms=at) for at in range(1_500)]).close()

    async def test() -> None:
        async with running(path, JournalSection(snapshot_every_events=1_000)) as found:
            await eventually(lambda: list(found.problems))
            (problem,) = found.problems
            assert problem.startswith("journal: ")
            assert problem.endswith(": no room (Make some.)")
            assert found.ended == []
            assert await found.ask(lambda desk: desk.journal.last)

    def no_room(journal: Journal, *_: object) -> Iterator[None]:
        yield
        raise JournalError(journal.path, "no room", advice="Make some.")

    monkeypatch.setattr(Journal, "put_snapshot", no_room)
    asyncio.run(test())


def test_what_the_wal_holds_is_brought_home_beside_a_writer_that_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    wal = tmp_path / "journal.sqlite-wal"
    with Journal(path, reserve_bytes=0) as journal:
        for at in range(300):
            journal.append(ev.Stopped(at_ms=at, because="x" * 9_000))
        grown = wal.stat().st_size
        assert grown > upkeep.WAL_BYTES
        asking = threading.Thread(target=bring_home, args=(path,))
        asking.start()
        asking.join()
        journal.append(ev.Stopped(at_ms=1, because="x" * 9_000))
        assert journal._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1] < 20, "it began anew"
    with Reader(path) as reader:
        assert reader.check() == 301


def test_what_a_busy_writer_left_of_the_wal_it_brings_home_itself_once_the_wal_is_long(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    wal = tmp_path / "journal.sqlite-wal"
    written(path, [ev.Stopped(at_ms=at) for at in range(10)]).close()

    async def test() -> None:
        async with running(path, JournalSection(snapshot_every_events=1_000_000)) as found:

            def busy(_: Path) -> tuple[int, int]:
                """The writer has always written something since: nothing beside it gets to the end."""
                return wal.stat().st_size // (4096 + 24), 1

            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(upkeep, "bring_home", busy)
                for _ in range(60):
                    await found.ask(lambda desk: desk.loop.note(*[large] * 20))
                    await asyncio.sleep(0.01)
            assert wal.stat().st_size < 2 * upkeep.LONG_WAL_PAGES * 4096

    large = ev.ConfigurationLoaded(at_ms=0, digest="", text="x" * 9_000)
    asyncio.run(test())


def test_a_journal_that_has_come_to_its_limit_makes_room_by_itself_and_takes_what_waited(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger.Ledger.__init__, "__defaults__", (lambda _: None,))  # not this machine's kernel log
    path, limit = tmp_path / "journal.sqlite", 2 << 20
    large = ev.ConfigurationLoaded(at_ms=0, digest="", text="x" * 1_500)
    events = (limit + store.RESERVE_BYTES) // 1_500 + 1_000

    async def test() -> None:
        async with running(path, JournalSection(limit_bytes=limit, snapshot_every_events=1_000_000)) as found:
            for _ in range(events // 100):
                await found.ask(lambda desk: desk.loop.note(*[large] * 100))

            async def is_written() -> bool:
                return await found.ask(lambda desk: desk.loop.unwritten) == (0, 0)

            end_s = time.monotonic() + 60
            while not await is_written():
                assert time.monotonic() < end_s, f"it made no room: {list(found.problems)}"
                await asyncio.sleep(0.05)
            with Reader(path) as reader:
                # Fewer than retention.LEAST events are not taken away by themselves: the reserve holds these.
                await eventually(lambda: reader.used_bytes < limit + store.RESERVE_BYTES)
            assert found.ended == []
            state = await found.ask(lambda desk: desk.loop.state.snapshot())
            with Reader(path) as reader:
                assert recall(reader).state == state
                assert reader.last > events // 100 * 100
                assert reader.base.number > 100
                reader.check()

    asyncio.run(test())
    assert path.stat().st_size < limit + store.RESERVE_BYTES + store.UPKEEP_BYTES


# --- damage -----------------------------------------------------------------------------------------------------------


def hurt(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for trigger in ("no_update", "no_delete"):
            connection.execute(f"DROP TRIGGER {trigger}")
        connection.execute(statement)
        connection.commit()


@pytest.mark.parametrize(
    "statement",
    ["DELETE FROM event WHERE number > 60", "UPDATE event SET text = '{}' WHERE number = 50"],
    ids=["at its end", "in the middle"],
)
def test_a_service_whose_journal_is_damaged_starts_with_what_could_be_saved_and_says_so(
    tmp_path: Path, statement: str
) -> None:
    path = tmp_path / "journal.sqlite"
    written(path, history(1)).close()
    hurt(path, statement)

    async def test() -> None:
        async with running(path, JournalSection()) as found:
            assert found.ended == []
            await eventually(lambda: list(found.problems))
            (problem,) = found.problems
            assert problem.startswith("journal: it was damaged, and what could be read was saved")
            assert str(set_aside(path)[0]) in problem

    asyncio.run(test())
    assert len(set_aside(path)) == 1
    with Reader(path) as reader:
        assert sum(isinstance(event, ev.Salvaged) for _, event in reader.events()) == 1
        reader.check()


def test_damage_that_stands_before_a_snapshot_is_found_beside_the_service_and_salvaged_by_the_next_start(
    tmp_path: Path,
) -> None:
    path = tmp_path / "journal.sqlite"
    written(path, history(1)).close()

    async def lives(wanted: str) -> None:
        async with running(path, JournalSection()) as found:
            await eventually(lambda: any(wanted in each for each in found.problems))
            assert found.ended == []

    async def ends_in_order() -> None:
        async with running(path, JournalSection()) as found:
            await found.ask(lambda desk: desk.journal.last)

    asyncio.run(ends_in_order())  # with a snapshot: the next start reads nothing before it
    hurt(path, "UPDATE event SET text = '{}' WHERE number = 5")
    asyncio.run(lives("event 5 is not what was written"))
    asyncio.run(lives("it was damaged, and what could be read was saved"))


def test_a_service_that_shall_refuse_a_damaged_journal_ends_and_says_what_to_do(tmp_path: Path) -> None:
    with service() as running:
        running.start()
        until(lambda: running.health().journal_events > 5)
        running.end()
        journal = running.state / "journal.sqlite"
        hurt(journal, "DELETE FROM event WHERE number > 3")
        (tmp_path / "c.toml").write_text('[journal]\non-damage = "refuse"\n')
        process = running.start("--config", str(tmp_path / "c.toml"), wait=False)
        said, _ = process.communicate(timeout=20)
        assert process.returncode == 1
        assert "the journal is damaged" in said
        assert "ringfence journal salvage" in said
        assert not set_aside(journal)
        running.start()
        assert any("it was damaged" in each for each in until(lambda: running.health().problems))
        assert running.end(signal.SIGTERM)[0] == 0
