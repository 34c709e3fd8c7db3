"""A run told once, for all laws: which case is about whom, who was told what, when each boot and life was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import chain
from operator import itemgetter
from typing import TypeVar

from ringfence.decision.laws import Broken, Law
from ringfence.hypervisor.model.clock import MILLISECOND
from ringfence.hypervisor.model.observer import Carried, DomainChanged, GuestTold, Halted, MappingsChanged, Ran
from ringfence.hypervisor.model.personality import BEHAVIOURS
from ringfence.journal import events as ev
from ringfence.journal.events import Stored
from ringfence.service.simulation.scenario import Scenario
from ringfence.service.simulation.trace import Down, Happening, Trace, Truth, Turned
from ringfence.service.simulation.witness import BEGUN_ANEW
from ringfence.world.domain import LIVING
from ringfence.world.frames import FrameUse
from ringfence.world.identities import DOM0, CaseId, DomainId, Frame, GuestFrame
from ringfence.world.steps import HealHost, IsolateFrame

PATH_LINES = 12
"""Of the path that is shown with a broken law: what led to it, and not the whole day."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a domain lost by one error: the pages in its own numbers, as far as they have any."""

    domain: DomainId
    pages: frozenset[GuestFrame]


def losses(truth: Truth) -> tuple[Loss, ...]:
    """Who loses by an error, and which pages: everybody who could reach what is lost, Dom0 for others apart.

    An owner loses the whole of a superpage, whoever else maps a part of it what its own number stands for.
    """
    found: dict[DomainId, set[GuestFrame]] = {}
    for facts in truth.pages:
        for mapping in (*facts.mappings, *truth.earlier):
            if mapping.domain == DOM0 and facts.owner != DOM0:
                continue
            pages = found.setdefault(mapping.domain, set())
            if mapping.guest_frame is not None:
                count = facts.pages if mapping.domain == facts.owner else 1
                pages.update(map(GuestFrame, range(mapping.guest_frame, mapping.guest_frame + count)))
        if facts.owner in found and facts.guest_frame is not None:
            found[facts.owner].update(map(GuestFrame, range(facts.guest_frame, facts.guest_frame + facts.pages)))
    return tuple(Loss(domain, frozenset(pages)) for domain, pages in found.items())


@dataclass(slots=True)
class Story:
    """Everything of a run that several laws look at."""

    trace: Trace
    scenario: Scenario
    truths: dict[CaseId, list[Truth]] = field(default_factory=lambda: defaultdict(list))
    involved: dict[CaseId, set[DomainId]] = field(default_factory=lambda: defaultdict(set))
    told: dict[DomainId, list[GuestTold]] = field(default_factory=lambda: defaultdict(list))
    ended: dict[DomainId, list[int]] = field(default_factory=lambda: defaultdict(list))
    """Instants at which a domain ended, or began anew."""
    halts: list[int] = field(default_factory=list)
    boots: list[int] = field(default_factory=lambda: [0])
    turns: list[int] = field(default_factory=list)
    by_case: dict[CaseId, list[ev.Event]] = field(default_factory=lambda: defaultdict(list))
    spans: dict[DomainId, list[Ran]] = field(default_factory=lambda: defaultdict(list))
    unmapped: dict[Frame, list[MappingsChanged]] = field(default_factory=lambda: defaultdict(list))
    declared: set[int] = field(default_factory=set)
    """Instants at which a step said that it could not take something away."""
    has_failing_steps: bool = False
    alone: bool = False
    """The hypervisor treats errors by itself, as Xen does: what it does is no doing of Ringfence's."""
    _happened: dict[type[Happening], list[tuple[int, Happening]]] = field(default_factory=lambda: defaultdict(list))
    _journal: dict[type[Stored], list[tuple[int, Stored]]] = field(default_factory=lambda: defaultdict(list))
    """Both by kinds, with their places: most laws look at some few."""

    def __post_init__(self) -> None:
        for place, what in enumerate(self.trace.happened):
            self._happened[type(what)].append((place, what))
        for number, event in self.trace.journal:
            self._journal[type(event)].append((number, event))

    def happened(self, *kinds: type[Happening]) -> list[Happening]:
        """All that happened of some kinds, in its order."""
        return [what for _, what in _in_order(self._happened[kind] for kind in kinds)]

    def journaled(self, *kinds: type[Stored]) -> list[tuple[int, Stored]]:
        """The events of some kinds with their numbers, in their order."""
        return _in_order(self._journal[kind] for kind in kinds)

    def boot_at(self, at_ns: int) -> int:
        """In which boot an instant lies, from 0 on."""
        return sum(start <= at_ns for start in self.boots) - 1

    def boot_ends(self, at_ns: int) -> int | None:
        """When the boot of an instant ends: it is reset, or halts before; None if it is the last."""
        later = [each for each in (*self.boots, *self.halts) if each > at_ns]
        return min(later, default=None)

    def path(self, at_ns: int) -> tuple[str, ...]:
        """What led to an instant, for people."""
        before = [what for what in self.trace.happened if what.at_ns <= at_ns and _is_telling(what)]
        return tuple(shown(what) for what in before[-PATH_LINES:])

    def broken(self, law: Law, what: str, at_ns: int) -> Broken:
        """A law that did not hold at an instant."""
        return Broken(law, f"at {at_ns / 1e9:.6f} s: {what}", self.path(at_ns))


_Numbered = TypeVar("_Numbered", bound=tuple[int, object])


def _in_order(lists: Iterable[list[_Numbered]]) -> list[_Numbered]:
    """What stands in several lists, by its number, of which there are no two."""
    return sorted(chain.from_iterable(lists), key=itemgetter(0))


_OF_THE_STORY = (Truth, GuestTold, DomainChanged, MappingsChanged, Carried, Halted, Down, Turned)


def tell(trace: Trace, scenario: Scenario) -> Story:  # noqa: PLR0912 (one arm a fact)
    """Read a run once."""
    story = Story(trace, scenario, alone=not BEHAVIOURS[scenario.personality].treats)
    cases = _cases_by_evidence(trace) if story.alone else {}
    for what in story.happened(*_OF_THE_STORY):
        match what:
            case Truth(case=None):
                for case in cases.get(what.record.raw, ()):
                    _belongs(story, replace(what, case=case), case)
            case Truth(case=case):
                _belongs(story, what, case)
            case GuestTold(domain=domain):
                story.told[domain].append(what)
            case DomainChanged(domain=domain, after=after, because=because):
                if after not in LIVING or because in BEGUN_ANEW:
                    story.ended[domain].append(what.at_ns)
            case MappingsChanged(frame=frame):
                story.unmapped[frame].append(what)
            case Carried(order=order, result=result) if result.declared:
                if isinstance(order.step, IsolateFrame | HealHost):
                    story.declared.add(what.at_ns)
            case Halted():
                story.halts.append(what.at_ns)
            case Down():
                story.boots.append(what.at_ns)
            case Turned():
                story.turns.append(what.at_ns)
            case _:
                pass
    for ran in trace.ran:
        story.spans[ran.domain].append(ran)
    for _, event in trace.journal:
        case_number = getattr(event, "case", None)
        if case_number is not None and not isinstance(event, ev.Unread):
            story.by_case[case_number].append(event)
    story.has_failing_steps = any(type(act).__name__ == "StepsFail" for act in trace.script)
    return story


def _belongs(story: Story, truth: Truth, case: CaseId) -> None:
    story.truths[case].append(truth)
    story.involved[case].update(loss.domain for loss in losses(truth))
    story.involved[case].update(
        each.owner for each in truth.pages if each.owner is not None and each.use is FrameUse.DOMAIN
    )
    if truth.consumer is not None:
        story.involved[case].add(truth.consumer)


def _cases_by_evidence(trace: Trace) -> dict[bytes, set[CaseId]]:
    """Which cases Dom0's seat made of which evidence, where no other seat has numbered them."""
    found: dict[bytes, set[CaseId]] = defaultdict(set)
    for _, event in trace.journal:
        if isinstance(event, ev.Received) and event.case is not None:
            found[event.record.raw].add(event.case)
    return found


def _is_telling(what: Happening) -> bool:
    return isinstance(what, Truth | Carried | GuestTold | DomainChanged | Halted | Down)


def shown(what: Happening) -> str:
    """A happening in one line."""
    head = f"{what.at_ns / 1e9:>14.6f} s  "
    match what:
        case Truth(case=case, error=error, frame=frame, consumer=consumer):
            meant = "?" if error is None else error.meant.value
            page = "no page" if frame is None else f"frame {frame:#x}"
            took = "" if consumer is None else f", consumed by domain {consumer}"
            return f"{head}{meant} reported, {page}{took}: case {case}"
        case Carried(caller=caller, order=order, result=result):
            because = f" ({result.because})" if result.because else ""
            return f"{head}{caller.value}: {order.step} -> {result.status.value}{because}"
        case GuestTold(domain=domain, channel=channel):
            return f"{head}domain {domain} was told by {channel.value}"
        case DomainChanged(domain=domain, before=before, after=after, because=because):
            return f"{head}domain {domain}: {before} -> {after} ({because})"
        case _:
            return f"{head}{what}"


def ms_of(at_ns: int) -> int:
    """An instant in whole milliseconds, as Ringfence counts them."""
    return at_ns // MILLISECOND
