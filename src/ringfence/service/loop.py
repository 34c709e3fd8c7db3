"""The production loop of Dom0's seat: evidence is journaled, questions are answered, orders are given and followed.

Before anything is done its intent is in the journal, and its end after it: a kill between any two steps is seen on
replay and taken up again (law L9). An arrival is acknowledged to its source when it is durable. Nothing here waits: a
turn does what is due now, and ``wake_ms`` says when the next one is due at the latest. Clock and port are the host's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, assert_never

from ringfence import __version__
from ringfence.decision.answer import Ahead, Reply, ahead, answer, inform
from ringfence.decision.feasibility import Costed
from ringfence.decision.flow import State
from ringfence.decision.policy import Operation, Policy
from ringfence.decision.rows import Because, Row
from ringfence.diagnosis.badlist import BadList, steps_at_start
from ringfence.diagnosis.finding import UNJUDGED, diagnose
from ringfence.diagnosis.severity import ErrorClass, Severity, is_judgeable
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
from ringfence.record.evidence import Record
from ringfence.service import resumption, seen
from ringfence.service.alone import Alone
from ringfence.service.campaigning import Campaigning, part_begun, part_ended
from ringfence.service.instructing import instruct
from ringfence.service.ledger import Ledger
from ringfence.service.plugins import Asked, Plugin, verdicts
from ringfence.service.treatment import Treatment
from ringfence.world.domain import Domain
from ringfence.world.identities import OWN_CASES, CaseId, DomainId, Frame, StepId
from ringfence.world.situation import Seat, Situation
from ringfence.world.steps import ExchangeFrame, OfflineCpu, OfflineFrame, Result, Status, Step
from ringfence.world.treatment import Answered, Dom0Says, Entry

MOST_INFORMED: Final = 4_096
"""Pages of which a guest was told: a page that errs again after so many others is told of again."""
TURNS_AT_ONCE: Final = 64
"""How often arrivals are asked for within one turn: each asking gives up to 64, so that a storm cannot keep a turn."""


class Loop:
    """Dom0's seat on one host, for one life of this process. Begins by taking up what an earlier life left."""

    def __init__(
        self,
        host: Hypervisor,
        journal: Journal,
        policy: Policy,
        *,
        plugins: Mapping[str, Plugin] = MappingProxyType({}),
        wall_ms: int | None = None,
    ) -> None:
        self._host, self._policy, self._plugins = host, policy, plugins
        self._ledger = Ledger(host, journal)
        self._campaigning = Campaigning(self._ledger, policy, self._operated)
        self._acknowledged: list[Token] = []
        self._held: set[Token] = set()
        self._informed: dict[Frame, None] = {}
        self._alone: Alone | None = None
        if Capability.TREATS not in host.capabilities:
            treatment = Treatment(policy, first_case=self.state.last_seat_case + 1)
            self._alone = Alone(host, treatment, self, dry_run=policy.dry_run)
        boot = str(host.boot)
        rebooted = bool(self.state.boot) and self.state.boot != boot
        self._ledger.write(
            ev.Started(
                at_ms=host.now_ms(),
                life=self.state.life + 1,
                version=__version__,
                hypervisor=host.name,
                boot=boot,
                wall_ms=wall_ms,
                lacks=tuple(each.name or "" for each in Capability if each not in host.capabilities),
            ),
            *(resumption.ends_of_earlier_boot(self._ledger) if rebooted else ()),
        )
        others = resumption.strangers(self._ledger)
        self._ledger.note_domains()
        self._take_up(others)
        self._take_out_again()

    @property
    def state(self) -> Known:
        """What the journal amounts to."""
        return self._ledger.state

    @property
    def unwritten(self) -> tuple[int, int]:
        """How many events wait for room on the disk, and how many are in the kernel's log only."""
        return self._ledger.unwritten, self._ledger.unkept

    # --- turns

    def turn(self) -> None:
        """Do all that is due now."""
        for _ in range(TURNS_AT_ONCE):
            arrivals = self._host.arrivals()
            # What shall be saved must have come first: the wish to save it is answered when nothing else waits.
            others = [arrival for arrival in arrivals if not isinstance(arrival, EvidenceWanted)]
            if not arrivals:
                break
            self._ledger.note_domains()
            for arrival in others or arrivals:
                self._arrived(arrival)
            if self._held:
                # The disk is full: the same arrivals would come again and again.
                break
        self._campaigning.run()
        if self._alone is not None:
            self._alone.notice_gone()
            self._alone.go_on()
            self._alone.ring()
            self._campaigning.run()
        for case in list(self.state.cases):
            # Only now: its reasons may come after the end of its parts.
            self._ledger.close_if_ended(case)
        if self._acknowledged:
            self._ledger.write(ev.Acknowledged(at_ms=self._ledger.now_ms, tokens=tuple(self._acknowledged)))
            self._acknowledged.clear()

    @property
    def wake_ms(self) -> int | None:
        """When the next turn is due even if nothing arrives, on the host's clock; None if nothing is waited for."""
        alarms = [*self._alone.alarms.values()] if self._alone is not None else []
        campaign = self._campaigning.wake_ms
        return min((*alarms, campaign) if campaign is not None else alarms, default=None)

    def stop(self, because: str) -> None:
        """End this life in order."""
        self._ledger.write(ev.Stopped(at_ms=self._ledger.now_ms, because=because))

    def load_policy(self, policy: Policy, digest: str, text: str = "") -> None:
        """A policy applies from now on: to what is decided next. A wait that has begun keeps its time."""
        self._ledger.write(ev.PolicyLoaded(at_ms=self._ledger.now_ms, digest=digest, text=text))
        self._policy = policy
        self._campaigning.reload(policy)
        if self._alone is not None:
            self._alone.dry_run = policy.dry_run
            self._alone.treatment.reload(policy)

    def instruct(self, domain: DomainId, operation: Operation, who: str) -> tuple[CaseId | None, Result]:
        """A person instructs an operation on a domain (II.2); its case, and what became of it so far (II.4)."""
        return instruct(self._ledger, self._campaigning, domain, operation, who, dry_run=self._policy.dry_run)

    def approve(self, case: CaseId, domain: DomainId, operation: Operation, *, granted: bool, who: str) -> bool:
        """A person grants or denies an operation that waits for it; False if none does, and nothing is changed."""
        return self._campaigning.approve(case, domain, operation, granted=granted, who=who)

    # --- arrivals

    def _arrived(self, arrival: Arrival) -> None:
        if isinstance(arrival, Ended):
            self._order_ended(arrival.ended.order, arrival.ended.result)
            return
        token = arrival.token
        records = arrival.records if isinstance(arrival, Telemetry | LeftOver) else ()
        if token in self._held:
            pass  # taken already, and waits for room on the disk
        elif isinstance(arrival, Question) or not self.state.is_durable(token, records):
            self._new(arrival)
        # Else an earlier life has written it down, and was killed before it could say so.
        if self._ledger.is_durable:
            self._held.discard(token)
            self._host.acknowledge(token)
            self._acknowledged.append(token)
        else:
            self._held.add(token)

    def _new(self, arrival: Telemetry | LeftOver | Lost | Progress | Question | EvidenceWanted) -> None:
        now_ms = self._ledger.now_ms
        match arrival:
            case Telemetry():
                self._received(arrival, now_ms)
            case LeftOver():
                self._left_over(arrival, now_ms)
            case Lost(token=token, count=count, urgent=urgent):
                self._ledger.write(ev.Lost(at_ms=now_ms, count=count, urgent=urgent, token=token))
            case Progress(token=token, entry=entry):
                self._progressed(token, entry, now_ms)
            case Question():
                self._asked(arrival, now_ms)
            case EvidenceWanted(token=token, case=case):
                # All that came before is durable already: each arrival was, when it was taken.
                self._ledger.write(ev.EvidenceSaved(at_ms=now_ms, case=case, token=token))
                if self._ledger.is_durable:
                    self._host.evidence_saved(case)
            case _:
                assert_never(arrival)

    def _received(self, arrival: Telemetry, now_ms: int) -> None:
        records = arrival.records
        cases: tuple[CaseId | None, ...] = (arrival.case,) * len(records)
        if self._alone is not None:
            cases = self._alone.reported(records)
        first_aid = self._alone.first_aid() if self._alone is not None else []
        events: list[ev.Event] = []
        for part, (record, case) in enumerate(zip(records, cases, strict=True)):
            if not is_judgeable(record):
                # A #MC of which no bank says why.
                why = "it does not say how bad it is"
                events.append(
                    ev.Unrecognised(
                        at_ms=now_ms, raw=record.raw, why=why, origin=record.origin, token=arrival.token, part=part
                    )
                )
                continue
            events.append(
                seen.received(
                    diagnose(record), at_ms=now_ms, token=arrival.token, case=case, urgent=arrival.urgent, part=part,
                    sink=None,
                )
            )  # fmt: skip
        if self._alone is not None:
            # Whom it hit is written with the evidence: first aid may have hidden it from who looks again after a kill.
            for entry in self._alone.judged():
                events += self._judged(None, entry, now_ms)
        self._ledger.write(*events)
        if self._alone is not None:
            self._alone.go_on(first_aid)
        for event in events:
            if isinstance(event, ev.Received) and event.corrected:
                self._inform(event)
                self._act_ahead(event)

    def _left_over(self, arrival: LeftOver, now_ms: int) -> None:
        """Evidence of an earlier boot: joined to its case if it is known, else a case of its own that has ended."""
        for part, record in enumerate(arrival.records):
            if not is_judgeable(record):
                self._ledger.write(_unjudged(record, arrival.token, now_ms, part))
                continue
            finding = diagnose(record)
            events: list[ev.Event] = []
            is_uncorrected = ErrorClass.of(finding.severity) is ErrorClass.UNCORRECTED
            is_known, case = resumption.known(self._ledger, record) if is_uncorrected else (True, None)
            if not is_known:
                case = self._ledger.own_case()
                why = f"found in {arrival.sink} after the reset: the host did not live on"
                entry = ev.OutcomeEntry(None, State.HALTED, Row.LAST_WORDS, why)
                events.append(ev.Closed(at_ms=now_ms, case=case, outcome=(entry,)))
            received = seen.received(
                finding, at_ms=now_ms, token=arrival.token, case=case, urgent=True, part=part, sink=arrival.sink
            )
            self._ledger.write(received, *events)

    def _progressed(self, token: Token | None, entry: Entry, now_ms: int) -> None:
        if entry.reasons:
            self._ledger.write(*self._judged(token, entry, now_ms))
            return
        self._ledger.write(
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
        )
        if entry.domain is None:
            return
        if entry.state == State.OPERATING:
            self._begin_asked(entry.case, entry.domain)
        if entry.ended:
            self._campaigning.drop(entry.case, entry.domain)

    def _judged(self, token: Token | None, entry: Entry, now_ms: int) -> list[ev.Event]:
        """The seat says whom the error hit, and why it decided so."""
        events: list[ev.Event] = []
        found = entry.judgement
        if found is not None:
            consumer, *losers = (
                ev.Hit(
                    party=each.party,
                    certainty=each.certainty,
                    domain=each.domain,
                    pages=each.pages,
                    unnumbered=each.unnumbered,
                )
                for each in (found.consumer, *found.losers)
            )
            events.append(
                ev.Impacted(
                    at_ms=now_ms,
                    case=entry.case,
                    consumer=consumer,
                    losers=tuple(losers),
                    certainty=found.certainty,
                    grounds=tuple(
                        ev.Reason(why.row, why.because, why.rests_on, supports) for why, supports in found.grounds
                    ),
                    frames=found.frames,
                    cpu=found.cpu,
                    consumed=found.consumed,
                )
            )
        decided = ev.Decided(
            at_ms=now_ms,
            case=entry.case,
            domain=entry.domain,
            seat=Seat.HYPERVISOR if self._alone is None else Seat.DOM0,
            row=entry.row,
            reasons=tuple(ev.Reason(why.row, why.because, why.rests_on) for why in entry.reasons),
            token=token,
        )
        return [*events, decided]

    def _order_ended(self, order: StepId, result: Result) -> None:
        if order not in self.state.orders:
            return
        known = self.state.orders[order]
        case = known.case
        self._ledger.carried(order, result)
        self._campaigning.order_ended(order, result)
        if case >= OWN_CASES:
            self._instead(case, known.order.step, result)
            self._end_ahead(case, result.because or "carried out")
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
        self._progressed(None, entry, self._ledger.now_ms)

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
        decided = _decided(
            self._ledger.now_ms, case, domain, Row.ASK_DOM0, reply.reasons, answer=says, costed=_sums(reply.operations)
        )
        self._ledger.write(*before, decided)
        return says

    def _hear_plugins(self, number: CaseId, domain: Domain) -> None:
        asked = Asked(
            domain=domain,
            severity=self._severity(number),
            lost_pages=self._lost_pages(number),
            situation=self._situation(None),
        )
        now_ms = self._ledger.now_ms
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

    def _severity(self, number: CaseId) -> Severity:
        """The class of a case's error; nothing known of it is the worst that a domain can live through."""
        case = self.state.cases.get(number)
        return Severity(case.severity) if case is not None and case.severity else Severity.SRAR

    def _lost_pages(self, number: CaseId) -> int:
        case = self.state.cases.get(number)
        return sum(case.frames.values()) if case is not None else 1

    def _answer(self, case: CaseId, domain: DomainId, says: Dom0Says) -> None:
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
        situation = self._situation(None)
        if running is not None:
            situation = replace(situation, operations_running=running)
        return answer(
            situation.domain(domain),
            replace(situation, verdicts=tuple(case.verdicts) if case is not None else ()),
            self._policy,
            severity=self._severity(number),
            lost_pages=self._lost_pages(number),
            only_operate=only_operate,
        )

    def _situation(self, record: Record | None) -> Situation:
        return replace(self._host.situation(record), operations_running=self._campaigning.running)

    def _begin_asked(self, case: CaseId, domain: DomainId) -> None:
        """The hypervisor waits for Dom0's operation on a domain: begin it, if it has not begun."""
        if not self._campaigning.has(case, domain):
            # It has been promised: it waits for room, and is not dropped for the want of it.
            reply = self._reply(case, domain, only_operate=True, running=0)
            self._campaigning.begin(case, domain, tuple(each.operation for each in reply.operations), asked=True)

    # --- corrected errors: informing (I.3a-inform), acting ahead (II.1)

    def _inform(self, event: ev.Received) -> None:
        """Tell the guest whose page it is, if the policy wants it to hear of corrected errors: once for each page."""
        if event.frame is None or event.frame in self._informed:
            return
        for step in inform(self._situation(event.record), self._policy):
            self._informed[event.frame] = None
            while len(self._informed) > MOST_INFORMED:
                del self._informed[next(iter(self._informed))]
            case, now_ms = self._ledger.own_case(), self._ledger.now_ms
            why = Because(Row.INFORM, "the policy wants it to hear of corrected errors", "policy: inform_of_ce")
            self._ledger.write(
                _decided(now_ms, case, step.domain, Row.INFORM, (why,)), part_begun(now_ms, case, step.domain)
            )
            _, result = self._ledger.execute(case, step, Row.INFORM)
            heard = result.succeeded or result.status is Status.RUNNING
            state = State.OPERATED if heard else State.NOT_OPERATED
            self._ledger.write(
                part_ended(self._ledger.now_ms, case, step.domain, state, Row.INFORM, result.because or "it was told")
            )

    def _act_ahead(self, event: ev.Received) -> None:
        for found in seen.trends_of(event, self.state, self._policy.trends):
            situation = replace(self._situation(event.record), trends=(found.trend,))
            plan = ahead(found.trend, situation, self._policy)
            if plan.reasons:
                self._begin_ahead(found, plan, event.dimm)
            else:
                self._ledger.write(seen.trend_seen(found, self._ledger.now_ms, None))

    def _begin_ahead(self, found: seen.Found, plan: Ahead, dimm: str | None) -> None:
        now_ms, case = self._ledger.now_ms, self._ledger.own_case()
        costed = tuple(line for each in plan.campaigns for line in _sums(each.operations))
        self._ledger.write(
            seen.trend_seen(found, now_ms, case),
            _decided(now_ms, case, None, Row.AHEAD, plan.reasons, costed=costed),
            # Announced before any of them can end, so that the case is not closed too early.
            *(part_begun(now_ms, case, campaign.domain) for campaign in plan.campaigns),
            *((part_begun(now_ms, case, None),) if plan.steps else ()),
        )
        for step in plan.steps:
            _, result = self._ledger.execute(case, step, Row.ON_MACHINE, dimm)
            self._instead(case, step, result)
        self._end_ahead(case, plan.reasons[-1].because)
        for campaign in plan.campaigns:
            operations = tuple(each.operation for each in campaign.operations)
            self._campaigning.begin(case, campaign.domain, operations, asked=False)

    def _instead(self, case: CaseId, step: Step, result: Result) -> None:
        """What cannot be done falls to the next: a page that cannot be exchanged is offlined when it is let go."""
        if isinstance(step, ExchangeFrame) and result.status in {Status.REFUSED, Status.FAILED}:
            self._ledger.execute(case, OfflineFrame(step.frame), Row.ON_MACHINE)

    def _end_ahead(self, number: CaseId, because: str) -> None:
        """End the machine's part of a case of Dom0's own, once none of its orders runs any more."""
        case = self.state.cases.get(number)
        if case is None or any(known.case == number for known in self.state.orders.values()):
            return
        part = case.parts.get(None)
        if part is None and case.parts:
            return
        if part is not None and part.ended:
            return
        done = part is not None and any(result.succeeded for result in case.ended_orders.values())
        state = State.OPERATED if done else State.NOT_OPERATED
        self._ledger.write(part_ended(self._ledger.now_ms, number, None, state, Row.AHEAD, because))

    # --- after a reboot

    def _take_out_again(self) -> None:
        """Take out of use what was judged bad before the reboot; an owned page stays until it is let go (L3)."""
        faults = self.state.faults
        steps = steps_at_start(
            BadList(
                tuple((frame, faults.pages[frame]) for frame in sorted(faults.back_pages)),
                tuple(sorted(faults.back_cpus)),
            )
        )
        if not steps or self._policy.dry_run:
            return
        now_ms, case = self._ledger.now_ms, self._ledger.own_case()
        dimms = {frame: dimm for dimm, frames in self.state.offlined.items() for frame in frames}
        self._ledger.write(
            ev.KnownBad(
                at_ms=now_ms,
                case=case,
                pages=sum(step.pages for step in steps if isinstance(step, OfflineFrame)),
                cpus=tuple(step.cpu for step in steps if isinstance(step, OfflineCpu)),
            ),
            part_begun(now_ms, case, None),
        )
        for step in steps:
            dimm = dimms.get(step.frame) if isinstance(step, OfflineFrame) else None
            self._ledger.execute(case, step, Row.ON_MACHINE, dimm)
        self._end_ahead(case, "it was judged bad before the reboot")

    # --- after a kill

    def _take_up(self, others: frozenset[DomainId]) -> None:
        """Go on with what an earlier life of the same boot left: its orders, and the operations that are waited for."""
        resumption.take_up_orders(self._ledger, others)
        self._campaigning.remember()
        if self._alone is not None:
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
                self._end_ahead(number, "it was begun before Ringfence was killed")

    def _resume(self, case: CaseId, domain: DomainId, *, is_own: bool) -> None:
        if is_own:
            known = self._host.situation(None).domain(domain)
            instructed = self.state.cases[case].instructed
            operations = self._policy.rule_for(known).ahead if known is not None else ()
            operations = (Operation(instructed),) if instructed else operations
            self._campaigning.begin(case, domain, operations, asked=False, approved=bool(instructed))
        else:
            self._begin_asked(case, domain)
        self._campaigning.resume(case, domain)


def _unjudged(record: Record, token: Token, now_ms: int, part: int) -> ev.Unrecognised:
    """A machine check of which no bank said why: it is kept as it came."""
    return ev.Unrecognised(at_ms=now_ms, raw=record.raw, why=UNJUDGED, origin=record.origin, token=token, part=part)


def _sums(operations: Iterable[Costed]) -> tuple[str, ...]:
    return tuple(f"{each.operation}: {line}" for each in operations for line in each.sum)


def _decided(  # noqa: PLR0913 (one argument a field)
    at_ms: int,
    case: CaseId,
    domain: DomainId | None,
    row: Row,
    reasons: Iterable[Because],
    *,
    answer: Dom0Says | None = None,
    costed: tuple[str, ...] = (),
) -> ev.Decided:
    return ev.Decided(
        at_ms=at_ms,
        case=case,
        domain=domain,
        seat=Seat.DOM0,
        row=row,
        answer=answer,
        reasons=tuple(ev.Reason(each.row, each.because, each.rests_on) for each in reasons),
        costed=costed,
    )
