"""What happens on this machine, from all sources that tell of it, handed to the writer: every item once.

Each source is followed by itself, in a thread of its own; one that fails, blocks or may not be read is named in the
health with what can be done about it, and is tried again, and the others go on. What they tell is placed among the
errors that are known (``sources.attaching``), one batch after the other, and is written with how far its source was
read (``hearing``). A source goes on reading when its batch is durable, so that at a kill there is nothing that was read
and not written; only what keeps no position (a socket) reads ahead, for it has nothing to lose by it.

Queues and their bounds: ``sources.lanes``; each source holds one batch.
"""

from __future__ import annotations

import asyncio
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path
from typing import Final, TypeVar

from ringfence.errors import FormatError, RingfenceError
from ringfence.journal import events as ev
from ringfence.journal.store import Reader
from ringfence.record.evidence import Record, Unrecognised
from ringfence.record.repeats import Repeats
from ringfence.service import control_protocol as say
from ringfence.service.asking import ask
from ringfence.service.attendants import House
from ringfence.service.hearing import Told
from ringfence.service.others import Fact
from ringfence.service.sources import edac_sysfs
from ringfence.service.sources.attaching import KEPT, Attaching, Placed
from ringfence.service.sources.joining import WINDOW_S
from ringfence.service.sources.lanes import Lanes
from ringfence.service.sources.own_thread import FollowedApart
from ringfence.service.sources.source import Batch, Emit, Lost, Position, Presence, Resumption, Source
from ringfence.service.storms import uncorrected
from ringfence.service.writer import Desk
from ringfence.views.metric_values import SourceReading

T = TypeVar("T")

LOOK_AGAIN_S: Final = 5.0
"""When it is looked whether a source that could not be read can be: a file that appears, a right that is given. Doubled
each time, up to ``LONGEST_PAUSE_S``: most of what a machine does not have it never gets."""
EXPECTED_AGAIN_S: Final = 0.5
"""The same of what somebody named, up to ``LOOK_AGAIN_S``."""
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
"""Between two tries of a source that fails, doubled each time."""
HANGS_S: Final = 15.0
"""A source that showed no sign of life for so long is stuck in a read. Reading much takes a second at most."""
STEADY_S: Final = 5.0
"""A source that has been followed for so long is well again."""
WATCH_S: Final = 2.0
LOOK_AROUND_S: Final = 600.0
"""How often it is looked who else acts on the same errors: it reads /proc and a few files."""
COUNTER_WAIT_S: Final = 2 * WINDOW_S
"""A counter of corrected errors is heard after what may account for it; uncorrected ones are heard at once."""
BUSY_PAUSE_S: Final = 0.01
HALTED_PAUSE_S: Final = 0.25
FULL_PAUSE_S: Final = 1.0
RECALLED_EVENTS: Final = 5 * KEPT
"""Events of the journal that are looked through at the start for the errors that sources told of."""
FIRST_LOOK: Final = "the counters before Ringfence first read them"
"""What EDAC had counted is history: nobody knows when it was."""


@dataclass(frozen=True, slots=True)
class Followed:
    """A source that is to be followed. ``sink``: it holds what an earlier boot left, and is called so.

    ``erases``: it takes away what it has handed over, and must not before that is on the disk. ``expected``: somebody
    named it, so that its absence is worth saying.
    """

    source: Source
    sink: str = ""
    erases: bool = False
    expected: bool = False


@dataclass(frozen=True, slots=True)
class _Parcel(Batch):
    """A batch on its way. ``done`` is told whether it is durable."""

    sink: str = ""
    done: asyncio.Future[bool] | None = None


@dataclass(slots=True)
class _Standing:
    """How one source stands."""

    position: Position | None
    items: int = 0
    lost: int = 0
    batches: int = 0
    apart: FollowedApart | None = None
    is_stuck: bool = False


class Intake:
    """The attendant that reads the host's sources. ``facts`` says what is to be known of the host they tell of;
    ``now_s`` is a clock that does not step.
    """

    def __init__(
        self,
        followed: Sequence[Followed],
        facts: Callable[[], tuple[Fact, ...]] = tuple,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._followed, self._facts, self._now_s = tuple(followed), facts, now_s
        self._standing: dict[str, _Standing] = {}
        self._turns: deque[Told] = deque()

    @property
    def name(self) -> str:
        """What health calls it."""
        return "sources"

    async def attend(self, house: House) -> None:
        """Follow all sources until cancelled. Raises JournalError if the journal cannot be read."""
        positions, next_number = await _ask(house, _how_far)
        attaching = await asyncio.to_thread(recalled, house.journal, next_number)
        self._standing = {each.source.name: _Standing(positions.get(each.source.name)) for each in self._followed}
        lanes, self._turns = Lanes(), deque()
        async with asyncio.TaskGroup() as group:
            for lane in (lanes.express, lanes.slow):
                group.create_task(self._hand_on(house, lane, attaching))
            for each in self._followed:
                group.create_task(self._keep(house, each, lanes), name=f"source {each.source.name}")
            group.create_task(self._watch(house))
            group.create_task(self._look_around(house))

    # --- each source by itself ---------------------------------------------------------------------------------------

    async def _keep(self, house: House, followed: Followed, lanes: Lanes) -> None:
        """Follow a source, whatever becomes of it, until cancelled."""
        pause_s = FIRST_PAUSE_S
        again_s = EXPECTED_AGAIN_S if followed.expected else LOOK_AGAIN_S
        while True:
            batches = self._standing[followed.source.name].batches
            problem = await self._follow(house, followed, lanes)
            house.problems.says(_who(followed), problem)
            found = self._standing[followed.source.name].apart
            if found is not None and found.found is not None and found.found.presence is not Presence.PRESENT:
                await asyncio.sleep(again_s)
                again_s = min(LOOK_AGAIN_S if followed.expected else LONGEST_PAUSE_S, again_s * 2)
                continue
            again_s = EXPECTED_AGAIN_S if followed.expected else LOOK_AGAIN_S
            # Who has handed something over has done well: the next fault is a first one again.
            pause_s = FIRST_PAUSE_S if self._standing[followed.source.name].batches > batches else pause_s
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)

    async def _follow(self, house: House, followed: Followed, lanes: Lanes) -> str:
        """Follow a source until it ends; what is wrong with it."""
        standing = self._standing[followed.source.name]
        standing.apart = apart = FollowedApart(followed.source, self._emit(house, followed, lanes), standing.position)
        try:
            await apart.follow()
        except FormatError as error:
            # Its position is another version's: reading anew may tell twice, not reading tells nothing.
            standing.position = None
            return f"{error}; it is read from its beginning ({error.advice})"
        except (RingfenceError, OSError) as error:
            advice = f" ({error.advice})" if isinstance(error, RingfenceError) else ""
            return f"{error}{advice}"
        except Exception as error:
            traceback.print_exception(error, file=sys.stderr)
            return f"a fault of Ringfence's own in reading it: {error!r} (report it; standard error has where)"
        found = apart.found
        if found is None or found.presence is Presence.PRESENT:
            return "it has ended by itself"
        if found.presence is Presence.ABSENT and not followed.expected:
            house.problems.notes(_who(followed), f"not there: {found.why}")
            return ""
        return f"{found.why} ({found.advice})" if found.advice else found.why

    def _emit(self, house: House, followed: Followed, lanes: Lanes) -> Emit:
        standing = self._standing[followed.source.name]
        keeps_no_position = followed.source.resumption is Resumption.NONE

        async def emit(batch: Batch) -> None:
            sink = followed.sink or _first_look(batch)
            if _counts_corrected(batch) and not sink:
                await asyncio.sleep(COUNTER_WAIT_S)
            done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            await lanes.put(_Parcel(batch.source, batch.items, batch.position, sink, done))
            if not (keeps_no_position and batch.is_pressing):
                is_durable = await done
                while followed.erases and not is_durable:
                    await asyncio.sleep(FULL_PAUSE_S)
                    is_durable = await _ask(house, _is_durable)
                standing.position = batch.position
            standing.batches += 1
            standing.items += len(batch.items)
            _note(house, followed, standing)
            standing.lost += sum(item.at_least for item in batch.items if isinstance(item, Lost))

        return emit

    async def _watch(self, house: House) -> None:
        """Say how each source stands, and which one is stuck."""
        while True:
            for each in self._followed:
                standing = self._standing[each.source.name]
                self._look_at(house, each, standing)
                house.measures.sources.says(each.source.name, self._reading(each, standing))
            await asyncio.sleep(WATCH_S)

    def _look_at(self, house: House, followed: Followed, standing: _Standing) -> None:
        apart = standing.apart
        if apart is None or apart.is_over:
            standing.is_stuck = False
            return
        silent_s = self._now_s() - apart.beat_s
        if silent_s > HANGS_S:
            standing.is_stuck = True
            why = f"it has been stuck in a read for {silent_s:.0f} s; the other sources go on"
            house.problems.says(_who(followed), why)
            return
        if apart.found is not None and apart.found.presence is Presence.PRESENT:
            _note(house, followed, standing)
            if standing.is_stuck or self._now_s() - apart.began_s > STEADY_S:
                standing.is_stuck = False
                house.problems.says(_who(followed), "")

    def _reading(self, followed: Followed, standing: _Standing) -> SourceReading | None:
        """A source's numbers; none of one that is not there and that nobody named."""
        apart = standing.apart
        if apart is None or apart.found is None:
            return None
        if apart.found.presence is Presence.ABSENT and not followed.expected:
            return None
        up = apart.found.presence is Presence.PRESENT and not apart.is_over and not standing.is_stuck
        silent_s = self._now_s() - apart.beat_s
        return SourceReading(up=up, items=standing.items, lost=standing.lost, silent_s=silent_s)

    async def _look_around(self, house: House) -> None:
        """Say what on this host is not as the configuration has it: who else acts on the same errors may come later."""
        said: set[str] = set()
        while True:
            found = {f"this host ({number})": each for number, each in enumerate(await asyncio.to_thread(self._facts))}
            clashes = {who: each for who, each in found.items() if each.clashes}
            for who in said | clashes.keys():
                fact = clashes.get(who)
                house.problems.says(who, f"{fact.text}; {fact.advice} [{fact.evidence}]" if fact is not None else "")
            said = set(clashes)
            if any(each.tells_source for each in found.values()):
                house.problems.notes("this host", next(each.text for each in found.values() if each.tells_source))
            await asyncio.sleep(LOOK_AROUND_S)

    # --- all of them to the writer -----------------------------------------------------------------------------------

    async def _hand_on(self, house: House, lane: asyncio.Queue[Batch], attaching: Attaching) -> None:
        is_durable = True
        while True:
            parcel = await lane.get()
            assert isinstance(parcel, _Parcel)  # noqa: S101 (nothing else is put there)
            if not is_durable and not parcel.is_pressing:
                # Before it is placed: what cannot wait must not wait behind it.
                while not await _ask(house, _has_room):
                    await asyncio.sleep(FULL_PAUSE_S)
            # No one else is heard between these two: what is told first is placed first.
            told = Told(parcel.source, tuple(placed(attaching, parcel)), parcel.position, parcel.sink)
            self._turns.append(told)
            is_durable = await self._tell(house, told)
            if parcel.done is not None and not parcel.done.done():
                parcel.done.set_result(is_durable)

    async def _tell(self, house: House, told: Told) -> bool:
        """Have it written and acted upon. A host that has halted hears nothing until it comes again."""
        while True:
            heard = await _ask(house, lambda desk: self._hear(desk, told))
            match heard:
                case _Heard.HALTED:
                    await asyncio.sleep(HALTED_PAUSE_S)
                case _Heard.TOO_EARLY:
                    await asyncio.sleep(BUSY_PAUSE_S)
                case _:
                    return heard is _Heard.DURABLE

    def _hear(self, desk: Desk, told: Told) -> _Heard:
        """In the writer's thread. A further report never comes before the error that it is of: what was placed first is
        written first, whichever the writer was too busy for.
        """
        if desk.world.reset_ms is not None:
            return _Heard.HALTED
        if self._turns[0] is not told:
            return _Heard.TOO_EARLY
        is_durable = desk.loop.hear(told)
        self._turns.popleft()
        return _Heard.DURABLE if is_durable else _Heard.UNWRITTEN


class _Heard(Enum):
    """What became of something that was told."""

    DURABLE = auto()
    UNWRITTEN = auto()
    HALTED = auto()
    TOO_EARLY = auto()


async def _ask(house: House, what: Callable[[Desk], T]) -> T:
    """What the writer answers, however busy it is."""
    while True:
        answer = await ask(house.writer, what)
        if not isinstance(answer, say.Refused):
            return answer
        await asyncio.sleep(BUSY_PAUSE_S)


def _note(house: House, followed: Followed, standing: _Standing) -> None:
    """Say how a source stands that is read."""
    found = standing.apart.found if standing.apart is not None else None
    items = f"{standing.items} item{'s' * (standing.items != 1)} since the start"
    house.problems.notes(_who(followed), f"{items}; {found.why}" if found is not None else items)


def _who(followed: Followed) -> str:
    return f"source {followed.source.name}"


# --- in the writer's thread -------------------------------------------------------------------------------------------


def _how_far(desk: Desk) -> tuple[dict[str, Position], int]:
    state = desk.loop.state
    return {name: Position(text) for name, text in state.positions.items()}, state.last_sighting + 1


def _has_room(desk: Desk) -> bool:
    return desk.loop.has_room


def _is_durable(desk: Desk) -> bool:
    return desk.loop.is_durable


# --- what a batch tells -----------------------------------------------------------------------------------------------


def placed(attaching: Attaching, batch: Batch) -> Iterable[Placed | Unrecognised | Lost | Repeats]:
    """Each item of a batch with its place among the errors that are known."""
    for item in batch.items:
        match item:
            case Repeats():
                # What comes together and is uncorrected after all is taken one by one.
                together, apart = uncorrected((item,))
                yield from together
                yield from (attaching.place(batch.source, record) for record in apart)
            case Unrecognised() | Lost():
                yield item
            case record:
                interval = edac_sysfs.interval(record)
                if interval is None:
                    yield attaching.place(batch.source, record)
                else:
                    yield attaching.count(batch.source, record, interval)


def _counters(batch: Batch) -> tuple[Record, ...]:
    return tuple(item for item in batch.items if isinstance(item, Record) and edac_sysfs.interval(item) is not None)


def _counts_corrected(batch: Batch) -> bool:
    return bool(_counters(batch)) and not batch.is_pressing


def _first_look(batch: Batch) -> str:
    """The name of what a first look at counters tells; empty for anything else."""
    intervals = (edac_sysfs.interval(record) for record in _counters(batch))
    return FIRST_LOOK if any(each is not None and not each.since_s for each in intervals) else ""


def recalled(journal: Path, next_number: int) -> Attaching:
    """The errors that sources have told of by the journal's newest events: later reports are compared with them."""
    attaching = Attaching(next_number)
    if not journal.exists():
        return attaching  # its disk takes nothing yet
    with closing(Reader(journal)) as reader:
        known = [
            event
            for _, event in reader.events(max(0, reader.last - RECALLED_EVENTS), kinds=(ev.Received, ev.AlsoSeen))
            if isinstance(event, ev.AlsoSeen) or (isinstance(event, ev.Received) and event.sighting is not None)
        ]
    for event in known[-KEPT:]:
        if isinstance(event, ev.AlsoSeen):
            attaching.recall(event.report.source, event.report.record, event.of, event.rule)
        elif event.sighting is not None:
            attaching.recall(event.source, event.record, event.sighting)
    return attaching
