"""Reports that came together: written down as one event, counted as one by one, acted upon a few at a time.

The law: whatever the history of a part adds up to, and whether its threshold is passed, is the same as if the reports
had come one by one, all at the moment at which they were written. Two bounds keep a storm from holding up what cannot
wait. Parts that may have passed their threshold are acted upon once in ``ACT_EVERY_MS``, and the same part once in
``PAUSE_MS``; and after ``KEPT_AT_ONCE`` reports, ``KEPT_A_SECOND`` of them are kept one by one. Of the others the
number is kept, by page: they are counted as ``State.summed``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ringfence.decision.policy import Policy
from ringfence.diagnosis.finding import diagnose
from ringfence.diagnosis.severity import ErrorClass
from ringfence.journal import events as ev
from ringfence.journal.faults import Key, counted_by, page_key, sighting_of
from ringfence.journal.state import SUSPECTS_KEPT
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.evidence import Origin, Record
from ringfence.record.repeats import Repeats
from ringfence.service import seen
from ringfence.service.ahead import ActingAhead
from ringfence.service.ledger import Ledger
from ringfence.world.identities import Frame
from ringfence.world.situation import Suspect

KEPT_AT_ONCE: Final = 2_000_000
"""Reports kept one by one of a storm: some 30 MB of journal."""
KEPT_A_SECOND: Final = 1_000
"""And of one that goes on, some 1.2 GB a day: a quarter of the journal's bound (``journal.store.LIMIT_BYTES``)."""
ACT_EVERY_MS: Final = 50
"""One part is acted upon at a time, and in a storm only so often: it takes some milliseconds, in which an uncorrected
error waits. The pages that the policy's budget lets go (64 of a DIMM) are through in some seconds."""
STORM_REPORTS: Final = 256
"""Fewer that came together are no storm: what follows from them is done as soon as the turn is theirs."""
LOOKED_AT_ONCE: Final = 64
"""Parts looked at meanwhile that turn out to be below their threshold, or dealt with: some microseconds each."""
PAUSE_MS: Final = 1_000
"""A part that was acted upon is not looked at again before: a storm passes any threshold many times a second."""
PARTS_WAITING: Final = SUSPECTS_KEPT
"""As many as are counted at all. What finds no room is looked at when it errs again."""


_Part = Key | Frame
"""A page by its number, which is quicker: there are thousands of them at a time."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A part that may have passed its threshold, and a report that names it."""

    raw: bytes
    origin: Origin
    where: seen.Where

    @property
    def record(self) -> Record:
        """The report."""
        return StructMce.unpack(self.raw).record(origin=self.origin, raw=self.raw)


class Storms:
    """What came together in one life of this process."""

    def __init__(self, ledger: Ledger, ahead: ActingAhead, policy: Policy) -> None:
        self._ledger, self._ahead = ledger, ahead
        self._room, self._room_ms = KEPT_AT_ONCE, ledger.now_ms
        self._waiting: dict[_Part, _Waiting] = {}
        self._acted_ms: dict[_Part, int] = {}
        self._next_ms = 0
        self._is_storm = False
        self.reload(policy)

    def reload(self, policy: Policy) -> None:
        """What is counted from now on goes by this policy."""
        self._least = {suspect: rule.n for suspect, rule in seen.rules_of(policy.trends).items()}

    def events(self, repeats: Sequence[Repeats], now_ms: int) -> list[ev.Repeated]:
        """What is to be written down of them, one event each."""
        return [
            seen.repeated(diagnose(each.first), each, at_ms=now_ms, apart=self._keeps(each.reports, now_ms))
            for each in repeats
        ]

    def _keeps(self, reports: int, now_ms: int) -> bool:
        """Whether there is room to keep so many one by one; takes it."""
        gained = max(0, now_ms - self._room_ms) * KEPT_A_SECOND // 1000
        if gained:
            self._room, self._room_ms = min(KEPT_AT_ONCE, self._room + gained), now_ms
        if reports > self._room:
            return False
        self._room -= reports
        return True

    # --- trends ------------------------------------------------------------------------------------------------------

    def counted(self, repeats: Sequence[Repeats], events: Sequence[ev.Repeated]) -> None:
        """They were written down: remember the parts that may have passed their threshold by it, for ``go_on``."""
        now_ms = self._ledger.now_ms
        if repeats:
            self._is_storm = sum(each.reports for each in repeats) >= STORM_REPORTS
        for each, event in zip(repeats, events, strict=True):
            if not event.corrected:
                continue
            cpu, dimm, origin = event.record.cpu, event.dimm, each.first.origin
            for key in counted_by(event, sighting_of(event)):
                if key[0] in self._least and self._may_wait(key, now_ms):
                    self._waiting[key] = _Waiting(each.first.raw, origin, seen.Where(cpu, dimm, None))
            if near := self._near(event, now_ms):
                at = {page: index for index, page in enumerate(seen.pages_of(diagnose(each.first), each))}
                for page in near:
                    self._waiting[page] = _Waiting(each.raw(at.get(page, 0)), origin, seen.Where(cpu, dimm, page))

    def _near(self, event: ev.Repeated, now_ms: int) -> list[Frame]:
        """The pages that may have passed their threshold, by a glance at how often they were seen."""
        least, history = self._least.get(Suspect.PAGE), self._ledger.state.history
        if least is None:
            return []
        return [
            page
            for page, reports in event.pages
            if self._may_wait(page, now_ms)
            and (event.count * reports >= least or len(history.get(page_key(page), ())) > 1)
        ][: max(0, PARTS_WAITING - len(self._waiting))]

    def _may_wait(self, part: _Part, now_ms: int) -> bool:
        if part in self._waiting or len(self._waiting) >= PARTS_WAITING:
            return False
        acted_ms = self._acted_ms.get(part)
        return acted_ms is None or now_ms >= acted_ms + PAUSE_MS

    @property
    def wake_ms(self) -> int | None:
        """When the next part is to be looked at, on the host's clock; None if none waits."""
        return self._next_ms if self._waiting else None

    def go_on(self) -> None:
        """Look at the parts that wait, the first ones first, until one was acted upon; not before it is time."""
        now_ms = self._ledger.now_ms
        if now_ms < self._next_ms:
            return
        for part in list(islice(self._waiting, LOOKED_AT_ONCE)):
            waiting = self._waiting.pop(part)
            key = page_key(Frame(part)) if isinstance(part, int) else part
            if self._ahead.counted_together(key, waiting.record, waiting.where):
                self._acted_ms.pop(part, None)
                self._acted_ms[part] = now_ms
                self._next_ms = now_ms + (ACT_EVERY_MS if self._is_storm else 0)
                break
        for part in list(islice(self._acted_ms, max(0, len(self._acted_ms) - PARTS_WAITING))):
            del self._acted_ms[part]


def uncorrected(repeats: Sequence[Repeats]) -> tuple[list[Repeats], list[Record]]:
    """Those that are corrected after all, and the reports of those that are not, each by itself: they do not wait.

    What may be uncorrected by its bits is sorted out before (``sources.aggregation``); the diagnosis has the last word.
    """
    together: list[Repeats] = []
    apart: list[Record] = []
    for each in repeats:
        if diagnose(each.first).error_class is not ErrorClass.UNCORRECTED:
            together.append(each)
            continue
        for at in range(each.reports):
            raw = each.raw(at)
            apart.append(StructMce.unpack(raw).record(origin=each.first.origin, raw=raw))
    return together, apart
