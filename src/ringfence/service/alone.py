"""Where the hypervisor acts alone (Xen, KVM): Dom0's seat treats what remains to be done, by the same flow.

The hypervisor's own deeds arrive in the situation as ``already_done``: a row that it took away is preempted.
First aid (pause, isolate, last words, halt) is carried out before anything is written; the record follows at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

import msgspec

from ringfence.action.carry import carry_out
from ringfence.decision.flow import State
from ringfence.decision.rows import Row
from ringfence.hypervisor.port import Hypervisor
from ringfence.record.evidence import Record
from ringfence.service.treatment import Left, Treatment
from ringfence.world.identities import CaseId, DomainId, StepId
from ringfence.world.situation import Situation
from ringfence.world.steps import (
    AskDom0,
    DegradeHost,
    HaltHost,
    HealHost,
    InjectVmce,
    IsolateFrame,
    LastWords,
    NotifyDom0,
    NotifyGuest,
    OfflineFrame,
    Order,
    PauseDomain,
    Result,
    SaveEvidence,
    Status,
    Step,
)
from ringfence.world.treatment import (
    Alarm,
    Answered,
    Dom0Says,
    DomainGone,
    Entry,
    StepEnded,
    TimePassed,
    Told,
    Wanted,
)

FIRST_AID: Final = (PauseDomain, IsolateFrame, LastWords, HaltHost)
"""Steps that never wait for a disk (concept, Orders of time)."""


_ENDING: Final = frozenset({State.OPERATING, State.INFORMING, State.KILLING})
"""States in which a domain may end because of what is done to it."""


class Clerk(Protocol):
    """Who writes for a treatment, and answers its questions: the loop."""

    def execute(self, case: CaseId, step: Step, row: str) -> tuple[StepId, Result]:
        """Write the intent, carry out, write the result."""
        ...

    def executed(self, case: CaseId, step: Step, result: Result) -> StepId:
        """Write down a step that was carried out already."""
        ...

    def progressed(self, entry: Entry) -> None:
        """Write a transition down."""
        ...

    def asked(self, case: CaseId, domain: DomainId, *, operate: bool) -> Dom0Says:
        """What Dom0 answers."""
        ...


@dataclass(slots=True)
class Alone:
    """A treatment in Dom0's seat, carried out through the port.

    ``dry_run``: nothing is carried out, not even first aid: a guest that was stopped in a dry run would stand for ever.
    Each order is journaled with that as its result.
    """

    host: Hypervisor
    treatment: Treatment
    clerk: Clerk
    dry_run: bool = False
    alarms: dict[int, int] = field(default_factory=dict)
    running: dict[StepId, StepId] = field(default_factory=dict)
    """The treatment's number of each order that runs, by the journal's."""

    given: dict[tuple[CaseId, Step], deque[tuple[StepId, Result]]] = field(default_factory=dict)
    """What an earlier life told guests, and what became of each order: it is not told again (law L9)."""

    _waiting: deque[Wanted] = field(default_factory=deque)

    def reported(self, records: Sequence[Record]) -> tuple[CaseId | None, ...]:
        """Errors were reported: call ``first_aid`` at once, and ``go_on`` when the evidence is durable."""
        cases, wanted = self.treatment.reported(records, self.host.situation)
        self._waiting.extend(wanted)
        return cases

    def first_aid(self) -> list[tuple[Order, Result]]:
        """Carry out the steps that must not wait; they are written down by ``go_on``."""
        if self.dry_run:
            return []
        return [
            (each, carry_out(self.host, each))
            for each in self._waiting
            if isinstance(each, Order) and isinstance(each.step, FIRST_AID)
        ]

    def judged(self) -> tuple[Entry, ...]:
        """What was judged of the errors just reported, to be written together with them: ``go_on`` says it no more."""
        found = tuple(each for each in self._waiting if isinstance(each, Entry) and each.judgement is not None)
        self._waiting = deque(each for each in self._waiting if each not in found)
        return found

    def take_up(self, number: CaseId, record: Record, situation: Situation, left: Left) -> None:
        """Go on with a case that an earlier life left open; ``go_on`` when all have been taken up."""
        self._waiting.extend(self.treatment.taken_up(number, record, situation, left))

    def notice_gone(self, others: frozenset[DomainId] = frozenset()) -> None:
        """Tell of domains that have ended, or whose number is another domain's by now (``others``).

        Whoever is being operated on or killed may end by that: these parts hear of it by the end of their orders.
        """
        parts = self.treatment.parts
        if not parts:
            return
        situation = self.host.situation(None)
        for part in parts:
            number = part.subject.domain
            if number is None or part.position.has_ended:
                continue
            known = situation.domain(number)
            ended = (known is None or not known.lives) and part.position.state not in _ENDING
            if ended or number in others:
                self._told(DomainGone(number))

    def go_on(self, done: Iterable[tuple[Order, Result]] = ()) -> None:
        """Carry out all that is wanted, and tell what became of it, until nothing is wanted any more."""
        results = {order.id: result for order, result in done}
        while self._waiting:
            match self._waiting.popleft():
                case Order() as order:
                    self._carry(order, results.get(order.id))
                case Alarm(alarm=alarm, at_ms=at_ms):
                    self.alarms[alarm] = at_ms
                case Entry() as entry:
                    dry = f"{entry.because} (dry run: nothing was carried out)"
                    self.clerk.progressed(msgspec.structs.replace(entry, because=dry) if self.dry_run else entry)

    def tell(self, what: Told) -> None:
        """Something happened; what follows from it is carried out."""
        self._waiting.extend(self.treatment.told(what, self.host.situation(None)))
        self.go_on()

    def ring(self) -> None:
        """Tell of the alarms whose time has come."""
        now_ms = self.host.now_ms()
        for alarm in [alarm for alarm, at_ms in self.alarms.items() if at_ms <= now_ms]:
            del self.alarms[alarm]
            self.tell(TimePassed(alarm))

    def order_ended(self, order: StepId, result: Result) -> None:
        """An order that was running has ended."""
        known = self.running.get(order)
        if known is not None:
            if result.status is not Status.RUNNING:
                del self.running[order]
            self.tell(StepEnded(known, result))

    def _carry(self, order: Order, done: Result | None) -> None:
        case = order.case if order.case is not None else CaseId(0)
        match order.step:
            case NotifyDom0() | SaveEvidence():
                # Dom0 is here, and what it knows is durable already.
                result = Result(Status.DONE, "Dom0 treats this case itself")
            case AskDom0() if not self.treatment.waits_for(order.id):
                return  # its domain has ended, or the host halts
            case AskDom0(domain=domain, operate=operate):
                self._told(StepEnded(order.id, Result(Status.DONE)))
                says = self.clerk.asked(case, domain, operate=operate)
                self._told(Answered(case, domain, says))
                return
            case InjectVmce() | NotifyGuest() as step if (known := self._given(case, step)) is not None:
                number, result = known
                if result.status is Status.RUNNING:
                    self.running[number] = order.id
            case step if self.dry_run:
                result = Result(Status.DONE, "dry run: not carried out")
                self.clerk.executed(case, step, result)
            case step if done is not None:
                result = done
                self.clerk.executed(case, step, result)
            case HealHost() as heal:
                result = self._heal(case, heal)
            case step:
                number, result = self.clerk.execute(case, step, State.CONTAINING)
                if result.status is Status.RUNNING:
                    self.running[number] = order.id
        self._told(StepEnded(order.id, result))

    def _given(self, case: CaseId, step: Step) -> tuple[StepId, Result] | None:
        """What became of this step in an earlier life, None if it was not given then."""
        known = self.given.get((case, step))
        return known.popleft() if known else None

    def _heal(self, case: CaseId, heal: HealHost) -> Result:
        """The hypervisor went on with a broken page of its own or of Dom0's: that was its decision (I.2b is preempted).

        What remains for Dom0 is to have the page taken out of use as soon as it is let go, and to let nothing new
        start. A page that cannot be given up at all is no success: the rule is to halt (B.2).
        """
        results = [self.clerk.execute(case, OfflineFrame(frame), Row.ON_MACHINE)[1] for frame in heal.frames]
        if not results or not all(result.succeeded for result in results):
            return Result(Status.FAILED, "the hypervisor cannot give the page up")
        _, degraded = self.clerk.execute(case, DegradeHost(), Row.UNLOCATED)
        guests = "no new guest starts" if degraded.succeeded else "new guests are not kept from starting"
        return Result(Status.PENDING, f"out of use as soon as it is let go; {guests} meanwhile")

    def _told(self, what: Told) -> None:
        self._waiting.extend(self.treatment.told(what, self.host.situation(None)))
