"""Which cases were begun because of the end of another: read from the journal."""

from __future__ import annotations

from itertools import takewhile
from typing import Final

from ringfence.journal import events as ev
from ringfence.journal.reading import Readable
from ringfence.journal.telling import Told
from ringfence.views.chain import follows
from ringfence.world.identities import CaseId

JUST_BEFORE: Final = 512
"""Events: what follows from a case's end is begun in the turn that closes it, right before that is written."""


def followed_by(journal: Readable, case: CaseId, told: Told) -> tuple[CaseId, ...]:
    """The cases that the end of this one has begun: one that brings a domain back begins as this one ends. ``told`` has
    events.
    """
    last, end = told.events[-1]
    if not isinstance(end, ev.Closed) or all(entry.domain is None for entry in end.outcome):
        return ()
    before = takewhile(lambda each: each[0] < last, journal.events(max(0, last - JUST_BEFORE), kinds=(ev.Decided,)))
    found = (follows(each, case) for _, each in before)
    return tuple(dict.fromkeys(each for each in found if each is not None))
