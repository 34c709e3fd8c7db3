"""What a state of the flow has done: its steps, its alarm, and which event the end of a step is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, assert_never

from ringfence.decision.flow import Event, Position, State
from ringfence.decision.policy import Deadlines, OnUnlocated, Operation, Policy
from ringfence.quick import quick
from ringfence.world.domain import McaHandler
from ringfence.world.identities import CpuId, DomainId, Frame, GuestFrame
from ringfence.world.situation import Situation
from ringfence.world.steps import (
    AskDom0,
    DegradeHost,
    DestroyDomain,
    DrainHost,
    HaltHost,
    HealHost,
    InjectVmce,
    IsolateFrame,
    LastWords,
    MigrateDomain,
    NotifyDom0,
    NotifyGuest,
    OfflineFrame,
    PauseDomain,
    RestartDomain,
    RestoreDomain,
    Result,
    SaveDomain,
    SaveEvidence,
    ShutDownDomain,
    Status,
    Step,
    UnpauseDomain,
)


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a part is about: the domain (None for the host's part), its lost pages, and what the host lost.

    ``pages`` are in the domain's own frame numbers; ``frames`` are the host's, each with how many pages it stands for.
    ``consumed``: this domain took the error in. ``dom0``: Dom0 is among those hit. ``out_already``: frames that were
    taken out of use before; they are not taken out again under an owner (Xen crashes it for that). ``incarnation``: the
    domain's when it was hit; one whose memory was made anew since has not lost these pages (L7).
    """

    domain: DomainId | None
    pages: tuple[GuestFrame, ...] = ()
    numbered: bool = True
    frames: tuple[tuple[Frame, int], ...] = ()
    cpu: CpuId | None = None
    consumed: bool = False
    dom0: bool = False
    out_already: frozenset[Frame] = frozenset()
    incarnation: int = 0


def on_entering(
    position: Position, subject: Subject, situation: Situation, policy: Policy, *, was_stopped: bool = False
) -> tuple[Step, ...]:
    """The steps that go with a move to ``position``; ``was_stopped``: its domain was stopped before the move."""
    steps: list[Step] = []
    domain = subject.domain
    if domain is not None and position.stopped and not was_stopped and position.state is not State.HOLDING:
        steps.append(PauseDomain(domain))
    steps += _of_state(position, subject, situation, policy)
    if domain is not None and was_stopped and not position.stopped:
        steps.append(UnpauseDomain(domain))
    return tuple(steps)


def _of_state(position: Position, subject: Subject, situation: Situation, policy: Policy) -> tuple[Step, ...]:
    host = _of_host_state(position.state, subject, situation, policy)
    if host is not None:
        return host
    domain = subject.domain
    if domain is None:
        return ()
    deadline_ms = situation.now_ms + policy.deadlines.dom0_ms
    match position.state:
        case State.CONTAINING:
            isolate = [IsolateFrame(frame, pages) for frame, pages in subject.frames]
            out = [(frame, pages) for frame, pages in subject.frames if frame not in subject.out_already]
            return (*isolate, *(OfflineFrame(frame, pages) for frame, pages in out))
        case State.HOLDING:
            return (PauseDomain(domain),)
        case State.ASKING:
            return (AskDom0(domain, deadline_ms),)
        case State.REQUESTING:
            return (AskDom0(domain, deadline_ms, operate=True),)
        case State.TELLING:
            return (NotifyGuest(domain, subject.pages),)
        case State.INFORMING:
            known = situation.domain(domain)
            is_same = known is not None and known.lives and known.incarnation == subject.incarnation
            hears = known is not None and is_same and known.handler is not McaHandler.NONE
            # Told of some of its pages only, it would take the others for good (L7).
            if position.inform and hears and subject.numbered:
                return (NotifyGuest(domain, subject.pages, must_act=False),)
            return ()
        case State.INJECTING | State.INJECTING_AGAIN:
            return (InjectVmce(domain, subject.pages[position.told]),)
        case State.KILLING:
            return (DestroyDomain(domain),)
        case _:
            return ()


def _of_host_state(state: State, subject: Subject, situation: Situation, policy: Policy) -> tuple[Step, ...] | None:
    """The steps of a state of the host's part (a DomU's part may come to them too); None if it is none of these."""
    able = situation.dom0.is_able
    match state:
        case State.NOTING:
            return (NotifyDom0(urgent=False),)
        case State.HEALING:
            return (HealHost(tuple(frame for frame, _ in subject.frames), subject.cpu, subject.dom0),)
        case State.TAKING_OUT:
            return tuple(OfflineFrame(frame, pages) for frame, pages in subject.frames)
        case State.DEGRADING:
            drain = (DrainHost(),) if policy.unlocated is OnUnlocated.DRAIN else ()
            return (DegradeHost(), *drain)
        case State.HEALED | State.TAKEN_OUT | State.DEGRADED | State.STUCK | State.NOT_HALTED:
            return (NotifyDom0(urgent=True),) if able else ()
        case State.SAVING_EVIDENCE:
            return (SaveEvidence(situation.now_ms + policy.deadlines.evidence_ms),)
        case State.SPEAKING:
            return (LastWords(),)
        case State.HALTING | State.HALTING_AGAIN:
            return (HaltHost(),)
        case _:
            return None


def alarm_ms(state: State, deadlines: Deadlines) -> int | None:
    """How long a state may last, None if nothing is waited for but the end of its own steps."""
    return {
        State.ASKING: deadlines.dom0_ms,
        State.REQUESTING: deadlines.dom0_ms,
        State.AWAITING_GUEST: deadlines.guest_ms,
        State.AWAITING_MCIP: deadlines.mcip_ms,
        State.OPERATING: deadlines.operation_ms,
        State.SAVING_EVIDENCE: deadlines.evidence_ms,
        State.SPEAKING: deadlines.evidence_ms,
        State.APPROVING: deadlines.approval_ms,
        State.CARRYING_OUT: deadlines.operation_ms,
    }.get(state)


ANSWERED_BY_OTHERS = frozenset(
    {State.ASKING, State.REQUESTING, State.AWAITING_MCIP, State.OPERATING, State.SAVING_EVIDENCE, State.APPROVING}
)
"""States that do not end with their own steps: somebody answers, or an alarm rings."""


def event_of(
    position: Position, subject: Subject, ended: tuple[tuple[Step, Result], ...], *, in_machine_check: bool
) -> Event | None:
    """Which event it is for a part in ``position`` that all its steps came back so; None if there is still to wait.

    ``ended`` are the steps that count (``counts``), those that still run among them. ``in_machine_check``: MCIP of the
    domain is still set now.
    """
    failed = [(step, result) for step, result in ended if not _achieved(step, result)]
    if position.state in _STOPPED_ON_ENTRY and any(
        isinstance(step, PauseDomain) and result.status is not Status.RUNNING for step, result in failed
    ):
        return _when_not_stopped(position.state, subject, ended)
    if any(result.status is Status.RUNNING for _, result in failed):
        # A notification that has begun has been delivered; everything else is waited for.
        return Event.DELIVERED if position.state in {State.TELLING, State.INFORMING} else None
    if failed:
        return _when_failed(position.state, failed, in_machine_check=in_machine_check)
    match position.state:
        case State.INJECTING | State.INJECTING_AGAIN:
            return Event.MORE_PAGES if position.told + 1 < len(subject.pages) else Event.DONE
        case State.INFORMING if ended:
            return Event.DELIVERED
        case State.SAVING_EVIDENCE if ended:
            return Event.SAVED
        case state if state in ANSWERED_BY_OTHERS:
            return None
        case State.AWAITING_GUEST if not ended:
            return None
        case _:
            return Event.DONE


def _when_not_stopped(state: State, subject: Subject, ended: tuple[tuple[Step, Result], ...]) -> Event | None:
    """Whoever took an error in must stand, whatever else still runs; who only lost a page, while it can reach it."""
    if subject.consumed or state is not State.CONTAINING:
        return Event.NOT_STOPPED
    others = [(step, result) for step, result in ended if not isinstance(step, PauseDomain)]
    if any(result.status is Status.RUNNING for _, result in others):
        return None
    return Event.DONE if all(_achieved(step, result) for step, result in others) else Event.NOT_STOPPED


def _achieved(step: Step, result: Result) -> bool:
    """Whether a step has its effect: pending is enough only where pages may wait until their owner lets go of them."""
    if result.status is Status.PENDING:
        return isinstance(step, (OfflineFrame, HealHost))
    return result.status is Status.DONE


_STOPPED_ON_ENTRY = frozenset({State.CONTAINING, State.INJECTING, State.REQUESTING, State.SAVING_EVIDENCE})
"""States that may only be waited in if the domain stands that was to be stopped on the way to them (L1)."""


def _when_failed(state: State, failed: list[tuple[Step, Result]], *, in_machine_check: bool) -> Event | None:
    unknown = any(result.status is Status.UNKNOWN for _, result in failed)
    match state:
        case State.CONTAINING:
            return Event.NOT_ISOLATED
        case State.INJECTING | State.INJECTING_AGAIN | State.TELLING | State.INFORMING if (
            in_machine_check and not unknown
        ):
            return Event.IN_MACHINE_CHECK
        case State.INJECTING | State.INJECTING_AGAIN | State.TELLING | State.INFORMING | State.AWAITING_GUEST:
            return _failure(failed[0][1], refusable=True)
        case State.HEALING | State.CARRYING_OUT:
            return _failure(failed[0][1], refusable=False)
        case State.OPERATING | State.AWAITING_MCIP:
            return None
        case _:
            return Event.FAILED


def _failure(result: Result, *, refusable: bool) -> Event:
    if result.status is Status.UNKNOWN:
        return Event.UNCERTAIN
    return Event.REFUSED if refusable and result.status is Status.REFUSED else Event.FAILED


def counts(step: Step, state: State) -> bool:
    """Whether the end of a step can decide where a part goes that has come to ``state``."""
    match step:
        case NotifyDom0():
            return state is State.NOTING
        case OfflineFrame():
            # Behind an owner who lives it stays pending: it is the isolation that protects.
            return state is State.TAKING_OUT
        case PauseDomain():
            # Beside a destroy, last words or a halt it helps, but decides nothing.
            return state in _STOPPED_ON_ENTRY or state is State.HOLDING
        case UnpauseDomain() | DrainHost():
            return False
        case DegradeHost():
            return state is State.DEGRADING
        case _:
            return True


def step_of(operation: Operation, domain: DomainId, situation: Situation) -> Step:
    """The step that carries an operation of case II out."""
    match operation:
        case Operation.PAUSE:
            return PauseDomain(domain)
        case Operation.SAVE:
            return SaveDomain(domain)
        case Operation.RESTORE:
            return RestoreDomain(domain)
        case Operation.MIGRATE:
            return MigrateDomain(domain, situation.destination.name if situation.destination is not None else "")
        case Operation.SHUT_DOWN:
            return ShutDownDomain(domain)
        case Operation.RESTART:
            return RestartDomain(domain)
        case Operation.DESTROY:
            return DestroyDomain(domain)
        case never:
            assert_never(never)


OPERATIONS: Final[dict[str, Operation]] = {
    "PauseDomain": Operation.PAUSE,
    "SaveDomain": Operation.SAVE,
    "RestoreDomain": Operation.RESTORE,
    "MigrateDomain": Operation.MIGRATE,
    "ShutDownDomain": Operation.SHUT_DOWN,
    "RestartDomain": Operation.RESTART,
    "DestroyDomain": Operation.DESTROY,
}
"""The operation of each step that ``step_of`` gives, by the name of the step's kind."""
