"""Follows one part of a case from its beginning to all its ends, beside the little world of enumeration_world."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice, product
from typing import NamedTuple

from ringfence.decision import flow, orders
from ringfence.decision.enumeration_report import Breaches
from ringfence.decision.enumeration_world import Body, World, after, at_rest, felt, of_order
from ringfence.decision.flow import Event, Facts, Position, State
from ringfence.decision.laws import Law
from ringfence.decision.orders import Subject
from ringfence.decision.policy import DEFAULT, Policy
from ringfence.errors import IllegalEventError
from ringfence.world.domain import Dom0State, Domain, DomainKind, McaHandler
from ringfence.world.identities import DomainId
from ringfence.world.situation import Situation
from ringfence.world.steps import LastWords, PauseDomain, Result, Status, Step, UnpauseDomain

DOMU = DomainId(7)
NO_FACTS = Facts(kind=DomainKind.DOM0, handler=McaHandler.NONE, mca_enabled=False, consumed=False, dom0_able=True)
_RESULTS = {status: Result(status) for status in Status}
_NEXT = (Event.NEXT_OPERATION, Event.NEXT_TO_APPROVE)
_FINAL = tuple(status for status in Status if status is not Status.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """A part before anything has happened to it. ``operations`` are how many Dom0 may try (its own parts only)."""

    what: tuple[str, ...]
    subject: Subject
    position: Position
    steps: tuple[Step, ...]
    world: World
    facts: Facts = NO_FACTS
    policy: Policy = DEFAULT
    operations: int = 0
    consumer: bool = False

    @property
    def facts_if(self) -> tuple[Facts, Facts]:
        """The facts while Dom0 is not able, and while it is."""
        never = replace(self.facts, dom0_able=False)
        return (never, never if self.subject.dom0 else replace(self.facts, dom0_able=True))

    @property
    def hit(self) -> Subject:
        """Whom the laws protect: the domain of the part, or the consumer that is stopped before a halt."""
        return replace(self.subject, domain=DOMU, consumed=True) if self.consumer else self.subject


MAX_NODES = 50_000
"""States that one beginning may lead to: some hundred are usual, and a flow that never ends must not hang the proof."""

_BEYOND_DOM0 = frozenset({State.SPEAKING, State.HALTING, State.HALTING_AGAIN})
"""From the last words on nothing is asked of Dom0 and no guest is told: what matters for that need not be followed."""


class Node(NamedTuple):
    """Flow and world together: where a part rests. ``begun``: what waits has been reported as RUNNING."""

    position: Position
    world: World
    waiting: tuple[Step, ...] = ()
    ended: tuple[tuple[Step, Result], ...] = ()
    begun: bool = False
    operations: int = 0


class Happening(NamedTuple):
    """What happens at a node: in words, as an event (None: nothing that the flow is told), and to the world."""

    words: str
    event: Event | None
    world: World
    waiting: tuple[Step, ...] = ()
    ended: tuple[tuple[Step, Result], ...] = ()


class _Combination(NamedTuple):
    """One way in which all orders that a node waits for can come back."""

    words: str
    event: Event | None
    pairs: tuple[tuple[Step, Status], ...]
    running: tuple[Step, ...]
    ended: tuple[tuple[Step, Result], ...]


_Question = tuple[Position, Event, bool]


class Explorer:
    """Follows one beginning.

    ``nodes`` are all that it reached, ``moves`` of each where it leads and in how many ways. ``moved`` and ``ordered``
    are all that flow and orders were asked.
    """

    def __init__(self, beginning: Beginning, breaches: Breaches, edges: set[tuple[State, Event]]) -> None:
        self.beginning, self.breaches, self.edges = beginning, breaches, edges
        self._facts_if, self._hit = beginning.facts_if, beginning.hit
        self.nodes: dict[Node, int] = {}
        self.moves: list[dict[int, int]] = []
        self.hops: set[tuple[State, State]] = set()
        self.moved: dict[_Question, flow.Move | None] = {}
        self.ordered: dict[tuple[Position, bool, bool, bool], tuple[Step, ...]] = {}
        self._came: list[tuple[int, str]] = []
        self._combinations: dict[tuple[State, int, tuple[Step, ...], object, bool, bool], list[_Combination]] = {}

    # --- the search

    def run(self) -> None:
        """Reach all that can be reached, nearest first, so that the first way to a node is a shortest one."""
        beginning = self.beginning
        queue: deque[Node] = deque()
        self._rest(beginning.position, beginning.world, beginning.steps, beginning.operations, -1, "begins")
        queue.extend(self.nodes)
        while queue:
            if len(self.nodes) > MAX_NODES:
                self._broken(Law.L2, f"more than {MAX_NODES} states: it may never end", self.nodes[queue[0]], "")
                return
            node = queue.popleft()
            at, seen = self.nodes[node], len(self.nodes)
            moves = self.moves[at]
            for (_, happening), ways in self._distinct(node).items():
                reached = self._follow(node, at, happening)
                if reached is not None:
                    moves[reached] = moves.get(reached, 0) + ways
            queue.extend(islice(self.nodes, seen, None))

    def _distinct(self, node: Node) -> dict[tuple[object, Happening], int]:
        """What can happen, each with the number of ways in which it comes to the same."""
        ways: dict[object, tuple[Happening, int]] = {}
        for happening in self._happenings(node):
            first, count = ways.get(happening[1:], (happening, 0))
            ways[happening[1:]] = (first, count + 1)
        return {(key, happening): count for key, (happening, count) in ways.items()}

    def _follow(self, node: Node, at: int, happening: Happening) -> int | None:
        event = happening.event
        if event is None:
            rests = Node(
                node.position, happening.world, happening.waiting, happening.ended,
                begun=bool(happening.waiting), operations=node.operations,
            )  # fmt: skip
            return self._enter(rests, at, happening.words)
        world = felt(happening.world, node.position.state, event)
        move = self._move(node.position, event, world, at, happening.words)
        if move is None:
            return None
        self.hops.add((node.position.state, move.position.state))
        operations = node.operations - (event in _NEXT)
        steps = self.steps(move.position, world, was_stopped=node.position.stopped)
        words = f"{happening.words}: {move.position.state}"
        # A guest that has begun is waited for with the same order (service.treatment).
        kept = happening.waiting if move.position.state is State.AWAITING_GUEST else ()
        return self._rest(move.position, world, steps, operations, at, words, kept)

    def steps(self, position: Position, world: World, *, was_stopped: bool) -> tuple[Step, ...]:
        """The steps that go with a move to a position in this world."""
        key = (position, was_stopped, world.able, world.body is not Body.GONE)
        if key not in self.ordered:
            self.ordered[key] = steps_of(self.beginning, *key)
        return self.ordered[key]

    def _move(self, position: Position, event: Event, world: World, at: int, words: str) -> flow.Move | None:
        key = (position, event, world.able)
        if key not in self.moved:
            self.moved[key] = move_of(self._facts_if[world.able], position, event)
        move = self.moved[key]
        if move is None:
            self._broken(Law.L2, f"{event} can happen in {position.state}, and no edge leads on", at, words)
        else:
            self.edges.add((position.state, event))
        return move

    def _rest(  # noqa: PLR0913, PLR0917 (one argument a fact)
        self,
        position: Position,
        world: World,
        steps: tuple[Step, ...],
        operations: int,
        at: int,
        words: str,
        kept: tuple[Step, ...] = (),
    ) -> int | None:
        """Order the steps of a state that is entered; go on at once if nothing is to be waited for."""
        subject = self.beginning.subject
        waiting = list(kept)
        for step in steps:
            for law, what in of_order(world, step, self._hit):
                self._broken(law, what, at, words)
            world = world._replace(spoken=world.spoken or isinstance(step, LastWords))
            if not position.has_ended and orders.counts(step, position.state):
                waiting.append(step)
            elif isinstance(step, UnpauseDomain):
                # Nobody looks at what becomes of it: that it is done is the worst. Of all others that it is not.
                world = after(world, step, Status.DONE)
        if not waiting and not position.has_ended and not operations:
            event = orders.event_of(position, subject, (), in_machine_check=False)
            if event is not None:
                return self._follow(Node(position, world, operations=operations), at, Happening(words, event, world))
        return self._enter(Node(position, world, tuple(waiting), (), bool(kept), operations), at, words)

    def _enter(self, node: Node, at: int, words: str) -> int:
        if node.position.state in _BEYOND_DOM0 and node.world.swings:
            node = node._replace(world=node.world._replace(swings=0, injected=0, unsure=False))
        known = self.nodes.get(node)
        if known is not None:
            return known
        for law, what in at_rest(node.world, node.position, self._hit, node.waiting):
            self._broken(law, what, at, words)
        if self._is_stuck(node):
            self._broken(Law.L2, f"nothing ends {node.position.state}: no order runs, no alarm is set", at, words)
        if node.position.has_ended:
            # An end is an end, whatever the world is like: one node for each, once its laws are checked.
            node = Node(Position(state=node.position.state, row=node.position.row), World())
            known = self.nodes.get(node)
            if known is not None:
                return known
        number = self.nodes[node] = len(self.nodes)
        self._came.append((at, words))
        self.moves.append({})
        return number

    def _is_stuck(self, node: Node) -> bool:
        state = node.position.state
        waits = node.waiting or orders.alarm_ms(state, self.beginning.policy.deadlines) is not None
        return not node.position.has_ended and not waits

    def _broken(self, law: Law, what: str, at: int, words: str) -> None:
        path = [words] if words else []
        while at >= 0:
            at, said = self._came[at]
            path.append(said)
        self.breaches.add(law, what, (", ".join(self.beginning.what), *reversed(path)))

    # --- what can happen

    def _happenings(self, node: Node) -> Iterator[Happening]:
        if node.position.has_ended or node.world.halted:
            return
        if node.waiting:
            yield from self._results(node)
        pausing = any(isinstance(step, PauseDomain) for step in node.waiting)
        if not pausing:
            yield from self._answers(node)
            if orders.alarm_ms(node.position.state, self.beginning.policy.deadlines) is not None:
                yield Happening("the alarm rings", Event.DEADLINE, node.world)
        yield from self._from_outside(node)

    def _results(self, node: Node) -> Iterator[Happening]:
        key = (
            node.position.state, node.position.told, node.waiting, node.ended, node.begun, node.operations > 1,
        )  # fmt: skip
        if key not in self._combinations:
            self._combinations[key] = list(self._come_back(node))
        for each in self._combinations[key]:
            yield Happening(each.words, each.event, _world_after(node.world, each.pairs), each.running, each.ended)

    def _come_back(self, node: Node) -> Iterator[_Combination]:
        state = node.position.state
        by_guest = state in {State.TELLING, State.INFORMING, State.INJECTING, State.INJECTING_AGAIN}
        for combination in product(_FINAL if node.begun else tuple(Status), repeat=len(node.waiting)):
            pairs = tuple(zip(node.waiting, combination, strict=True))
            running = tuple(step for step, status in pairs if status is Status.RUNNING)
            ended = (*node.ended, *((step, _RESULTS[status]) for step, status in pairs if status in _FINAL))
            words = ", ".join(f"{type(step).__name__} {status}" for step, status in pairs)
            shown = (*ended, *((step, _RESULTS[Status.RUNNING]) for step in running))
            for in_machine_check in (False, True) if by_guest else (False,):
                said = f"{words}, still in a machine check" if in_machine_check else words
                for event in self._events(node, shown, in_machine_check=in_machine_check):
                    yield _Combination(said, event, pairs, running, () if event is not None else ended)

    def _events(
        self, node: Node, ended: tuple[tuple[Step, Result], ...], *, in_machine_check: bool
    ) -> tuple[Event | None, ...]:
        event = orders.event_of(node.position, self.beginning.subject, ended, in_machine_check=in_machine_check)
        if node.position.state is State.CARRYING_OUT and event is Event.FAILED and node.operations > 1:
            return _NEXT
        return (event,)

    def _answers(self, node: Node) -> Iterator[Happening]:
        world = node.world
        match node.position.state:
            case State.ASKING | State.REQUESTING if world.able:
                for says in (Event.SAYS_NOTIFY, Event.SAYS_OPERATE, Event.SAYS_BOTH, Event.SAYS_LEAVE):
                    yield Happening(f"Dom0: {says}", says, world)
            case State.OPERATING if world.able:
                yield Happening("Dom0 has stopped it", Event.DONE, _operated(world, Body.STANDS))
                yield Happening("Dom0 has built it anew", Event.DONE, _operated(world, Body.RUNS))
                yield Happening("Dom0 has ended it", Event.DONE, _operated(world, Body.GONE))
                yield Happening("Dom0's operations failed", Event.FAILED, world)
            case State.APPROVING:
                yield Happening("a person approves", Event.APPROVED, world)
                for event in _NEXT if node.operations > 1 else (Event.DENIED,):
                    yield Happening("a person denies", event, world)
            case _:
                pass

    def _from_outside(self, node: Node) -> Iterator[Happening]:
        world, state = node.world, node.position.state
        takes = flow.allowed(state)
        keep = (node.waiting, node.ended)
        if world.swings:
            swung = world._replace(able=not world.able, swings=world.swings - 1)
            lost = Event.DOM0_LOST if not swung.able and Event.DOM0_LOST in takes else None
            yield Happening(
                "Dom0 is able again" if swung.able else "Dom0 is hurt", lost, swung, *(() if lost else keep)
            )
        if self.beginning.subject.domain is not None and (world.body is not Body.GONE or state is State.KILLING):
            event = Event.DOMAIN_GONE if Event.DOMAIN_GONE in takes else None
            yield Happening("the domain ends", event, world._replace(body=Body.GONE), *(() if event else keep))
        if Event.SUPERSEDED in takes:
            yield Happening("a later error on the page", Event.SUPERSEDED, world)
        event = Event.HOST_HALTED if Event.HOST_HALTED in takes else None
        yield Happening("another part halts the host", event, world._replace(halted=True), *(() if event else keep))


def move_of(facts: Facts, position: Position, event: Event) -> flow.Move | None:
    """Where an event leads a part; None if no edge leads on."""
    try:
        return flow.advance(position, event, facts)
    except IllegalEventError:
        return None


def steps_of(beginning: Beginning, position: Position, was_stopped: bool, able: bool, alive: bool) -> tuple[Step, ...]:
    """The steps that go with a move to a position."""
    domains = (domain_of(beginning.facts),) if alive else ()
    situation = Situation(now_ms=0, dom0=Dom0State(has_handler=able), domains=domains)
    return orders.on_entering(position, beginning.subject, situation, beginning.policy, was_stopped=was_stopped)


def is_like(beginning: Beginning, explored: Explorer) -> bool:
    """Whether a beginning leads everywhere where one leads that was explored: each move and all steps are the same."""
    other = explored.beginning
    if (beginning.subject, beginning.position, beginning.steps, beginning.world, beginning.operations) != (
        other.subject, other.position, other.steps, other.world, other.operations,
    ):  # fmt: skip
        return False
    facts = beginning.facts_if
    return all(
        move_of(facts[able], position, event) == move for (position, event, able), move in explored.moved.items()
    ) and all(steps_of(beginning, *key) == steps for key, steps in explored.ordered.items())


def _world_after(world: World, pairs: tuple[tuple[Step, Status], ...]) -> World:
    for step, status in pairs:
        world = after(world, step, status)
    return world


def _operated(world: World, body: Body) -> World:
    """After Dom0's operation: a domain built anew has other memory, one that is stopped has not."""
    return world._replace(body=body, decided=True, mapped=world.mapped and body is Body.STANDS)


def domain_of(facts: Facts) -> Domain:
    """The DomU that these facts describe."""
    return Domain(
        id=DOMU, name="domu", kind=facts.kind, handler=facts.handler, mca_enabled=facts.mca_enabled, memory_pages=1024
    )
