"""L2 and L9: the journal against what happened, and against itself.

L2 sees every uncorrected error that the hypervisor reported. Of one that was reported when Ringfence had no whole turn
any more before the host ended, nothing need have reached the journal, unless last words or banks outlived the reset.
What an outcome says is held against the facts where a fact shows it (told, injected, killed, gone). L9 compares
states; it does not see what a kill in the middle of SQLite's own writing does (the journal's tests do).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from ringfence.decision.laws import Broken, Law
from ringfence.hypervisor.model.observer import Caller, Carried, Channel, Reported
from ringfence.journal import events as ev
from ringfence.journal.state import State, apply
from ringfence.service.simulation.laws.story import Story, losses, ms_of
from ringfence.service.simulation.trace import Acknowledged, Dom0Is, Down, Ordered, Truth
from ringfence.service.simulation.witness import CONSUMED_NS, is_uncorrected
from ringfence.world.identities import DOM0, CaseId, DomainId, Frame, StepId
from ringfence.world.steps import HaltHost, IsolateFrame, LastWords, PauseDomain, Repeat, Status

FIRST_AID = (PauseDomain, IsolateFrame, LastWords, HaltHost)
"""What Dom0's seat does before it writes where it treats errors itself: who must act never waits for a disk."""

BEGUN = frozenset({Status.RUNNING, Status.DONE, Status.PENDING})
"""What has so much become of must not be ordered again, unless that changes nothing."""


def check(story: Story) -> Iterator[Broken]:
    """The laws of this module, over a whole run."""
    if story.trace.fault:
        yield story.broken(Law.L2, f"the code failed: {story.trace.fault}", story.trace.ended_ms * 1_000_000)
    else:
        yield from _outcomes(story)
    yield from _durable(story)
    yield from _states(story)
    yield from _orders(story)


# --- L2 ---------------------------------------------------------------------------------------------------------------


def _outcomes(story: Story) -> Iterator[Broken]:
    ends = story.journaled(ev.Closed, ev.Superseded)
    closed = Counter(event.case for _, event in ends if isinstance(event, ev.Closed | ev.Superseded))
    if story.alone:
        yield from _reports(story)
    else:
        for what in story.happened(Truth):
            if isinstance(what, Truth) and what.case is None:
                which = "an uncorrected error was reported, and the seat made no case of it"
                yield story.broken(Law.L2, which, what.at_ns)
    for case, events in story.by_case.items():
        if closed[case] > 1:
            yield story.broken(Law.L2, f"case {case} has {closed[case]} outcomes", ms_of(events[-1].at_ms) or 0)
        elif closed[case] == 0:
            at_ns = events[-1].at_ms * 1_000_000
            yield story.broken(Law.L2, f"case {case} has no outcome: {_last(events)}", at_ns)
    for case, truths in story.truths.items():
        if closed[case]:
            yield from _entries(story, case, truths)
        elif case not in story.by_case and _was_heard(story, truths[0].at_ns):
            yield story.broken(Law.L2, f"case {case} is not in the journal", truths[0].at_ns)


def _reports(story: Story) -> Iterator[Broken]:
    """What a hypervisor that acts alone reports is in the journal, if there was time.

    Of what an interrupt or a poll finds while Dom0 has no handler, Xen makes no telemetry: that never arrives.
    """
    received = {event.record.raw for _, event in story.journaled(ev.Received) if isinstance(event, ev.Received)}
    handler = False
    for what in story.happened(Dom0Is, Down, Reported):
        match what:
            case Dom0Is():
                handler = what.handler
            case Down():
                handler = False
            case Reported(record=record, dropped=False) if is_uncorrected(record) and (what.urgent or handler):
                if record.raw not in received and _was_heard(story, what.at_ns):
                    which = "an uncorrected error was reported, and the journal has none of it"
                    yield story.broken(Law.L2, which, what.at_ns)
            case _:
                pass


def _last(events: list[ev.Event]) -> str:
    return ", ".join(type(event).__name__ for event in events[-3:])


def _was_heard(story: Story, at_ns: int) -> bool:
    """Whether Ringfence had a whole turn after a report, before its boot ended."""
    at = bisect_left(story.turns, at_ns + 1)
    ends_ns = story.boot_ends(at_ns)
    return at < len(story.turns) and (ends_ns is None or story.turns[at] < ends_ns)


def _entries(story: Story, case: CaseId, truths: list[Truth]) -> Iterator[Broken]:
    outcome = next(event for event in story.by_case[case] if isinstance(event, ev.Closed | ev.Superseded))
    at_ns = outcome.at_ms * 1_000_000
    if isinstance(outcome, ev.Superseded):
        if outcome.by == case:
            yield story.broken(Law.L2, f"case {case} is superseded by itself", at_ns)
        return
    entries = {entry.domain: entry for entry in outcome.outcome}
    if len(entries) != len(outcome.outcome):
        yield story.broken(Law.L2, f"case {case} has two entries for one part", at_ns)
    host = entries.get(None)
    if host is not None and (host.state == "halted" or host.row == "I.2x"):
        return  # the halt is everybody's end
    ends_ns = story.boot_ends(truths[0].at_ns)
    if ends_ns is not None and ends_ns <= at_ns:
        return  # the boot ended before: what was heard of it is what there is
    hit = {loss.domain for truth in truths for loss in losses(truth)}
    hit |= {truth.consumer for truth in truths if truth.consumer is not None}
    missing = hit - {DOM0} - entries.keys() if not story.alone else set()  # Xen does not tell who else has a page
    if missing and (missing := missing - _dealt_with(story, {truth.frame for truth in truths}, case)):
        yield story.broken(Law.L2, f"case {case} hit domain {sorted(missing)}, and has no entry for it", at_ns)
    for domain, entry in entries.items():
        if domain is not None:
            # What Xen does alone comes before it reports.
            from_ns = truths[0].at_ns - (CONSUMED_NS if story.alone else 0)
            yield from _is_true(story, case, domain, entry, from_ns, at_ns)


def _dealt_with(story: Story, frames: set[Frame | None], but: CaseId) -> set[DomainId | None]:
    """Who has an end in another case about the same pages."""
    return {
        entry.domain
        for case, truths in story.truths.items()
        if case != but and any(truth.frame in frames for truth in truths)
        for event in story.by_case[case]
        if isinstance(event, ev.Closed)
        for entry in event.outcome
        if entry.state != "superseded"
    }


def _is_true(  # noqa: PLR0913, PLR0917 (one argument a fact)
    story: Story, case: CaseId, domain: DomainId, entry: ev.OutcomeEntry, from_ns: int, to_ns: int
) -> Iterator[Broken]:
    told = [each for each in story.told[domain] if from_ns <= each.at_ns <= to_ns]
    ended = any(from_ns <= at_ns <= to_ns for at_ns in story.ended[domain])
    match entry.state:
        case "guest_healed":
            holds = any(each.channel is not Channel.VMCE for each in told)
        case "injected":
            holds = any(each.channel is Channel.VMCE for each in told)
        case "killed" | "gone":
            holds = ended
        case _:
            holds = True
    if not holds:
        what = f"the outcome of case {case} for domain {domain} is {entry.state}, and nothing of it is true"
        yield story.broken(Law.L2, what, to_ns)


def _durable(story: Story) -> Iterator[Broken]:
    """What is acknowledged is in the journal."""
    durable_at: dict[int, int] = {}
    for number, event in story.trace.journal:
        token = getattr(event, "token", None)
        if token is not None:
            durable_at.setdefault(token, number)
    for what in story.happened(Acknowledged):
        if isinstance(what, Acknowledged) and durable_at.get(what.token, 1 << 62) > what.durable:
            yield story.broken(Law.L2, f"arrival {what.token} was acknowledged before it was durable", what.at_ns)
            return


# --- L9 ---------------------------------------------------------------------------------------------------------------


def _states(story: Story) -> Iterator[Broken]:
    samples = sorted(story.trace.samples, key=lambda sample: sample.applied)
    state = State()
    stored = iter(story.trace.journal)
    for sample in samples:
        while state.applied < sample.applied:
            following = next(stored, None)
            if following is None:
                what = f"the writer had a state of {sample.applied} events, and the journal has {state.applied}"
                yield story.broken(Law.L9, what, state.now_ms * 1_000_000)
                return
            apply(state, following[1])
        if state != sample.state:
            what = f"after {sample.applied} events a replay gives another state than the writer had"
            yield story.broken(Law.L9, what, state.now_ms * 1_000_000)
            return


def _orders(story: Story) -> Iterator[Broken]:
    """Each order ends once, and what is neither repeatable nor visible is never carried out again."""
    steps: dict[StepId, ev.StepWire] = {}
    open_attempts: Counter[StepId] = Counter()
    ended: dict[StepId, Status] = {}
    for _, event in story.journaled(ev.Intended, ev.Carried):
        at_ns = event.at_ms * 1_000_000
        match event:
            case ev.Intended(order=order, step=step):
                if steps.setdefault(order, step) != step:
                    yield story.broken(Law.L9, f"order {order} is {steps[order].kind}, and {step.kind}", at_ns)
                if ended.get(order, Status.FAILED) is not Status.FAILED:
                    yield story.broken(Law.L9, f"order {order} ended as {ended[order]}, and was begun again", at_ns)
                open_attempts[order] = 1
            case ev.Carried(order=order, status=status) if status is not Status.RUNNING:
                if open_attempts[order] != 1:
                    yield story.broken(Law.L9, f"order {order} ends, and is not open", at_ns)
                open_attempts[order] = 0
                ended[order] = status
            case _:
                pass
    left = [order for order, count in open_attempts.items() if count]
    if left and not story.trace.fault:
        end_ns = story.trace.ended_ms * 1_000_000
        yield story.broken(Law.L9, f"order {left[0]} ({steps[left[0]].kind}) never ends", end_ns)
    yield from _carried_out(story, steps)


def _carried_out(story: Story, steps: dict[StepId, ev.StepWire]) -> Iterator[Broken]:
    """What is ordered was intended before, durably; what cannot be repeated is not, once it has begun."""
    intended_at: dict[StepId, int] = {}
    for number, event in story.journaled(ev.Intended):
        if isinstance(event, ev.Intended):
            intended_at.setdefault(event.order, number)
    became: dict[StepId, Status] = {}
    for what in story.happened(Ordered, Carried):
        if isinstance(what, Ordered):
            order = what.order
            is_first_aid = story.alone and isinstance(order.step, FIRST_AID)
            if intended_at.get(order.id, what.durable + 1) > what.durable and not is_first_aid:
                yield story.broken(Law.L9, f"{order.step} was ordered before its intent was durable", what.at_ns)
            if became.get(order.id) in BEGUN and order.step.repeat is not Repeat.IDEMPOTENT:
                repeated = f"order {order.id} ({order.step}) was {became[order.id]}, and was ordered again"
                yield story.broken(Law.L9, repeated, what.at_ns)
        elif isinstance(what, Carried) and what.caller is Caller.DOM0 and what.order.id in steps:
            became[what.order.id] = what.result.status
