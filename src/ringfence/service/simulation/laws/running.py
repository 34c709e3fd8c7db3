"""L1, L3 and L6: who runs, who reaches for what is lost, who is touched.

They see every span in which a vCPU had a CPU, every access that the model makes for a guest, every mapping that is
taken away and every order with its result. They do not see single instructions: a span is as fine as the scheduler's
(what stops a domain ends its span at that very instant). From the access to the report of its machine check (a
rendezvous, some ten microseconds) other CPUs of the consumer may still run: the hypervisor does not know of it yet.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.decision.laws import Broken, Law
from ringfence.hypervisor.model.observer import Caller, Carried, DomainChanged, GuestTold, Touched
from ringfence.hypervisor.model.templates import Meant
from ringfence.journal import events as ev
from ringfence.service.simulation.laws.guests import pages_told
from ringfence.service.simulation.laws.story import Story, losses
from ringfence.service.simulation.run import OPERATORS_ORDERS
from ringfence.service.simulation.trace import Down, Truth
from ringfence.service.simulation.witness import CONSUMED_NS
from ringfence.world.domain import DomainState
from ringfence.world.frames import FrameUse
from ringfence.world.identities import DOM0, OWN_CASES, CaseId, DomainId, Frame
from ringfence.world.steps import (
    AskDom0,
    DegradeHost,
    DestroyDomain,
    DrainHost,
    ExchangeFrame,
    HaltHost,
    HealHost,
    InjectVmce,
    IsolateFrame,
    LastWords,
    MigrateDomain,
    NotifyDom0,
    NotifyGuest,
    OfflineCpu,
    OfflineFrame,
    OnlineCpu,
    OnlineFrame,
    PauseDomain,
    RestartDomain,
    RestoreDomain,
    SaveDomain,
    SaveEvidence,
    ShutDownDomain,
    Status,
    Step,
    UnpauseDomain,
)

FOREVER = 1 << 62


def check(story: Story) -> Iterator[Broken]:
    """The laws of this module, over a whole run. Who runs under a hypervisor that acts alone is that one's affair."""
    yield from _touched(story)
    if story.alone:
        return
    for truths in story.truths.values():
        for truth in truths:
            yield from _consumer(story, truth)
            yield from _losers(story, truth)
    yield from _reached(story)
    yield from _retried(story)
    yield from _halted_for_one(story)


# --- L1 ---------------------------------------------------------------------------------------------------------------


def _consumer(story: Story, truth: Truth) -> Iterator[Broken]:
    """Who took an error in does not run before it was told of it, or began anew, or ended."""
    domain = truth.consumer
    if domain is None or domain == DOM0:
        return
    pages = frozenset[int]().union(*(loss.pages for loss in losses(truth) if loss.domain == domain))
    free_ns = min(
        (told.at_ns for told in story.told[domain] if told.at_ns >= truth.at_ns and pages_told(told) & pages),
        default=FOREVER,
    )
    free_ns = min([free_ns, *(at_ns for at_ns in story.ended[domain] if at_ns >= truth.at_ns)])
    free_ns = min(free_ns, story.boot_ends(truth.at_ns) or FOREVER)
    for ran in story.spans[domain]:
        if max(ran.from_ns, truth.at_ns) < min(ran.to_ns, free_ns):
            what = f"domain {domain} ran from {ran.from_ns} to {ran.to_ns} ns, and was not told of what it had consumed"
            yield story.broken(Law.L1, what, max(ran.from_ns, truth.at_ns))
            return


def _losers(story: Story, truth: Truth) -> Iterator[Broken]:
    """Who lost a page does not run while it reaches it by a way that can be taken away; what stays is declared."""
    for facts in truth.pages:
        hit = truth.frame if truth.frame is not None else facts.frame
        isolated_ns, left = FOREVER, facts.mappings
        after = next((each for each in story.unmapped[hit] if each.at_ns >= truth.at_ns), None)
        if after is not None:
            isolated_ns, left = after.at_ns, after.left
        if isolated_ns < FOREVER and any(each.removable for each in left):
            yield story.broken(Law.L1, f"frame {hit:#x} was isolated, and {left[0]} stays", isolated_ns)
        if left and isolated_ns < FOREVER and isolated_ns not in story.declared:
            yield story.broken(Law.L1, f"what stays of frame {hit:#x} was not declared", isolated_ns)
        for mapping in facts.mappings:
            if not mapping.removable or mapping.domain == DOM0:
                continue
            free_ns = min(
                isolated_ns,
                story.boot_ends(truth.at_ns) or FOREVER,
                *(at_ns for at_ns in story.ended[mapping.domain] if at_ns >= truth.at_ns),
                FOREVER,
            )
            for ran in story.spans[mapping.domain]:
                if max(ran.from_ns, truth.at_ns) < min(ran.to_ns, free_ns):
                    ran_when = f"ran from {ran.from_ns} to {ran.to_ns} ns"
                    what_for = f"domain {mapping.domain} {ran_when} and could reach frame {hit:#x} ({mapping.kind})"
                    yield story.broken(Law.L1, what_for, max(ran.from_ns, truth.at_ns))
                    return


def _reached(story: Story) -> Iterator[Broken]:
    """Nobody who had a lost page reaches it any more, but by what could not be taken away."""
    lost: dict[tuple[DomainId, Frame], int] = {}
    for what in story.happened(Down, Truth, Touched):
        match what:
            case Down():
                lost.clear()
            case Truth(pages=pages, frame=frame) if frame is not None:
                for facts in pages:
                    stays = {each.domain for each in facts.mappings if not each.removable}
                    for domain in {each.domain for each in facts.mappings} - stays:
                        lost.setdefault((domain, frame), what.at_ns)
            case Touched(domain=domain, frame=frame, access=access) if frame is not None and access is not None:
                since_ns = lost.get((domain, frame))
                if since_ns is None or what.at_ns <= since_ns:
                    continue
                if any(since_ns <= at_ns <= what.at_ns for at_ns in story.ended[domain]):
                    del lost[domain, frame]
                    continue
                yield story.broken(Law.L1, f"domain {domain} reached the lost frame {frame:#x}: {access}", what.at_ns)
                return
            case _:
                pass


def _retried(story: Story) -> Iterator[Broken]:
    """Who took an error in reads nothing before it was told, or began anew.

    The instruction that was hit is the first that it would execute: the order of what happened shows it, where no time
    has passed.
    """
    stopped: set[DomainId] = set()
    for what in story.happened(Down, Truth, GuestTold, DomainChanged, Touched):
        match what:
            case Down():
                stopped.clear()
            case Truth(consumer=domain) if domain is not None and domain != DOM0:
                stopped.add(domain)
            case GuestTold(domain=domain) | DomainChanged(domain=domain, after=DomainState.RUNNING):
                stopped.discard(domain)
            case Touched(domain=domain, cpu=cpu) if domain in stopped and cpu is not None:
                yield story.broken(Law.L1, f"domain {domain} reads on, untold of what it had consumed", what.at_ns)
                return
            case _:
                pass


# --- L3, L6 -----------------------------------------------------------------------------------------------------------


def _touched(story: Story) -> Iterator[Broken]:
    """Each order is about somebody, or something, that the errors of its case have hit."""
    intended = {event.order: event for _, event in story.journaled(ev.Intended) if isinstance(event, ev.Intended)}
    ahead = story.journaled(ev.TrendSeen, ev.KnownBad)
    announced = {event.case for _, event in ahead if isinstance(event, ev.TrendSeen | ev.KnownBad)}
    for what in story.happened(Carried):
        if not isinstance(what, Carried) or what.result.status is Status.REFUSED:
            continue
        case: CaseId | None = None
        if what.caller is Caller.SEAT:
            case = what.order.case
        elif what.caller is Caller.DOM0 and what.order.id in intended:
            case = intended[what.order.id].case
        elif story.alone and what.caller is Caller.DOM0 and what.order.id < OPERATORS_ORDERS:
            case = what.order.case  # first aid: its intent is written after it, with a number of its own
        else:
            continue  # an operator's own
        if case is not None and case >= OWN_CASES:
            if case not in announced and not _brings_back(story, what):
                yield story.broken(Law.L3, f"{what.order.step} acts ahead of an error, unannounced", what.at_ns)
            continue
        yield from _one_touch(story, what, what.order.step, case)


def _brings_back(story: Story, what: Carried) -> bool:
    """Whether an order brings back a guest that ended when an error hit it, under a hypervisor that acts alone."""
    match what.order.step:
        case RestartDomain(domain) | RestoreDomain(domain):
            hit = [truths[0].at_ns for case, truths in story.truths.items() if domain in story.involved[case]]
            ended = story.ended[domain]
            return story.alone and any(
                abs(ended_ns - hit_ns) < CONSUMED_NS and ended_ns <= what.at_ns for hit_ns in hit for ended_ns in ended
            )
        case _:
            return False


def _one_touch(story: Story, what: Carried, step: Step, case: CaseId | None) -> Iterator[Broken]:
    truths = story.truths.get(case, []) if case is not None else []
    match step:
        case NotifyDom0():
            return
        case _ if not truths:
            yield story.broken(Law.L3, f"{step} was ordered, and no uncorrected error stands behind it", what.at_ns)
        case (
            PauseDomain(domain)
            | UnpauseDomain(domain)
            | AskDom0(domain)
            | NotifyGuest(domain)
            | InjectVmce(domain)
            | SaveDomain(domain)
            | RestoreDomain(domain)
            | MigrateDomain(domain)
            | ShutDownDomain(domain)
            | RestartDomain(domain)
            | DestroyDomain(domain)
        ):
            if case is not None and domain not in story.involved[case]:
                hit = sorted(story.involved[case])
                yield story.broken(Law.L6, f"{step} touches domain {domain}; case {case} hit {hit}", what.at_ns)
        case IsolateFrame(frame, pages) | OfflineFrame(frame, pages):
            if not set(range(frame, frame + pages)) <= _frames(truths):
                yield story.broken(Law.L6, f"{step} is about frames that case {case} did not hit", what.at_ns)
        case ExchangeFrame() | OnlineFrame() | OnlineCpu():
            yield story.broken(Law.L6, f"{step} in a case that an uncorrected error opened", what.at_ns)
        case HealHost(frames, _, _):
            if not set(frames) <= _frames(truths):
                yield story.broken(Law.L6, f"{step} gives up frames that case {case} did not hit", what.at_ns)
        case OfflineCpu() | DegradeHost() | DrainHost() | SaveEvidence() | LastWords() | HaltHost():
            return


def _frames(truths: list[Truth]) -> set[int]:
    found: set[int] = {truth.frame for truth in truths if truth.frame is not None}
    whole = (
        frame for truth in truths for facts in truth.pages for frame in range(facts.frame, facts.frame + facts.pages)
    )
    return {*found, *whole}


def _halted_for_one(story: Story) -> Iterator[Broken]:
    """What is found in a guest's page before anybody used it, and can be taken from all who have it, halts nobody."""
    if story.has_failing_steps:
        return
    for what in story.happened(Carried):
        if not (isinstance(what, Carried) and isinstance(what.order.step, HaltHost) and what.order.case is not None):
            continue
        truths = story.truths.get(what.order.case, [])
        if truths and all(_is_a_guests_own(truth) for truth in truths):
            yield story.broken(Law.L6, f"case {what.order.case} halted the host for a page of a guest", what.at_ns)


_UNCONSUMED = frozenset({Meant.SRAO, Meant.DEFERRED, Meant.UCNA})


def _is_a_guests_own(truth: Truth) -> bool:
    return (
        truth.error is not None
        and truth.error.meant in _UNCONSUMED
        and bool(truth.pages)
        and all(
            facts.use is FrameUse.DOMAIN
            and facts.mappings
            and all(each.removable and each.domain != DOM0 for each in facts.mappings)
            for facts in truth.pages
        )
    )
