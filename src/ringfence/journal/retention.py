"""What of a journal may go, and how it goes: the file has a bound, and nothing that counts is lost by it.

Events go from the oldest on, up to one that becomes the base. A snapshot of the state after the base stands for them.
Of what is older stay the events of which somebody may ask yet: those of open cases with their orders, arrivals that are
not acknowledged, what may be found again after a reset, and the starts and names that these are told with
(docs/decisions/0009-retention-with-a-verified-base.md).

``plan`` reads, and may take its time beside a journal that is written. ``carry_out`` writes: each of its steps is one
short transaction, and a kill between any two of them leaves a journal that says the same.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import Final

import msgspec

from ringfence.diagnosis.severity import ErrorClass, Severity
from ringfence.errors import JournalError
from ringfence.journal import events as ev
from ringfence.journal.archive import Archive
from ringfence.journal.lives import last_boots, lives
from ringfence.journal.reading import Base, Readable
from ringfence.journal.recall import recall
from ringfence.journal.snapshot import SHAPE, encode
from ringfence.journal.state import State
from ringfence.journal.store import SNAPSHOTS, Journal
from ringfence.world.identities import DomainId, StepId
from ringfence.world.situation import Suspect

HIGH: Final = 0.8
"""Of the bound: what the file may hold before events go. The rest is for what comes until they have gone."""
LOW: Final = 0.7
"""Of the bound: what the file holds after that."""
LEAST: Final = 1024
"""Events that are worth a snapshot; fewer stay, unless somebody asks for it."""
KEPT_AT_ONCE: Final = 512
"""Rows that are marked in one transaction."""
DAY_MS: Final = 24 * 3600 * 1000


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """The file may have ``limit_bytes``; what is older than ``keep_days`` (0: nothing is) goes as well.

    Fewer events than ``least`` stay.
    """

    limit_bytes: int
    keep_days: int = 0
    least: int = LEAST


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What shall go: all up to event ``upto`` but the events that are ``kept``. ``snapshot`` is the state after it.

    ``events`` with ``text_bytes`` go, because of ``because``. ``crc`` is that of event ``upto``.
    """

    upto: int
    crc: int
    version: int
    snapshot: bytes
    kept: tuple[int, ...]
    events: int
    text_bytes: int
    because: str


# --- how much ---------------------------------------------------------------------------------------------------------


def too_old(journal: Readable, keep_days: int, now_wall_ms: int) -> int:
    """The number of the last event that is older than so many days; an event without a wall clock is not too old."""
    before_ms, upto = now_wall_ms - keep_days * DAY_MS, journal.base.number
    known = lives(journal)
    ends = [*(after.number - 1 for _, after in pairwise(known)), journal.last]
    for life, end in zip(known, ends, strict=True):
        first = max(upto + 1, life.number)
        if life.epoch_ms is None or first > end:
            continue  # it is as old as what comes after it
        older = bisect_left(range(first, end + 1), before_ms - life.epoch_ms, key=journal.at_ms)
        upto = first + older - 1 if older else upto
        if upto < end:
            break
    return upto


def too_many(journal: Readable, limit_bytes: int) -> int:
    """The number of the last event that has to go so that the file holds no more than it should; 0 if none has to."""
    used_bytes, base = journal.used_bytes, journal.base.number
    if used_bytes <= HIGH * limit_bytes:
        return 0
    events = journal.last - base
    return base + min(events, round(events * (used_bytes - LOW * limit_bytes) / used_bytes))


def plan(journal: Readable, bounds: Bounds, now_wall_ms: int, archive: Archive | None = None) -> Plan | None:
    """What shall go now, None if nothing shall.

    What goes is in the ``archive`` before this returns. Raises ``JournalError`` if the journal cannot be read.
    """
    old = too_old(journal, bounds.keep_days, now_wall_ms) if bounds.keep_days else 0
    many = too_many(journal, bounds.limit_bytes)
    if max(old, many) - journal.base.number < max(1, bounds.least):
        return None
    if many > old:
        because = f"the journal may have {bounds.limit_bytes} bytes"
    else:
        because = f"they are older than {bounds.keep_days} days"
    found = plan_upto(journal, max(old, many), because, archive)
    return found if found.events else None


# --- what stays -------------------------------------------------------------------------------------------------------


def plan_upto(journal: Readable, upto: int, because: str, archive: Archive | None = None) -> Plan:
    """As ``plan``, up to event ``upto``."""
    now = recall(journal).state
    then = recall(journal, upto)
    if then.number != upto:
        raise JournalError(journal.path, f"there is no event {upto}", advice="Name one that the journal has.")
    if then.state.unread:
        raise JournalError(
            journal.path,
            f"{then.state.unread} of its old events are of a later version of Ringfence: they stay",
            advice="Run the later version: it can put them together.",
        )
    reached = _Reached(now, upto, last_boots(journal))
    old_base = journal.base.number
    for number, text in journal.texts():
        if number > upto:
            break
        reached.take(number, text)
        if archive is not None and number > old_base:
            archive.add(number, text)
    if archive is not None:
        archive.close()
    kept = reached.kept()
    stays = frozenset(kept)
    gone = [length for number, length in reached.lengths.items() if number not in stays]
    return Plan(
        upto=upto, crc=journal.crc_at(upto), version=SHAPE, snapshot=encode(then.state), kept=kept,
        events=len(gone), text_bytes=sum(gone), because=because,
    )  # fmt: skip


class _Reached:
    """Goes through the events that are old, and knows which of them are needed."""

    def __init__(self, now: State, upto: int, boots: dict[int, str]) -> None:
        self._now, self._boots = now, boots
        # What was found in these may be found again after a reset (B.2).
        self._recent = min(boots, default=upto + 1)
        self.lengths: dict[int, int] = {}
        """The length of each event that was there."""
        self._kept: set[int] = set()
        self._orders: set[StepId] = set()
        self._domains: set[DomainId] = set(now.domains).union(*(case.domains for case in now.cases.values()))
        self._started = self._policy = 0
        self._named: dict[DomainId, int] = {}
        self._trends: dict[tuple[Suspect, str], int] = {}

    def take(self, number: int, text: str) -> None:
        """The next event."""
        event = ev.from_text(text)
        self.lengths[number] = len(text)
        match event:
            case ev.Started():
                self._started = number
            case ev.PolicyLoaded():
                self._policy = number
            case ev.DomainChanged():
                self._named[event.domain] = number
            case ev.TrendSeen():
                self._trends[event.suspect, event.name] = number
            case _:
                pass
        if self._is_needed(number, event):
            # With the start that says when it was.
            self._kept |= {number, self._started} - {0}
            self._domains |= _domains_of(event)

    def _is_needed(self, number: int, event: ev.Stored) -> bool:
        now = self._now
        if getattr(event, "case", None) in now.cases or getattr(event, "token", None) in now.unacknowledged:
            if isinstance(event, ev.Intended):
                self._orders.add(event.order)
            return True
        match event:
            case ev.Intended() if event.order in now.orders:
                self._orders.add(event.order)
                return True
            case ev.Carried():
                return event.order in self._orders
            case ev.Received():
                return number >= self._recent and event.severity in _UNCORRECTED
            case _:
                return False

    def kept(self) -> tuple[int, ...]:
        """The numbers of those that stay, once all were taken."""
        faults = self._now.faults.known
        stay = {
            *self._kept,
            self._started,
            self._policy,
            *self._boots,
            *(number for domain, number in self._named.items() if domain in self._domains),
            *(number for key, number in self._trends.items() if key in faults and not faults[key].ended),
        }
        return tuple(sorted(stay & self.lengths.keys()))


_UNCORRECTED: Final = frozenset(
    str(each) for each in Severity if ErrorClass.of(each) is ErrorClass.UNCORRECTED
)  # fmt: skip


def _domains_of(event: ev.Stored) -> set[DomainId]:
    """The domains that an event names."""
    match event:
        case ev.Impacted():
            found = {hit.domain for hit in (event.consumer, *event.losers)}
        case ev.Intended():
            found = {DomainId(value) for name, value in event.step.given if name == "domain" and isinstance(value, int)}
        case ev.Closed():
            found = {entry.domain for entry in event.outcome}
        case _:
            found = {getattr(event, "domain", None)}
    return {domain for domain in found if domain is not None}


# --- how it goes ------------------------------------------------------------------------------------------------------


def carry_out(journal: Journal, wanted: Plan, at_ms: int) -> Iterator[ev.Compacted | None]:
    """Let go of what a plan says, a short transaction at each step. The step that gives an event has journaled it.

    Raises ``JournalError`` if the disk fails or is full: what was done until then holds.
    """
    yield from journal.put_snapshot(wanted.upto, wanted.crc, wanted.version, wanted.snapshot)
    yield None
    for at in range(0, len(wanted.kept), KEPT_AT_ONCE):
        yield from journal.stepwise(partial(journal.keep, wanted.kept[at : at + KEPT_AT_ONCE]))
        yield None
    event = ev.Compacted(
        at_ms=at_ms, upto=wanted.upto, events=wanted.events, bytes=wanted.text_bytes, because=wanted.because
    )
    yield from journal.stepwise(lambda: journal.raise_base(Base(wanted.upto, wanted.crc), event))
    yield event
    needed = frozenset(wanted.kept)
    before = yield from journal.stepwise(lambda: journal.kept)
    gone = [number for number in before if number not in needed]
    for at in range(0, len(gone), KEPT_AT_ONCE):
        yield from journal.stepwise(partial(journal.let_go, gone[at : at + KEPT_AT_ONCE]))
        yield None
    yield from tidy(journal)


def tidy(journal: Journal) -> Iterator[None]:
    """Delete what is not needed any more, some at each step: what a kill has left, too."""
    while (yield from journal.stepwise(journal.drop)):
        yield None
    yield from journal.stepwise(lambda: journal.drop_snapshots(SNAPSHOTS))
    yield None
