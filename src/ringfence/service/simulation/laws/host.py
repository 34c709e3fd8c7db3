"""L4, L5, L8 and L10: the halt, Dom0, refused instructions, and the telemetry.

L4 knows what must halt by what the hardware meant to be fatal, and by pages that the hypervisor cannot give up; what
could not be confined for other reasons it does not know. L5 knows of Dom0 what the world did to it, and which errors
hit its memory. L10 counts what was reported, acknowledged and dropped; it does not see inside of the queues.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from ringfence.decision.laws import Broken, Law
from ringfence.hypervisor.model.clock import MILLISECOND
from ringfence.hypervisor.model.observer import Caller, Carried, Dropped, Halted, Reported, Said, Sink
from ringfence.hypervisor.model.queues import URGENT_ENTRIES
from ringfence.hypervisor.model.templates import Meant
from ringfence.hypervisor.port import Token
from ringfence.journal import events as ev
from ringfence.service.simulation.laws.story import Story
from ringfence.service.simulation.trace import (
    Acknowledged,
    AnsweredBy,
    Arrived,
    Dom0Is,
    Down,
    Refusal,
    SinkIs,
    Truth,
    Turned,
)
from ringfence.world.frames import FrameUse
from ringfence.world.identities import DOM0, CaseId, DomainId
from ringfence.world.steps import AskDom0, HaltHost, SaveEvidence, Status
from ringfence.world.treatment import Dom0Says

SLACK_MS = 100
"""Beyond the policy's own deadlines: orders and sinks take their time."""
PROBE_MS = 1_000
"""A Dom0 that an error hit is not probed sooner (the model's PROBE_MS)."""
ANSWERS = frozenset({Dom0Says.NOTIFY, Dom0Says.OPERATE, Dom0Says.BOTH, Dom0Says.LEAVE})


def check(story: Story) -> Iterator[Broken]:
    """The laws of this module, over a whole run."""
    if story.alone:
        yield from _halted_for_history(story)
    else:
        yield from _halts(story)
        yield from _dom0(story)
    yield from _refused(story)
    yield from _telemetry(story)


# --- L4 ---------------------------------------------------------------------------------------------------------------


def _must_halt(truth: Truth) -> bool:
    if truth.error is not None and truth.error.meant is Meant.FATAL:
        return True
    return any(facts.use is FrameUse.HYPERVISOR and not facts.reclaimable for facts in truth.pages)


def _halts(story: Story) -> Iterator[Broken]:  # noqa: PLR0912 (one arm a fact)
    bound_ns = (2 * story.scenario.policy.deadlines.evidence_ms + SLACK_MS) * MILLISECOND
    broken_sinks: set[str] = set()
    fatal: Truth | None = None
    said: dict[Sink, list[Said]] = defaultdict(list)
    known: set[CaseId] = set()
    for what in story.trace.happened:
        if fatal is not None and what.at_ns > fatal.at_ns + bound_ns:
            yield story.broken(Law.L4, f"what must halt (case {fatal.case}) has not halted", what.at_ns)
            return
        match what:
            case SinkIs(sink=sink, broken=broken):
                (broken_sinks.add if broken else broken_sinks.discard)(sink)
            case Truth():
                if what.case is not None:
                    known.add(what.case)
                if fatal is None and _must_halt(what):
                    fatal = what
            case Said(sink=sink):
                said[sink].append(what)
            case Carried(caller=Caller.SEAT, order=order) if isinstance(order.step, HaltHost):
                if order.case not in known:
                    yield story.broken(Law.L4, f"case {order.case} halts, and is no error of this boot", what.at_ns)
            case Halted(panic=panic):
                if panic:
                    yield from _last_words(story, what.at_ns, said, broken_sinks)
                fatal = None
                said.clear()
            case Down():
                fatal = None
                said.clear()
                known.clear()
            case _:
                pass


def _halted_for_history(story: Story) -> Iterator[Broken]:
    """Where Dom0's seat halts the host, it is for an error of this boot."""
    for what in story.happened(Carried):
        if not (isinstance(what, Carried) and isinstance(what.order.step, HaltHost) and what.order.case is not None):
            continue
        boot = story.boot_at(what.at_ns)
        truths = story.truths.get(what.order.case, [])
        # Banks outlive a warm reset, and Xen reports what it finds in them as if it were new.
        errors = [truth.at_ns if truth.error is None else truth.error.at_ns for truth in truths]
        if not any(story.boot_at(at_ns) == boot for at_ns in errors):
            yield story.broken(Law.L4, f"case {what.order.case} halts, and is no error of this boot", what.at_ns)


def _last_words(story: Story, at_ns: int, said: dict[Sink, list[Said]], broken: set[str]) -> Iterator[Broken]:
    """Each sink that works has got something, and where there is a record to tell of, the smallest first."""
    for sink in Sink:
        if sink in broken or sink is Sink.ERST:
            continue  # ERST takes a record of a bank only, and has room for sixteen
        if not any(each.kept for each in said[sink]):
            yield story.broken(Law.L4, f"the host halted, and nothing was said to {sink}, which works", at_ns)
    for sink, words in said.items():
        if (
            any(b"Bank" in each.content for each in words)
            and sink is not Sink.ERST
            and len(words) > 1
            and len(words[0].content) > len(words[-1].content)
        ):
            yield story.broken(Law.L4, f"the larger record went to {sink} first", at_ns)


# --- L5 ---------------------------------------------------------------------------------------------------------------


def _dom0(story: Story) -> Iterator[Broken]:  # noqa: PLR0912 (one arm a fact)
    handler = hurt = False
    hit_ns: int | None = None
    asked: dict[tuple[CaseId | None, DomainId], int] = {}
    answered: dict[tuple[CaseId | None, DomainId], list[int]] = defaultdict(list)
    for what in story.happened(AnsweredBy):
        if isinstance(what, AnsweredBy) and what.result.status is not Status.REFUSED:
            # What follows from an answer happens within the call: it is known only after it.
            answered[what.case, what.domain].append(what.at_ns)
    for what in story.happened(Dom0Is, Down, Truth, Carried, AnsweredBy):
        match what:
            case Dom0Is():
                handler, hurt = what.handler, what.hurt
            case Down():
                handler, hurt, hit_ns = False, False, None
                asked.clear()
            case Truth() if _hits_dom0(what):
                hit_ns = what.at_ns
            case Carried(caller=Caller.SEAT, order=order) if isinstance(order.step, AskDom0 | SaveEvidence):
                recently = hit_ns is not None and what.at_ns < hit_ns + PROBE_MS * MILLISECOND
                if not handler or hurt or recently:
                    why = "has no handler" if not handler else "is hurt"
                    yield story.broken(Law.L5, f"Dom0 {why}, and {order.step} was ordered", what.at_ns)
                if isinstance(order.step, AskDom0):
                    key = (order.case, order.step.domain)
                    if key in asked and not any(asked[key] <= at_ns <= what.at_ns for at_ns in answered[key]):
                        again = f"Dom0 was asked again about domain {order.step.domain} in case {order.case}"
                        yield story.broken(Law.L5, again, what.at_ns)
                    asked[key] = what.at_ns
            case AnsweredBy(result=result) if result.status is not Status.REFUSED:
                late = what.deadline_ms is not None and what.at_ns > what.deadline_ms * MILLISECOND
                if late and what.says in ANSWERS:
                    yield story.broken(
                        Law.L5, f"Dom0's answer for case {what.case} came late and was taken", what.at_ns
                    )
            case _:
                pass


def _hits_dom0(truth: Truth) -> bool:
    return truth.consumer == DOM0 or any(facts.owner == DOM0 for facts in truth.pages)


# --- L8 ---------------------------------------------------------------------------------------------------------------


def _refused(story: Story) -> Iterator[Broken]:
    for what in story.happened(Refusal):
        if not isinstance(what, Refusal):
            continue
        if not what.refused:
            yield story.broken(Law.L8, f"{what.wrong} was not refused: {what.said}", what.at_ns)
        elif what.changed:
            yield story.broken(Law.L8, f"{what.wrong} was refused, and changed {', '.join(what.changed)}", what.at_ns)


# --- L10 --------------------------------------------------------------------------------------------------------------


def _telemetry(story: Story) -> Iterator[Broken]:  # noqa: PLR0912 (one arm a fact)
    waiting: Counter[bool] = Counter()
    shown: dict[Token, bool] = {}
    dropped: Counter[bool] = Counter()
    counted_by_turn: Counter[bool] = Counter()
    ever: Counter[bool] = Counter()
    happened = story.happened(Arrived, Reported, Acknowledged, Dropped, Turned, Down)
    for at, what in enumerate(happened):
        match what:
            case Arrived(telemetry=telemetry):
                classes = [urgent for _, urgent in telemetry]
                if classes != sorted(classes, reverse=True):
                    yield story.broken(Law.L10, "nonurgent telemetry was shown before urgent", what.at_ns)
                shown.update(telemetry)
            case Reported(urgent=urgent, dropped=False):
                waiting[urgent] += 1
            case Acknowledged(token=token) if token in shown:
                waiting[shown.pop(token)] -= 1
            case Dropped(urgent=urgent) if not story.alone:  # of what Xen drops, nobody is told
                dropped[urgent] += 1
                ever[urgent] += 1
                # Others of the same machine check have their entries already, and are told of after this.
                also = (
                    sum(
                        1
                        for each in happened[at:]
                        if isinstance(each, Reported) and each.urgent and not each.dropped and each.at_ns == what.at_ns
                    )
                    if urgent
                    else 0
                )
                if urgent and waiting[True] + also < URGENT_ENTRIES:
                    told = f"urgent telemetry was dropped while {waiting[True] + also} of {URGENT_ENTRIES} entries wait"
                    yield story.broken(Law.L10, told, what.at_ns)
            case Turned():
                counted_by_turn = counted_by_turn + dropped
                dropped.clear()
            case Down():
                waiting.clear()
                shown.clear()
                dropped.clear()
            case _:
                pass
    lost: Counter[bool] = Counter()
    for _, event in story.journaled(ev.Lost):
        if isinstance(event, ev.Lost):
            lost[event.urgent] += event.count
    end_ns = story.trace.ended_ms * MILLISECOND
    for urgent in (True, False):
        if not counted_by_turn[urgent] <= lost[urgent] <= ever[urgent]:
            kind = "urgent" if urgent else "nonurgent"
            what_for = f"{ever[urgent]} {kind} records were dropped, and the journal counts {lost[urgent]} as lost"
            yield story.broken(Law.L10, what_for, end_ns)
