"""Runs campaigns: gives the orders of Dom0's operations on domains, follows them, and tells who waits for their end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ringfence.decision.flow import Event, State
from ringfence.decision.orders import OPERATIONS, step_of
from ringfence.decision.policy import Operation, Policy
from ringfence.decision.rows import Row
from ringfence.journal import events as ev
from ringfence.journal.case import OpenOrder
from ringfence.quick import changed
from ringfence.record.evidence import Record
from ringfence.service import campaigns
from ringfence.service.campaigns import Campaign
from ringfence.service.ledger import Ledger
from ringfence.world.identities import CaseId, DomainId, StepId
from ringfence.world.situation import Situation
from ringfence.world.steps import Result, Status

Told = Callable[[CaseId, DomainId, bool], None]
"""Who waits for the end of an operation: the case, the domain, and whether it was operated on."""


class Campaigning:
    """The campaigns of one life of this process. ``tell`` is called at the end of those that were asked for."""

    def __init__(self, ledger: Ledger, policy: Policy, tell: Told) -> None:
        self._ledger, self._policy, self._tell = ledger, policy, tell
        self._campaigns: dict[tuple[CaseId, DomainId], Campaign] = {}
        self._tried: set[tuple[CaseId, DomainId, Operation]] = set()
        self._succeeded: set[tuple[CaseId, DomainId]] = set()
        self._of_order: dict[StepId, tuple[CaseId, DomainId]] = {}
        self._last: dict[tuple[CaseId, DomainId], tuple[Operation, Result]] = {}

    def remember(self) -> None:
        """Which operations an earlier life tried on whom, and which of them were done: once its orders are taken up."""
        of_order = self._of_order
        journal = self._ledger.journal
        before = journal.first_of(self._ledger.state.cases) - 1
        for _, event in journal.events(before, kinds=(ev.Intended, ev.Carried)):
            match event:
                case ev.Intended() if event.row == Row.ON_DOMAIN and event.case in self._ledger.state.cases:
                    # Only what a campaign ordered: first aid stops a domain by the same step.
                    domain: DomainId = getattr(event.step.step, "domain")  # noqa: B009 (every operation has one)
                    self._tried.add((event.case, domain, OPERATIONS[event.step.kind]))
                    of_order[event.order] = (event.case, domain)
                case ev.Carried(order=order, status=Status.DONE | Status.PENDING) if order in of_order:
                    self._succeeded.add(of_order[order])
                case _:
                    pass

    @property
    def running(self) -> int:
        """How many operations are running now: those, too, that nobody waits for any more."""
        return sum(known.running and known.order.id in self._of_order for known in self._ledger.state.orders.values())

    def situation(self, record: Record | None) -> Situation:
        """The host now, as ``Hypervisor.situation``, and how many operations are running on it."""
        return changed(self._ledger.host.situation(record), operations_running=self.running)

    @property
    def wake_ms(self) -> int | None:
        """When the first campaign has lasted too long; one that waits for room has no end yet."""
        waiting = (
            campaign.until_ms
            for campaign in self._campaigns.values()
            if campaign.order is not None or campaign.position.state is State.APPROVING
        )
        return min(waiting, default=None)

    def has(self, case: CaseId, domain: DomainId) -> bool:
        """Whether a campaign on this domain is running for this case."""
        return (case, domain) in self._campaigns

    def reload(self, policy: Policy) -> None:
        """What begins or moves on from now on goes by this policy."""
        self._policy = policy

    def begin(  # noqa: PLR0913 (whom, what, and on whose word)
        self,
        case: CaseId,
        domain: DomainId,
        operations: tuple[Operation, ...],
        *,
        asked: bool,
        approved: bool = False,
        row: Row = Row.AHEAD,
    ) -> None:
        """Begin a campaign with the operations that were not tried yet; a person is asked where the policy wants it.

        ``approved``: a person has instructed it, and is not asked again. ``row`` is that of a case of Dom0's own.
        """
        untried = tuple(each for each in operations if (case, domain, each) not in self._tried)
        policy = replace(self._policy, approve=frozenset()) if approved else self._policy
        campaign = campaigns.begin(case, domain, untried, policy, self._ledger.now_ms, asked=asked)
        if approved or (row is Row.ON_DOMAIN and not asked):
            campaign = replace(campaign, position=replace(campaign.position, row=Row.ON_DOMAIN))
        if (running := self._running_of(case, domain)) is not None:
            # An earlier life's order: what was not tried comes after it.
            position = replace(campaign.position, state=State.CARRYING_OUT)
            operation = OPERATIONS[type(running.order.step).__name__]
            campaign = replace(
                campaign, order=running.order.id, operations=(operation, *untried), position=position,
                until_ms=self._ledger.now_ms + self._policy.deadlines.operation_ms,
            )  # fmt: skip
        self._campaigns[case, domain] = self._asked(campaign)

    def _running_of(self, case: CaseId, domain: DomainId) -> OpenOrder | None:
        orders = self._ledger.state.orders.values()
        return next((known for known in orders if self._of_order.get(known.order.id) == (case, domain)), None)

    def _told(self, campaign: Campaign, event: Event) -> Campaign:
        """The campaign after an event; a person is asked if it comes to that."""
        return self._asked(campaigns.told(campaign, event, self._policy, self._ledger.now_ms))

    def _asked(self, campaign: Campaign) -> Campaign:
        """Ask a person, if the campaign waits for one and an earlier life has not asked."""
        case, domain, operation = campaign.case, campaign.domain, campaign.operation
        if campaign.position.state is not State.APPROVING or operation is None:
            return campaign
        known = self._word_of(case, domain, operation)
        if isinstance(known, Event):
            return self._told(campaign, known)
        if known is not None:
            return replace(campaign, until_ms=known)
        self._ledger.write(
            ev.ApprovalAsked(
                at_ms=self._ledger.now_ms, case=case, domain=domain, operation=operation, deadline_ms=campaign.until_ms
            )
        )
        return campaign

    def _word_of(self, case: CaseId, domain: DomainId, operation: Operation) -> Event | int | None:
        """What came of an earlier life's asking a person: the word that was given, the end of the time for it, or until
        when it is waited for. None if nobody was asked. A deadline once passed is never unpassed.
        """
        state = self._ledger.state
        if (known := state.cases.get(case)) is None:
            return None
        if (granted := known.approved.get((domain, operation))) is not None:
            return Event.APPROVED if granted else Event.DENIED
        if (domain, ev.Deadline.APPROVAL) in known.passed:
            return Event.DEADLINE
        asked = state.approvals.get((case, domain, operation))
        return asked.deadline_ms if asked is not None else None

    def resume(self, case: CaseId, domain: DomainId) -> None:
        """Fit a campaign that was begun anew to what an earlier life's orders have come to."""
        campaign = self._campaigns[case, domain]
        if (case, domain) in self._succeeded:
            ended = replace(campaign.position, state=State.OPERATED)
            self._campaigns[case, domain] = replace(campaign, position=ended)

    def drop(self, case: CaseId, domain: DomainId) -> None:
        """The hypervisor does not wait any more: what runs goes on, nothing new is begun."""
        campaign = self._campaigns.get((case, domain))
        if campaign is not None and campaign.asked:
            del self._campaigns[case, domain]

    def approve(self, case: CaseId, domain: DomainId, operation: Operation, *, granted: bool, who: str) -> bool:
        """A person grants or denies an operation that waits for it; False if none does, and nothing is changed."""
        campaign = self._campaigns.get((case, domain))
        if campaign is None or campaign.position.state is not State.APPROVING or campaign.operation is not operation:
            return False
        now_ms = self._ledger.now_ms
        self._ledger.write(
            ev.ApprovalGiven(at_ms=now_ms, case=case, domain=domain, operation=operation, granted=granted, who=who)
        )
        self._campaigns[case, domain] = self._told(campaign, Event.APPROVED if granted else Event.DENIED)
        return True

    def order_ended(self, order: StepId, result: Result) -> None:
        """An order has ended: a campaign may have waited for it."""
        event = campaigns.event_of(result)
        if event is not None:
            self._of_order.pop(order, None)
        for key, campaign in list(self._campaigns.items()):
            if campaign.order == order and event is not None:
                if campaign.operation is not None:
                    self._last[key] = (campaign.operation, result)
                self._campaigns[key] = self._told(campaign, event)

    def run(self) -> None:
        """Do what is due now, in every campaign."""
        for key in list(self._campaigns):
            while (campaign := self._campaigns.get(key)) is not None:
                if campaign.position.has_ended:
                    self._ended(campaign)
                    break
                moved = self._one_move(campaign)
                if moved is None:
                    break
                self._campaigns[key] = moved

    def _one_move(self, campaign: Campaign) -> Campaign | None:
        """The campaign after what is due now, None if nothing is."""
        now_ms = self._ledger.now_ms
        approving = campaign.position.state is State.APPROVING
        if now_ms >= campaign.until_ms and (approving or campaign.order is not None):
            which = ev.Deadline.APPROVAL if approving else ev.Deadline.OPERATION
            self._ledger.write(ev.DeadlinePassed(at_ms=now_ms, case=campaign.case, domain=campaign.domain, which=which))
            return self._told(campaign, Event.DEADLINE)
        operation = campaign.operation
        if campaign.order is not None or operation is None or approving:
            return None
        if self.running >= self._policy.budgets.operations_at_a_time:
            return None
        step = step_of(operation, campaign.domain, self._ledger.host.situation(None))
        self._tried.add((campaign.case, campaign.domain, operation))
        order, result = self._ledger.execute(campaign.case, step, Row.ON_DOMAIN)
        event = campaigns.event_of(result)
        if event is None:
            self._of_order[order] = campaign.case, campaign.domain
        self._last[campaign.case, campaign.domain] = (operation, result)
        if event is None:
            return replace(campaign, order=order, until_ms=now_ms + self._policy.deadlines.operation_ms)
        return self._told(campaign, event)

    def _ended(self, campaign: Campaign) -> None:
        del self._campaigns[campaign.case, campaign.domain]
        last = self._last.pop((campaign.case, campaign.domain), None)
        position = campaign.position
        if campaign.asked:
            self._tell(campaign.case, campaign.domain, position.state is State.OPERATED)
            return
        self._ledger.write(
            part_ended(
                self._ledger.now_ms, campaign.case, campaign.domain, position.state, position.row,
                _in_words(last),
            )
        )  # fmt: skip


def _in_words(last: tuple[Operation, Result] | None) -> str:
    """How a campaign ended: by which operation, or why by none."""
    if last is None:
        return "nothing was tried"
    operation, result = last
    because = f": {result.because}" if result.because else ""
    return f"{operation} {result.status}{because}"


def part_begun(
    at_ms: int, case: CaseId, domain: DomainId | None, *, event: str = "trend", row: str = Row.AHEAD
) -> ev.Progressed:
    """A part of a case of Dom0's own has begun, because of ``event``."""
    return ev.Progressed(at_ms=at_ms, case=case, domain=domain, event=event, state=State.CARRYING_OUT, row=row)


def part_ended(  # noqa: PLR0913, PLR0917 (one argument a field)
    at_ms: int, case: CaseId, domain: DomainId | None, state: State, row: str, because: str
) -> ev.Progressed:
    """A part of a case of Dom0's own has ended."""
    return ev.Progressed(
        at_ms=at_ms, case=case, domain=domain, event="done", state=state, row=row, because=because, ended=True
    )
