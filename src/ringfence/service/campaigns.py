"""A campaign: the operations that Dom0 tries on one domain, one after the other, until one is done (case II)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringfence.decision.flow import Event, Facts, Position, State, advance
from ringfence.decision.policy import Operation, Policy
from ringfence.decision.rows import Row
from ringfence.world.domain import DomainKind, McaHandler
from ringfence.world.identities import CaseId, DomainId, StepId
from ringfence.world.steps import Result, Status

_FACTS = Facts(kind=DomainKind.HVM, handler=McaHandler.NONE, mca_enabled=False, consumed=False, dom0_able=True)
"""Dom0's own operations depend on none of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Campaign:
    """Where a campaign stands. ``operations`` are those still to be tried, the present one first.

    ``asked``: the hypervisor waits for its end (I.2c-dom0); otherwise Dom0 acts ahead by itself (II.1). ``until_ms`` is
    when it has lasted too long, ``order`` the order that is running.
    """

    case: CaseId
    domain: DomainId
    operations: tuple[Operation, ...]
    position: Position
    asked: bool
    until_ms: int
    order: StepId | None = None

    @property
    def operation(self) -> Operation | None:
        """The operation that is tried now."""
        return self.operations[0] if self.operations and not self.position.has_ended else None


def begin(  # noqa: PLR0913 (one argument a fact)
    case: CaseId, domain: DomainId, operations: tuple[Operation, ...], policy: Policy, now_ms: int, *, asked: bool
) -> Campaign:
    """A campaign at its beginning: waiting for a person if the policy wants one for its first operation."""
    state = State.CARRYING_OUT if operations else State.NOT_OPERATED
    waits_ms = policy.deadlines.operation_ms
    if operations and operations[0] in policy.approve:
        state, waits_ms = State.APPROVING, policy.deadlines.approval_ms
    row = Row.ON_DOMAIN if asked else Row.AHEAD
    return Campaign(
        case=case,
        domain=domain,
        operations=operations,
        position=Position(state=state, row=row),
        asked=asked,
        until_ms=now_ms + waits_ms,
    )


def told(campaign: Campaign, event: Event, policy: Policy, now_ms: int) -> Campaign:
    """The campaign after an event that its state allows. Raises IllegalEventError for any other.

    What was denied or has failed is followed by the next operation; a person is asked about it where the policy wants
    that. If nobody said anything in time, nobody is asked again: only what needs no approval is left.
    """
    operations, waits_ms = campaign.operations, policy.deadlines.operation_ms
    approving = campaign.position.state is State.APPROVING
    if event is Event.DEADLINE and approving:
        operations = tuple(each for each in operations if each not in policy.approve)
    elif event is Event.FAILED or (event is Event.DENIED and approving):
        operations = operations[1:]
    if operations and operations != campaign.operations:
        event = Event.NEXT_OPERATION
        if operations[0] in policy.approve:
            event, waits_ms = Event.NEXT_TO_APPROVE, policy.deadlines.approval_ms
    move = advance(campaign.position, event, _FACTS)
    return Campaign(
        case=campaign.case,
        domain=campaign.domain,
        operations=operations,
        position=move.position,
        asked=campaign.asked,
        until_ms=now_ms + waits_ms if event in _WAITS_ANEW else campaign.until_ms,
    )


_WAITS_ANEW: Final = frozenset({Event.APPROVED, Event.NEXT_OPERATION, Event.NEXT_TO_APPROVE})


def event_of(result: Result) -> Event | None:
    """Which event the end of its order is; None if it still runs."""
    match result.status:
        case Status.RUNNING:
            return None
        case Status.DONE | Status.PENDING:
            return Event.DONE
        case Status.UNKNOWN:
            return Event.UNCERTAIN
        case Status.REFUSED | Status.FAILED:
            return Event.FAILED
