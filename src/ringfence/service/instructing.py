"""Operations that a person instructs (II.2): each is checked, and written down with who did it (II.4, L8)."""

from __future__ import annotations

from ringfence.action.carry import NEEDS
from ringfence.decision.orders import step_of
from ringfence.decision.policy import Operation
from ringfence.decision.rows import Row
from ringfence.journal import events as ev
from ringfence.service.campaigning import Campaigning, part_begun
from ringfence.service.ledger import Ledger
from ringfence.world.domain import DomainState
from ringfence.world.identities import CaseId, DomainId
from ringfence.world.situation import Situation
from ringfence.world.steps import Result, Status


def why_not(ledger: Ledger, number: DomainId, operation: Operation, *, dry_run: bool) -> str | None:
    """Why an operation cannot be begun on a domain as things stand, None if nothing speaks against it (II.4)."""
    situation = ledger.host.situation(None)
    domain = situation.domain(number)
    if domain is None:
        return f"there is no domain {number}"
    if domain.is_dom0:
        return "Dom0 is no guest: it cannot be operated on"
    if dry_run:
        return "the policy is a dry run: nothing is ordered"
    if not domain.lives and not _works_without_life(operation, domain.state):
        return f"it is {domain.state}"
    if operation is Operation.PAUSE and domain.state is DomainState.PAUSED:
        return "it is paused already"
    needed = NEEDS.get(type(step_of(operation, number, situation)))
    if needed is not None and needed not in ledger.host.capabilities:
        return f"{ledger.host.name} cannot do this ({needed.name})"
    return _why_not_there(operation, domain.may_migrate, situation)


def _works_without_life(operation: Operation, state: DomainState) -> bool:
    """What has crashed or was saved can be brought back; what is elsewhere cannot."""
    return operation in {Operation.RESTORE, Operation.RESTART} and state is not DomainState.MIGRATED


def _why_not_there(operation: Operation, may_migrate: bool, situation: Situation) -> str | None:
    if operation is not Operation.MIGRATE:
        return None
    if not may_migrate:
        return "it is tied to this host"
    if situation.destination is None or not situation.destination.healthy:
        return "there is no healthy host to migrate it to"
    return None


def instruct(  # noqa: PLR0913 (who writes, who carries out, and what is instructed)
    ledger: Ledger, campaigning: Campaigning, domain: DomainId, operation: Operation, who: str, *, dry_run: bool
) -> tuple[CaseId | None, Result]:
    """Write the instruction down and begin it: the number of its case, and what became of it so far.

    REFUSED without a case if a check says so: then nothing has changed but the journal. RUNNING: its end is journaled
    in the case, also if it has to wait for operations that run already (``Budgets.operations_at_a_time``).
    """
    refused = why_not(ledger, domain, operation, dry_run=dry_run)
    if refused is not None:
        ledger.write(ev.Instructed(at_ms=ledger.now_ms, domain=domain, operation=operation, who=who, refused=refused))
        return None, Result(Status.REFUSED, refused)
    case, now_ms = ledger.own_case(), ledger.now_ms
    ledger.write(
        ev.Instructed(at_ms=now_ms, case=case, domain=domain, operation=operation, who=who),
        part_begun(now_ms, case, domain, event="instructed", row=Row.ON_DOMAIN),
    )
    campaigning.begin(case, domain, (operation,), asked=False, approved=True)
    campaigning.run()
    known = ledger.state.cases[case]
    ended = next(iter(known.ended_orders.values()), None)
    return case, ended if ended is not None else Result(Status.RUNNING, "its end is journaled in the case")
