"""The journal's events in words, for whoever shows or follows them: read in batches, by a reader of their own."""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final, Self

from ringfence.journal import events as ev
from ringfence.journal.lives import Life
from ringfence.journal.store import Reader
from ringfence.service import control_protocol as say
from ringfence.service.writer import Desk
from ringfence.views import chain
from ringfence.world.identities import DomainId

BATCH: Final = 256
"""Events that are read from the journal at a time."""
SILENT: Final = 4
"""Of so many events, one says something to a reader: a case has more, corrected errors have about two."""
MOST_NAMED: Final = 20_000
"""Changes of domains that are looked at for their names: some tenths of a second. A boot has some hundred."""


@dataclass(frozen=True, slots=True)
class Context:
    """What is needed to put events into words: lives by the number of their first event, and the domains' names."""

    lives: tuple[Life, ...]
    names: dict[DomainId, str]

    @classmethod
    def of(cls, desk: Desk) -> Self:
        """As it is now; in the writer's thread."""
        return cls(tuple(desk.lives), desk.names())


def batch_of(journal: Path, after: int, most: int) -> list[tuple[int, ev.Stored]]:
    """A batch of events, at most ``most`` after the number ``after``. Call it in a thread: the disk may be slow.

    Raises JournalError where the journal is damaged.
    """
    with Reader(journal) as reader:
        return list(islice(reader.events(after), most))


def words_after(journal: Path, context: Context, after: int) -> Words:
    """Words for the events after a number, with the names that domains had by then. Call it in a thread.

    Raises JournalError where the journal is damaged.
    """
    words = Words(context, after)
    with Reader(journal) as reader:
        words.learn(reader, after)
    return words


class Words:
    """Puts events into words, one after the other. Names of domains are those of the boot that an event is of."""

    def __init__(self, context: Context, after: int) -> None:
        self._lives = list(context.lives)
        firsts = [life.number for life in self._lives]
        place = bisect.bisect_right(firsts, after + 1) - 1
        self._epoch_ms = self._lives[place].epoch_ms if place >= 0 else None
        self._boot = self._lives[place].boot if place >= 0 else ""
        is_now = bool(self._lives) and self._boot == self._lives[-1].boot
        self._names = dict(context.names) if is_now else {}
        self._steps: dict[int, tuple[int, str]] = {}

    def learn(self, reader: Reader, until: int) -> None:
        """Learn how the domains of an earlier boot were called, from its events up to a number."""
        if not self._lives or self._boot == self._lives[-1].boot:
            return
        begin = min((each.number for each in self._lives if each.boot == self._boot), default=1)
        for number, event in islice(reader.events(begin - 1, kinds=(ev.DomainChanged,)), MOST_NAMED):
            if number > until:
                break
            if isinstance(event, ev.DomainChanged):
                self._names[event.domain] = event.name

    @property
    def epoch_ms(self) -> int | None:
        """The wall clock at 0 of the host's clock, milliseconds since the epoch; None if it is not known."""
        return self._epoch_ms

    @property
    def names(self) -> Mapping[DomainId, str]:
        """The names of the domains, as far as they are known."""
        return self._names

    def all(self, batch: Iterable[tuple[int, ev.Stored]]) -> list[say.Event]:
        """What a batch says."""
        return [found for number, event in batch if (found := self.of(number, event)) is not None]

    def of(self, number: int, event: ev.Stored) -> say.Event | None:
        """One event; None for what says nothing to a reader."""
        match event:
            case ev.Started():
                self._epoch_ms = event.wall_ms - event.at_ms if event.wall_ms is not None else None
                if event.boot != self._boot:
                    self._boot = event.boot
                    self._names.clear()
            case ev.DomainChanged():
                self._names[event.domain] = event.name
            case _:
                pass
        found = chain.link(event, self._names, self._epoch_ms)
        if found is None:
            return None
        case, text = getattr(event, "case", None), found.text
        if isinstance(event, ev.Intended):
            self._steps[event.order] = event.case, found.text
            while len(self._steps) > BATCH:
                del self._steps[next(iter(self._steps))]
        elif isinstance(event, ev.Carried) and event.order in self._steps:
            case, step = self._steps[event.order]
            text = found.text.replace(f"order {event.order}", step, 1)
        return say.Event(
            number=number,
            kind=type(event).__name__,
            at_ms=event.at_ms,
            wall_ms=self._epoch_ms + event.at_ms if self._epoch_ms is not None else None,
            what=found.what,
            row=found.row,
            text=text,
            case=case,
            details=found.details,
        )
