"""The production loop of Dom0's seat: evidence is journaled, questions are answered, orders are given and followed.

Before anything is done its intent is in the journal, and its end after it: a kill between any two steps is seen on
replay and taken up again (law L9). An arrival is acknowledged to its source when it is durable. Nothing here waits: a
turn does what is due now, and ``wake_ms`` says when the next one is due at the latest. Clock and port are the host's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from ringfence import __version__
from ringfence.action.carry import again, carry_out, taken_up
from ringfence.decision.answer import Ahead, Reply, ahead, answer
from ringfence.decision.feasibility import Costed
from ringfence.decision.flow import Event, State
from ringfence.decision.orders import OPERATIONS, step_of
from ringfence.decision.policy import Operation, Policy
from ringfence.decision.rows import Because, Row
from ringfence.diagnosis.containment import contain
from ringfence.diagnosis.finding import Finding, diagnose
from ringfence.diagnosis.severity import ErrorClass, Severity
from ringfence.hypervisor.port import (
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
from ringfence.journal.state import apply, replay
from ringfence.journal.store import Journal
from ringfence.record.evidence import Record
from ringfence.service import campaigns, seen
from ringfence.service.alone import Alone
from ringfence.service.campaigns import Campaign
from ringfence.service.treatment import Treatment
from ringfence.world.identities import OWN_CASES, CaseId, DomainId, StepId
from ringfence.world.situation import Seat, Situation, Suspect, Trend
from ringfence.world.steps import Order, Result, Status, Step
from ringfence.world.treatment import Answered, Dom0Says, Entry

TURNS_AT_ONCE: Final = 64
"""How often arrivals are asked for within one turn: each asking gives up to 64, so that a storm cannot keep a turn."""


class Loop:
    """Dom0's seat on one host, for one life of this process. Begins by taking up what an earlier life left."""

    def __init__(self, host: Hypervisor, journal: Journal, policy: Policy, *, wall_ms: int | None = None) -> None:
        self._host, self._journal, self._policy = host, journal, policy
        self.state = replay(journal.events())
        self._campaigns: dict[tuple[CaseId, DomainId], Campaign] = {}
        self._acknowledged: list[Token] = []
        self._ahead_of: set[tuple[Suspect, str]] = set()
        self._tried: set[tuple[CaseId, DomainId, Operation]] = set()
        self._succeeded: dict[tuple[CaseId, DomainId], bool] = {}
        self._remember_operations()
        self._alone: Alone | None = None
        if Capability.TREATS not in host.capabilities:
            self._alone = Alone(host, Treatment(policy, first_case=self.state.last_seat_case + 1), self)
        boot = str(host.boot)
        rebooted = bool(self.state.boot) and self.state.boot != boot
        self._write(
            ev.Started(
                at_ms=host.now_ms(),
                life=self.state.life + 1,
                version=__version__,
                hypervisor=host.name,
                boot=boot,
                wall_ms=wall_ms,
                lacks=tuple(each.name or "" for each in Capability if each not in host.capabilities),
            )
        )
        self._note_domains()
        if rebooted:
            self._close_earlier_boot()
        self._take_up()

    def _remember_operations(self) -> None:
        """Which operations were tried on whom, and which trends were acted upon, before this life."""
        by_order: dict[StepId, tuple[CaseId, DomainId]] = {}
        for _, event in self._journal.events():
            match event:
                case ev.Intended():
                    operation = OPERATIONS.get(event.step.kind)
                    domain = _domain_of(Order(event.order, event.step.step))
                    if operation is not None and domain is not None:
                        self._tried.add((event.case, domain, operation))
                        by_order[event.order] = (event.case, domain)
                case ev.Carried(order=order, status=Status.DONE | Status.PENDING) if order in by_order:
                    self._succeeded[by_order[order]] = True
                case ev.TrendSeen(case=case) if case is not None:
                    self._ahead_of.add((event.suspect, event.name))
                case _:
                    pass

    # --- turns

    def turn(self) -> None:
        """Do all that is due now."""
        for _ in range(TURNS_AT_ONCE):
            arrivals = self._host.arrivals()
            if not arrivals:
                break
            self._note_domains()
            for arrival in arrivals:
                self._arrived(arrival)
        self._run_campaigns()
        if self._alone is not None:
            self._alone.ring()
            self._run_campaigns()
        for case in list(self.state.cases):
            # Only now: its reasons may come after the end of its parts.
            self._close_if_ended(case)
        if self._acknowledged:
            self._write(ev.Acknowledged(at_ms=self._host.now_ms(), tokens=tuple(self._acknowledged)))
            self._acknowledged.clear()

    @property
    def wake_ms(self) -> int | None:
        """When the next turn is due even if nothing arrives, on the host's clock; None if nothing is waited for."""
        alarms = self._alone.alarms.values() if self._alone is not None else ()
        return min((*alarms, *(campaign.until_ms for campaign in self._campaigns.values())), default=None)

    def stop(self, because: str) -> None:
        """End this life in order."""
        self._write(ev.Stopped(at_ms=self._host.now_ms(), because=because))

    def approve(self, case: CaseId, domain: DomainId, operation: Operation, *, granted: bool, who: str) -> bool:
        """A person grants or denies an operation that waits for it; False if none does, and nothing is changed."""
        campaign = self._campaigns.get((case, domain))
        if campaign is None or campaign.position.state is not State.APPROVING or campaign.operation is not operation:
            return False
        now_ms = self._host.now_ms()
        self._write(
            ev.ApprovalGiven(at_ms=now_ms, case=case, domain=domain, operation=operation, granted=granted, who=who)
        )
        event = Event.APPROVED if granted else Event.DENIED
        self._campaigns[case, domain] = campaigns.told(campaign, event, self._policy, now_ms)
        self._run_campaigns()
        return True

    # --- arrivals

    def _arrived(self, arrival: object) -> None:
        now_ms = self._host.now_ms()
        match arrival:
            case Telemetry(token=token, urgent=urgent, records=records, case=case):
                if not self.state.is_durable(token, records):
                    self._received(token, records, now_ms, case=case, urgent=urgent)
                self._acknowledge(token)
            case LeftOver(token=token, records=records, sink=sink):
                if not self.state.is_durable(token, records):
                    self._left_over(token, records, sink, now_ms)
                self._acknowledge(token)
            case Lost(token=token, count=count, urgent=urgent):
                if not self.state.is_durable(token):
                    self._write(ev.Lost(at_ms=now_ms, count=count, urgent=urgent, token=token))
                self._acknowledge(token)
            case Progress(token=token, entry=entry):
                if not self.state.is_durable(token):
                    self._progressed(token, entry, now_ms)
                self._acknowledge(token)
            case Question():
                self._asked(arrival, now_ms)
                self._acknowledge(arrival.token)
            case EvidenceWanted(token=token, case=case):
                # All that came before is durable already: each arrival was, when it was taken.
                self._write(ev.EvidenceSaved(at_ms=now_ms, case=case, token=token))
                self._host.evidence_saved(case)
                self._acknowledge(token)
            case Ended(ended=ended):
                self._order_ended(ended.order, ended.result)
            case _:
                raise TypeError(f"an arrival of an unknown kind: {arrival!r}")

    def _acknowledge(self, token: Token) -> None:
        self._host.acknowledge(token)
        self._acknowledged.append(token)

    def _received(
        self, token: Token, records: tuple[Record, ...], now_ms: int, *, case: CaseId | None, urgent: bool
    ) -> None:
        findings = [diagnose(record) for record in records]
        events: list[ev.Event] = []
        cases: tuple[CaseId | None, ...] = (case,) * len(records)
        if self._alone is not None:
            cases = self._alone.reported(records)
        for part, (finding, case) in enumerate(zip(findings, cases, strict=True)):
            events.append(
                seen.received(finding, at_ms=now_ms, token=token, case=case, urgent=urgent, part=part, sink=None)
            )
            if case is not None and case not in self.state.cases and ErrorClass.of(finding.severity) == "uncorrected":
                events.append(self._impacted(case, finding, now_ms))
        first_aid = self._alone.first_aid() if self._alone is not None else []
        self._write(*events)
        if self._alone is not None:
            self._alone.go_on(first_aid)
        for event in events:
            if isinstance(event, ev.Received) and event.corrected:
                self._act_ahead(event)

    def _impacted(self, case: CaseId, finding: Finding, now_ms: int) -> ev.Impacted:
        impact = contain(finding, self._host.situation(finding.record))
        consumer = impact.consumer
        return ev.Impacted(
            at_ms=now_ms,
            case=case,
            consumer=ev.Hit(party=consumer.party, certainty=consumer.certainty, domain=consumer.domain),
            losers=tuple(
                ev.Hit(
                    party=loser.party,
                    certainty=impact.certainty,
                    domain=loser.domain,
                    pages=loser.pages,
                    unnumbered=loser.unnumbered,
                )
                for loser in impact.losers
            ),
            certainty=impact.certainty,
            grounds=tuple(ev.Reason(each.rule, each.because, each.cite, each.supports) for each in impact.grounds),
            frames=impact.frames,
            cpu=impact.cpu,
            consumed=finding.severity is Severity.SRAR,
        )

    def _left_over(self, token: Token, records: tuple[Record, ...], sink: str, now_ms: int) -> None:
        """Evidence of an earlier boot: joined to its case if that is known, else a case of its own that has ended."""
        events: list[ev.Event] = []
        for part, record in enumerate(records):
            finding = diagnose(record)
            case: CaseId | None = None
            if ErrorClass.of(finding.severity) is ErrorClass.UNCORRECTED and not self._knows(record):
                case = self._own_case()
                entry = ev.OutcomeEntry(
                    None, State.HALTED, Row.LAST_WORDS, f"found in {sink} after the reset: the host did not live on"
                )
                events.append(ev.Closed(at_ms=now_ms, case=case, outcome=(entry,)))
            events.insert(
                0,
                seen.received(finding, at_ms=now_ms, token=token, case=case, urgent=True, part=part, sink=sink),
            )
        self._write(*events)

    def _knows(self, record: Record) -> bool:
        """Whether the journal has this record already, from before the reset."""
        wanted = _identity(record)
        return any(
            isinstance(event, ev.Received) and _identity(event.record) == wanted for _, event in self._journal.events()
        )

    # --- what a treatment in this seat wants written and asked (service.alone.Clerk)

    def execute(self, case: CaseId, step: Step, row: str) -> tuple[StepId, Result]:
        """As ``alone.Clerk.execute``."""
        return self._execute(case, step, row)

    def executed(self, case: CaseId, step: Step, result: Result) -> StepId:
        """As ``alone.Clerk.executed``."""
        order, now_ms = self.state.next_order, self._host.now_ms()
        self._write(
            ev.Intended(at_ms=now_ms, order=order, case=case, step=ev.on_wire(step), row="first aid"),
            ev.Carried(
                at_ms=now_ms, order=order, status=result.status, because=result.because, declared=result.declared
            ),
        )
        return order

    def progressed(self, entry: Entry) -> None:
        """As ``alone.Clerk.progressed``."""
        self._progressed(None, entry, self._host.now_ms())

    def asked(self, case: CaseId, domain: DomainId, *, operate: bool) -> Dom0Says:
        """As ``alone.Clerk.asked``."""
        now_ms = self._host.now_ms()
        reply = self._reply(case, domain, only_operate=operate)
        says = Dom0Says(reply.says)
        self._write(
            _decided(now_ms, case, domain, Row.ASK_DOM0, reply.reasons, answer=says, costed=_sums(reply.operations))
        )
        return says

    # --- progress

    def _progressed(self, token: Token | None, entry: Entry, now_ms: int) -> None:
        if entry.event == "reason":
            reason = ev.Reason(entry.row, entry.because)
            self._write(
                ev.Decided(
                    at_ms=now_ms, case=entry.case, domain=entry.domain, seat=Seat.HYPERVISOR, row=entry.row,
                    reasons=(reason,), token=token,
                )
            )  # fmt: skip
            return
        self._write(
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
                token=token,
            )
        )
        if entry.state == State.OPERATING and entry.domain is not None:
            self._begin_asked(entry.case, entry.domain)
        if entry.ended and entry.domain is not None:
            # The seat has closed this part: an operation that still runs has nobody who waits for it.
            campaign = self._campaigns.get((entry.case, entry.domain))
            if campaign is not None and campaign.asked:
                del self._campaigns[entry.case, entry.domain]

    def _close_if_ended(self, number: CaseId) -> None:
        case = self.state.cases.get(number)
        if case is not None and case.has_ended:
            entries = tuple(
                ev.OutcomeEntry(domain, part.state, part.row, part.because) for domain, part in case.parts.items()
            )
            self._write(ev.Closed(at_ms=self._host.now_ms(), case=number, outcome=entries))

    # --- questions and campaigns

    def _asked(self, question: Question, now_ms: int) -> None:
        case, domain = question.case, question.domain
        if self.state.is_closed(case):
            return
        reply = self._reply(case, domain, only_operate=question.operate)
        says = Dom0Says(reply.says)
        self._write(
            ev.Asked(
                at_ms=now_ms, case=case, domain=domain, deadline_ms=question.deadline_ms, operate=question.operate,
                token=question.token,
            ),
            _decided(now_ms, case, domain, Row.ASK_DOM0, reply.reasons, answer=says, costed=_sums(reply.operations)),
        )  # fmt: skip
        self._answer(case, domain, says)

    def _answer(self, case: CaseId, domain: DomainId, says: Dom0Says) -> None:
        if self._alone is not None:
            self._alone.tell(Answered(case, domain, says))
            return
        result = self._host.answer(case, domain, says)
        self._write(
            ev.Answered(
                at_ms=self._host.now_ms(), case=case, domain=domain, says=says, status=result.status,
                because=result.because,
            )
        )  # fmt: skip

    def _reply(self, number: CaseId, domain: DomainId, *, only_operate: bool) -> Reply:
        case = self.state.cases.get(number)
        situation = self._situation()
        verdicts = tuple(case.verdicts) if case is not None else ()
        return answer(
            situation.domain(domain),
            replace(situation, verdicts=verdicts),
            self._policy,
            severity=Severity(case.severity) if case is not None and case.severity else Severity.SRAR,
            lost_pages=sum(case.frames.values()) if case is not None else 1,
            only_operate=only_operate,
        )

    def _situation(self) -> Situation:
        return replace(self._host.situation(None), operations_running=self._running_operations())

    def _running_operations(self) -> int:
        return sum(campaign.order is not None for campaign in self._campaigns.values())

    def _begin_asked(self, case: CaseId, domain: DomainId) -> None:
        """The hypervisor waits for Dom0's operation on a domain: begin it, if it has not begun."""
        if (case, domain) in self._campaigns:
            return
        reply = self._reply(case, domain, only_operate=True)
        self._begin(case, domain, tuple(each.operation for each in reply.operations), asked=True)

    def _begin(self, case: CaseId, domain: DomainId, operations: tuple[Operation, ...], *, asked: bool) -> None:
        untried = tuple(each for each in operations if (case, domain, each) not in self._tried)
        now_ms = self._host.now_ms()
        campaign = campaigns.begin(case, domain, untried, self._policy, now_ms, asked=asked)
        self._campaigns[case, domain] = campaign
        if campaign.position.state is State.APPROVING and campaign.operation is not None:
            wanted = ev.ApprovalAsked(
                at_ms=now_ms, case=case, domain=domain, operation=campaign.operation, deadline_ms=campaign.until_ms
            )
            self._write(wanted)

    def _run_campaigns(self) -> None:
        for key in list(self._campaigns):
            while (campaign := self._campaigns.get(key)) is not None:
                moved = self._one_move(campaign)
                if moved is None:
                    break
                self._campaigns[key] = moved
                if moved.position.has_ended:
                    self._campaign_ended(moved)

    def _one_move(self, campaign: Campaign) -> Campaign | None:
        """The campaign after what is due now, None if nothing is."""
        now_ms = self._host.now_ms()
        if campaign.position.has_ended:
            self._campaign_ended(campaign)
            return None
        if now_ms >= campaign.until_ms:
            which = ev.Deadline.APPROVAL if campaign.position.state is State.APPROVING else ev.Deadline.OPERATION
            self._write(ev.DeadlinePassed(at_ms=now_ms, case=campaign.case, domain=campaign.domain, which=which))
            return campaigns.told(campaign, Event.DEADLINE, self._policy, now_ms)
        operation = campaign.operation
        if campaign.order is not None or operation is None or campaign.position.state is State.APPROVING:
            return None
        step = step_of(operation, campaign.domain, self._host.situation(None))
        self._tried.add((campaign.case, campaign.domain, operation))
        order, result = self._execute(campaign.case, step, campaign.position.row)
        event = campaigns.event_of(result)
        if event is None:
            return replace(campaign, order=order)
        return campaigns.told(campaign, event, self._policy, now_ms)

    def _campaign_ended(self, campaign: Campaign) -> None:
        self._campaigns.pop((campaign.case, campaign.domain), None)
        done = campaign.position.state is State.OPERATED
        if campaign.asked:
            says = Dom0Says.OPERATED if done else Dom0Says.NOT_OPERATED
            self._answer(campaign.case, campaign.domain, says)
        else:
            position = campaign.position
            self._write(_part_ended(self._host.now_ms(), campaign.case, campaign.domain, position.state, position.row))
            self._close_if_ended(campaign.case)

    # --- acting ahead (II.1)

    def _act_ahead(self, event: ev.Received) -> None:
        for trend in seen.trends_of(event, self.state, self._policy.trends):
            key = (trend.suspect, trend.name)
            if key in self._ahead_of:
                continue
            situation = replace(self._host.situation(event.record), operations_running=self._running_operations())
            plan = ahead(trend, replace(situation, trends=(trend,)), self._policy)
            if not plan.reasons:
                continue
            self._ahead_of.add(key)
            self._begin_ahead(trend, plan, event.dimm)

    def _begin_ahead(self, trend: Trend, plan: Ahead, dimm: str | None) -> None:
        now_ms, case = self._host.now_ms(), self._own_case()
        self._write(
            ev.TrendSeen(
                at_ms=now_ms,
                suspect=trend.suspect,
                name=trend.name,
                count=trend.count,
                distinct=trend.distinct_syndromes,
                window_ms=trend.window_ms,
                expected_ue_ms=trend.expected_ue_ms,
                frames=trend.frames,
                cpu=trend.cpu,
                case=case,
            ),
            _decided(
                now_ms, case, None, Row.AHEAD, plan.reasons,
                costed=tuple(line for each in plan.campaigns for line in _sums(each.operations)),
            ),
        )  # fmt: skip
        for campaign in plan.campaigns:
            # Announced before any of them can end, so that the case is not closed too early.
            self._write(_part_begun(now_ms, case, campaign.domain))
        results = [self._execute(case, step, Row.AHEAD, dimm)[1] for step in plan.steps]
        done = all(result.succeeded for result in results)
        self._write(_part_ended(now_ms, case, None, State.OPERATED if done else State.NOT_OPERATED, Row.AHEAD))
        for campaign in plan.campaigns:
            operations = tuple(each.operation for each in campaign.operations)
            self._begin(case, campaign.domain, operations, asked=False)
        self._close_if_ended(case)

    # --- orders

    def _execute(self, case: CaseId, step: Step, row: str, dimm: str | None = None) -> tuple[StepId, Result]:
        """Write the intent, carry out, write the result; tries again as often as the step's kind allows."""
        return self._attempts(case, Order(self.state.next_order, step), row, 1, dimm)

    def _attempts(
        self, case: CaseId, order: Order, row: str, attempt: int, dimm: str | None = None
    ) -> tuple[StepId, Result]:
        while True:
            self._write(
                ev.Intended(
                    at_ms=self._host.now_ms(), order=order.id, case=case, step=ev.on_wire(order.step), attempt=attempt,
                    row=row, dimm=dimm,
                )
            )  # fmt: skip
            result = carry_out(self._host, order)
            self._carried(order.id, result)
            if not again(order.step, attempt, result):
                return order.id, result
            attempt += 1

    def _carried(self, order: StepId, result: Result) -> None:
        self._write(
            ev.Carried(
                at_ms=self._host.now_ms(), order=order, status=result.status, because=result.because,
                declared=result.declared,
            )
        )  # fmt: skip

    def _order_ended(self, order: StepId, result: Result) -> None:
        if order not in self.state.orders:
            return
        self._carried(order, result)
        self._campaign_told(order, result)
        if self._alone is not None:
            self._alone.order_ended(order, result)

    def _campaign_told(self, order: StepId, result: Result) -> None:
        for key, campaign in list(self._campaigns.items()):
            event = campaigns.event_of(result) if campaign.order == order else None
            if event is not None:
                self._campaigns[key] = campaigns.told(campaign, event, self._policy, self._host.now_ms())

    # --- after a kill, after a reset

    def _take_up(self) -> None:
        """Go on with what an earlier life of the same boot left: its orders, and the operations that are waited for."""
        for order, known in list(self.state.orders.items()):
            result = taken_up(self._host, known.order)
            if result is None:
                self._attempts(known.case, known.order, "", known.attempt + 1, known.dimm)
            else:
                self._carried(order, result)
        if self._alone is not None:
            self._take_up_cases(self._alone)
        for number, case in list(self.state.cases.items()):
            own = number >= OWN_CASES
            for domain, part in list(case.parts.items()):
                if domain is None or part.ended or (part.state != State.OPERATING and not own):
                    continue
                self._resume(number, domain, own=own)
            if own and not case.parts:
                self._write(_part_ended(self._host.now_ms(), number, None, State.UNKNOWN, Row.AHEAD))
            self._close_if_ended(number)

    def _take_up_cases(self, alone: Alone) -> None:
        """This seat treats by itself, and forgot what it had in mind: begin each open case again from its evidence."""
        evidence: dict[CaseId, Record] = {}
        for _, event in self._journal.events():
            if isinstance(event, ev.Received) and event.case in self.state.cases:
                evidence.setdefault(event.case, event.record)
        for number, record in evidence.items():
            parts = self.state.cases[number].parts
            ended = frozenset(domain for domain, part in parts.items() if part.ended)
            alone.take_up(number, record, self._host.situation(record), ended)
        alone.go_on()

    def _resume(self, case: CaseId, domain: DomainId, *, own: bool) -> None:
        running = next(
            (known for known in self.state.orders.values() if known.case == case and _domain_of(known.order) == domain),
            None,
        )
        done = self._done_for(case, domain)
        if own:
            situation = self._host.situation(None)
            known = situation.domain(domain)
            operations = self._policy.rule_for(known).ahead if known is not None else ()
            self._begin(case, domain, operations, asked=False)
        else:
            self._begin_asked(case, domain)
        campaign = self._campaigns[case, domain]
        if done:
            ended = replace(campaign.position, state=State.OPERATED)
            self._campaigns[case, domain] = replace(campaign, position=ended)
        elif running is not None:
            state = replace(campaign.position, state=State.CARRYING_OUT)
            self._campaigns[case, domain] = replace(campaign, order=running.order.id, position=state)

    def _done_for(self, case: CaseId, domain: DomainId) -> bool:
        """Whether an operation on a domain was carried out already, and only its being told was missed."""
        return self._succeeded.get((case, domain), False)

    def _close_earlier_boot(self) -> None:
        """The host was reset: what was open then has its outcome now, and none of its orders is carried out again."""
        now_ms = self._host.now_ms()
        for order in list(self.state.orders):
            self._carried(order, Result(Status.UNKNOWN, "the host was reset while it was carried out: not repeated"))
        for number, case in list(self.state.cases.items()):
            halting = any(part.state in _TO_A_HALT for part in case.parts.values())
            state = State.HALTED if halting else State.UNKNOWN
            why = "the host was reset before its end was reported"
            entries = tuple(
                ev.OutcomeEntry(domain, part.state, part.row, part.because)
                if part.ended
                else ev.OutcomeEntry(domain, state, part.row, why)
                for domain, part in case.parts.items()
            )
            nothing = (ev.OutcomeEntry(None, state, Row.LAST_WORDS, why),)
            self._write(ev.Closed(at_ms=now_ms, case=number, outcome=entries or nothing))

    # --- the journal

    def _note_domains(self) -> None:
        """Write down what domains there are, and whether Dom0 can be asked, where that has changed."""
        situation = self._host.situation(None)
        now_ms, known, dom0 = self._host.now_ms(), self.state.domains, situation.dom0
        events: list[ev.Event] = [
            ev.DomainChanged(
                at_ms=now_ms, domain=each.id, name=each.name, domain_kind=each.kind, state=each.state, uuid=each.uuid
            )
            for each in situation.domains
            if each.id not in known or (known[each.id].name, known[each.id].state) != (each.name, each.state)
        ]
        if (dom0.has_handler, dom0.hurt) != (self.state.dom0_has_handler, self.state.dom0_hurt):
            events.append(ev.Dom0Changed(at_ms=now_ms, has_handler=dom0.has_handler, hurt=dom0.hurt))
        self._write(*events)

    def _write(self, *events: ev.Event) -> None:
        self._journal.append(*events)
        for event in events:
            apply(self.state, event)

    def _own_case(self) -> CaseId:
        """A number for a case of Dom0's own."""
        return CaseId(max(self.state.last_case, OWN_CASES) + 1)


_TO_A_HALT = frozenset({State.SAVING_EVIDENCE, State.SPEAKING, State.HALTING, State.HALTING_AGAIN})


def _identity(record: Record) -> tuple[object, ...]:
    """What tells the same error of before and after a reset: the bank and its registers."""
    registers = record.registers
    return record.bank, registers.status, registers.addr, registers.misc


def _domain_of(order: Order) -> DomainId | None:
    return getattr(order.step, "domain", None)


def _reasons(reasons: Iterable[Because]) -> tuple[ev.Reason, ...]:
    return tuple(ev.Reason(each.row, each.because, each.rests_on) for each in reasons)


def _sums(operations: Iterable[Costed]) -> tuple[str, ...]:
    return tuple(line for each in operations for line in each.sum)


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
        at_ms=at_ms, case=case, domain=domain, seat=Seat.DOM0, row=row, answer=answer, reasons=_reasons(reasons),
        costed=costed,
    )  # fmt: skip


def _part_begun(at_ms: int, case: CaseId, domain: DomainId) -> ev.Progressed:
    return ev.Progressed(at_ms=at_ms, case=case, domain=domain, event="trend", state=State.CARRYING_OUT, row=Row.AHEAD)


def _part_ended(at_ms: int, case: CaseId, domain: DomainId | None, state: State, row: str) -> ev.Progressed:
    return ev.Progressed(at_ms=at_ms, case=case, domain=domain, event="done", state=state, row=row, ended=True)
