"""The journal's upkeep while the service runs: snapshots, what is old goes, and the WAL is brought home.

What takes time is done beside the process (``journal.prepare``); the writer only takes short steps, each between two
turns, and not while events wait for the disk.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from ringfence.errors import JournalDamagedError, JournalError
from ringfence.journal.events import Compacted
from ringfence.journal.prepare import Failed, Prepared, Reply, Request
from ringfence.journal.retention import HIGH, Bounds, carry_out, tidy
from ringfence.journal.salvage import doubt, set_aside
from ringfence.journal.state import apply
from ringfence.journal.store import SNAPSHOTS, Journal, Reader
from ringfence.service.attendants import House
from ringfence.service.configuration.journal import JournalSection
from ringfence.service.writer import BusyError, Desk

T = TypeVar("T")

TICK_S: Final = 0.25
"""Between two looks at the WAL's size while something is written: what is quiet is not looked at."""
WAL_BYTES: Final = 1 << 20
"""Above this the WAL is brought home. It is bounded by ``store.WAL_PAGES`` even if this does not come about."""
LONG_WAL_PAGES: Final = 1024
"""At so many the WAL shall begin anew: at ``store.WAL_PAGES`` the writer would bring home all that is left of it."""
LEFT_TO_WRITER: Final = 32
"""Pages that the writer brings home for that: about a millisecond. With more left, it is tried again beside it."""
LOOK_S: Final = 10.0
"""Between two looks at how much was written since the last snapshot."""
QUIET_LOOKS: Final = 6
"""So many of these times pass between two looks while nothing is written: a bound may be another by then."""
AGES_S: Final = 3600.0
"""Between two looks at what is too old."""
FIRST_AGES_S: Final = 60.0
"""Until the first of them: a service that starts has other things to do."""
BREATH_S: Final = 0.01
"""Between two steps of the writer's: upkeep takes no more than a part of its time."""
PATIENCE_S: Final = 3600.0
"""For what is prepared: some twenty million events."""
MOST_BYTES: Final = 1 << 29
"""Of what is prepared: more than the largest state (``state.SUSPECTS_KEPT`` times ``state.SIGHTINGS_KEPT``)."""

ARCHIVE: Final = "journal-archive"
"""The directory beside the journal that has what went."""


_REPLY: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)


@dataclass(slots=True)
class Upkeep:
    """The attendant that keeps the journal small and its starts short."""

    name: str = "journal"
    tick_s: float = TICK_S
    look_s: float = LOOK_S
    _ages_s: float = field(default=0.0, init=False)

    async def attend(self, house: House) -> None:
        """As ``Attendant.attend``. Raises ``JournalError`` where a step fails: it is tried again later."""
        self._ages_s = time.monotonic() - AGES_S + FIRST_AGES_S
        await _steps(house, tidy)
        # A start reads no event before the newest snapshot: whether those are whole is seen now, beside the service.
        request = _request(house.journal, house.configuration().journal)
        verified = asyncio.create_task(_prepared(msgspec.structs.replace(request, verify=True)))
        try:
            await self._go_on(house, verified)
        finally:
            verified.cancel()
            await asyncio.wait({verified})

    async def _go_on(self, house: House, verified: asyncio.Task[Reply]) -> None:
        looked_s, looked = 0.0, -1
        while True:
            if verified.done() and not verified.cancelled():
                _sound(house, verified.result())
            written = house.news.last
            pages, left = await asyncio.to_thread(bring_home, house.journal)
            if pages >= LONG_WAL_PAGES and 0 < left <= LEFT_TO_WRITER:
                await _steps(house, lambda journal: journal.stepwise(journal.begin_wal_anew))
            now_s = time.monotonic()
            if now_s - looked_s >= self.look_s * (1 if looked != written else QUIET_LOOKS):
                looked_s, looked = now_s, written
                await self._look(house, now_s)
            if not left:
                await _news(house, written, verified, self.look_s)
            await asyncio.sleep(self.tick_s)

    async def _look(self, house: House, now_s: float) -> None:
        section = house.configuration().journal
        wanted = await asyncio.to_thread(_is_wanted, house.journal, section)
        if not wanted and not (section.keep_days and now_s - self._ages_s >= AGES_S):
            self._say(house, ())
            return
        self._ages_s = now_s
        prepared = await _prepared(_request(house.journal, section))
        if isinstance(prepared, Failed):
            _sound(house, prepared)
            raise JournalError(house.journal, prepared.message, advice=prepared.advice)
        self._say(house, prepared.passed_over)
        if (made := prepared.snapshot) is not None:
            await _steps(house, lambda journal: _snapshot(journal, prepared))
        if (plan := prepared.plan) is not None:
            at_ms = await _asked(house, lambda desk: desk.world.host.now_ms())
            await _steps(house, lambda journal: carry_out(journal, plan, at_ms))
        if made is not None:
            self._say(house, ())

    def _say(self, house: House, passed_over: tuple[str, ...]) -> None:
        aside = set_aside(house.journal)
        told = [f"{each} is not used" for each in passed_over]
        if aside:
            told.append(
                f"it was damaged, and what could be read was saved (ringfence events --details); "
                f"the damaged file is {aside[-1]}: look at it, then take it away"
            )
        house.problems.says(self.name, "; ".join(told))


async def _news(house: House, written: int, verified: asyncio.Task[Reply], most_s: float) -> None:
    """Wait until more is written than there was, or the journal is found sound or not, but not longer."""
    more = asyncio.ensure_future(house.news.after(written))
    try:
        wanted = {more} if verified.done() else {more, verified}
        await asyncio.wait(wanted, timeout=most_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        more.cancel()


def _sound(house: House, reply: Reply) -> None:
    """Raise ``JournalDamagedError`` if the journal was found to be damaged: the next start salvages it."""
    if isinstance(reply, Failed) and reply.damaged:
        doubt(house.journal)
        raise JournalDamagedError(house.journal, reply.message, advice="Restart Ringfence: it salvages it.")


# --- what is wanted ---------------------------------------------------------------------------------------------------


def _is_wanted(path: Path, section: JournalSection) -> bool:
    with Reader(path) as reader:
        newest = next((each.number for each in reader.snapshots() if each.fits), 0)
        due = reader.last - newest >= section.snapshot_every_events
        return due or reader.used_bytes > HIGH * section.limit_bytes


def _request(path: Path, section: JournalSection) -> Request:
    return Request(
        journal=str(path),
        snapshot_every_events=section.snapshot_every_events,
        bounds=Bounds(limit_bytes=section.limit_bytes, keep_days=section.keep_days),
        now_wall_ms=time.time_ns() // 1_000_000,
        archive=str(path.with_name(ARCHIVE)) if section.archive_bytes else "",
        archive_bytes=section.archive_bytes,
    )


async def _prepared(request: Request) -> Reply:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "ringfence.journal.prepare", stdin=pipe, stdout=pipe, stderr=None
    )
    assert process.stdin is not None and process.stdout is not None  # noqa: S101 (pipes were asked for)
    try:
        async with asyncio.timeout(PATIENCE_S):
            process.stdin.write(msgspec.msgpack.encode(request))
            process.stdin.close()
            said = bytearray()
            while len(said) <= MOST_BYTES and (part := await process.stdout.read(1 << 20)):
                said += part
        return _REPLY.decode(said)
    except (TimeoutError, msgspec.DecodeError, ConnectionError) as error:
        return Failed(message=f"its upkeep could not be prepared: {error!r}", advice="It is tried again.")
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


# --- what the writer does ---------------------------------------------------------------------------------------------


def _snapshot(journal: Journal, prepared: Prepared) -> Iterator[None]:
    made = prepared.snapshot
    assert made is not None  # noqa: S101 (the caller has looked)
    yield from journal.put_snapshot(made.number, made.crc, made.version, made.data)
    yield from journal.stepwise(lambda: journal.drop_snapshots(SNAPSHOTS))


async def _steps(house: House, begin: Callable[[Journal], Iterator[Compacted | None]]) -> None:
    """Have the writer take steps, one at a time. Raises ``JournalError`` if one fails."""
    steps: list[Iterator[Compacted | None]] = []

    def step(desk: Desk) -> bool | JournalError:
        # Even if events wait for room: this is what makes room in a file that has come to its limit.
        if not steps:
            steps.append(begin(desk.journal))
        try:
            event = next(steps[0])
        except StopIteration:
            return False
        except JournalDamagedError:
            raise  # whoever goes on with such a file makes it worse: the next life salvages it
        except JournalError as error:
            return error
        if event is not None:
            apply(desk.loop.state, event)
        return True

    while (more := await _asked(house, step)) is not False:
        if isinstance(more, JournalError):
            raise more
        await asyncio.sleep(BREATH_S)


async def _asked(house: House, what: Callable[[Desk], T]) -> T:
    while True:
        try:
            return await asyncio.wrap_future(house.writer.ask(what))
        except BusyError:
            await asyncio.sleep(1.0)  # clients come first


def bring_home(path: Path) -> tuple[int, int]:
    """Bring what the WAL holds into the journal's file, so that the writer need not: in any thread but the writer's.

    Returns how many pages the WAL holds, and how many of them are still to be brought home.
    """
    pages = brought = 0
    try:
        if path.with_name(f"{path.name}-wal").stat().st_size < WAL_BYTES:
            return 0, 0
        with closing(sqlite3.connect(path, timeout=0.0, isolation_level=None)) as connection:
            for _ in range(3):  # what was written meanwhile is little, and brought home by the next try
                _, pages, brought = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
                if pages == brought:
                    break
    except (OSError, sqlite3.Error):
        pass  # the writer does it by itself once there is much, and says what is wrong
    return pages, pages - brought
