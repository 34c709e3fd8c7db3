"""The state of a journal from its newest snapshot and the events after it: the same as from all events, only sooner."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.errors import FormatError
from ringfence.journal.reading import Readable, Snapshot
from ringfence.journal.schema import damaged
from ringfence.journal.snapshot import SHAPE, decode, encode
from ringfence.journal.state import State, apply
from ringfence.journal.store import SNAPSHOTS, Journal


@dataclass(slots=True)
class Recalled:
    """A state as it was recalled: after event ``number``, from the snapshot ``since`` (0: from the first event).

    ``passed_over`` says why newer snapshots, or this version's own, were not used, a sentence each.
    """

    state: State
    number: int
    since: int
    passed_over: tuple[str, ...] = ()


def recall(journal: Readable, upto: int | None = None) -> Recalled:
    """The state after the last event, or after event ``upto``, which must not be before the base.

    Raises ``JournalDamagedError`` where an event that is needed is damaged, or no snapshot is left of what was dropped.
    """
    recalled = _snapshot(journal, upto)
    state = recalled.state
    for number, event in journal.events(recalled.since) if upto is None or upto > recalled.since else ():
        if upto is not None and number > upto:
            break
        apply(state, event)
        recalled.number = number
    return recalled


def remember(journal: Journal, state: State) -> None:
    """Put a snapshot of the state after the last event into the journal, for the next start.

    Raises ``JournalError`` if the disk fails or is full.
    """
    for _ in journal.put_snapshot(journal.last, journal.crc_at(journal.last), SHAPE, encode(state)):
        pass
    journal.drop_snapshots(SNAPSHOTS)


def _snapshot(journal: Readable, upto: int | None) -> Recalled:
    base = journal.base
    passed_over: list[str] = []
    last_resort: Snapshot | None = None
    for each in journal.snapshots():
        if upto is not None and each.number > upto:
            continue
        name = f"the snapshot after event {each.number}"
        if not each.fits:
            passed_over.append(f"{name} is of other events than the journal has")
        elif each.version != SHAPE:
            passed_over.append(f"{name} was made by another version")
            last_resort = last_resort or each
        elif (state := _decoded(journal, each)) is None:
            passed_over.append(f"{name} is not what was written")
        else:
            return Recalled(state, each.number, each.number, tuple(passed_over))
    if base.number == 0:
        return Recalled(State(), 0, 0, tuple(passed_over))
    if last_resort is not None and (state := _decoded(journal, last_resort)) is not None:
        return Recalled(state, last_resort.number, last_resort.number, tuple(passed_over))
    raise damaged(journal.path, f"no snapshot is left of the {base.number} events before its base")


def _decoded(journal: Readable, snapshot: Snapshot) -> State | None:
    data = journal.snapshot_data(snapshot)
    if data is None:
        return None
    try:
        return decode(data)
    except FormatError:
        return None
