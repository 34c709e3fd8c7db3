"""Treats cases: holds where each part stands, and turns what is told into steps. The rules are decision's.

One treatment sits in the hypervisor's seat of the model, another in Dom0's seat where the hypervisor acts alone. It has
no clock, no I/O and no randomness: what it is told is all it knows, and what it wants is what it returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Final

from ringfence.arch.mcg import EIPV, MCIP
from ringfence.decision.decide import Decision, Part, decide, decide_on, facts_of, on_corrected
from ringfence.decision.flow import ENDS, Event, Facts, Position, State, advance, allowed, halting
from ringfence.decision.orders import Subject, alarm_ms, counts, event_of, on_entering
from ringfence.decision.policy import Policy
from ringfence.decision.rows import Row
from ringfence.diagnosis.events import Folder, Relation
from ringfence.diagnosis.finding import diagnose
from ringfence.diagnosis.impact import Impact, Party
from ringfence.diagnosis.severity import ErrorClass, Severity, is_judgeable
from ringfence.errors import IllegalEventError
from ringfence.quick import changed
from ringfence.record.evidence import Record
from ringfence.world.domain import DomainKind, DomainState, McaHandler
from ringfence.world.identities import CaseId, DomainId, Frame, StepId
from ringfence.world.situation import OpenCase, Situation
from ringfence.world.steps import NotifyGuest, Order, Result, Status, Step, UnpauseDomain
from ringfence.world.treatment import (
    TAKEN_UP,
    Alarm,
    Answered,
    Dom0Changed,
    Dom0Says,
    DomainGone,
    Entry,
    Hit,
    Judgement,
    Reason,
    StepEnded,
    TimePassed,
    Told,
    Wanted,
)

MAX_OPEN_CASES: Final = 1_024
"""Cases followed at a time. So many uncorrected errors at once are beyond what can be bounded: the rule is to halt."""

MAX_TREATED_FRAMES: Final = 16_384
"""Frames of closed cases that are remembered: far more than a host can lose and live."""

_SAYS: dict[Dom0Says, Event] = {
    Dom0Says.NOTIFY: Event.SAYS_NOTIFY,
    Dom0Says.OPERATE: Event.SAYS_OPERATE,
    Dom0Says.BOTH: Event.SAYS_BOTH,
    Dom0Says.LEAVE: Event.SAYS_LEAVE,
    Dom0Says.OPERATED: Event.DONE,
    Dom0Says.NOT_OPERATED: Event.FAILED,
}


@dataclass(slots=True)
class _Part:
    """A part under treatment.

    ``waiting`` are its orders that have not ended, ``begun`` those that are known to run, ``ended`` this state's that
    have ended.
    """

    case: CaseId
    subject: Subject
    position: Position
    waiting: dict[StepId, Step] = field(default_factory=dict)
    begun: set[StepId] = field(default_factory=set)
    ended: list[tuple[Step, Result]] = field(default_factory=list)
    alarm: int | None = None

    def copy(self) -> _Part:
        return _Part(
            self.case, self.subject, self.position, dict(self.waiting), set(self.begun), list(self.ended), self.alarm
        )


@dataclass(frozen=True, slots=True)
class PartView:
    """A part as it stands: what it waits for (number, step, whether it is known to run), what has ended, its alarm."""

    case: CaseId
    subject: Subject
    position: Position
    waiting: tuple[tuple[StepId, Step, bool], ...]
    ended: tuple[tuple[Step, Result], ...]
    alarm: int | None


@dataclass(frozen=True, slots=True)
class Left:
    """What an earlier life of a seat left of a case.

    ``impact`` is whom it had found hit (None: it had not come to that), ``ended`` the parts that had ended,
    ``standing`` where each other one stood and since when (milliseconds on the host's clock).
    """

    impact: Impact | None = None
    ended: frozenset[DomainId | None] = frozenset()
    standing: Mapping[DomainId | None, tuple[Position, int]] = field(default_factory=dict)


@dataclass(slots=True)
class _Case:
    id: CaseId
    severity: Severity
    frames: frozenset[Frame]
    parts: list[_Part]

    @property
    def is_open(self) -> bool:
        return any(not part.position.has_ended for part in self.parts)


PREEMPTED: Final = "preempted: the hypervisor did so by itself, before anybody was asked"


class Treatment:
    """A seat that follows the concept (world.treatment.TreatingSeat)."""

    def reload(self, policy: Policy) -> None:
        """What is decided from now on goes by this policy; a wait that has begun keeps its time."""
        self._policy = policy

    def __init__(self, policy: Policy, *, first_case: int = 1, first_step: int = 1) -> None:
        self._policy = policy
        self._cases: dict[CaseId, _Case] = {}
        self._next_case, self._next_step, self._next_alarm = first_case, first_step, 1
        self._orders: dict[StepId, _Part] = {}
        self._alarms: dict[int, _Part] = {}
        self._folder = Folder()
        self._case_of_event: dict[int, CaseId] = {}
        self._treated: dict[Frame, CaseId] = {}
        # Domains that a case has left standing, as a mapping of a lost page could not be taken away.
        self._barred: set[DomainId] = set()

    @property
    def open_cases(self) -> tuple[OpenCase, ...]:
        """What is under treatment now."""
        return tuple(
            OpenCase(
                id=case.id,
                frames=case.frames,
                domains=frozenset(part.subject.domain for part in case.parts if part.subject.domain is not None),
                consumed=case.severity is Severity.SRAR,
            )
            for case in self._cases.values()
        )

    @property
    def parts(self) -> tuple[PartView, ...]:
        """Every part of every case that is under treatment, those that have ended among them."""
        return tuple(
            PartView(
                part.case,
                part.subject,
                part.position,
                tuple((number, step, number in part.begun) for number, step in part.waiting.items()),
                tuple(part.ended),
                part.alarm,
            )
            for case in self._cases.values()
            for part in case.parts
        )

    @property
    def remembered(self) -> tuple[frozenset[DomainId], frozenset[tuple[Frame, CaseId]]]:
        """What is kept of closed cases: the domains that they left standing, and the frames that they dealt with."""
        return frozenset(self._barred), frozenset(self._treated.items())

    def heed(self, treated: Mapping[Frame, CaseId], barred: Iterable[DomainId]) -> None:
        """What an earlier life of this seat has ``remembered`` of the boot that still runs."""
        for frame, case in treated.items():
            self._treated.setdefault(frame, case)
        while len(self._treated) > MAX_TREATED_FRAMES:
            del self._treated[next(iter(self._treated))]
        self._barred.update(barred)

    def copy(self) -> Treatment:
        """A twin that goes its own way from here: for looking ahead at what might be told, not for reports to come.

        What has been reported before is shared with it.
        """
        twin = Treatment(self._policy, first_case=self._next_case, first_step=self._next_step)
        twin._next_alarm = self._next_alarm
        twin._folder = self._folder
        twin._case_of_event = dict(self._case_of_event)
        twin._treated = dict(self._treated)
        twin._barred = set(self._barred)
        of = {id(part): part.copy() for case in self._cases.values() for part in case.parts}
        twin._cases = {
            number: _Case(number, case.severity, case.frames, [of[id(part)] for part in case.parts])
            for number, case in self._cases.items()
        }
        twin._orders = {number: of[id(part)] for number, part in self._orders.items()}
        twin._alarms = {number: of[id(part)] for number, part in self._alarms.items() if part.alarm == number}
        return twin

    def reported(
        self, records: Sequence[Record], situation_of: Callable[[Record], Situation]
    ) -> tuple[tuple[CaseId | None, ...], tuple[Wanted, ...]]:
        """As ``TreatingSeat.reported``: new cases, further reports of known ones, corrected errors."""
        cases: dict[int, CaseId | None] = {}
        wanted: list[Wanted] = []
        # Who took the error in comes before those that were only stopped with it.
        for at in sorted(range(len(records)), key=lambda each: _is_bystander(records[each])):
            cases[at], now_wanted = self._one(records[at], situation_of)
            wanted += now_wanted
        return tuple(cases[at] for at in range(len(records))), tuple(wanted)

    def _one(
        self, record: Record, situation_of: Callable[[Record], Situation]
    ) -> tuple[CaseId | None, tuple[Wanted, ...]]:
        if not is_judgeable(record):
            # A #MC of which no bank says why: nothing is named that could be treated, the hypervisor ends it by itself.
            return None, ()
        finding = diagnose(record)
        number, relation = self._folder.place(record)
        # Whoever handles #MC clears the bank: what is consumed again is consumed anew, however alike it looks.
        is_again = relation is Relation.LATCHED and finding.severity is Severity.SRAR
        if relation is not Relation.NEW and not is_again:
            return self._case_of_event.get(number), ()
        if finding.severity is Severity.CORRECTED:
            steps = on_corrected(finding, situation_of(record), self._policy)
            return None, tuple(self._order(step, None) for step in steps)
        situation = changed(situation_of(record), open_cases=self.open_cases)
        return self.decided(decide(finding, situation, self._policy), finding.severity, situation, number)

    def decided(
        self, decision: Decision, severity: Severity, situation: Situation, number: int = 0
    ) -> tuple[CaseId | None, tuple[Wanted, ...]]:
        """Take a decision up: a new case, a known one that deals with it already, or none.

        ``number`` is the folder's, for further reports of it.
        """
        if severity is Severity.CORRECTED:
            return None, tuple(self._order(step, None) for step in decision.steps)
        if not decision.parts:
            return None, ()
        treated = self._treated_before(decision, situation)
        if treated is not None:
            self._remember(number, treated)
            return treated, ()
        known = self._same_page(decision)
        if known is not None:
            self._remember(number, known.id)
            text = "another report of an error on the page of this case: it is dealt with here"
            entry = Entry(
                known.id, situation.now_ms, None, "reported", "", Row.IMPACT, text, reasons=(Reason(Row.IMPACT, text),)
            )
            return known.id, (entry,)
        return self.opened(decision, severity, situation, number)

    def _treated_before(self, decision: Decision, situation: Situation) -> CaseId | None:
        """The closed case that took all the pages of an error out of use which nobody consumed, None if none did.

        A memory controller may report the line after the core that consumed it; to be told, or offlined, once more
        would hurt its owner (Xen crashes a domain whose broken page is offlined again). Whoever has come to reach the
        page since then is not dealt with.
        """
        if not self._is_unconsumed(decision):
            return None
        broken = all(
            facts.broken and not any(mapping.removable for mapping in facts.mappings) for facts in situation.frames
        )
        if not broken or not situation.frames:
            return None
        cases = {self._treated.get(frame) for frame in _frames(decision)}
        return cases.pop() if len(cases) == 1 else None

    def _is_unconsumed(self, decision: Decision) -> bool:
        impact = decision.impact
        return impact.consumer.party is Party.NOBODY and bool(impact.frames) and decision.first.row is not Row.HALT

    def _same_page(self, decision: Decision) -> _Case | None:
        """The open case that deals with all the pages of an error which nobody consumed, None if there is none.

        A memory controller reports the line that a core has consumed, or is about to.
        """
        if not self._is_unconsumed(decision):
            return None
        frames = _frames(decision)
        return next((case for case in self._cases.values() if frames <= case.frames), None)

    def taken_up(self, number: CaseId, record: Record, situation: Situation, left: Left = Left()) -> tuple[Wanted, ...]:
        """Go on with a case that an earlier life of this seat left open, each part from where it stood.

        The steps of its state are wanted again: who carries them out knows which of them must not be repeated. A
        question is asked anew, and an alarm that was set counts from then. The situation says what became of domains.
        """
        event, _ = self._folder.place(record)
        finding = diagnose(record)
        situation = changed(situation, open_cases=self.open_cases)
        if left.impact is None:
            decision = decide(finding, situation, self._policy)
        else:
            decision = decide_on(left.impact, finding, situation, self._policy)
        parts = (part for part in decision.parts if part.subject.domain not in left.ended)
        decision = replace(decision, parts=tuple(self._as_it_stood(part, left, situation) for part in parts))
        if not decision.parts:
            return ()
        following, self._next_case = self._next_case, number
        _, wanted = self.opened(decision, finding.severity, situation, event, left)
        self._next_case = max(following, number + 1)
        return wanted

    def _as_it_stood(self, part: Part, left: Left, situation: Situation) -> Part:
        if part.subject.domain not in left.standing:
            return part
        position, _ = left.standing[part.subject.domain]
        # Whoever was to be stopped on the way here was stopped before that was said; first aid is done again.
        was_stopped = position.stopped and position.state is not State.CONTAINING
        steps = on_entering(position, part.subject, situation, self._policy, was_stopped=was_stopped)
        if position.state is State.AWAITING_GUEST and part.subject.domain is not None:
            steps = (NotifyGuest(part.subject.domain, part.subject.pages),)
        return replace(part, position=position, steps=steps)

    def opened(
        self,
        decision: Decision,
        severity: Severity,
        situation: Situation,
        event: int = 0,
        left: Left | None = None,
    ) -> tuple[CaseId, tuple[Wanted, ...]]:
        """Open a case for a decision that has parts; ``event`` is the folder's number for further reports of it.

        ``left`` is what an earlier life left of it, None if it is new.
        """
        self._barred = {domain for domain in self._barred if _stands(domain, situation)}
        case = self._open(decision, severity)
        self._remember(event, case.id)
        consumed = decision.impact.consumer.party is not Party.NOBODY
        wanted = list(self._superseded(case, situation)) if consumed else []
        for part, planned in zip(case.parts, decision.parts, strict=True):
            steps = planned.steps
            if (part.position, part.subject) != (planned.position, planned.subject):
                own = on_entering(part.position, part.subject, situation, self._policy)
                steps = tuple(dict.fromkeys((*own, *steps)))
            if left is not None and part.subject.domain in left.standing:
                _, since_ms = left.standing[part.subject.domain]
                because = "it goes on where it stood when Ringfence ended"
                wanted += self._enter(part, steps, TAKEN_UP, because, situation, since_ms)
            else:
                because = PREEMPTED if part.position.has_ended else decision.first.because
                wanted += self._enter(part, steps, "reported", because, situation)
        if left is None or left.impact is None:
            # What is to be done comes first: nobody who must act waits for words.
            wanted.append(_judged(case.id, situation.now_ms, decision, consumed=severity is Severity.SRAR))
        return case.id, tuple(wanted)

    def waits_for(self, order: StepId) -> bool:
        """Whether a part still waits for the end of this order: it may have gone on meanwhile."""
        return order in self._orders

    def told(self, what: Told, situation: Situation) -> tuple[Wanted, ...]:
        """Something happened. An answer that nobody waits for raises IllegalEventError and changes nothing (L8)."""
        match what:
            case StepEnded():
                return tuple(self._step_ended(what, situation))
            case Answered():
                return tuple(self._answered(what, situation))
            case TimePassed():
                part = self._alarms.pop(what.alarm, None)
                if part is None or part.alarm != what.alarm:
                    return ()
                return tuple(self._apply(part, Event.DEADLINE, situation))
            case DomainGone():
                gone = [part for part in self._open_parts() if part.subject.domain == what.domain]
                return tuple(self._all(gone, Event.DOMAIN_GONE, situation))
            case Dom0Changed():
                if situation.dom0.is_able:
                    return ()
                return tuple(self._all(list(self._open_parts()), Event.DOM0_LOST, situation))

    # --- opening a case

    def _open(self, decision: Decision, severity: Severity) -> _Case:
        number = CaseId(self._next_case)
        self._next_case += 1
        parts = [_Part(number, part.subject, part.position) for part in decision.parts]
        if len(self._cases) >= MAX_OPEN_CASES and ErrorClass.of(severity) is ErrorClass.UNCORRECTED:
            # No room to follow it: the rule is to halt.
            parts[0].position = halting(parts[0].position, dom0_able=False)
        case = self._cases[number] = _Case(number, severity, _frames(decision), parts)
        return case

    def _remember(self, event: int, case: CaseId) -> None:
        self._case_of_event[event] = case
        while len(self._case_of_event) > MAX_OPEN_CASES:
            del self._case_of_event[next(iter(self._case_of_event))]

    def _superseded(self, new: _Case, situation: Situation) -> Iterator[Wanted]:
        """A consumed error on a page cancels what is open about it for those who have a part in the new case, too.

        Who was stopped for it stays stopped. A loser whose way to the page was taken away by the earlier case is none
        of the new one: it is still to be told by the earlier.
        """
        for case in list(self._cases.values()):
            if case is new or not case.frames <= new.frames or case.severity is Severity.CORRECTED:
                continue
            for part in case.parts:
                if part.position.has_ended or Event.SUPERSEDED not in allowed(part.position.state):
                    continue
                heir = next((each for each in new.parts if each.subject.domain == part.subject.domain), None)
                if heir is None or heir.position.has_ended:
                    continue
                _inherit(heir, part)
                yield from self._apply(part, Event.SUPERSEDED, situation, f"(case {new.id})")

    # --- what is told

    def _step_ended(self, what: StepEnded, situation: Situation) -> Iterator[Wanted]:
        part = self._orders.get(what.order)
        if part is None or what.order not in part.waiting:
            return
        step = part.waiting[what.order]
        if what.result.status is Status.RUNNING:
            part.begun.add(what.order)
        else:
            del part.waiting[what.order]
            del self._orders[what.order]
            part.ended.append((step, what.result))
        yield from self._settle(part, situation)

    def _settle(self, part: _Part, situation: Situation) -> Iterator[Wanted]:
        """Go on if the steps of this state have come back: ended, or begun and still running."""
        if not part.begun.issuperset(part.waiting):
            return
        begun = [(step, Result(Status.RUNNING)) for step in part.waiting.values()]
        domain = situation.domain(part.subject.domain) if part.subject.domain is not None else None
        event = event_of(
            part.position,
            part.subject,
            (*part.ended, *begun),
            in_machine_check=domain is not None and domain.in_machine_check,
        )
        if event is not None:
            yield from self._apply(part, event, situation)

    def _answered(self, what: Answered, situation: Situation) -> Iterator[Wanted]:
        case = self._cases.get(what.case)
        part = next((each for each in case.parts if each.subject.domain == what.domain), None) if case else None
        event = _SAYS[what.says]
        finishes = what.says in {Dom0Says.OPERATED, Dom0Says.NOT_OPERATED}
        if part is None:
            raise IllegalEventError("no such case or domain", event, ())
        if finishes != (part.position.state is State.OPERATING):
            raise IllegalEventError(part.position.state, event, allowed(part.position.state))
        yield from self._apply(part, event, situation)

    def _all(self, parts: list[_Part], event: Event, situation: Situation) -> Iterator[Wanted]:
        for part in parts:
            if event in allowed(part.position.state):
                yield from self._apply(part, event, situation)

    def _open_parts(self) -> Iterator[_Part]:
        for case in self._cases.values():
            yield from (part for part in case.parts if not part.position.has_ended)

    # --- moving

    def _apply(self, part: _Part, event: Event, situation: Situation, remark: str = "") -> Iterator[Wanted]:
        move = advance(part.position, event, self._facts(part, situation))
        was_stopped = part.position.stopped
        part.position = move.position
        steps = on_entering(part.position, part.subject, situation, self._policy, was_stopped=was_stopped)
        because = f"{move.because} {remark}".rstrip()
        yield from self._enter(part, steps, event, because, situation)

    def _enter(  # noqa: PLR0913, PLR0917 (one argument a fact)
        self,
        part: _Part,
        steps: tuple[Step, ...],
        event: str,
        because: str,
        situation: Situation,
        since_ms: int | None = None,
    ) -> Iterator[Wanted]:
        """Order the steps of the state that was entered (now, or at ``since_ms``), set its alarm, and say so."""
        state = part.position.state
        if state is not State.AWAITING_GUEST:
            for number in part.waiting:
                del self._orders[number]
            part.waiting.clear()
        part.begun.intersection_update(part.waiting)
        part.ended.clear()
        part.alarm = None
        domain = part.subject.domain
        wanted = tuple(
            step
            for step in steps
            if not (isinstance(step, UnpauseDomain) and self._is_held_by_another(part, step.domain))
        )
        for step in wanted:
            order = self._order(step, part.case)
            if counts(step, state) and state not in ENDS:
                part.waiting[order.id] = step
                self._orders[order.id] = part
            yield order
        after_ms = alarm_ms(state, self._policy.deadlines)
        if after_ms is not None and state is State.OPERATING and self._policy.approve:
            # A person may have to be asked first.
            after_ms += self._policy.deadlines.approval_ms
        if after_ms is not None:
            part.alarm = self._next_alarm
            self._next_alarm += 1
            self._alarms[part.alarm] = part
            yield Alarm(part.alarm, (situation.now_ms if since_ms is None else since_ms) + after_ms)
        yield Entry(
            part.case,
            situation.now_ms,
            domain,
            event,
            state,
            part.position.row,
            because,
            tuple(type(step).__name__ for step in wanted),
            ended=part.position.has_ended,
            position=part.position.encode(),
        )
        if part.position.has_ended:
            yield from self._part_ended(part, situation)
        elif not part.waiting:
            yield from self._settle(part, situation)

    def _part_ended(self, part: _Part, situation: Situation) -> Iterator[Wanted]:
        if part.position.state is State.HALTED and part.position.row is Row.HALT:
            others = [each for each in self._open_parts() if each is not part]
            yield from self._all(others, Event.HOST_HALTED, situation)
        if part.position.state is State.OPERATED and part.position.held and part.subject.domain is not None:
            self._barred.add(part.subject.domain)
        case = self._cases.get(part.case)
        if case is not None and not case.is_open:
            del self._cases[part.case]
            self._treated |= dict.fromkeys(case.frames, case.id)
            while len(self._treated) > MAX_TREATED_FRAMES:
                del self._treated[next(iter(self._treated))]

    def _order(self, step: Step, case: CaseId | None) -> Order:
        order = Order(StepId(self._next_step), step, case)
        self._next_step += 1
        return order

    def _is_held_by_another(self, part: _Part, domain: DomainId) -> bool:
        """Whether another error keeps the domain stopped: then this one must not let it run (L1)."""
        return domain in self._barred or any(
            other is not part and other.subject.domain == domain and other.position.stopped
            for other in self._open_parts()
        )

    def _facts(self, part: _Part, situation: Situation) -> Facts:
        if part.subject.domain is not None:
            return facts_of(part.subject, situation, self._policy)
        return Facts(
            kind=DomainKind.DOM0,
            handler=McaHandler.NONE,
            mca_enabled=False,
            consumed=False,
            dom0_able=situation.dom0.is_able and not part.subject.dom0,
        )


def _frames(decision: Decision) -> frozenset[Frame]:
    """Every frame that an error names."""
    runs = (range(first, first + pages) for first, pages in decision.impact.frames)
    return frozenset(map(Frame, chain.from_iterable(runs)))


def _is_bystander(record: Record) -> bool:
    """Whether a CPU was stopped by a #MC without being where the error is (RIPV=1 EIPV=0; SDM vol. 3B 17.10.4.1)."""
    status = record.registers.mcg_status
    return status is not None and bool(MCIP.of(status)) and not EIPV.of(status)


def _inherit(heir: _Part, part: _Part) -> None:
    """What is owed by a part that a later error replaces, the new part of the same domain takes over.

    The domain stays stopped, has consumed what it consumed and was not told of yet, and hears of all pages that it
    lost. If its mappings were taken away meanwhile, the new evidence has no numbers of its own: the old ones hold.
    """
    old, new = part.subject, heir.subject
    covered = set(new.frames) <= set(old.frames)
    heir.subject = replace(
        new,
        pages=tuple(dict.fromkeys((*old.pages, *new.pages))),
        numbered=old.numbered and (new.numbered or covered),
        frames=tuple(dict.fromkeys((*old.frames, *new.frames))),
        consumed=new.consumed or (old.consumed and part.position.stopped),
    )
    if part.position.stopped:
        heir.position = replace(heir.position, stopped=True)


def _stands(domain: DomainId, situation: Situation) -> bool:
    known = situation.domain(domain)
    return known is not None and known.state is DomainState.PAUSED


def _judged(case: CaseId, at_ms: int, decision: Decision, *, consumed: bool) -> Entry:
    """What was judged and why it was decided so, for Dom0's journal."""
    impact = decision.impact
    judgement = Judgement(
        consumer=Hit(party=impact.consumer.party, certainty=impact.consumer.certainty, domain=impact.consumer.domain),
        losers=tuple(
            Hit(
                party=loser.party,
                certainty=impact.certainty,
                domain=loser.domain,
                pages=loser.pages,
                unnumbered=loser.unnumbered,
            )
            for loser in impact.losers
        ),
        certainty=impact.certainty,
        grounds=tuple((Reason(each.rule, each.because, each.cite), each.supports) for each in impact.grounds),
        frames=impact.frames,
        cpu=impact.cpu,
        consumed=consumed,
    )
    # The grounds of the impact are in the judgement.
    reasons = tuple(
        Reason(each.row, each.because, each.rests_on) for each in decision.reasons if each.row is not Row.IMPACT
    )
    return Entry(
        case, at_ms, None, "judged", "", decision.parts[0].position.row, decision.first.because,
        judgement=judgement, reasons=reasons,
    )  # fmt: skip
