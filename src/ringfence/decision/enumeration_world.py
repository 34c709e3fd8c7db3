"""The little world beside the flow in an enumeration: what really happens to the domain, the page, Dom0 and the host.

It is kept apart from the flow's own notes, so that the laws are checked against what is, not against what the flow
believes. What it assumes of a hypervisor: the first results of a batch of orders (RUNNING among them) come before
anything else is told; a pause that runs ends before an answer or an alarm; once the machine stands, nothing is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

from ringfence.decision.flow import Event, Position, State
from ringfence.decision.laws import Law
from ringfence.decision.orders import Subject
from ringfence.world.steps import (
    AskDom0,
    DestroyDomain,
    HaltHost,
    HealHost,
    InjectVmce,
    IsolateFrame,
    LastWords,
    NotifyDom0,
    NotifyGuest,
    OfflineFrame,
    PauseDomain,
    SaveEvidence,
    Status,
    Step,
    UnpauseDomain,
)


class Body(IntEnum):
    """What a domain does."""

    RUNS = 0
    STANDS = 1
    GONE = 2


class World(NamedTuple):
    """What is true.

    ``mapped``: the domain reaches the lost page by a mapping that could be taken away. ``decided``: it was told, or
    operated on, and nothing came after that took it back. ``swings``: how often Dom0's ability still changes. ``out``:
    Dom0 was asked by this part and let it pass. ``injected``: vMCEs that reached the domain, ``unsure``
    that one may have. ``removed``: the broken
    part is out of use (or will be as soon as its owner lets go). ``spoken``: the last words were ordered.
    """

    body: Body = Body.RUNS
    mapped: bool = True
    decided: bool = False
    able: bool = True
    swings: int = 2
    out: bool = False
    spoken: bool = False
    injected: int = 0
    unsure: bool = False
    removed: bool = False
    halted: bool = False


_BEGUN = frozenset({Status.DONE, Status.RUNNING})


def after(world: World, step: Step, status: Status) -> World:
    """The world after a step came back so. What is not known to be done is taken as not done."""
    done = status is Status.DONE
    match step:
        case PauseDomain() if done and world.body is Body.RUNS:
            return world._replace(body=Body.STANDS)
        case UnpauseDomain() if done and world.body is Body.STANDS:
            return world._replace(body=Body.RUNS)
        case IsolateFrame() if done:
            return world._replace(mapped=False)
        case NotifyGuest() if status in _BEGUN:
            return world._replace(decided=True)
        case InjectVmce() if done:
            return world._replace(decided=True, injected=world.injected + 1)
        case InjectVmce() if status is Status.UNKNOWN:
            return world._replace(unsure=True)
        case DestroyDomain() if done:
            return world._replace(body=Body.GONE)
        case OfflineFrame() | HealHost() if status in {Status.DONE, Status.PENDING}:
            return world._replace(removed=True)
        case HaltHost() if done:
            return world._replace(halted=True)
        case _:
            return world


UNDELIVERED = frozenset({Event.REFUSED, Event.FAILED, Event.UNCERTAIN, Event.IN_MACHINE_CHECK, Event.DEADLINE})
_BEING_TOLD = frozenset({State.TELLING, State.AWAITING_GUEST, State.INJECTING, State.INJECTING_AGAIN})
_DOM0_HAS_IT = frozenset({State.ASKING, State.REQUESTING, State.OPERATING, State.SAVING_EVIDENCE})
_LETS_PASS = frozenset({Event.SAYS_LEAVE, Event.DEADLINE, Event.DOM0_LOST, Event.FAILED})


def felt(world: World, state: State, event: Event) -> World:
    """What an event says of the world: a guest that does not do it is undecided again, a Dom0 that does not is out."""
    if event in UNDELIVERED and state in _BEING_TOLD:
        return world._replace(decided=False)
    if event in _LETS_PASS and state in _DOM0_HAS_IT:
        return world._replace(out=True)
    return world


def of_order(world: World, step: Step, subject: Subject) -> Iterator[tuple[Law, str]]:
    """The laws that are broken by ordering this step in this world."""
    yield from _of_touching(step, subject)
    if subject.domain is not None and isinstance(step, LastWords) and not does_harm(world, subject):
        yield Law.L6, "the host is to be halted for a domain that does no harm any more"
    match step:
        case UnpauseDomain() if subject.consumed and not world.decided:
            yield Law.L1, "the consumer is let run before it was told or operated on"
        case UnpauseDomain() if world.mapped:
            yield Law.L1, "the loser is let run while a mapping of the lost page remains"
        case AskDom0() | SaveEvidence():
            if not world.able:
                yield Law.L5, f"{type(step).__name__} while Dom0 is hurt or has no handler"
            if world.out:
                yield Law.L5, f"{type(step).__name__} after Dom0 let its time pass, left it or was lost"
        case NotifyGuest() if step.pages != subject.pages or not subject.numbered:
            yield Law.L7, "the guest is told of other pages than it lost, or not of all"
        case InjectVmce():
            if world.unsure:
                yield Law.L9, "a vMCE is injected again of which nobody knows whether it happened"
            if not subject.numbered or (step.page,) != subject.pages[world.injected : world.injected + 1]:
                yield Law.L7, "a vMCE carries another page than the next that was lost"
        case HaltHost() if not world.spoken:
            yield Law.L4, "the host is halted before the evidence went out"
        case _:
            pass


def does_harm(world: World, subject: Subject) -> bool:
    """Whether a domain may still spread the error: it is there, and took it in or reaches the page."""
    return world.body is not Body.GONE and (subject.consumed or world.mapped)


def _of_touching(step: Step, subject: Subject) -> Iterator[tuple[Law, str]]:
    domain = getattr(step, "domain", None)
    if domain is not None and domain != subject.domain:
        yield Law.L6, f"{type(step).__name__} is about a domain that is neither consumer nor loser"
    touched = set(getattr(step, "frames", ()))
    if isinstance(step, (IsolateFrame, OfflineFrame)):
        touched = {step.frame}
    if not touched <= {frame for frame, _ in subject.frames}:
        yield Law.L6, f"{type(step).__name__} is about a frame that was not lost"


_STOPS_IT = (PauseDomain, DestroyDomain, HaltHost)
_ENDING_THE_HOST = frozenset({State.SPEAKING, State.HALTING, State.HALTING_AGAIN, State.NOT_HALTED, State.SUPERSEDED})
"""States in which a domain may run that could not be stopped: the machine is about to stop, could not be stopped, or
another part answers for the domain."""


def at_rest(world: World, position: Position, subject: Subject, waiting: tuple[Step, ...]) -> Iterator[tuple[Law, str]]:
    """The laws that are broken while a part rests so: ``waiting`` are its orders that have not ended."""
    state = position.state
    if subject.domain is not None and world.body is Body.RUNS and not world.halted and state not in _ENDING_THE_HOST:
        stopping = any(isinstance(step, _STOPS_IT) for step in waiting)
        if subject.consumed and not world.decided and not stopping:
            yield Law.L1, f"the consumer runs in {state}, and was neither told nor operated on"
        if world.mapped and not stopping and not any(isinstance(step, IsolateFrame) for step in waiting):
            yield Law.L1, f"the loser runs in {state}, and a mapping of the lost page remains"
    if world.halted and not position.has_ended:
        yield Law.L2, f"the machine stands, and the part stays open in {state}"
    yield from _untrue(world, position, subject)


def _untrue(world: World, position: Position, subject: Subject) -> Iterator[tuple[Law, str]]:
    match position.state:
        case State.KILLED if world.body is not Body.GONE:
            yield Law.L2, "a domain counts as killed and is still there"
        case State.HALTED if not world.halted:
            yield Law.L4, "the host counts as halted and runs"
        case State.INJECTED if world.injected != len(subject.pages):
            yield Law.L7, "a domain counts as told, and not every lost page was injected"
        case State.GUEST_HEALED if not world.decided:
            yield Law.L2, "a domain counts as healed and was not told"
        case State.TAKEN_OUT | State.HEALED if not world.removed:
            yield Law.L2, "the broken part counts as out of use and is in use"
        case _:
            pass


CORRECTED_MAY = (NotifyDom0,)
"""All that may be done for a corrected error (L3)."""
