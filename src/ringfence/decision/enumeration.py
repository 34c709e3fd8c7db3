"""Every way that a part of a case can go, by exhaustion: flow, orders and a little world beside them.

``enumerate_parts`` begins with every part that there can be (a DomU of every kind, the host's part in every state that
``decide`` begins with, Dom0's own operations) and follows every result of every step, every answer, every alarm, Dom0's
ability coming and going, the domain's end, a superseding error and a halt by another part. On each way the laws are
checked that one part alone can break (L1 to L8). What two errors do to each other is service.enumeration's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import product

from ringfence.decision import flow, orders
from ringfence.decision.enumeration_explorer import DOMU, NO_FACTS, Beginning, Explorer, domain_of, is_like
from ringfence.decision.enumeration_report import Breaches, Outcome, Report
from ringfence.decision.enumeration_world import World
from ringfence.decision.flow import Event, Facts, Position, State
from ringfence.decision.laws import Law
from ringfence.decision.orders import Subject
from ringfence.decision.policy import DEFAULT, OnUnlocated, Operation, Policy
from ringfence.decision.rows import Row
from ringfence.errors import IllegalEventError
from ringfence.world.domain import Dom0State, DomainKind, McaHandler
from ringfence.world.identities import CpuId, Frame, GuestFrame
from ringfence.world.situation import Situation
from ringfence.world.steps import PauseDomain

_FRAMES = ((Frame(0x8000), 1),)
_PAGES = tuple(GuestFrame(0x10 + number) for number in range(3))

# --- the beginnings -------------------------------------------------------------------------------------------------


def domu_beginnings() -> Iterator[Beginning]:
    """A part of a DomU, for every combination of facts and as many lost pages as can make a difference."""
    kinds = (DomainKind.PV, DomainKind.PVH, DomainKind.HVM)
    yes_no = (False, True)
    for kind, handler, mca, consumed, able, vmce, numbered, pages in product(
        kinds, McaHandler, yes_no, yes_no, yes_no, yes_no, yes_no, (1, 2, 3)
    ):
        facts = Facts(
            kind=kind, handler=handler, mca_enabled=mca, consumed=consumed, dom0_able=able, vmce=vmce, numbered=numbered
        )
        if pages > _most_pages(facts):
            continue
        # Of n lost pages the first has no number of the domain's own: those that have one are not all.
        known = _PAGES[: pages if numbered else pages - 1]
        subject = Subject(domain=DOMU, pages=known, numbered=numbered, frames=_FRAMES, consumed=consumed)
        position = Position(state=State.CONTAINING, row=Row.ASK_DOM0 if able else Row.ALONE, stopped=consumed)
        yield _beginning(facts_in_words(facts), subject, position, facts=facts)
        if not consumed and pages == 1:
            # It takes the place of a part that had stopped the domain.
            yield _beginning(facts_in_words(facts), subject, replace(position, stopped=True), facts=facts)


def _most_pages(facts: Facts) -> int:
    """Three pages that are told one by one are as many as one needs; whoever cannot be told knows of no number.

    Of two pages one may have a number and the other none.
    """
    if facts.handler is McaHandler.NONE and (facts.is_pv or not facts.mca_enabled):
        return 1
    return 3 if facts.numbered else 2


def host_beginnings() -> Iterator[Beginning]:
    """The host's part in each state that a case begins with; before a halt, with a consumer to stop and without."""
    subject = Subject(domain=None, frames=_FRAMES, cpu=CpuId(1))
    for able, dom0, wanted, (state, row) in product((False, True), (False, True), OnUnlocated, _HOST_STATES):
        part, position = replace(subject, dom0=dom0), Position(state=state, row=row)
        if row is Row.HALT:
            position = flow.halting(position, dom0_able=able and not dom0)
        facts = replace(NO_FACTS, dom0_able=able)
        begun = _beginning((f"host: {row}",), part, position, facts=facts, policy=Policy(unlocated=wanted))
        yield begun
        if row is Row.HALT:
            steps, world = (PauseDomain(DOMU), *begun.steps), begun.world._replace(mapped=False)
            yield replace(begun, what=("host: I.2x, a DomU consumed it",), steps=steps, world=world, consumer=True)


_HOST_STATES = (
    (State.NOTING, Row.COUNT),
    (State.HEALING, Row.SELF_HEAL),
    (State.TAKING_OUT, Row.NOBODY),
    (State.DEGRADING, Row.UNLOCATED),
    (State.SPEAKING, Row.HALT),
)


def dom0_beginnings() -> Iterator[Beginning]:
    """Dom0's own operations on a domain: one or several of them, approved or in need of it."""
    situation = Situation(now_ms=0, dom0=Dom0State(has_handler=True))
    subject = Subject(domain=DOMU)
    for state, row, operation, several in product(
        (State.APPROVING, State.CARRYING_OUT), (Row.ON_DOMAIN, Row.AHEAD), Operation, (1, 2, 3)
    ):
        steps = (orders.step_of(operation, DOMU, situation),) if state is State.CARRYING_OUT else ()
        yield Beginning(
            what=(f"Dom0: {row}, {operation}",),
            subject=subject,
            position=Position(state=state, row=row),
            steps=steps,
            world=World(mapped=False),
            operations=several,
        )


def _beginning(
    what: tuple[str, ...], subject: Subject, position: Position, *, facts: Facts, policy: Policy = DEFAULT
) -> Beginning:
    able = facts.dom0_able
    situation = Situation(now_ms=0, dom0=Dom0State(has_handler=able), domains=(domain_of(facts),))
    return Beginning(
        what=what,
        subject=subject,
        position=position,
        steps=orders.on_entering(position, subject, situation, policy),
        world=World(able=able, swings=2 if able else 1),
        facts=facts,
        policy=policy,
    )


HEADS = ("error", "guest", "PV MCA handler", "MCA enabled", "Dom0")


def facts_in_words(facts: Facts) -> tuple[str, ...]:
    """The facts as cells under ``HEADS``."""
    return (
        "consumed" if facts.consumed else "not consumed",
        str(facts.kind),
        str(facts.handler),
        ("yes" if facts.vmce else "yes, vMCE not allowed") if facts.mca_enabled else "no",
        "able" if facts.dom0_able else "hurt or no handler",
    )


# --- the proof ------------------------------------------------------------------------------------------------------

IN_ORDER = (
    Row.ASK_DOM0, Row.ON_DOMAIN, Row.INFORM, Row.ALONE, Row.PV_HANDLER, Row.HVM_HANDLER, Row.HVM_INJECT, Row.PV_DOM0,
    Row.HVM_DOM0, Row.PV_KILL, Row.HVM_KILL, Row.SELF_HEAL, Row.NOBODY, Row.UNLOCATED, Row.HALT, Row.COUNT, Row.AHEAD,
)  # fmt: skip
"""The rows of the flow in the order in which one is tried after the other."""

COUNTED_LOOPS = frozenset(
    {frozenset({State.AWAITING_MCIP, State.INJECTING_AGAIN}), frozenset({State.APPROVING, State.CARRYING_OUT})}
)
"""The only ways round: each uses something up, a lost page that is told or an operation that was tried."""


@dataclass(slots=True)
class _Sum:
    """What all explorations together went through."""

    beginnings: int = 0
    states: int = 0
    moves: int = 0
    paths: int = 0
    rows: set[Row] = field(default_factory=set)
    flow_states: set[State] = field(default_factory=set)
    hops: set[tuple[State, State]] = field(default_factory=set)


def beginnings() -> Iterator[Beginning]:
    """Every part that there can be."""
    yield from domu_beginnings()
    yield from host_beginnings()
    yield from dom0_beginnings()


def enumerate_parts(chosen: Iterable[Beginning] | None = None, *, until: Law | None = None) -> Report:
    """Follow every beginning (or those chosen) to all its ends, and say what was found. All take some seconds.

    ``until``: go no further than to the first that breaks this law; what is missing means nothing then.
    """
    breaches, edges, whole = Breaches(), set[tuple[State, Event]](), _Sum()
    explored: dict[object, list[tuple[Explorer, int]]] = {}
    for beginning in beginnings() if chosen is None else chosen:
        if breaches.has(until):
            break
        known = explored.setdefault((beginning.subject, beginning.position, beginning.steps), [])
        alike = next((paths for explorer, paths in known if is_like(beginning, explorer)), None)
        if alike is None:
            explorer = Explorer(beginning, breaches, edges)
            explorer.run()
            alike = _take_in(explorer, whole, breaches)
            known.append((explorer, alike))
        whole.beginnings += 1
        whole.paths += alike
    for loop in loops(whole.hops) - COUNTED_LOOPS:
        breaches.add(Law.L2, f"a way round that uses nothing up: {', '.join(sorted(loop))}", ())
    _check_refusals(breaches)
    declared = {(edge.state, edge.event) for edge in flow.TABLE}
    return Report(
        name="every part",
        beginnings=whole.beginnings,
        states=whole.states,
        moves=whole.moves,
        paths=whole.paths,
        rows=frozenset(whole.rows),
        flow_states=frozenset(whole.flow_states),
        edges=frozenset(edges),
        heads=HEADS,
        outcomes=tuple(outcomes()) if chosen is None else (),
        missing=(
            *(f"edge: {state} on {event}" for state, event in sorted(declared - edges)),
            *(f"state: {state}" for state in State if state not in whole.flow_states),
        ),
        broken=breaches.all,
    )


def _take_in(explorer: Explorer, whole: _Sum, breaches: Breaches) -> int:
    """Add what an exploration found; the number of its paths."""
    whole.states += len(explorer.nodes)
    whole.moves += sum(map(len, explorer.moves))
    whole.rows |= {node.position.row for node in explorer.nodes}
    whole.flow_states |= {node.position.state for node in explorer.nodes} | {
        state for hop in explorer.hops for state in hop
    }
    whole.hops |= explorer.hops
    paths = count_paths(explorer.moves)
    if paths is None:
        breaches.add(Law.L2, "a way leads back to where it has been: it may never end", explorer.beginning.what)
    return paths or 0


def count_paths(moves: list[dict[int, int]]) -> int | None:
    """The number of ways from node 0 to the nodes without moves; None if there is a way round. By Kahn's algorithm."""
    incoming = [0] * len(moves)
    for targets in moves:
        for target in targets:
            incoming[target] += 1
    ways = [0] * len(moves)
    free = [number for number, count in enumerate(incoming) if not count]
    for number in free:
        ways[number] = 1
    total = done = 0
    while free:
        number = free.pop()
        done += 1
        total += 0 if moves[number] else ways[number]
        for target, multiplicity in moves[number].items():
            ways[target] += ways[number] * multiplicity
            incoming[target] -= 1
            if not incoming[target]:
                free.append(target)
    return total if done == len(moves) else None


def loops(hops: set[tuple[State, State]]) -> set[frozenset[State]]:
    """The sets of states that lead round to each other: the strongly connected parts that have an inner edge."""
    reach = {state: {target for source, target in hops if source is state} for state in State}
    for middle, source in product(State, State):
        if middle in reach[source]:
            reach[source] |= reach[middle]
    return {
        frozenset(other for other in State if other in reach[state] and state in reach[other])
        for state in State
        if state in reach[state]
    }


def _check_refusals(breaches: Breaches) -> None:
    """L8: every pair that is not in the table is refused with state, event and what is allowed; and ends allow none."""
    for state, event in product(State, Event):
        taken = event in flow.allowed(state)
        if taken and state in flow.ENDS:
            breaches.add(Law.L2, f"{state} is an end, and {event} leads on", ())
        if taken:
            continue
        position = Position(state=state, row=Row.ALONE)
        try:
            flow.advance(position, event, NO_FACTS)
        except IllegalEventError as error:
            if (error.state, error.event, error.allowed) != (state, event, flow.allowed(state)):
                breaches.add(Law.L8, f"the refusal of {event} in {state} does not say what is allowed", ())
        else:
            breaches.add(Law.L8, f"{event} is not allowed in {state}, and is not refused", ())


_BY_OTHERS = frozenset({State.GONE, State.SUPERSEDED})
"""Ends that come from outside, possible wherever a DomU's part stands."""


def outcomes() -> Iterator[Outcome]:
    """The rows and ends of a DomU with one numbered page, for each fact, while Dom0 stays as able as it is."""
    for beginning in domu_beginnings():
        facts = beginning.facts
        usual = facts.vmce and facts.numbered and len(beginning.subject.pages) == 1
        if usual and beginning.position.stopped == facts.consumed:
            yield _outcome(beginning, facts_in_words(facts))


def host_outcomes() -> Iterator[Outcome]:
    """The rows and ends of the host's part, for each row that it begins with, while Dom0 stays as able as it is."""
    for beginning in host_beginnings():
        usual = not beginning.subject.dom0 and not beginning.consumer
        if usual and beginning.policy.unlocated is OnUnlocated.DEGRADE:
            yield _outcome(beginning, (str(beginning.position.row), facts_in_words(beginning.facts)[-1]))


def _outcome(beginning: Beginning, what: tuple[str, ...]) -> Outcome:
    explorer = Explorer(replace(beginning, world=beginning.world._replace(swings=0)), Breaches(), set())
    explorer.run()
    positions = {node.position for node in explorer.nodes}
    rows = {position.row for position in positions}
    ends = {
        position.state
        for position in positions
        if position.has_ended and not (position.state is State.HALTED and position.row is not Row.HALT)
    }
    return Outcome(
        what=what,
        rows=tuple(row for row in IN_ORDER if row in rows),
        ends=tuple(state for state in State if state in ends - _BY_OTHERS),
    )
