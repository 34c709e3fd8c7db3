"""Evidence in Dom0's seat: written down, then acted on: guests are informed (I.3a-inform), trends acted on (II.1).

By whatever way a record came (the port, a source of the host's own, what an earlier boot left), this is where it
enters the journal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ringfence.decision.answer import inform, informs
from ringfence.decision.flow import State
from ringfence.decision.policy import Policy
from ringfence.decision.rows import Because, Row
from ringfence.diagnosis.finding import UNJUDGED, diagnose
from ringfence.diagnosis.severity import ErrorClass, is_judgeable
from ringfence.hypervisor.port import Token
from ringfence.journal import events as ev
from ringfence.record.evidence import Record
from ringfence.record.repeats import Repeats
from ringfence.service import resumption, seen, written
from ringfence.service.ahead import ActingAhead
from ringfence.service.alone import Alone
from ringfence.service.campaigning import Campaigning, part_begun, part_ended
from ringfence.service.hearing import Told, for_the_seat, heard, records_of, sink_of
from ringfence.service.ledger import Ledger
from ringfence.service.sources.attaching import New
from ringfence.service.storms import Storms, uncorrected
from ringfence.world.identities import CaseId, Frame
from ringfence.world.situation import Seat, Suspect
from ringfence.world.steps import Order, Result, Status

MOST_INFORMED: Final = 4_096
"""Pages of which a guest was told: a page that errs again after so many others is told of again."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A record as its source gives it. ``count`` is how many errors it tells of, where the source has counted them (a
    storm told as one, the steps of a counter); None where the record or its registers say it themselves.
    """

    record: Record
    count: int | None = None


class Evidence:
    """The evidence of one life of this process. ``alone`` treats errors in this seat; None: the hypervisor does."""

    def __init__(
        self, ledger: Ledger, campaigning: Campaigning, ahead: ActingAhead, alone: Alone | None, policy: Policy
    ) -> None:
        self._ledger, self._campaigning, self._ahead, self._alone = ledger, campaigning, ahead, alone
        self._policy, self._informs = policy, informs(policy)
        self._informed: dict[Frame, None] = {}
        self._storms = Storms(ledger, ahead, policy)

    def reload(self, policy: Policy) -> None:
        """What is received from now on goes by this policy."""
        self._policy, self._informs = policy, informs(policy)
        self._storms.reload(policy)

    def take(
        self,
        pieces: Sequence[Piece],
        *,
        urgent: bool,
        token: Token | None = None,
        case: CaseId | None = None,
        repeats: Sequence[Repeats] = (),
    ) -> None:
        """Write pieces of evidence down, all or none, and do what follows from them.

        ``token`` names the arrival at the port, None for a source of the host's own; ``case`` is the hypervisor's
        number for it where it treats cases itself. ``repeats`` came together in a storm; what follows from these is
        done by ``go_on``. First aid comes before anything is written.
        """
        repeats, others = uncorrected(repeats)
        pieces, urgent = (*pieces, *map(Piece, others)), urgent or bool(others)
        now_ms = self._ledger.now_ms
        cases: tuple[CaseId | None, ...] = (case,) * len(pieces)
        if self._alone is not None:
            cases = self._alone.reported([piece.record for piece in pieces])
        first_aid = self._alone.first_aid() if self._alone is not None else []
        events: list[ev.Event] = [
            _taken(piece, at_ms=now_ms, token=token, case=of, urgent=urgent, part=part)
            for part, (piece, of) in enumerate(zip(pieces, cases, strict=True))
        ]
        if self._alone is not None:
            # Whom it hit is written with the evidence: first aid may have hidden it from who looks again after a kill.
            for entry in self._alone.judged():
                events += written.judged(entry, Seat.DOM0, now_ms, None)
        storms = self._storms.events(repeats, now_ms)
        with self._ledger.together():
            self._ledger.write(*events, *storms)
            if self._alone is not None:
                self._alone.go_on(first_aid)
            for event in events:
                if isinstance(event, ev.Received) and event.corrected:
                    self._inform(event)
                    self._ahead.counted(event)
        self._storms.counted(repeats, storms)

    @property
    def wake_ms(self) -> int | None:
        """When something that follows from what came together is to be done by ``go_on``; None if nothing is."""
        return self._storms.wake_ms

    def go_on(self) -> None:
        """Do some of what follows from what came together."""
        with self._ledger.together():
            self._storms.go_on()

    def left_over(self, records: Sequence[Record], *, token: Token | None, sink: str) -> None:
        """Evidence of an earlier boot: joined to its case if it is known, else a case of its own that has ended."""
        for part, record in enumerate(records):
            if is_judgeable(record):
                self._ledger.write(*self._history(record, token=token, part=part, sink=sink, own=0))
                continue
            why, origin = UNJUDGED, record.origin
            self._ledger.write(
                ev.Unrecognised(
                    at_ms=self._ledger.now_ms, raw=record.raw, why=why, origin=origin, token=token, part=part
                )
            )

    def _history(
        self, record: Record, *, token: Token | None, part: int, sink: str, own: int
    ) -> tuple[ev.Received, *tuple[ev.Event, ...]]:
        """What is written of a record that an earlier boot left. ``own``: so many cases of Dom0's own wait to be
        written.
        """
        now_ms, finding = self._ledger.now_ms, diagnose(record)
        events: list[ev.Event] = []
        is_uncorrected = ErrorClass.of(finding.severity) is ErrorClass.UNCORRECTED
        is_known, case = resumption.known(self._ledger, record) if is_uncorrected else (True, None)
        if not is_known:
            case = CaseId(self._ledger.own_case() + own)
            why = f"found in {sink} after the reset: the host did not live on"
            entry = ev.OutcomeEntry(None, State.HALTED, Row.LAST_WORDS, why)
            events.append(ev.Closed(at_ms=now_ms, case=case, outcome=(entry,)))
        received = seen.received(finding, at_ms=now_ms, token=token, case=case, urgent=True, part=part, sink=sink)
        return (received, *events)

    def hear(self, told: Told) -> None:
        """Write down what a source of the host's own told, with how far it was read, all or none (``hearing``); then do
        what follows from it, as for what comes by the port.
        """
        cases: dict[int, CaseId | None] = {}
        first_aid: list[tuple[Order, Result]] = []
        if self._alone is not None:
            for moment in for_the_seat(told):
                cases.update(zip(moment, self._alone.reported(tuple(records_of(told, moment))), strict=True))
            first_aid = self._alone.first_aid()
        now_ms = self._ledger.now_ms
        left_over: dict[int, tuple[ev.Received, *tuple[ev.Event, ...]]] = {}
        own = 0
        for place, item in enumerate(told.items):
            if isinstance(item, New) and (sink := sink_of(told, item)):
                left_over[place] = self._history(item.record, token=None, part=0, sink=sink, own=own)
                own += len(left_over[place]) - 1
        found = heard(told, self._ledger.state, cases, now_ms=now_ms, left_over=left_over)
        judged = self._alone.judged() if self._alone is not None else ()
        storms = self._storms.events(told.repeats, now_ms)
        with self._ledger.together():
            self._ledger.write(
                *found.events,
                *(event for entry in judged for event in written.judged(entry, Seat.DOM0, now_ms, None)),
                *storms,
            )
            if self._alone is not None:
                self._alone.go_on(first_aid)
            for report, parts in found.counted:
                if Suspect.PAGE in parts:
                    self._inform(report)
                self._ahead.counted(report, parts)
        self._storms.counted(told.repeats, storms)

    def _inform(self, event: ev.Received) -> None:
        """Tell the guest whose page it is, if the policy wants it to hear of corrected errors: once for each page.

        Not of what comes together in a storm (``ev.Repeated``): each telling is an order of its own, and a storm names
        thousands of pages while an uncorrected error may wait behind them. A page that passes its threshold in a storm
        is acted upon (II.1), and what that means for the guest it is told.
        """
        if not self._informs or event.frame is None or event.frame in self._informed:
            return
        for step in inform(self._campaigning.situation(event.record), self._policy):
            self._informed[event.frame] = None
            while len(self._informed) > MOST_INFORMED:
                del self._informed[next(iter(self._informed))]
            case, now_ms = self._ledger.own_case(), self._ledger.now_ms
            why = Because(Row.INFORM, "the policy wants it to hear of corrected errors", "policy: inform_of_ce")
            self._ledger.write(
                written.decided(now_ms, case, step.domain, Row.INFORM, (why,)),
                part_begun(now_ms, case, step.domain, row=Row.INFORM),
            )
            _, result = self._ledger.execute(case, step, Row.INFORM)
            heard = result.succeeded or result.status is Status.RUNNING
            state = State.OPERATED if heard else State.NOT_OPERATED
            self._ledger.write(
                part_ended(self._ledger.now_ms, case, step.domain, state, Row.INFORM, result.because or "it was told")
            )


def _taken(  # noqa: PLR0913 (one argument a fact)
    piece: Piece, *, at_ms: int, token: Token | None, case: CaseId | None, urgent: bool, part: int
) -> ev.Received | ev.Unrecognised:
    record = piece.record
    if not is_judgeable(record):
        # A #MC of which no bank says why.
        why = "it does not say how bad it is"
        return ev.Unrecognised(at_ms=at_ms, raw=record.raw, why=why, origin=record.origin, token=token, part=part)
    return seen.received(
        diagnose(record), at_ms=at_ms, token=token, case=case, urgent=urgent, part=part, sink=None, count=piece.count
    )
