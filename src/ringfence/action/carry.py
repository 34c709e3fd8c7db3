"""One order: carried out, its effect verified, and whether it is worth another attempt.

Nothing here remembers anything: who calls writes the intent before and the result after (``service.loop``).
"""

from __future__ import annotations

from typing import Final

from ringfence.hypervisor.port import Capability, Hypervisor
from ringfence.world.domain import DomainState
from ringfence.world.frames import FrameUse
from ringfence.world.identities import DomainId
from ringfence.world.situation import Situation
from ringfence.world.steps import (
    DestroyDomain,
    ExchangeFrame,
    InjectVmce,
    IsolateFrame,
    MigrateDomain,
    NotifyGuest,
    OfflineCpu,
    OfflineFrame,
    OnlineCpu,
    OnlineFrame,
    Order,
    PauseDomain,
    Repeat,
    RestartDomain,
    RestoreDomain,
    Result,
    SaveDomain,
    ShutDownDomain,
    Status,
    Step,
    UnpauseDomain,
)

ATTEMPTS: Final[dict[type[Step], int]] = {
    PauseDomain: 3,
    UnpauseDomain: 3,
    IsolateFrame: 3,
    OfflineFrame: 2,
    DestroyDomain: 3,
    OfflineCpu: 2,
}
"""How often a step is tried in all, where trying again at once can help: short hypercalls that find a lock held or a
page in use for a moment (Xen answers EBUSY or EAGAIN). Everything else is tried once: it is long, or has a fallback.
"""

NEEDS: Final[dict[type[Step], Capability]] = {
    PauseDomain: Capability.PAUSE,
    UnpauseDomain: Capability.PAUSE,
    SaveDomain: Capability.SAVE,
    RestoreDomain: Capability.RESTORE,
    MigrateDomain: Capability.MIGRATE,
    ShutDownDomain: Capability.SHUT_DOWN,
    RestartDomain: Capability.RESTART,
    DestroyDomain: Capability.DESTROY,
    NotifyGuest: Capability.NOTIFY_GUEST,
    InjectVmce: Capability.INJECT_VMCE,
    IsolateFrame: Capability.ISOLATE_FRAME,
    OfflineFrame: Capability.OFFLINE_FRAME,
    ExchangeFrame: Capability.EXCHANGE_FRAME,
    OfflineCpu: Capability.OFFLINE_CPU,
    OnlineFrame: Capability.OFFLINE_FRAME,
    OnlineCpu: Capability.OFFLINE_CPU,
}
"""What a backend must be able to do for a step."""


def carry_out(host: Hypervisor, order: Order) -> Result:
    """Carry an order out once and verify its effect.

    A step for which the backend has no capability is REFUSED here, and nothing is sent (L8). A backend that says DONE
    is not taken at its word where the effect can be seen: FAILED if it is not there.
    """
    needed = NEEDS.get(type(order.step))
    if needed is Capability.ISOLATE_FRAME and needed not in host.capabilities:
        # What a backend can take away is taken away; what it cannot is declared (law L1).
        left = f"{host.name} cannot take mappings away: whoever has the page can still reach it"
        return Result(Status.DONE, "nothing to be done here", (left,))
    if needed is not None and needed not in host.capabilities:
        return Result(Status.REFUSED, f"{host.name} cannot do this ({needed.name})")
    result = host.carry_out(order)
    if isinstance(order.step, DestroyDomain) and result.status in {Status.REFUSED, Status.FAILED}:
        domain = host.situation(None).domain(order.step.domain)
        if domain is None or not domain.lives:
            # To end who has ended changes nothing: it is no failure to kill, for which the host would halt.
            return Result(Status.DONE, f"it is not here any more: {result.because}")
    if result.status is not Status.DONE:
        return result
    contradiction = seen_otherwise(order.step, host.situation(None))
    return result if contradiction is None else Result(Status.FAILED, contradiction, result.declared)


_STATES: Final[dict[type[Step], frozenset[DomainState]]] = {
    PauseDomain: frozenset(DomainState) - {DomainState.RUNNING},
    UnpauseDomain: frozenset(DomainState) - {DomainState.PAUSED},
    DestroyDomain: frozenset(DomainState) - {DomainState.RUNNING, DomainState.PAUSED},
}


def seen_otherwise(step: Step, situation: Situation) -> str | None:
    """What contradicts that the step was done, None if nothing does that can be seen."""
    allowed = _STATES.get(type(step))
    if allowed is not None:
        number: DomainId = step.domain  # type: ignore[union-attr] # every step in _STATES has a domain
        domain = situation.domain(number)
        if domain is not None and domain.state not in allowed:
            return f"domain {number} is {domain.state} all the same"
    if isinstance(step, OfflineFrame):
        facts = next((each for each in situation.frames if each.frame == step.frame), None)
        if facts is not None and facts.use is FrameUse.FREE:
            return f"frame {step.frame:#x} is free all the same"
    return None


def again(step: Step, attempt: int, result: Result) -> bool:
    """Whether a step that ended so after ``attempt`` tries is tried once more, at once."""
    return result.status is Status.FAILED and attempt < ATTEMPTS.get(type(step), 1)


def taken_up(host: Hypervisor, order: Order) -> Result | None:
    """What became of an order that an earlier life intended, of which it wrote no end (law L9).

    None: it is to be carried out (again). A step that can be neither repeated nor seen ends as UNKNOWN.
    """
    match order.step.repeat:
        case Repeat.IDEMPOTENT:
            return None
        case Repeat.PROBEABLE:
            result = host.probe(order)
            # The backend knows each order by its number: one that it does not know never arrived.
            return None if result.status is Status.UNKNOWN else result
        case Repeat.NEITHER:
            return Result(Status.UNKNOWN, "it was being carried out when Ringfence was killed: not repeated")
