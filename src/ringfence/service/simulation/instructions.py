"""Instructions that must be refused (II.4, L8): each is tried, and what changed on the host all the same is told."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Final, assert_never

from ringfence.hypervisor.model.host import ModelHost
from ringfence.service.simulation.acts import Wrong
from ringfence.service.simulation.trace import Refusal
from ringfence.service.treatment import Treatment
from ringfence.world.domain import DomainKind, McaHandler
from ringfence.world.identities import DOM0, CaseId, CpuId, DomainId, GuestFrame, StepId
from ringfence.world.situation import Situation
from ringfence.world.steps import (
    DestroyDomain,
    InjectVmce,
    MigrateDomain,
    NotifyGuest,
    OfflineCpu,
    Order,
    PauseDomain,
    RestoreDomain,
    Result,
    Status,
    Step,
)
from ringfence.world.treatment import Dom0Says

MADE_TO_FAIL: Final = "it was made to fail"
"""Why a step fails that an act made to: the model does not look at it any further."""
NOBODY: Final = DomainId(4_000)
"""No guest of a simulation gets so far."""
NO_CASE: Final = CaseId(3)
"""Below the first case of any boot."""


def instruct(host: ModelHost, wrong: Wrong, domain: DomainId | None, seat: Treatment, number: int) -> Refusal | None:
    """Try it; None where it would be right, or cannot be said at all, as things stand."""
    before, open_before = host.situation(None), seat.open_cases
    match wrong:
        case Wrong.GUEST_CALLS:
            if domain is None:
                return None
            errno, _, _ = host.hypercall_mca(domain, bytes(152), 768)
            refused, said = errno < 0, f"errno {errno}"
        case Wrong.ANSWER_UNASKED | Wrong.OPERATED_UNASKED:
            result = _answer(host, wrong, domain, seat)
            if result is None:
                return None
            refused, said = result.status is Status.REFUSED, result.because
        case _:
            step = _step(wrong, domain, before)
            if step is None:
                return None
            result = host.carry_out(Order(StepId(number), step))
            if result.because == MADE_TO_FAIL:
                return None
            refused, said = result.status is Status.REFUSED, f"{result.status}: {result.because}"
    changed = _changed(before, host.situation(None))
    if open_before != seat.open_cases:
        changed = (*changed, "open cases")
    return Refusal(host.clock.now_ns, wrong, refused, said, changed)


def _answer(host: ModelHost, wrong: Wrong, domain: DomainId | None, seat: Treatment) -> Result | None:
    if wrong is Wrong.ANSWER_UNASKED:
        return host.answer(NO_CASE, domain if domain is not None else NOBODY, Dom0Says.NOTIFY)
    # A case that is open and about somebody else: nobody waits for the end of an operation on this domain.
    case = next((each for each in seat.open_cases if domain not in each.domains), None)
    return None if case is None or domain is None else host.answer(case.id, domain, Dom0Says.OPERATED)


def _step(wrong: Wrong, number: DomainId | None, situation: Situation) -> Step | None:
    domain = situation.domain(number) if number is not None else None
    match wrong:
        case Wrong.NO_SUCH_DOMAIN:
            return PauseDomain(NOBODY)
        case Wrong.PAUSE_DOM0:
            return PauseDomain(DOM0)
        case Wrong.DESTROY_DOM0:
            return DestroyDomain(DOM0)
        case Wrong.OFFLINE_CPU0:
            return OfflineCpu(CpuId(0))
        case Wrong.MIGRATE_NOWHERE:
            return None if domain is None else MigrateDomain(domain.id, "nowhere")
        case Wrong.RESTORE_WITHOUT:
            return None if domain is None or domain.checkpoint is not None else RestoreDomain(domain.id)
        case Wrong.VMCE_NOT_ENABLED:
            if domain is None or domain.mca_enabled or domain.kind is DomainKind.PV:
                return None
            return InjectVmce(domain.id, GuestFrame(1))
        case Wrong.TELL_NO_HANDLER:
            if domain is None or domain.handler is not McaHandler.NONE:
                return None
            return NotifyGuest(domain.id, (GuestFrame(1),))
        case Wrong.GUEST_CALLS | Wrong.ANSWER_UNASKED | Wrong.OPERATED_UNASKED:
            return None
        case never:
            assert_never(never)


def _changed(before: Situation, after: Situation) -> tuple[str, ...]:
    """What is different, by name; time has not passed."""
    after = replace(after, now_ms=before.now_ms)
    return tuple(each.name for each in fields(before) if getattr(before, each.name) != getattr(after, each.name))
