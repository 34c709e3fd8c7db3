"""What the process does beside deciding: each such part is an attendant, kept going whatever becomes of it.

An attendant reads sources, serves HTTP, posts to webhooks, tidies the journal. It never acts on the host: what shall be
done it hands to the writer. One that fails is started again after a pause, and until it does well the service's health
says what is wrong; it never takes the process, which must act, down with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from ringfence.errors import RingfenceError
from ringfence.service.configuration.configuration import Configuration
from ringfence.service.measures import Measures
from ringfence.views.metrics import Sample

if TYPE_CHECKING:
    from ringfence.service.answers import Doorkeeping
    from ringfence.service.control import News
    from ringfence.service.control_protocol import Health, Refused, Reloaded, Tested
    from ringfence.service.writer import Desk, Writer

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
"""Between two tries of an attendant that fails: doubled each time, so that what is broken for good costs nothing."""
STEADY_S: Final = 120.0
"""Who has gone on for so long has done well: the next fault is a first one again."""


@dataclass(slots=True)
class Problems:
    """What is wrong with the attendants now, one sentence each, and what else is to be said of them.

    The writer's thread reads it, too.
    """

    _known: dict[str, str] = field(default_factory=dict)
    _noted: dict[str, str] = field(default_factory=dict)

    def says(self, who: str, problem: str) -> None:
        """This is wrong with ``who``; an empty sentence: nothing is, any more."""
        known = dict(self._known)
        known.pop(who, None)
        if problem:
            known[who] = problem
        self._known = known  # one assignment: a reader in another thread sees all of the old or all of the new

    def notes(self, who: str, note: str) -> None:
        """This is to be said of ``who``, though nothing is wrong with it, in place of what was said before."""
        self._noted = {**self._noted, who: note}

    @property
    def noted(self) -> tuple[str, ...]:
        """What is to be said of the attendants, a line each."""
        return tuple(f"{who}: {note}" for who, note in self._noted.items())

    def __iter__(self) -> Iterator[str]:
        return (f"{who}: {problem}" for who, problem in self._known.items())


async def _cannot(_: str) -> Refused:
    from ringfence.service import control_protocol as say  # noqa: PLC0415 (whoever starts an attendant alone)

    message = "there is nobody here who could do that"
    return say.Refused(code=say.Code.REFUSED, message=message, advice="Ask the service that `ringfence run` starts.")


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What an attendant has to do with. ``configuration`` gives what holds now: a reload may change it.

    ``journal`` is for readers of their own (``journal.store.Reader``), ``news`` says how far it is; ``status`` makes
    the service's health in the writer's thread (``writer.ask``), ``samples`` its numbers; ``problems`` is what health
    says of the attendants, ``measures`` what they measure of themselves. ``reload`` loads the configuration again, by
    the word of whom it is told; ``test`` tries the webhook of a name out.
    """

    state_dir: Path
    journal: Path
    writer: Writer
    news: News
    problems: Problems
    configuration: Callable[[], Configuration]
    status: Callable[[Desk, Doorkeeping], Health]
    samples: Callable[[Desk], tuple[Sample, ...]]
    measures: Measures
    reload: Callable[[str], Awaitable[Reloaded | Refused]] = _cannot
    test: Callable[[str], Awaitable[Tested | Refused]] = _cannot


class Attendant(Protocol):
    """One part of the process, with a loop of its own."""

    @property
    def name(self) -> str:
        """What health calls it."""
        ...

    async def attend(self, house: House) -> None:
        """Do its work until cancelled. Returning means that there is nothing (more) to do.

        Raises RingfenceError or OSError if it cannot go on: it is tried again.
        """
        ...


async def keep(attendant: Attendant, house: House) -> None:
    """Have an attendant at work until cancelled, or until it says that there is nothing to do."""
    pause_s = FIRST_PAUSE_S
    loop = asyncio.get_running_loop()
    while True:
        began_s = loop.time()
        try:
            await attendant.attend(house)
        except (RingfenceError, OSError) as error:
            advice = f" ({error.advice})" if isinstance(error, RingfenceError) else ""
            house.problems.says(attendant.name, f"{error}{advice}")
        else:
            house.problems.says(attendant.name, "")
            return
        if loop.time() - began_s > STEADY_S:
            pause_s = FIRST_PAUSE_S
        await asyncio.sleep(pause_s)
        pause_s = min(LONGEST_PAUSE_S, pause_s * 2)
