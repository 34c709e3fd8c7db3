"""Dom0's door: what waits for Dom0 besides Xen's telemetry, each with the token that acknowledges it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from ringfence.hypervisor.port import Arrival, Ended, EvidenceWanted, LeftOver, Lost, Progress, Question, Token
from ringfence.record.evidence import Record
from ringfence.world.identities import CaseId, DomainId
from ringfence.world.steps import Result
from ringfence.world.treatment import Entry, StepEnded

PROGRESS_KEPT: Final = 4096
"""Entries of the seat that wait for a Dom0 that does not fetch; the oldest go first, and count as lost evidence."""
ENDED_KEPT: Final = 1024
"""Ends of Dom0's own steps that wait to be fetched; they can be probed."""
QUESTIONS_KEPT: Final = 1024
"""Questions at a time: as many as the seat follows cases."""


@dataclass(slots=True)
class Asked:
    """A question that waits for its answer; ``operating``: Dom0 has said that it operates on the domain itself."""

    question: Question
    operating: bool = False
    seen: bool = False


@dataclass(slots=True)
class Wanted:
    """Dom0 is given time to save evidence."""

    arrival: EvidenceWanted
    on_end: Callable[[Result], None]
    seen: bool = False


@dataclass(slots=True)
class Door:
    """What waits for Dom0."""

    asked: dict[tuple[CaseId, DomainId], Asked] = field(default_factory=dict)
    wanted: dict[CaseId, Wanted] = field(default_factory=dict)
    left_overs: list[LeftOver] = field(default_factory=list)
    lost: list[Lost] = field(default_factory=list)
    _progress: deque[Progress] = field(default_factory=deque)
    _ended: deque[Ended] = field(default_factory=lambda: deque(maxlen=ENDED_KEPT))
    _next_token: int = 1
    _shown: set[Token] = field(default_factory=set)
    """Losses that Dom0 has seen."""

    def token(self) -> Token:
        """A number that was never used."""
        number = self._next_token
        self._next_token += 1
        return Token(number)

    # --- putting in ----------------------------------------------------------------------------------------------

    def ask(self, case: CaseId, domain: DomainId, deadline_ms: int, *, operate: bool) -> bool:
        """Puts a question in; False if there are too many."""
        if len(self.asked) >= QUESTIONS_KEPT:
            return False
        question = Question(self.token(), case=case, domain=domain, deadline_ms=deadline_ms, operate=operate)
        self.asked[case, domain] = Asked(question)
        return True

    def want(self, case: CaseId, deadline_ms: int, on_end: Callable[[Result], None]) -> None:
        """Evidence of a case is to be saved."""
        arrival = EvidenceWanted(self.token(), case=case, deadline_ms=deadline_ms)
        self.wanted[case] = Wanted(arrival, on_end)

    def progress(self, entry: Entry) -> None:
        """What the seat did. A question is not asked any more when its part of the case has ended."""
        if entry.ended and entry.domain is not None:
            self.asked.pop((entry.case, entry.domain), None)
        if len(self._progress) >= PROGRESS_KEPT:
            self._progress.popleft()
            self.lose(1, urgent=True)
        self._progress.append(Progress(self.token(), entry))

    def ended(self, what: StepEnded) -> None:
        """A step of Dom0's own has ended."""
        self._ended.append(Ended(what))

    def lose(self, count: int, *, urgent: bool) -> None:
        """Telemetry was dropped; counts of a class that wait add up.

        But not into one that was shown: it may be durable already, and what is added to it then would be counted never.
        """
        for at, each in enumerate(self.lost):
            if each.urgent is urgent and each.token not in self._shown:
                self.lost[at] = Lost(each.token, each.count + count, urgent)
                return
        self.lost.append(Lost(self.token(), count, urgent))

    def leave(self, records: tuple[Record, ...], sink: str) -> None:
        """Evidence of an earlier boot."""
        if records:
            self.left_overs.append(LeftOver(self.token(), records, sink))

    # --- taking out ----------------------------------------------------------------------------------------------

    def before_telemetry(self) -> tuple[Arrival, ...]:
        """What is more urgent than urgent telemetry."""
        return tuple(each.arrival for each in self.wanted.values() if not each.seen)

    def after_telemetry(self, most: int) -> tuple[Arrival, ...]:
        """Questions, progress, ends, left-overs and losses, as many as there is room for. Ends are shown once."""
        waiting: list[Question | Progress] = [each.question for each in self.asked.values() if not each.seen]
        waiting += islice(self._progress, most)
        # In the order in which they came about: tokens grow.
        shown: list[Arrival] = [*sorted(waiting, key=lambda each: each.token)[:most]]
        while self._ended and len(shown) < most:
            shown.append(self._ended.popleft())
        self._shown.update(each.token for each in self.lost)
        return (*shown, *self.left_overs, *self.lost)[:most]

    def holds(self, sink: str) -> bool:
        """Whether left-overs of a sink still wait."""
        return any(each.sink == sink for each in self.left_overs)

    def acknowledge(self, token: Token) -> bool:
        """Forgets what has this token; a question and the wish for evidence stay open, only not shown again."""
        for asked in self.asked.values():
            if asked.question.token == token:
                asked.seen = True
                return True
        for wanted in self.wanted.values():
            if wanted.arrival.token == token:
                wanted.seen = True
                return True
        if self._progress and self._progress[0].token == token:
            self._progress.popleft()
            return True
        before = len(self._progress) + len(self.left_overs) + len(self.lost)
        self._progress = deque(each for each in self._progress if each.token != token)
        self.left_overs = [each for each in self.left_overs if each.token != token]
        self.lost = [each for each in self.lost if each.token != token]
        return before > len(self._progress) + len(self.left_overs) + len(self.lost)
