"""Follows a pair of errors through the real treatment, from the first report to the end of both cases.

The first error is followed to every point that it can come to; at each of them the second one arrives; and both are
followed on together through results, answers, alarms, the loss of Dom0 and the end of a domain, until nothing is open.
What one part can do by itself is proven by decision.enumeration for every result; here an order is done, runs or fails,
and what is ordered is carried out in that order, before anything else happens but the second error.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import NamedTuple

from ringfence.decision.decide import decide
from ringfence.decision.enumeration_entry import ADDRESS, EVIDENCE
from ringfence.decision.enumeration_report import Breaches
from ringfence.decision.flow import State
from ringfence.decision.laws import Law
from ringfence.decision.policy import DEFAULT
from ringfence.decision.rows import Row
from ringfence.diagnosis.finding import Finding, diagnose
from ringfence.errors import IllegalEventError
from ringfence.service.treatment import PartView, Treatment
from ringfence.world.domain import Dom0State, Domain, DomainKind, DomainState, McaHandler
from ringfence.world.frames import FrameFacts, FrameUse, Mapping, MappingKind
from ringfence.world.identities import DOM0, PAGE_SHIFT, CaseId, CpuId, DomainId, Frame, GuestFrame, StepId
from ringfence.world.situation import Context, Running, Situation
from ringfence.world.steps import (
    AskDom0,
    DestroyDomain,
    HaltHost,
    HealHost,
    InjectVmce,
    IsolateFrame,
    LastWords,
    NotifyGuest,
    Order,
    PauseDomain,
    Result,
    SaveEvidence,
    Status,
    Step,
    UnpauseDomain,
)
from ringfence.world.treatment import (
    Answered,
    Dom0Changed,
    Dom0Says,
    DomainGone,
    Entry,
    StepEnded,
    TimePassed,
    Told,
    Wanted,
)

OWNER, MAPPER = DomainId(1), DomainId(2)
_P, _Q, _G, _X = (Frame((ADDRESS >> PAGE_SHIFT) + number) for number in range(4))
"""Two pages of the owner's, one that it granted to the mapper, one of the hypervisor's."""


# --- the errors -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ErrorKind:
    """One of the two errors: its evidence, the frame that it names, and who ran."""

    name: str
    evidence: str
    frame: Frame
    ran: DomainId | None = None

    @property
    def finding(self) -> Finding:
        """The evidence at the error's frame, diagnosed."""
        record = EVIDENCE[self.evidence]
        addr = None if record.registers.addr is None else self.frame << PAGE_SHIFT
        return diagnose(replace(record, registers=replace(record.registers, addr=addr)))


FOUND_P = ErrorKind("found in page P", "SRAO", _P)
CONSUMED_P = ErrorKind("P consumed by its owner", "SRAR", _P, OWNER)
FOUND_Q = ErrorKind("found in page Q", "SRAO", _Q)
CONSUMED_Q = ErrorKind("Q consumed by its owner", "SRAR", _Q, OWNER)
FOUND_G = ErrorKind("found in page G", "SRAO", _G)
CONSUMED_G = ErrorKind("G consumed by its owner", "SRAR", _G, OWNER)
TAKEN_G = ErrorKind("G consumed by who maps it", "SRAR", _G, MAPPER)
NOWHERE = ErrorKind("not to be located", "DEFERRED", _P)
OF_HOST = ErrorKind("found in the hypervisor's page", "SRAO", _X)
FATAL = ErrorKind("fatal", "FATAL", _P)

ON_ONE_DOMAIN = tuple(
    product(
        (FOUND_P, CONSUMED_P, NOWHERE, OF_HOST),
        (FOUND_P, CONSUMED_P, FOUND_Q, CONSUMED_Q, NOWHERE, OF_HOST, FATAL),
    )
)
"""Pairs on one page, on two pages of one domain, and beside what hits the host."""

ON_A_GRANTED_PAGE = tuple(product((FOUND_G, CONSUMED_G, TAKEN_G), repeat=2))
"""Pairs on a page that two domains reach, either of which may consume it."""


def _facts(frame: Frame, *mappings: Mapping) -> FrameFacts:
    return FrameFacts(frame=frame, use=FrameUse.DOMAIN, owner=OWNER, mappings=mappings)


_OWN = {
    frame: Mapping(domain=OWNER, kind=MappingKind.CPU, guest_frame=GuestFrame(0x40 + at))
    for at, frame in enumerate((_P, _Q, _G))
}
_GRANT = Mapping(domain=MAPPER, kind=MappingKind.GRANT, guest_frame=GuestFrame(0x77))


def _frame(frame: Frame, isolated: frozenset[Frame]) -> FrameFacts:
    """What the hypervisor knows of a frame: mappings that were taken away are not seen any more, its owner is."""
    if frame == _X:
        return FrameFacts(frame=_X, use=FrameUse.HYPERVISOR, reclaimable=True)
    if frame in isolated:
        return replace(_facts(frame), broken=True)
    return _facts(frame, _OWN[frame], _GRANT) if frame == _G else _facts(frame, _OWN[frame])


@dataclass(frozen=True, slots=True)
class Guest:
    """What the owner is like."""

    kind: DomainKind
    handler: McaHandler
    mca_enabled: bool

    @property
    def words(self) -> str:
        """In words."""
        return f"{self.kind}, handler {self.handler}" + (", MCA enabled" if self.mca_enabled else "")


GUESTS: tuple[Guest, ...] = (
    Guest(DomainKind.PV, McaHandler.NONE, mca_enabled=False),
    Guest(DomainKind.PV, McaHandler.AGENT, mca_enabled=False),
    Guest(DomainKind.PV, McaHandler.TRAP, mca_enabled=False),
    Guest(DomainKind.HVM, McaHandler.NONE, mca_enabled=True),
    Guest(DomainKind.HVM, McaHandler.TRAP, mca_enabled=True),
)
"""One for each ladder: neither told nor injected, told of what it did not consume, told always, injected, both."""


# --- the world ------------------------------------------------------------------------------------------------------

_Part = tuple[CaseId, DomainId | None]
_HEIR = CaseId(-1)
"""Stands for whichever case took the place of one that was superseded."""
_MAPPERS_HANDLER = McaHandler.AGENT
_NUMBERS = {OWNER: {mapping.guest_frame for mapping in _OWN.values()}, MAPPER: {_GRANT.guest_frame}}


class World(NamedTuple):
    """What is true: of the two domains, of what is owed to them, of Dom0, of the host, and of what has ended.

    ``owed``: a domain took an error in and has not been told of it or operated on since. ``reach``: a domain reaches a
    lost frame. ``untold``: a domain has ended and the seat has not heard of it. ``kept``: Dom0's operation stopped a
    domain, or the host could not be halted: nobody is to let it run. ``ended``: the parts that have.
    """

    standing: frozenset[DomainId] = frozenset()
    gone: frozenset[DomainId] = frozenset()
    untold: frozenset[DomainId] = frozenset()
    owed: frozenset[_Part] = frozenset()
    reach: frozenset[tuple[DomainId, Frame]] = frozenset()
    isolated: frozenset[Frame] = frozenset()
    able: bool = True
    may_be_hurt: bool = True
    spoken: bool = False
    halted: bool = False
    given_up: bool = False
    kept: frozenset[DomainId] = frozenset()
    ended: frozenset[_Part] = frozenset()
    second: bool = False


@dataclass(slots=True)
class _Node:
    seat: Treatment
    world: World
    fresh: tuple[Order, ...]
    """Orders of which nothing has come back yet, oldest first."""

    def key(self) -> object:
        """What makes two nodes the same: numbers of orders and alarms do not."""
        fresh = {order.id for order in self.fresh}
        parts = tuple(
            (
                part.case, part.subject, part.position, part.ended, part.alarm is None,
                tuple((step, begun, number in fresh) for number, step, begun in part.waiting),
            )
            for part in self.seat.parts
        )  # fmt: skip
        return self.world, tuple(order.step for order in self.fresh), parts, self.seat.remembered


_RESULTS = {status: Result(status) for status in Status}
_FIRST_RESULTS: dict[type, tuple[Status, ...]] = {
    PauseDomain: (Status.DONE, Status.FAILED),
    IsolateFrame: (Status.DONE, Status.FAILED),
    DestroyDomain: (Status.DONE, Status.FAILED),
    HealHost: (Status.DONE, Status.FAILED),
    InjectVmce: (Status.DONE, Status.FAILED),
    NotifyGuest: (Status.RUNNING, Status.FAILED),
    SaveEvidence: (Status.RUNNING,),
}
"""What may come back first; what is not named here is done. Every result of every step is decision.enumeration's."""

_BEING_TOLD = frozenset({State.TELLING, State.AWAITING_GUEST, State.INJECTING, State.INJECTING_AGAIN})
_ON_THE_WAY_OUT = frozenset({State.SPEAKING, State.HALTING, State.HALTING_AGAIN})


class PairExplorer:
    """Follows one pair of errors on one kind of guest."""

    def __init__(self, guest: Guest, first: ErrorKind, second: ErrorKind, *, able: bool, breaches: Breaches) -> None:
        self.guest, self.first, self.second = guest, first, second
        self.breaches = breaches
        self.able = able
        self.nodes: dict[object, int] = {}
        self.moves: list[dict[int, int]] = []
        self.ends: set[State] = set()
        self.rows: set[Row] = set()
        self._queue: deque[tuple[int, _Node]] = deque()
        self._came: list[tuple[int, str]] = []
        self._situations: dict[object, Situation] = {}

    @property
    def words(self) -> str:
        """The pair in words."""
        dom0 = "Dom0 able" if self.able else "Dom0 without a handler"
        return f"{self.guest.words}; {dom0}; first: {self.first.name}; second: {self.second.name}"

    def run(self) -> None:
        """Reach all that can be reached, nearest first."""
        world = World(able=self.able, may_be_hurt=self.able)
        start = _Node(Treatment(DEFAULT), world, ())
        words = f"first: {self.first.name}"
        self._enter(self._report(start, self.first, -1, words), -1, words)
        while self._queue:
            at, node = self._queue.popleft()
            for words, reached in self._happenings(at, node):
                target = self._enter(reached, at, words)
                self.moves[at][target] = self.moves[at].get(target, 0) + 1
            if not self.moves[at]:
                self._check_leaf(at, node)

    # --- what can happen

    def _happenings(self, at: int, node: _Node) -> Iterator[tuple[str, _Node]]:
        world = node.world
        if world.halted:
            return
        if not world.second:
            # At any time: also before anything came back of the orders for the first (one exception, two banks).
            words = f"second: {self.second.name}"
            behind = _Node(node.seat.copy(), world._replace(second=True), node.fresh)
            yield words, self._report(behind, self.second, at, words)
        if node.fresh:
            yield from self._first_results(at, node)
            return
        for part in node.seat.parts:
            if not part.position.has_ended:
                yield from self._of_part(at, node, part)
        for domain in world.untold:
            heard = world._replace(untold=world.untold - {domain})
            yield self._tell(at, node, DomainGone(domain), heard, f"{domain} is gone")
        if world.able and world.may_be_hurt:
            hurt = world._replace(able=False, may_be_hurt=False)
            yield self._tell(at, node, Dom0Changed(), hurt, "Dom0 is hurt")
        if OWNER not in world.gone and not world.untold:
            yield self._tell(at, node, DomainGone(OWNER), _without(world, OWNER), "the owner ends")

    def _first_results(self, at: int, node: _Node) -> Iterator[tuple[str, _Node]]:
        order, *rest = node.fresh
        part = next(
            (part for part in node.seat.parts if any(order.id == number for number, _, _ in part.waiting)), None
        )
        if part is None:
            # Nobody waits for it (any more): whether it is done is not heard.
            words = type(order.step).__name__
            done = self._done(node.world, order.step, None)
            yield words, _Node(node.seat, done, tuple(rest))
            if done != node.world and not isinstance(order.step, UnpauseDomain):
                yield f"{words} fails", _Node(node.seat, node.world, tuple(rest))
            return
        for status in _FIRST_RESULTS.get(type(order.step), (Status.DONE,)):
            yield self._result(at, node, part, (order.id, order.step), status, tuple(rest))

    def _of_part(self, at: int, node: _Node, part: PartView) -> Iterator[tuple[str, _Node]]:
        me, world, state = _of(part), node.world, part.position.state
        for number, step, begun in part.waiting:
            if begun:
                yield self._result(at, node, part, (number, step), Status.DONE, ())
        if part.alarm is not None:
            yield self._tell(at, node, TimePassed(part.alarm), self._undecided(world, part), f"alarm in {state}")
        if me[1] is None or not world.able:
            return
        if state in {State.ASKING, State.REQUESTING}:
            for says in (Dom0Says.NOTIFY, Dom0Says.BOTH):
                yield self._tell(at, node, Answered(me[0], me[1], says), world, f"Dom0: {says}")
        if state is State.OPERATING:
            done, failed = (Answered(me[0], me[1], says) for says in (Dom0Says.OPERATED, Dom0Says.NOT_OPERATED))
            stopped = _settled(world, me)
            stopped = stopped._replace(standing=world.standing | {me[1]}, kept=world.kept | {me[1]})
            yield self._tell(at, node, done, stopped, f"Dom0 has stopped {me[1]}")
            yield self._tell(at, node, failed, world, "Dom0's operations failed")

    def _result(  # noqa: PLR0913, PLR0917 (one argument a fact)
        self, at: int, node: _Node, part: PartView, order: tuple[StepId, Step], status: Status, rest: tuple[Order, ...]
    ) -> tuple[str, _Node]:
        number, step = order
        world = node.world
        if status is Status.DONE or (status is Status.RUNNING and isinstance(step, NotifyGuest)):
            world = self._done(world, step, _of(part))
        elif status is Status.FAILED:
            world = self._undecided(world, part)
        words = f"{type(step).__name__} {status} (case {part.case})"
        return self._tell(at, node, StepEnded(number, _RESULTS[status]), world, words, rest)

    def _undecided(self, world: World, part: PartView) -> World:
        if part.subject.consumed and part.position.state in _BEING_TOLD and part.subject.domain not in world.gone:
            return world._replace(owed=world.owed | {_of(part)})
        return world

    def _done(self, world: World, step: Step, me: _Part | None) -> World:
        match step:
            case PauseDomain(domain) if domain not in world.gone:
                return world._replace(standing=world.standing | {domain})
            case UnpauseDomain(domain):
                return world._replace(standing=world.standing - {domain})
            case IsolateFrame(frame):
                reach = frozenset(each for each in world.reach if each[1] != frame)
                return world._replace(reach=reach, isolated=world.isolated | {frame})
            case NotifyGuest(domain) if me is not None:
                # An agent cannot run in a guest that was stopped over what it consumed.
                hears = self._handler(domain) is McaHandler.TRAP or all(part[1] != domain for part in world.owed)
                return _settled(world, me) if hears else world
            case InjectVmce() if me is not None:
                return _settled(world, me)
            case DestroyDomain(domain) if domain not in world.gone:
                return _without(world, domain)._replace(untold=world.untold | {domain})
            case HaltHost():
                return world._replace(halted=True)
            case _:
                return world

    def _handler(self, domain: DomainId) -> McaHandler:
        return self.guest.handler if domain == OWNER else _MAPPERS_HANDLER

    # --- moving

    def _tell(  # noqa: PLR0913, PLR0917 (one argument a fact)
        self, at: int, node: _Node, what: Told, world: World, words: str, rest: tuple[Order, ...] = ()
    ) -> tuple[str, _Node]:
        seat = node.seat.copy()
        try:
            wanted = seat.told(what, self.situation(world, None))
        except IllegalEventError as error:
            self._broken(Law.L2, f"{error.event} can happen in {error.state}, and no edge leads on", at, words)
            wanted = ()
        return words, self._carry(_Node(seat, world, rest), wanted, at, words)

    def _report(self, node: _Node, error: ErrorKind, at: int, words: str) -> _Node:
        situation = replace(self.situation(node.world, error), open_cases=node.seat.open_cases)
        finding = error.finding
        decision = decide(finding, situation, DEFAULT)
        case, wanted = node.seat.decided(decision, finding.severity, situation)
        world = node.world
        if case is not None and decision.first.row is not Row.HALT:
            lost = {loser.domain for loser in decision.impact.losers if loser.domain is not None} - world.gone - {DOM0}
            frames = {frame for frame, _ in decision.impact.frames} - world.isolated
            world = world._replace(reach=world.reach | set(product(lost, frames)))
            took = decision.impact.consumer.domain
            if took is not None and took not in world.gone:
                world = world._replace(owed=world.owed | {(case, took)})
        return self._carry(_Node(node.seat, world, node.fresh), wanted, at, words)

    def _carry(self, node: _Node, wanted: tuple[Wanted, ...], at: int, words: str) -> _Node:
        """What the seat wants: orders wait for their results, entries say which parts have ended."""
        world, fresh = node.world, list(node.fresh)
        for each in wanted:
            if isinstance(each, Order):
                world = self._order(world, each, at, words)
                fresh.append(each)
            elif isinstance(each, Entry) and each.state:
                self.rows.add(Row(each.row))
                if each.ended:
                    world = self._end(world, each, at, words)
        # A state that was left takes its orders with it: nobody waits for them any more.
        return _Node(node.seat, world, tuple(fresh))

    def _order(self, world: World, order: Order, at: int, words: str) -> World:
        step = order.step
        domain = getattr(step, "domain", None)
        match step:
            case UnpauseDomain():
                if any(part[1] == domain for part in world.owed):
                    self._broken(Law.L1, "a consumer is let run before it was told or operated on", at, words)
            case AskDom0() | SaveEvidence():
                if not world.able:
                    self._broken(Law.L5, f"{type(step).__name__} while Dom0 is hurt or has no handler", at, words)
            case NotifyGuest(_, pages) if not set(pages) <= _NUMBERS[domain or OWNER]:
                self._broken(Law.L7, "a guest is told of a page that it did not lose", at, words)
            case InjectVmce(_, page) if page not in _NUMBERS[domain or OWNER]:
                self._broken(Law.L7, "a guest is injected a page that it did not lose", at, words)
            case LastWords():
                return world._replace(spoken=True)
            case HaltHost() if not world.spoken:
                self._broken(Law.L4, "the host is halted before the evidence went out", at, words)
            case _:
                pass
        if domain is not None and domain not in {OWNER, MAPPER}:
            self._broken(Law.L6, f"{type(step).__name__} is about a domain that was not hit", at, words)
        return world

    def _end(self, world: World, entry: Entry, at: int, words: str) -> World:
        me, state = (entry.case, entry.domain), State(entry.state)
        self.ends.add(state)
        if me in world.ended:
            self._broken(Law.L2, "a part ends twice", at, words)
        if state is State.KILLED and entry.domain not in world.gone:
            self._broken(Law.L2, "a domain counts as killed and is still there", at, words)
        if state is State.SUPERSEDED and me in world.owed:
            # Whoever takes its place owes it now; if nobody does, it is owed for ever.
            world = world._replace(owed=world.owed - {me} | {(_HEIR, entry.domain)})
        if state is State.STUCK and entry.domain is not None:
            world = world._replace(kept=world.kept | {entry.domain})
        return world._replace(ended=world.ended | {me}, given_up=world.given_up or state is State.NOT_HALTED)

    # --- checking

    def _enter(self, node: _Node, at: int, words: str) -> int:
        key = node.key()
        known = self.nodes.get(key)
        if known is not None:
            return known
        number = self.nodes[key] = len(self.nodes)
        self._came.append((at, words))
        self.moves.append({})
        self._queue.append((number, node))
        if not node.fresh and not node.world.halted:
            self._check_rest(node, number)
        return number

    def _check_rest(self, node: _Node, number: int) -> None:
        world = node.world
        parts = [part for part in node.seat.parts if not part.position.has_ended]
        if any(part.position.state in _ON_THE_WAY_OUT for part in parts):
            return
        for domain in (OWNER, MAPPER):
            if domain in world.standing or domain in world.gone:
                continue
            stopping = any(
                isinstance(step, (PauseDomain, DestroyDomain)) and step.domain == domain
                for part in parts
                for _, step, _ in part.waiting
            )
            if stopping or world.given_up:
                continue
            if any(owed == domain for _, owed in world.owed):
                self._broken(Law.L1, "a consumer runs that was neither told nor operated on", number, "")
            if any(reaches == domain for reaches, _ in world.reach):
                self._broken(Law.L1, "a loser runs while a mapping of a lost page remains", number, "")
        for part in parts:
            self._check_refusal(node, part, number)

    def _check_refusal(self, node: _Node, part: PartView, number: int) -> None:
        """L8: an answer that a part does not wait for is refused and changes nothing."""
        case, domain = _of(part)
        if domain is None:
            return
        says = Dom0Says.LEAVE if part.position.state is State.OPERATING else Dom0Says.OPERATED
        before = node.key()
        try:
            node.seat.told(Answered(case, domain, says), self.situation(node.world, None))
        except IllegalEventError:
            if node.key() != before:
                self._broken(Law.L8, "a refused answer changes something", number, "")
        else:
            self._broken(Law.L8, f"{says} is not refused in {part.position.state}", number, "")

    def _check_leaf(self, number: int, node: _Node) -> None:
        world = node.world
        for part in node.seat.parts:
            if not part.position.has_ended:
                self._broken(Law.L2, f"a part stays open for ever in {part.position.state}", number, "")
        if world.halted or world.given_up:
            return
        for _ in world.standing - world.kept:
            self._broken(Law.L2, "a domain is left standing, and no case is open about it", number, "")

    def _broken(self, law: Law, what: str, at: int, words: str) -> None:
        path = [words] if words else []
        while at >= 0:
            at, said = self._came[at]
            path.append(said)
        self.breaches.add(law, what, (self.words, *reversed(path)))

    # --- the situation

    def situation(self, world: World, error: ErrorKind | None) -> Situation:
        """What the seat is shown of a world: with the frame of an error and who ran, or without any."""
        key = (world.able, world.standing, world.gone, error, error is not None and error.frame in world.isolated)
        if key not in self._situations:
            ran = Running()
            if error is not None:
                guest = error.ran is not None
                context = Context.GUEST if guest else Context.IDLE
                ran = Running(cpu=CpuId(1), context=context, domain=error.ran)
            self._situations[key] = Situation(
                now_ms=0,
                dom0=Dom0State(has_handler=world.able),
                domains=tuple(_domain(number, self.guest, world) for number in (OWNER, MAPPER)),
                frames=(_frame(error.frame, world.isolated),) if error is not None else (),
                running=ran,
            )
        return self._situations[key]


def _of(part: PartView) -> _Part:
    return part.case, part.subject.domain


def _without(world: World, domain: DomainId) -> World:
    return world._replace(
        standing=world.standing - {domain},
        kept=world.kept - {domain},
        gone=world.gone | {domain},
        owed=frozenset(part for part in world.owed if part[1] != domain),
        reach=frozenset(each for each in world.reach if each[0] != domain),
    )


def _settled(world: World, me: _Part) -> World:
    """A domain was told or operated on for this part."""
    return world._replace(owed=world.owed - {me, (_HEIR, me[1])})


def _domain(number: DomainId, guest: Guest, world: World) -> Domain:
    state = DomainState.DESTROYED if number in world.gone else DomainState.RUNNING
    state = DomainState.PAUSED if number in world.standing else state
    if number == MAPPER:
        return Domain(id=number, name="mapper", kind=DomainKind.PV, handler=_MAPPERS_HANDLER, state=state)
    return Domain(
        id=number, name="owner", kind=guest.kind, handler=guest.handler, mca_enabled=guest.mca_enabled, state=state
    )
