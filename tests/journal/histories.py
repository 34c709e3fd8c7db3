"""Real histories: the journals of simulated hosts on which everything goes wrong."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from ringfence.journal.events import Event, Unread
from ringfence.journal.reading import Base, Readable
from ringfence.journal.snapshot import SHAPE, encode
from ringfence.journal.state import State, apply
from ringfence.journal.store import Journal
from ringfence.service.simulation.scenario import SCENARIOS
from ringfence.service.simulation.script import script
from ringfence.service.simulation.simulate import play


@cache
def history(seed: int, scenario: str = "default", hours: float = 8) -> tuple[Event, ...]:
    """All events of one run: kills, reboots, open cases, orders in flight and corrected errors are among them."""
    trace, _ = play(SCENARIOS[scenario], script(SCENARIOS[scenario], seed, hours), seed=seed, hours=hours)
    return tuple(event for _, event in trace.journal if not isinstance(event, Unread))


def state_after(events: Iterable[Event]) -> State:
    """The state after all of them."""
    state = State()
    for event in events:
        apply(state, event)
    return state


def written(path: Path, events: Iterable[Event]) -> Journal:
    """A journal that holds these events."""
    journal = Journal(path, fsync=False, reserve_bytes=0)
    journal.append(*events)
    return journal


def put_snapshot(journal: Journal, events: Iterable[Event], *, version: int = SHAPE) -> None:
    """Put the state after the first events of a journal into it."""
    state = state_after(events)
    number = state.applied
    for _ in journal.put_snapshot(number, crc_at(journal, number), version, encode(state)):
        pass


def crc_at(journal: Readable, number: int) -> int:
    """The CRC of an event."""
    query = "SELECT crc FROM event WHERE number = ?"
    (crc,) = journal._connection.execute(query, (number,)).fetchone()
    assert isinstance(crc, int)
    return crc


def base_at(journal: Readable, number: int) -> Base:
    """The base that lets go of everything up to an event."""
    return Base(number, crc_at(journal, number))
