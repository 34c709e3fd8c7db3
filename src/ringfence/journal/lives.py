"""The lives that a journal tells of: what its times mean on the wall clock."""

from __future__ import annotations

from dataclasses import dataclass

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
