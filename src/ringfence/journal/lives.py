"""The lives that a journal tells of: what its times mean on the wall clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import msgspec

from ringfence.journal.events import Started
from ringfence.journal.reading import Readable


@dataclass(frozen=True, slots=True)
class Life:
    """A life of the process, or a boot within it: from event ``number`` on, 0 of the host's clock is ``epoch_ms``.

    ``epoch_ms`` is milliseconds since the epoch, None where no wall clock was known.
    """

    number: int
    boot: str
    epoch_ms: int | None


def life_of(number: int, event: Started) -> Life:
    """The life that an event began."""
    return Life(number, event.boot, event.wall_ms - event.at_ms if event.wall_ms is not None else None)


def lives(journal: Readable) -> list[Life]:
    """The lives of a journal, oldest first; of those that were dropped the ones that are needed are kept."""
    return [life_of(number, each) for number, each in journal.events(kinds=(Started,)) if isinstance(each, Started)]


def last_boots(journal: Readable) -> dict[int, str]:
    """The host's last two boots, by the number of the event that each began with."""
    begun = [
        (after.number, after.boot)
        for before, after in pairwise([None, *lives(journal)])
        if after is not None and (before is None or before.boot != after.boot)
    ]
    return dict(begun[-2:])


@dataclass(frozen=True, slots=True)
class Dated:
    """An event as it stands on the disk, and when it was by the wall clock (None where none was known)."""

    number: int
    wall_ms: int | None
    text: str


def dated(
    journal: Readable, after: int = 0, *, since_ms: int | None = None, kinds: Iterable[str] = ()
) -> Iterator[Dated]:
    """The events after a number, of some kinds if given, oldest first; with ``since_ms`` those since then.

    An event without a wall clock is given only without ``since_ms``. Raises ``JournalDamagedError`` as ``events`` does.
    """
    known = lives(journal)
    if since_ms is not None:
        after = max(after, _begins(known, since_ms) - 1)
    for number, text in journal.texts(after, kinds=kinds):
        while len(known) > 1 and known[1].number <= number:
            known.pop(0)
        epoch_ms = known[0].epoch_ms if known and known[0].number <= number else None
        wall_ms = None if epoch_ms is None else epoch_ms + _TIME.decode(text).at_ms
        if since_ms is None or (wall_ms is not None and wall_ms >= since_ms):
            yield Dated(number, wall_ms, text)


def _begins(known: list[Life], since_ms: int) -> int:
    """The first event of the last life that had begun by then, as its own clock says."""
    begun = [life.number for life in known if life.epoch_ms is not None and life.epoch_ms <= since_ms]
    return begun[-1] if begun else 0


class _Time(msgspec.Struct):
    at_ms: int


_TIME: Final = msgspec.json.Decoder(_Time)
