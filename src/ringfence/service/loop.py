"""The production loop of Dom0's seat: evidence is journaled, questions are answered, orders are given and followed.

Before anything is done its intent is in the journal, and its end after it: a kill between any two steps is seen on
replay and taken up again (law L9). An arrival is acknowledged to its source when it is durable. Nothing here waits: a
turn does what is due now, and ``wake_ms`` says when the next one is due at the latest. Clock and port are the host's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Final, assert_never

from ringfence import __version__
from ringfence.decision.answer import Reply, answer
from ringfence.decision.flow import State
from ringfence.decision.policy import Operation, Policy
from ringfence.decision.rows import Row
from ringfence.diagnosis.severity import Severity
from ringfence.errors import IllegalEventError
from ringfence.hypervisor.port import (
    Arrival,
    Capability,
    Ended,
    EvidenceWanted,
    Hypervisor,
    LeftOver,
    Lost,
    Progress,
    Question,
    Telemetry,
    Token,
)
from ringfence.journal import events as ev
from ringfence.journal.state import State as Known
from ringfence.journal.store import Journal
from ringfence.quick import changed
from ringfence.record.repeats import Repeats
from ringfence.service import resumption, written
from ringfence.service.ahead import ActingAhead
from ringfence.service.alone import Alone
from ringfence.service.campaigning import Campaigning, part_ended
from ringfence.service.evidence import Evidence, Piece
from ringfence.service.hearing import Told
from ringfence.service.instructing import Instructable, instruct, instruct_step
from ringfence.service.ledger import Ledger
from ringfence.service.plugins import Asked, Plugin, verdicts
from ringfence.service.reviving import Reviving, operations_of
from ringfence.service.seen import standing
from ringfence.service.treatment import Treatment
from ringfence.world.domain import Domain
from ringfence.world.identities import OWN_CASES, CaseId, DomainId, StepId
from ringfence.world.situation import Seat, Situation
from ringfence.world.steps import Result, Status, Step
from ringfence.world.treatment import Answered, Dom0Says, Entry

STEPS_OF_ALONE: Final = 1 << 49
"""Orders of a treatment in this seat have numbers from here on, apart from the journal's: first aid goes to the host by
them, and the host knows by its number what became of an order (``Hypervisor.probe``)."""

TURNS_AT_ONCE: Final = 64
"""How often arrivals are asked for within one turn: each asking gives up to 64, so that a storm cannot keep a turn."""


class Loop:
    """Dom0's seat on one host, for one life of this process. Begins by taking up what an earlier life left."""

    def __init__(  # noqa: PLR0913 (one argument a part of what it goes by)
        self,
        host: Hypervisor,
        journal: Journal,
        policy: Policy,
        *,
        plugins: Mapping[str, Plugin] = MappingProxyType({}),
        wall_ms: int | None = None,
        pages_left_to: str = "",
        waiting: Sequence[ev.Event] = (),
    ) -> None:
        """``waiting``: what the loop before it in this process could not write (``Ledger``)."""
        self._host, self._policy, self._plugins = host, policy, plugins
        self._ledger = Ledger(host, journal, waiting=waiting, dry_run=policy.dry_run)
        self._campaigning = Campaigning(self._ledger, policy, self._operated)
        self._acknowledged: list[Token] = []
        self._held: set[Token] = set()
        self._alone: Alone | None = None
        if Capability.TREATS not in host.capabilities:
            treatment = Treatment(policy, first_case=self.state.last_seat_case + 1, first_step=STEPS_OF_ALONE)
            self._alone = Alone(host, treatment, self, dry_run=policy.dry_run)
        self._ahead = ActingAhead(self._ledger, self._campaigning, policy, pages_left_to)
        self._reviving = Reviving(self._ledger, self._campaigning, policy)
        self._evidence = Evidence(self._ledger, self._campaigning, self._ahead, self._alone, policy)
        boot, capabilities = str(host.boot), host.capabilities
        rebooted = bool(self.state.boot) and self.state.boot != boot
        self._ledger.write(
            ev.Started(
                at_ms=host.now_ms(),
                life=self.state.life + 1,
                version=__version__,
                hypervisor=host.name,
                boot=boot,
                wall_ms=wall_ms,
                lacks=tuple(each.name or "" for each in Capability if each not in capabilities),
            ),
            *(resumption.ends_of_earlier_boot(self._ledger) if rebooted else ()),
        )
        others = resumption.strangers(self._ledger)
        self._ledger.note_domains()
        self._take_up(others)
        self._ahead.take_out_again()

    @property
    def state(self) -> Known:
        """What the journal amounts to."""
        return self._ledger.state

    @property
    def unwritten(self) -> tuple[int, int]:
        """How many events wait for room on the disk, and how many are in the kernel's log only."""
        return self._ledger.unwritten, self._ledger.unkept

    @property
    def waiting(self) -> tuple[ev.Event, ...]:
        """As ``Ledger.waiting``."""
        return self._ledger.waiting

    # --- turns

    def turn(self) -> None:
        """Do all that is due now. What waits for room on the disk is tried again, even if nothing else is written."""
        _ = self._ledger.is_durable
        with self._ledger.together():
            self._turn()

    def _turn(self) -> None:
        for _ in range(TURNS_AT_ONCE):
            arrivals = self._host.arrivals()
            # What shall be saved must have come first: the wish to save it is answered when nothing else waits.
            others = [arrival for arrival in arrivals if not isinstance(arrival, EvidenceWanted)]
            if not arrivals:
                break
            self._ledger.note_domains()
            for each in _together(others or arrivals):
                self._arrived(each)
            if self._held or not self._ledger.has_room:
                # The disk is full: the same arrivals would come again and again.
                break
        self._campaigning.run()
        if self._alone is not None:
            # A guest ends or is stopped without a word of the port's: whoever saw it has only had this turn taken.
            self._ledger.note_domains()
            self._alone.notice_gone()
            self._alone.go_on()
            self._alone.ring()
            self._campaigning.run()
        # Cases only now: the reasons may come after the end of the parts.
        closed = tuple(self._ledger.closing())
        if self._alone is not None and closed:
            self._reviving.closing(closed)
            self._campaigning.run()
        events: list[ev.Event] = [*closed]
        if self._acknowledged:
            events.append(ev.Acknowledged(at_ms=self._ledger.now_ms, tokens=tuple(self._acknowledged)))
            self._acknowledged.clear()
        if events:
            self._ledger.write(*events)

    def catch_up(self) -> None:
        """Do one of the things that a storm has put off, if there are any: it may take some milliseconds."""
        self._evidence.go_on()

    @property
    def wake_ms(self) -> int | None:
        """When the next turn is due even if nothing arrives, on the host's clock; None if nothing is waited for."""
        alarms = [*self._alone.alarms.values()] if self._alone is not None else []
        alarms += [due_ms] if (due_ms := self._evidence.wake_ms) is not None else []
        alarms += [retry_ms] if (retry_ms := self._ledger.wake_ms) is not None else []
        campaign = self._campaigning.wake_ms
        return min((*alarms, campaign) if campaign is not None else alarms, default=None)

    def stop(self, because: str) -> None:
        """End this life in order: what waits for room is written as far as there is any."""
        self._ledger.write(ev.Stopped(at_ms=self._ledger.now_ms, because=because))
        self._ledger.end()

    def note(self, *events: ev.ConfigurationLoaded | ev.Cleared | ev.Lost | ev.ModulesSeen) -> None:
        """Write down what is known from elsewhere: what the service goes by, what parts there are, and their ends."""
        self._ledger.write(*events)

    def load_policy(self, policy: Policy, digest: str, text: str = "", who: str = "") -> None:
        """A policy applies from now on: to what is decided next. A wait that has begun keeps its time."""
        self._ledger.write(ev.PolicyLoaded(at_ms=self._ledger.now_ms, digest=digest, text=text, who=who))
        self._policy, self._ledger.dry_run = policy, policy.dry_run
        self._campaigning.reload(policy)
        self._ahead.reload(policy)
        self._reviving.reload(policy)
        self._evidence.reload(policy)
        if self._alone is not None:
            self._alone.dry_run = policy.dry_run
            self._alone.treatment.reload(policy)

    def instruct(self, domain: DomainId, operation: Operation, who: str) -> tuple[CaseId | None, Result]:
        """A person instructs an operation on a domain (II.2); its case, and what became of it so far (II.4)."""
        return instruct(self._ledger, self._campaigning, domain, operation, who, dry_run=self._policy.dry_run)

    def instruct_step(self, step: Instructable, operation: str, who: str) -> tuple[CaseId | None, Result]:
        """A person instructs one step (II.2, II.3); its case, and what became of it (II.4)."""
        return instruct_step(self._ledger, step, operation, who, dry_run=self._policy.dry_run)

    def approve(self, case: CaseId, domain: DomainId, operation: Operation, *, granted: bool, who: str) -> bool:
        """A person grants or denies an operation that waits for it; False if none does, and nothing is changed."""
        return self._campaigning.approve(case, domain, operation, granted=granted, who=who)

    def take(self, pieces: Sequence[Piece], *, urgent: bool, repeats: Sequence[Repeats] = ()) -> bool:
        """Evidence from a source of the host's own, not by the port; a turn is due after it. ``repeats`` came together.

        True if it is durable now, so that its source may forget it. False while the disk is full: it counts all the
        same and is written when there is room (``unwritten``), and must not be handed in again.
        """
        self._evidence.take(pieces, urgent=urgent, repeats=repeats)
        return self._ledger.is_durable

    def hear(self, told: Told) -> bool:
        """What a source of the host's own told, with how far it was read; a turn is due after it. As ``take``."""
        self._ledger.note_domains()
        self._evidence.hear(told)
        return self._ledger.is_durable

    def remember(self) -> Iterator[None]:
        """As ``Ledger.remember``: what upkeep does now and then, between two turns."""
        return self._ledger.remember()

    @property
    def is_settled(self) -> bool:
        """Whether all that counts was written, or waits for room; so it is between two calls of this loop's."""
        return self._ledger.is_settled

    @property
    def has_room(self) -> bool:
        """Whether a source may hand in what can wait: not while the disk is full, and much waits for it already."""
        return self._ledger.has_room

    @property
    def is_behind(self) -> bool:
        """As ``Ledger.is_behind``: this loop is to end, and one that begins with the journal to go on."""
        return self._ledger.is_behind

    @property
    def is_durable(self) -> bool:
        """Whether everything that was written is on the disk; what is not is tried again."""
        return self._ledger.is_durable

    # --- arrivals

    def _arrived(self, arrivals: Sequence[Arrival]) -> None:
        """One arrival, or several that are written together; what is durable then is acknowledged."""
        tokens: list[Token] = []
        new: list[_Acknowledgeable] = []
        for arrival in arrivals:
            if isinstance(arrival, Ended):
                self._order_ended(arrival.ended.order, arrival.ended.result)
                continue
            if isinstance(arrival, Telemetry) and not arrival.urgent and not self._ledger.has_room:
                continue  # whoever keeps it says what he could not keep
            tokens.append(arrival.token)
            records = arrival.records if isinstance(arrival, Telemetry | LeftOver) else ()
            if arrival.token in self._held:
                continue  # taken already, and waits for room on the disk
            if isinstance(arrival, Question) or not self.state.is_durable(arrival.token, records):
                new.append(arrival)
            # Else an earlier life has written it down, and was killed before it could say so.
        if new:
            self._new(new)
        if not self._ledger.is_durable:
            self._held.update(tokens)
            return
        for token in tokens:
            self._held.discard(token)
            self._host.acknowledge(token)
            self._acknowledged.append(token)

    def _new(self, arrivals: Sequence[_Acknowledgeable]) -> None:
        progress = [(each.token, each.entry) for each in arrivals if isinstance(each, Progress)]
        if progress:
            self._progressed(progress)
            return
        now_ms = self._ledger.now_ms
        for arrival in arrivals:
            match arrival:
                case Telemetry(token=token, urgent=urgent, records=records, case=case):
                    self._evidence.take([Piece(each) for each in records], urgent=urgent, token=token, case=case)
                case LeftOver(token=token, records=records, sink=sink):
                    self._evidence.left_over(records, token=token, sink=sink)
                case Lost(token=token, count=count, urgent=urgent, why=why):
                    source, unit = (self._host.name, "records of machine checks") if why else ("", "")
                    self._ledger.write(
                        ev.Lost(
                            at_ms=now_ms, count=count, urgent=urgent, token=token, source=source, unit=unit, why=why,
                            exact=arrival.exact,
                        )
                    )  # fmt: skip
                case Question():
                    self._asked(arrival, now_ms)
                case EvidenceWanted(token=token, case=case):
                    # All that came before is durable already: each arrival was, when it was taken.
                    self._ledger.write(ev.EvidenceSaved(at_ms=now_ms, case=case, token=token))
                    if self._ledger.is_durable:
                        self._host.evidence_saved(case)
                case Progress():
                    pass  # written above
                case _:
                    assert_never(arrival)

    def _progressed(self, entries: Sequence[tuple[Token | None, Entry]]) -> None:
        """Write down how far cases are, all in one transaction, and do what follows from it."""
        now_ms = self._ledger.now_ms
        self._ledger.write(*(event for token, entry in entries for event in self._progress(token, entry, now_ms)))
        for _, entry in entries:
            if entry.reasons or entry.domain is None:
                continue
            if entry.state == State.OPERATING:
                self._begin_asked(entry.case, entry.domain)
            if entry.ended:
                self._campaigning.drop(entry.case, entry.domain)

    def _progress(self, token: Token | None, entry: Entry, now_ms: int) -> list[ev.Event]:
        if entry.reasons:
            seat = Seat.HYPERVISOR if self._alone is None else Seat.DOM0
            return written.judged(entry, seat, now_ms, token)
        return [
            ev.Progressed(
                at_ms=now_ms,
                case=entry.case,
                domain=entry.domain,
                event=entry.event,
                state=entry.state,
                row=entry.row,
                because=entry.because,
                steps=entry.steps,
                ended=entry.ended,
                seat_ms=entry.at_ms,
                position=entry.position if self._alone is not None else "",
                token=token,
            )
        ]

    def _order_ended(self, order: StepId, result: Result) -> None:
        if order in self.state.pending and result.status is not Status.PENDING:
            self._ledger.carried(order, result)
        if order not in self.state.orders:
            return
        known = self.state.orders[order]
        case = known.case
        self._ledger.carried(order, result)
        self._campaigning.order_ended(order, result)
        if case >= OWN_CASES:
            self._ahead.order_ended(case, known.order.step, result)
        if self._alone is not None:
            self._alone.order_ended(order, result)

    # --- what a treatment in this seat wants written and asked (service.alone.Clerk)

    def execute(self, case: CaseId, step: Step, row: str) -> tuple[StepId, Result]:
        """As ``alone.Clerk.execute``."""
        return self._ledger.execute(case, step, row)

    def executed(self, case: CaseId, step: Step, result: Result) -> StepId:
        """As ``alone.Clerk.executed``."""
        return self._ledger.executed(case, step, result)

    def progressed(self, entry: Entry) -> None:
        """As ``alone.Clerk.progressed``."""
        self._progressed([(None, entry)])

    def asked(self, case: CaseId, domain: DomainId, *, operate: bool) -> Dom0Says:
        """As ``alone.Clerk.asked``."""
        return self._decide(case, domain, only_operate=operate)

    # --- questions

    def _asked(self, question: Question, now_ms: int) -> None:
        case, domain = question.case, question.domain
        if self.state.is_closed(case):
            return
        asked = ev.Asked(
            at_ms=now_ms, case=case, domain=domain, deadline_ms=question.deadline_ms, operate=question.operate,
            token=question.token,
        )  # fmt: skip
        says = self._decide(case, domain, asked, only_operate=question.operate)
        self._answer(case, domain, says)

    def _decide(self, case: CaseId, domain: DomainId, *before: ev.Event, only_operate: bool) -> Dom0Says:
        """Decide what Dom0 says, and write it down after the events ``before``. Plug-ins are heard first."""
        known = self._host.situation(None).domain(domain)
        if self._plugins and known is not None:
            self._hear_plugins(case, known)
        reply = self._reply(case, domain, only_operate=only_operate)
        says = Dom0Says(reply.says)
        decided = written.decided(
            self._ledger.now_ms,
            case,
            domain,
            Row.ASK_DOM0,
            reply.reasons,
            answer=says,
            costed=written.sums(reply.operations),
        )
        self._ledger.write(*before, decided)
        return says

    def _hear_plugins(self, number: CaseId, domain: Domain) -> None:
        asked = Asked(
            domain=domain,
            severity=self._severity(number),
            lost_pages=self._lost_pages(number),
            situation=self._asked_situation(),
        )
        now_ms = self._ledger.now_ms
        self._ledger.settle()  # a plug-in may take its time
        said = verdicts(self._plugins, asked)
        self._ledger.write(
            *(
                ev.PluginSaid(
                    at_ms=now_ms, case=number, plugin=each.plugin, answer=each.answer, because=each.because,
                    domain=each.domain,
                )
                for each in said
            )
        )  # fmt: skip

    def _asked_situation(self) -> Situation:
        """The host as it is when Dom0 is asked: what lets one expect a further error is weighed with the rest (B.6)."""
        return changed(self._campaigning.situation(None), trends=standing(self.state, self._policy.trends))

    def _severity(self, number: CaseId) -> Severity:
        """The class of a case's error; nothing known of it is the worst that a domain can live through."""
        case = self.state.cases.get(number)
        return Severity(case.severity) if case is not None and case.severity else Severity.SRAR

    def _lost_pages(self, number: CaseId) -> int:
        case = self.state.cases.get(number)
        return sum(case.frames.values()) if case is not None else 1

    def _answer(self, case: CaseId, domain: DomainId, says: Dom0Says) -> None:
        self._ledger.settle()
        result = self._host.answer(case, domain, says) if self._alone is None else self._tell_alone(case, domain, says)
        if self._alone is not None and result.status is Status.DONE:
            return
        self._ledger.write(
            ev.Answered(
                at_ms=self._ledger.now_ms, case=case, domain=domain, says=says, status=result.status,
                because=result.because,
            )
        )  # fmt: skip

    def _tell_alone(self, case: CaseId, domain: DomainId, says: Dom0Says) -> Result:
        """Answer the treatment in this seat; refused if it does not wait for that any more (its time was over)."""
        assert self._alone is not None  # noqa: S101 (narrowed for the type checker; the caller has looked)
        try:
            self._alone.tell(Answered(case, domain, says))
        except IllegalEventError as error:
            return Result(Status.REFUSED, str(error))
        return Result(Status.DONE)

    def _operated(self, case: CaseId, domain: DomainId, done: bool) -> None:
        self._answer(case, domain, Dom0Says.OPERATED if done else Dom0Says.NOT_OPERATED)

    def _reply(self, number: CaseId, domain: DomainId, *, only_operate: bool, running: int | None = None) -> Reply:
        case = self.state.cases.get(number)
        situation = self._asked_situation()
        if running is not None:
            situation = changed(situation, operations_running=running)
        return answer(
            situation.domain(domain),
            changed(situation, verdicts=tuple(case.verdicts) if case is not None else ()),
            self._policy,
            severity=self._severity(number),
            lost_pages=self._lost_pages(number),
            only_operate=only_operate,
        )

    def _begin_asked(self, case: CaseId, domain: DomainId) -> None:
        """The hypervisor waits for Dom0's operation on a domain: begin it, if it has not begun."""
        if not self._campaigning.has(case, domain):
            # It has been promised: it waits for room, and is not dropped for the want of it.
            reply = self._reply(case, domain, only_operate=True, running=0)
            self._campaigning.begin(case, domain, tuple(each.operation for each in reply.operations), asked=True)

    # --- after a kill

    def _take_up(self, others: frozenset[DomainId]) -> None:
        """Go on with what an earlier life of the same boot left: its orders, and the operations that are waited for."""
        resumption.take_up_orders(self._ledger, others)
        resumption.take_up_pages(self._ledger)
        self._campaigning.remember()
        if self._alone is not None:
            self._alone.treatment.heed(*resumption.remembered(self._ledger, others))
            resumption.take_up_cases(self._ledger, self._alone, others)
        for number, case in list(self.state.cases.items()):
            is_own = number >= OWN_CASES
            for domain, part in list(case.parts.items()):
                if domain is None or part.ended:
                    continue
                chosen = case.decided.get(domain)
                if is_own and chosen is not None and chosen.row == Row.INFORM:
                    # It was being told of a corrected error: nothing is done to it for that (L3).
                    why = "it was being told when Ringfence ended"
                    end = part_ended(self._ledger.now_ms, number, domain, State.UNKNOWN, Row.INFORM, why)
                    self._ledger.write(end)
                elif is_own or part.state == State.OPERATING:
                    self._resume(number, domain, is_own=is_own)
            if is_own:
                self._ahead.end(number, "it was begun before Ringfence was killed")

    def _resume(self, case: CaseId, domain: DomainId, *, is_own: bool) -> None:
        if is_own:
            known = self._host.situation(None).domain(domain)
            instructed = self.state.cases[case].instructed
            operations = self._policy.rule_for(known).ahead if known is not None else ()
            chosen = self.state.cases[case].decided.get(domain)
            if known is not None and chosen is not None:
                operations = operations_of(chosen.row, known, self._policy) or operations
            operations = (Operation(instructed),) if instructed else operations
            self._campaigning.begin(case, domain, operations, asked=False, approved=bool(instructed))
        else:
            self._begin_asked(case, domain)
        self._campaigning.resume(case, domain)


_Acknowledgeable = Telemetry | LeftOver | Lost | Progress | Question | EvidenceWanted


def _together(arrivals: Sequence[Arrival]) -> Iterator[list[Arrival]]:
    """The arrivals in their order; progress that comes in a row is written in one transaction."""
    for is_progress, each in groupby(arrivals, lambda arrival: isinstance(arrival, Progress)):
        if is_progress:
            yield list(each)
        else:
            yield from ([arrival] for arrival in each)
