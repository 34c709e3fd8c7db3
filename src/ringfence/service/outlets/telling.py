"""Follows the journal for one outlet: from where it stood, in order, each notice until the outlet is done with it.

The journal is the queue: a receiver that hangs holds up its own outlet, and costs no memory. How the service is comes
between the events, when it changes; that is told as it is then, and not kept.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final
from zlib import crc32

from ringfence.errors import SourceError
from ringfence.service import control_protocol as say
from ringfence.service.answers import Doorkeeping
from ringfence.service.asking import ask
from ringfence.service.attendants import House
from ringfence.service.histories import Context, words_after
from ringfence.service.outlets.cursor import Cursor, Identity, opened
from ringfence.service.outlets.notices import Narrator, Notice, look, notice
from ringfence.service.outlets.topics import Topic

HEALTH_S: Final = 5.0
"""How often the service's health is looked at."""
KEPT_S: Final = 10.0
"""How often the place is kept while there is nothing to tell: what is read again after a kill is told to nobody."""

_NUMBERS: Final = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Outlet:
    """Who is told. ``name`` is its own among outlets; ``wants`` are topics, or patterns of them (fnmatch).

    ``deliver`` returns when it is done with a notice, by whatever end. ``done`` is told the number of the last event
    that the outlet is done with.
    """

    name: str
    wants: tuple[str, ...]
    deliver: Callable[[Notice, Identity], Awaitable[None]]
    done: Callable[[int], None]

    def hears(self, topic: Topic) -> bool:
        """Whether it wants to be told of this."""
        return any(fnmatchcase(topic, pattern) for pattern in self.wants)


async def tell(outlet: Outlet, house: House) -> None:
    """Tell an outlet what happens, for ever.

    Raises SourceError if its place cannot be read, JournalError if the journal cannot be read.
    """
    cursor, narrator = await _begin(outlet, house)
    health = _Health(outlet.name)
    kept_s = time.monotonic()
    while True:
        outlet.done(cursor.place.number)
        try:
            async with asyncio.timeout(HEALTH_S):
                await house.news.after(cursor.place.number)
        except TimeoutError:
            pass
        if outlet.hears(Topic.HEALTH_PROBLEM) or outlet.hears(Topic.HEALTH_WELL):
            said = await health.news(house, cursor.place.number)
            if said is not None and outlet.hears(said.topic):
                await outlet.deliver(said, cursor.identity)
        if house.news.last <= cursor.place.number:
            continue
        found = await asyncio.to_thread(look, house.journal, cursor.place.number, house.news.last, narrator.cases)
        if found.missing and outlet.hears(Topic.GAP):
            await outlet.deliver(_gap(cursor.place.number, found.missing), cursor.identity)
        for number, notices in narrator.notices(found):
            wanted = [each for each in notices if outlet.hears(each.topic)]
            for each in wanted:
                await outlet.deliver(each, cursor.identity)
            if wanted:
                cursor = await _kept(outlet, cursor.at(number), house)
                outlet.done(number)
                kept_s = time.monotonic()
        cursor = cursor.at(found.upto)
        if time.monotonic() - kept_s > KEPT_S:
            cursor = await _kept(outlet, cursor, house)
            kept_s = time.monotonic()


async def _begin(outlet: Outlet, house: House) -> tuple[Cursor, Narrator]:
    """Where it stood; who was never told begins with the events of this life."""
    found = await ask(house.writer, lambda desk: (Context.of(desk), desk.lives[-1].number))
    if isinstance(found, say.Refused):
        raise SourceError(outlet.name, found.message, advice=found.advice)
    context, begun = found
    cursor = await asyncio.to_thread(opened, house.state_dir, outlet.name, house.journal, begin=begun - 1)
    return cursor, Narrator(await asyncio.to_thread(words_after, house.journal, context, cursor.place.number))


async def _kept(outlet: Outlet, cursor: Cursor, house: House) -> Cursor:
    """The cursor, kept if its file can be written. What was told is told all the same: telling goes on."""
    who = f"the place of {outlet.name}"
    try:
        kept = await asyncio.to_thread(cursor.keep, house.journal)
    except OSError as error:
        why = f"{cursor.path}: {error.strerror or error} (make room; until then a restart tells again what was told)"
        house.problems.says(who, why)
        return cursor
    house.problems.says(who, "")
    return kept


def _gap(after: int, missing: int) -> Notice:
    text = f"the journal no longer keeps all of the events {after + 1} to {missing}; what it keeps of them follows"
    return notice(Topic.GAP, after, text, part=f"gap-{missing}")


class _Health:
    """How the service is, as far as an outlet was told. It is not told of its own problems: it could not be."""

    def __init__(self, own: str) -> None:
        self._own, self._known = own, frozenset[str]()
        self._looked_s = 0.0

    async def news(self, house: House, number: int) -> Notice | None:
        """What is new, if it is time to look and anything has changed. Numbers in sentences change all the time, and
        are no news.
        """
        if time.monotonic() - self._looked_s < HEALTH_S:
            return None
        self._looked_s = time.monotonic()
        health = await ask(house.writer, lambda desk: house.status(desk, Doorkeeping()))
        if isinstance(health, say.Refused):
            return None
        problems = [each for each in health.problems if not each.startswith(f"{self._own}: ")]
        shapes = frozenset(_NUMBERS.sub("#", each) for each in problems)
        if shapes == self._known:
            return None
        self._known = shapes
        topic = Topic.HEALTH_PROBLEM if problems else Topic.HEALTH_WELL
        text = "; ".join(problems) or "the service is well again"
        part = f"health-{health.started_wall_ms}-{time.time_ns() // 1_000_000}-{crc32(text.encode()):08x}"
        return notice(topic, number, text, details=problems, part=part)
