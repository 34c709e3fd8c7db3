"""What a journal tells of one case: its events and the ends of its orders, over all lives, on one clock."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec

from ringfence.journal import events as ev
from ringfence.journal.lives import Life
from ringfence.journal.reading import Readable
from ringfence.world.identities import CaseId
from ringfence.world.steps import Status


@dataclass(frozen=True, slots=True)
class Told:
    """The events of a case with their numbers, oldest first, their times on the clock of the life of the first.

    ``epoch_ms`` is the wall clock at 0 of that clock, milliseconds since the epoch; None if it was not known.
    """

    events: tuple[tuple[int, ev.Stored], ...]
    epoch_ms: int | None


def told_of(journal: Readable, case: CaseId, lives: Sequence[Life], most: int | None = None) -> Told:
    """What is told of a case; empty if there is no such case. ``most`` bounds how many events are looked at, of the
    case's own and of ends of orders. Raises ``JournalDamagedError`` as ``Readable.events`` does.
    """
    own = list(islice(journal.events(case=case), most))
    return on_one_clock(sorted([*own, *_ends(journal, own, most)], key=lambda each: each[0]), lives)


def _ends(journal: Readable, own: list[tuple[int, ev.Stored]], most: int | None) -> list[tuple[int, ev.Stored]]:
    """The ends of a case's orders: they name the order alone."""
    wanted = {each.order: number for number, each in own if isinstance(each, ev.Intended)}
    found: list[tuple[int, ev.Stored]] = []
    if not wanted:
        return found
    for number, each in islice(journal.events(min(wanted.values()), kinds=(ev.Carried,)), most):
        if isinstance(each, ev.Carried) and each.order in wanted:
            found.append((number, each))
            if each.status is not Status.RUNNING:
                del wanted[each.order]
            if not wanted:
                break
    return found


def on_one_clock(told: Iterable[tuple[int, ev.Stored]], lives: Sequence[Life]) -> Told:
    """Events of several lives, whose clocks may each begin anew, on the clock of the first one's.

    The wall clock says how far apart lives are. Where it is not known, or was set back meanwhile, a later life begins
    when the one before has ended: the order is the journal's.
    """
    moved: list[tuple[int, ev.Stored]] = []
    first: Life | None = None
    current: Life | None = None
    shift_ms, last_ms = 0, 0
    for number, event in told:
        life = next((each for each in reversed(lives) if each.number <= number), None)
        if not moved:
            first = current = life
        elif life is not current:
            current = life
            apart_ms = _epoch(life) - _epoch(first) if _is_dated(life) and _is_dated(first) else shift_ms
            shift_ms = max(apart_ms, last_ms - event.at_ms)
        last_ms = max(last_ms, event.at_ms + shift_ms)
        moved.append((number, _later(event, shift_ms)))
    return Told(tuple(moved), first.epoch_ms if first is not None else None)


def _is_dated(life: Life | None) -> bool:
    return life is not None and life.epoch_ms is not None


def _epoch(life: Life | None) -> int:
    return 0 if life is None or life.epoch_ms is None else life.epoch_ms


def _later(event: ev.Stored, by_ms: int) -> ev.Stored:
    if not by_ms:
        return event
    if isinstance(event, ev.Asked | ev.ApprovalAsked):
        return msgspec.structs.replace(event, at_ms=event.at_ms + by_ms, deadline_ms=event.deadline_ms + by_ms)
    if isinstance(event, ev.Progressed) and event.seat_ms is not None:
        return msgspec.structs.replace(event, at_ms=event.at_ms + by_ms, seat_ms=event.seat_ms + by_ms)
    return msgspec.structs.replace(event, at_ms=event.at_ms + by_ms)
