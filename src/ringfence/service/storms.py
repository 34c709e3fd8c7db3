"""Reports that came together: written down as one event, counted as one by one, acted upon a few at a time.

The law: whatever the history of a part adds up to, and whether its threshold is passed, is the same as if the reports
had come one by one, all at the moment at which they were written. Two bounds keep a storm from holding up what cannot
wait. Parts that may have passed their threshold are acted upon ``ACTS_AT_ONCE`` a turn, and the same part once in
``PAUSE_MS``; and after ``KEPT_AT_ONCE`` reports, ``KEPT_A_SECOND`` of them are kept one by one. Of the others the
number is kept, by page: they are counted as ``State.summed``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
ACTS_AT_ONCE: Final = 1
"""Parts that are acted upon in one turn: each takes some milliseconds, in which an uncorrected error waits."""
PAUSE_MS: Final = 1_000
"""A part that has passed its threshold is not looked at again before: a storm passes any many times a second."""
PARTS_WAITING: Final = SUSPECTS_KEPT
"""As many as are counted at all. What finds no room is looked at when it errs again."""


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
        self._waiting: dict[Key, _Waiting] = {}
        self._acted_ms: dict[Key, int] = {}
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
        for each, event in zip(repeats, events, strict=True):
            if not event.corrected:
                continue
            cpu, dimm = event.record.cpu, event.dimm
            for key in counted_by(event, sighting_of(event)):
                self._may_act(key, _Waiting(each.first.raw, each.first.origin, seen.Where(cpu, dimm, None)), now_ms)
            pages = self._near(event)
            if pages:
                at = {page: index for index, page in enumerate(seen.pages_of(diagnose(each.first), each))}
                for page in pages:
                    waiting = _Waiting(each.raw(at.get(page, 0)), each.first.origin, seen.Where(cpu, dimm, page))
                    self._may_act(page_key(page), waiting, now_ms)

    def _near(self, event: ev.Repeated) -> list[Frame]:
        """The pages that may have passed their threshold, by a glance at how often they were seen."""
        least, history = self._least.get(Suspect.PAGE), self._ledger.state.history
        if least is None:
            return []
        return [
            page
            for page, reports in event.pages
            if event.count * reports >= least or len(history.get(page_key(page), ())) > 1
        ]

    def _may_act(self, key: Key, waiting: _Waiting, now_ms: int) -> None:
        if key[0] not in self._least or key in self._waiting or len(self._waiting) >= PARTS_WAITING:
            return
        acted_ms = self._acted_ms.get(key)
        if acted_ms is None or now_ms >= acted_ms + PAUSE_MS:
            self._waiting[key] = waiting

    @property
    def waits(self) -> bool:
        """Whether parts wait to be looked at: a turn is due."""
        return bool(self._waiting)

    def go_on(self) -> None:
        """Look at the parts that wait, the first ones first, until ``ACTS_AT_ONCE`` of them were acted upon."""
        acts = 0
        while self._waiting and acts < ACTS_AT_ONCE:
            key = next(iter(self._waiting))
            waiting = self._waiting.pop(key)
            if self._ahead.counted_together(key, waiting.record, waiting.where):
                acts += 1
                self._acted_ms.pop(key, None)
                self._acted_ms[key] = self._ledger.now_ms
                while len(self._acted_ms) > PARTS_WAITING:
                    del self._acted_ms[next(iter(self._acted_ms))]


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
