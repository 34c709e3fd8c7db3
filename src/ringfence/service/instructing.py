"""Operations that a person instructs (II.2): each is checked, and written down with who did it (II.4, L8)."""

from __future__ import annotations

from typing import assert_never

from ringfence.action.carry import NEEDS
from ringfence.decision.flow import State
from ringfence.decision.orders import step_of
from ringfence.decision.policy import Operation
from ringfence.decision.rows import Row
from ringfence.journal import events as ev
from ringfence.service.campaigning import Campaigning, part_begun, part_ended
from ringfence.service.ledger import NOTHING_ORDERED, Ledger
from ringfence.world.domain import DomainState
from ringfence.world.identities import CaseId, DomainId
from ringfence.world.situation import Situation, Suspect
from ringfence.world.steps import (
    OfflineCpu,
    OfflineFrame,
    OnlineCpu,
    OnlineFrame,
    Result,
    Status,
    UnpauseDomain,
)

Instructable = UnpauseDomain | OfflineFrame | OnlineFrame | OfflineCpu | OnlineCpu
"""Steps that a person may instruct as they are."""


def why_not(ledger: Ledger, number: DomainId, operation: Operation, *, dry_run: bool) -> str | None:
    """Why an operation cannot be begun on a domain as things stand, None if nothing speaks against it (II.4)."""
    situation = ledger.host.situation(None)
    domain = situation.domain(number)
    if domain is None:
        return f"there is no domain {number}"
    if domain.is_dom0:
        return "Dom0 is no guest: it cannot be operated on"
    if dry_run:
        return NOTHING_ORDERED
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


def instruct_step(
    ledger: Ledger, step: Instructable, operation: str, who: str, *, dry_run: bool
) -> tuple[CaseId | None, Result]:
    """Write an instruction down that is one step, and carry it out: the number of its case, and what became of it.

    REFUSED without a case if a check says so: then nothing has changed but the journal.
    """
    domain = step.domain if isinstance(step, UnpauseDomain) else None
    on = _on(step)
    refused = _why_not_step(ledger, step, dry_run=dry_run)
    now_ms = ledger.now_ms
    if refused is not None:
        ledger.write(ev.Instructed(at_ms=now_ms, domain=domain, operation=operation, who=who, refused=refused, on=on))
        return None, Result(Status.REFUSED, refused)
    case, row = ledger.own_case(), Row.ON_MACHINE if domain is None else Row.ON_DOMAIN
    ledger.write(
        ev.Instructed(at_ms=now_ms, case=case, domain=domain, operation=operation, who=who, on=on),
        # The host's part, also for a domain: an operation that lasts is resumed after a kill, and this one is not.
        part_begun(now_ms, case, None, event="instructed", row=row),
    )
    _, result = ledger.execute(case, step, row)
    if result.status is not Status.RUNNING:
        end = State.OPERATED if result.succeeded else State.NOT_OPERATED
        ledger.write(part_ended(ledger.now_ms, case, None, end, row, result.because or str(result.status)))
    return case, result


def _on(step: Instructable) -> str:
    match step:
        case OfflineFrame(frame=frame) | OnlineFrame(frame=frame):
            return f"frame {frame:#x}"
        case OfflineCpu(cpu=cpu) | OnlineCpu(cpu=cpu):
            return f"CPU {cpu}"
        case UnpauseDomain():
            return ""
        case _:
            assert_never(step)


def _why_not_step(ledger: Ledger, step: Instructable, *, dry_run: bool) -> str | None:
    """Why a step cannot be carried out as things stand, None if nothing speaks against it (II.4)."""
    if dry_run:
        return NOTHING_ORDERED
    needed = NEEDS.get(type(step))
    if needed is not None and needed not in ledger.host.capabilities:
        return f"{ledger.host.name} cannot do this ({needed.name})"
    match step:
        case UnpauseDomain(domain=number):
            return _why_not_unpaused(ledger, number)
        case OnlineFrame(frame=frame):
            return _why_not_again(ledger, Suspect.PAGE, f"page {frame:#x}")
        case OnlineCpu(cpu=cpu):
            return _why_not_again(ledger, Suspect.CORE, f"CPU {cpu}")
        case OfflineFrame() | OfflineCpu():
            return None
        case _:
            assert_never(step)


def _why_not_unpaused(ledger: Ledger, number: DomainId) -> str | None:
    domain = ledger.host.situation(None).domain(number)
    if domain is None:
        return f"there is no domain {number}"
    if domain.is_dom0:
        return "Dom0 is no guest: it cannot be operated on"
    if domain.state is not DomainState.PAUSED:
        return f"it is {domain.state}, and not paused"
    held = [case.id for case in ledger.state.cases.values() if number in case.domains and not case.has_ended]
    if held:
        return f"case {held[0]} is about it: running, it could touch what is broken"
    return None


def _why_not_again(ledger: Ledger, suspect: Suspect, name: str) -> str | None:
    """What is at fault is not put back into use."""
    fault = ledger.state.faults.of(suspect, name)
    if fault is None or fault.ended:
        return None
    return f"a fault stands against it ({fault.stage}); if it is none: ringfence acquit '{name}' --because ..."


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
