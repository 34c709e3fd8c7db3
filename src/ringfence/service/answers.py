"""What the control socket answers, from what the writer has before it: values in, replies out.

Everything here runs in the writer's thread, and takes no longer than a look at what is there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, assert_never

from ringfence import __version__
from ringfence.decision.policy import Operation
from ringfence.diagnosis.fault_case import Fault
from ringfence.hypervisor.port import Capability
from ringfence.journal.case import Case, Outcome
from ringfence.journal.schema import SQLITE_SAYS_FULL, full_in_words
from ringfence.service import control_protocol as say
from ringfence.service.writer import Desk
from ringfence.views.chain import part_in_words
from ringfence.world.identities import PAGE_BYTES, CaseId, DomainId
from ringfence.world.steps import OfflineCpu, OfflineFrame, OnlineCpu, OnlineFrame, Status, UnpauseDomain

SLOW_S: Final = 1.0
"""A disk that has not answered for so long is said to hang; many need tens of milliseconds now and then."""


@dataclass(frozen=True, slots=True)
class Doorkeeping:
    """What the control socket has counted."""

    clients: int = 0
    slow_readers: int = 0
    turned_away: int = 0
    bad_lines: int = 0


def health(  # noqa: PLR0913 (one argument a fact)
    desk: Desk,
    door: Doorkeeping,
    *,
    state_dir: Path,
    started_wall_ms: int,
    policy_problem: str,
    problems: tuple[str, ...] = (),
    configuration: tuple[str, str] = ("default", ""),
    at_restart: tuple[str, ...] = (),
    notes: tuple[str, ...] = (),
    webhooks: tuple[str, ...] = (),
) -> say.Health:
    """How the service is; ``problems`` are those of its attendants, and ``notes`` what else is to be said of them;
    ``configuration`` is its path with its digest, ``webhooks`` the receivers that there are.
    """
    state, host = desk.loop.state, desk.world.host
    situation = host.situation(None)
    halted = desk.world.reset_ms is not None
    dom0 = "hurt" if situation.dom0.hurt else "able" if situation.dom0.has_handler else "without a handler"
    return say.Health(
        service_version=__version__,
        pid=os.getpid(),
        life=state.life,
        boot=state.boot,
        hypervisor=host.name,
        started_wall_ms=started_wall_ms,
        now_ms=host.now_ms(),
        halted=halted,
        dom0=dom0,
        state_dir=str(state_dir),
        policy=desk.policy.file.path or "default",
        policy_digest=desk.policy.digest,
        policy_problem=policy_problem,
        open_cases=len(state.cases),
        approvals=len(state.approvals),
        orders=len(state.orders),
        domains=sum(each.lives for each in situation.domains),
        journal_events=desk.journal.last,
        received=state.received,
        also_seen=state.also_seen,
        together=state.together,
        summed=state.summed,
        unrecognised=state.unrecognised,
        lost_urgent=state.lost_urgent,
        lost_nonurgent=state.lost_nonurgent,
        unwritten=desk.loop.unwritten[0],
        unkept=desk.unkept + desk.loop.unwritten[1],
        clients=door.clients,
        slow_readers=door.slow_readers,
        turned_away=door.turned_away,
        bad_lines=door.bad_lines,
        lacks=tuple(each.name or "" for each in Capability if each not in host.capabilities),
        notes=notes,
        problems=(*_problems(desk, dom0=dom0, halted=halted, policy_problem=policy_problem), *problems),
        configuration=configuration[0],
        configuration_digest=configuration[1],
        at_restart=at_restart,
        webhooks=webhooks,
    )


def _problems(desk: Desk, *, dom0: str, halted: bool, policy_problem: str) -> Iterable[str]:
    state = desk.loop.state
    if halted:
        reset_ms = desk.world.reset_ms or 0
        left_s = max(0, reset_ms - desk.world.host.now_ms()) / 1000
        yield f"the host has halted; it is reset in {left_s:.0f} s"
    elif dom0 != "able":
        yield f"Dom0 is {dom0}: it is not asked what shall become of guests"
    if policy_problem:
        yield f"a file is not in force, what was loaded before it is: {policy_problem}"
    if desk.policy.policy.dry_run:
        yield "the policy is a dry run: everything is decided and journaled, nothing is ordered"
    waiting, unkept = desk.loop.unwritten
    if (late_s := desk.journal.late_s) > SLOW_S:
        yield (
            f"the journal's disk has not answered for {late_s:.0f} s: {waiting} events wait for it, what cannot wait "
            "is acted upon and is in the kernel's log. See whether it hangs (dmesg), or who else keeps it busy"
        )
    elif waiting and not late_s:
        trouble = desk.journal.trouble or "it was full"
        if SQLITE_SAYS_FULL in trouble:
            trouble, _ = full_in_words(desk.journal.path)
        held = (
            ""
            if desk.loop.has_room
            else "; corrected errors are not taken, their sources keep them as long as they can"
        )
        where = f"{waiting} events wait for it, {unkept} are in the kernel's log only{held}"
        yield f"the journal's disk takes nothing ({trouble}): {where}"
    elif not desk.journal.has_reserve:
        yield "the journal's reserve is used up: make room on its disk"
    if desk.unkept:
        yield (
            f"{desk.unkept} events found no room in the journal and are in the kernel's log only: save it. Ringfence "
            "has begun anew with what the journal has, and taken up what was left open"
        )
    if state.lost_urgent:
        yield f"{state.lost_urgent} pieces of urgent evidence were lost before anybody saw them"


# --- cases ----------------------------------------------------------------------------------------------------------


def cases(desk: Desk, *, closed: bool) -> say.CaseList:
    """The open cases; with ``closed``, the newest of the closed ones before them."""
    state, names = desk.loop.state, desk.names()
    faults = {number: _fault(each) for each in state.faults.known.values() for number in each.cases}
    lines = [_closed(number, outcome, names, faults) for number, outcome in state.outcomes.items()] if closed else []
    lines += [_open(case, names, state.epoch_ms, faults) for case in state.cases.values()]
    return say.CaseList(cases=tuple(lines))


def _fault(fault: Fault) -> str:
    """A fault in words: its part, how sure that is, where it stands, and who ended it."""
    grade = f" ({fault.grade} suspect)" if fault.grade else ""
    by = f" by {fault.who}" if fault.ended and fault.who else ""
    return f"{part_in_words(fault.suspect, fault.name)}{grade}: {fault.stage}{by}"


def _open(case: Case, names: dict[DomainId, str], epoch_ms: int | None, faults: dict[CaseId, str]) -> say.CaseLine:
    return say.CaseLine(
        fault=faults.get(case.id, ""),
        case=case.id,
        open=True,
        opened_wall_ms=None if epoch_ms is None else epoch_ms + case.opened_ms,
        severity=case.severity,
        pages=sum(case.frames.values()),
        parts=tuple(
            say.CasePart(whom=_whom(domain, names), state=part.state, row=part.row, because=part.because)
            for domain, part in case.parts.items()
        ),
        instructed=case.instructed,
    )


def _closed(number: CaseId, outcome: Outcome, names: dict[DomainId, str], faults: dict[CaseId, str]) -> say.CaseLine:
    return say.CaseLine(
        fault=faults.get(number, ""),
        case=number,
        open=False,
        parts=tuple(
            say.CasePart(whom=_whom(each.domain, names), state=each.state, row=each.row, because=each.because)
            for each in outcome.entries
        ),
        superseded_by=outcome.superseded_by,
    )


def _whom(domain: DomainId | None, names: dict[DomainId, str]) -> str:
    return "the host" if domain is None else names.get(domain, f"domain {domain}")


# --- domains --------------------------------------------------------------------------------------------------------


def domains(desk: Desk) -> say.DomainList:
    """The domains of the host, those that have ended but are remembered among them."""
    state = desk.loop.state
    lines = (
        say.DomainLine(
            domain=each.id,
            name=each.name,
            kind=each.kind,
            state=each.state,
            uuid=each.uuid,
            handler=each.handler,
            agent=each.agent,
            thrown=each.thrown,
            mca_enabled=each.mca_enabled,
            vcpus=each.vcpus,
            memory_mib=each.memory_pages * PAGE_BYTES >> 20,
            cases=tuple(case.id for case in state.cases.values() if each.id in case.domains),
        )
        for each in desk.world.host.situation(None).domains
    )
    return say.DomainList(domains=tuple(sorted(lines, key=lambda line: line.domain)))


# --- what people say ------------------------------------------------------------------------------------------------


def approvals(desk: Desk) -> say.ApprovalList:
    """What waits for a person, the most urgent first."""
    state, names, now_ms = desk.loop.state, desk.names(), desk.world.host.now_ms()
    lines = [
        say.ApprovalLine(
            case=each.case,
            domain=each.domain,
            name=names.get(each.domain, f"domain {each.domain}"),
            operation=Operation(each.operation),
            left_ms=max(0, each.deadline_ms - now_ms),
            deadline_wall_ms=None if state.epoch_ms is None else state.epoch_ms + each.deadline_ms,
        )
        for each in state.approvals.values()
        if each.domain is not None
    ]
    return say.ApprovalList(approvals=tuple(sorted(lines, key=lambda line: line.left_ms)))


def approve(desk: Desk, asked: say.Approve, who: str) -> say.Done | say.Refused:
    """Grant or deny what waits."""
    if desk.world.reset_ms is not None:
        return _HALTED
    if desk.loop.approve(asked.case, asked.domain, asked.operation, granted=asked.granted, who=who):
        return say.Done(status=Status.DONE, case=asked.case, because="granted" if asked.granted else "denied")
    message = f"nothing waits for a word on {asked.operation} of domain {asked.domain} in case {asked.case}"
    advice = "Its time may be over; `ringfence approve` without a case lists what waits."
    return say.Refused(code=say.Code.NOT_THERE, message=message, advice=advice)


def do(desk: Desk, asked: say.Do, who: str) -> say.Done | say.Refused:
    """Do an operation on a domain; every check is written down with its answer (II.4)."""
    if desk.world.reset_ms is not None:
        return _HALTED
    number = asked.domain if isinstance(asked.domain, int) else _number(desk, asked.domain)
    if isinstance(number, say.Refused):
        return number
    case, result = desk.loop.instruct(DomainId(number), asked.operation, who)
    if result.status is Status.REFUSED:
        advice = "`ringfence domains` shows what there is, and in which state."
        return say.Refused(code=say.Code.REFUSED, message=result.because, advice=advice)
    return say.Done(status=result.status, case=case, because=result.because)


def step(desk: Desk, asked: say.Step, who: str) -> say.Done | say.Refused:
    """Carry one step out; every check is written down with its answer (II.4)."""
    if desk.world.reset_ms is not None:
        return _HALTED
    match asked:
        case say.Unpause(domain=whom):
            number = whom if isinstance(whom, int) else _number(desk, whom)
            if isinstance(number, say.Refused):
                return number
            case, result = desk.loop.instruct_step(UnpauseDomain(DomainId(number)), "unpause", who)
        case say.Page(to=to, frame=frame):
            move = OfflineFrame(frame) if to is say.Switch.OFFLINE else OnlineFrame(frame)
            case, result = desk.loop.instruct_step(move, to, who)
        case say.Cpu(to=to, cpu=cpu):
            turn = OfflineCpu(cpu) if to is say.Switch.OFFLINE else OnlineCpu(cpu)
            case, result = desk.loop.instruct_step(turn, to, who)
        case _:
            assert_never(asked)
    if result.status is Status.REFUSED:
        advice = "`ringfence domains`, `ringfence parts --all` and `ringfence page query` show what there is."
        return say.Refused(code=say.Code.REFUSED, message=result.because, advice=advice)
    return say.Done(status=result.status, case=case, because=result.because)


def _number(desk: Desk, name: str) -> DomainId | say.Refused:
    """The number of the domain of this name: the one that lives, if there were others."""
    known = [each for each in desk.world.host.situation(None).domains if each.name == name]
    living = [each for each in known if each.lives] or known[-1:]
    advice = "`ringfence domains` lists the domains."
    if not living:
        return say.Refused(code=say.Code.NOT_THERE, message=f"there is no domain {name!r}", advice=advice)
    if living[1:]:
        message = f"there are {len(living)} domains {name!r}: name the one that is meant by its number"
        return say.Refused(code=say.Code.REFUSED, message=message, advice=advice)
    return living[0].id


_HALTED = say.Refused(
    code=say.Code.REFUSED, message="the host has halted", advice="`ringfence status` says when it comes again."
)


def wall_ms() -> int:
    """The time now, milliseconds since the epoch."""
    return time.time_ns() // 1_000_000
