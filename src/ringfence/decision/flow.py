"""The flow of one case over time: one transition table for the host's part and for the part of each DomU that is hit.

``TABLE`` is the whole of it. ``advance`` looks a pair of state and event up, and refuses what is not in it. Where a
DomU's treatment goes on to "the next row", ``RUNGS`` says which that is. Both are enumerated in the tests, and the
diagram in docs/reference/flow.md is generated from them.

A part waits for the end of a step, for an answer, or for an alarm; every state in which an answer is waited for has an
alarm (``decision.orders``). Edges lead forward, but for two that use something up each time: one more lost page is
told, one more operation is tried. So every part ends.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum, auto

from ringfence.decision.rows import Row
from ringfence.errors import IllegalEventError
from ringfence.quick import changed, quick
from ringfence.world.domain import DomainKind, McaHandler


class State(StrEnum):
    """Where a part of a case stands. The last group are ends."""

    # the host's part
    NOTING = auto()
    HEALING = auto()
    TAKING_OUT = auto()
    DEGRADING = auto()
    SAVING_EVIDENCE = auto()
    SPEAKING = auto()
    HALTING = auto()
    HALTING_AGAIN = auto()
    # a DomU's part
    CONTAINING = auto()
    HOLDING = auto()
    ASKING = auto()
    TELLING = auto()
    AWAITING_GUEST = auto()
    INJECTING = auto()
    AWAITING_MCIP = auto()
    INJECTING_AGAIN = auto()
    REQUESTING = auto()
    OPERATING = auto()
    INFORMING = auto()
    KILLING = auto()
    # Dom0's own operations (case II)
    APPROVING = auto()
    CARRYING_OUT = auto()
    # ends
    COUNTED = auto()
    HEALED = auto()
    TAKEN_OUT = auto()
    DEGRADED = auto()
    HALTED = auto()
    NOT_HALTED = auto()
    GUEST_HEALED = auto()
    INJECTED = auto()
    OPERATED = auto()
    NOT_OPERATED = auto()
    KILLED = auto()
    STUCK = auto()
    GONE = auto()
    SUPERSEDED = auto()
    UNKNOWN = auto()


ENDS = frozenset(list(State)[list(State).index(State.COUNTED) :])
"""States that end a part."""


class Event(StrEnum):
    """What a part can be told."""

    DONE = auto()
    FAILED = auto()
    UNCERTAIN = auto()
    """Nobody can tell whether a step happened that must not be repeated (L9)."""
    NOT_ISOLATED = auto()
    NOT_STOPPED = auto()
    SAVED = auto()
    """Dom0 has the evidence."""
    DEADLINE = auto()
    DOM0_LOST = auto()
    """Dom0 is hurt, or its handler is gone."""
    SAYS_NOTIFY = auto()
    SAYS_OPERATE = auto()
    SAYS_BOTH = auto()
    SAYS_LEAVE = auto()
    DELIVERED = auto()
    MORE_PAGES = auto()
    """One lost page is told, others are still to be told."""
    REFUSED = auto()
    IN_MACHINE_CHECK = auto()
    """MCIP of the guest is still set."""
    APPROVED = auto()
    DENIED = auto()
    NEXT_OPERATION = auto()
    """An operation failed, or was not approved, and there is another that needs no approval."""
    NEXT_TO_APPROVE = auto()
    """The same, and a person must approve the other one."""
    DOMAIN_GONE = auto()
    SUPERSEDED = auto()
    HOST_HALTED = auto()


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the flow of a DomU's part depends on besides events: choices of few, so the product is enumerated.

    ``consumed``: this domain took the error in, and stays stopped until it is told or operated on. ``vmce``: the policy
    allows it and the lost pages are within its bound. ``numbered``: every lost page has a number of the domain's own.
    ``dom0_able``: Dom0 has a handler and is unhurt.
    """

    kind: DomainKind
    handler: McaHandler
    mca_enabled: bool
    consumed: bool
    dom0_able: bool
    vmce: bool = True
    numbered: bool = True

    @property
    def handler_serves(self) -> bool:
        """Whether the guest's handler can be told of this error: an agent cannot be, of one that was consumed."""
        return self.handler is McaHandler.TRAP or (self.handler is McaHandler.AGENT and not self.consumed)

    @property
    def is_pv(self) -> bool:
        """Whether the rows of PV apply; PVH goes by those of HVM."""
        return self.kind is DomainKind.PV


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Where a part stands, and what it must not forget.

    ``row`` is the row that is being applied. ``dom0_out``: Dom0 was asked and left it, was silent, or got hurt: it is
    not asked again (L5). ``held``: a mapping of the lost page could not be taken away, so the domain must not run
    again. ``stopped``: this part has stopped the domain. ``inform``: tell the guest after the operation. ``told``: how
    many of the lost pages it was told of by vMCE.
    """

    state: State
    row: Row
    dom0_out: bool = False
    held: bool = False
    stopped: bool = False
    inform: bool = False
    told: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether nothing more happens to this part."""
        return self.state in ENDS

    def encode(self) -> str:
        """This position as one word for the journal."""
        marks = "".join(letter for letter, on in zip("oshi", self._marks, strict=True) if on)
        return f"{self.state}/{self.row}/{marks}/{self.told}"

    @property
    def _marks(self) -> tuple[bool, bool, bool, bool]:
        return (self.dom0_out, self.stopped, self.held, self.inform)

    @classmethod
    def decode(cls, text: str) -> Position:
        """The position that ``encode`` wrote. Raises ValueError for anything else."""
        state, row, marks, told = text.split("/")
        return cls(
            state=State(state),
            row=Row(row),
            dom0_out="o" in marks,
            stopped="s" in marks,
            held="h" in marks,
            inform="i" in marks,
            told=int(told),
        )


@dataclass(frozen=True, slots=True)
class Rung:
    """One row of the ladder on which a DomU is told, operated on, or killed."""

    row: Row
    state: State
    pv: bool
    because: str

    def applies(self, position: Position, facts: Facts) -> bool:
        """Whether this row can be tried at all."""
        if self.pv != facts.is_pv:
            return False
        may_run = facts.numbered and not position.held
        match self.state:
            case State.TELLING:
                return facts.handler_serves and may_run
            case State.INJECTING:
                return facts.mca_enabled and facts.vmce and may_run
            case State.REQUESTING:
                return facts.dom0_able and not position.dom0_out
            case _:
                return True


RUNGS: tuple[Rung, ...] = (
    Rung(Row.PV_HANDLER, State.TELLING, True, "its PV MCA handler serves this class of error"),
    Rung(Row.PV_DOM0, State.REQUESTING, True, "no handler of its own serves, and Dom0 can be asked to operate on it"),
    Rung(Row.PV_KILL, State.KILLING, True, "neither it nor Dom0 can handle it"),
    Rung(Row.HVM_HANDLER, State.TELLING, False, "its PV MCA handler serves this class of error"),
    Rung(Row.HVM_INJECT, State.INJECTING, False, "it enabled MCA, and the policy allows a vMCE"),
    Rung(Row.HVM_DOM0, State.REQUESTING, False, "it cannot be told, and Dom0 can be asked to operate on it"),
    Rung(Row.HVM_KILL, State.KILLING, False, "it cannot be told, and Dom0 cannot be asked"),
)
"""In the order of the concept: what cannot be delivered or done falls to the next row, never to silence."""


class Go(StrEnum):
    """Where an edge leads, if it is not one state for all."""

    LADDER = auto()
    """The first rung that applies."""
    NEXT_RUNG = auto()
    """The next rung below the row that is being applied."""
    KILL = auto()
    """The last rung."""
    FIRST = auto()
    """Dom0 if it can be asked, else the ladder without it."""
    HALT = auto()
    """Save evidence if Dom0 is able, else last words at once."""
    FREE = auto()
    """The end of a domain that could not be killed: halt if it consumed the error, else the host is degraded."""


class Mark(StrEnum):
    """What an edge changes in the position besides the state."""

    DOM0_OUT = auto()
    STOPPED = auto()
    RUNS = auto()
    HELD = auto()
    INFORM = auto()
    TOLD = auto()
    """One more page."""


@dataclass(frozen=True, slots=True)
class Edge:
    """In ``state``, ``event`` leads to ``target``."""

    state: State
    event: Event
    target: State | Go
    because: str
    marks: tuple[Mark, ...] = ()
    row: Row | None = None


def _edges(states: Iterable[State], event: Event, target: State | Go, because: str, *marks: Mark) -> tuple[Edge, ...]:
    return tuple(Edge(state, event, target, because, marks) for state in states)


_HOST = (State.HEALING, State.TAKING_OUT, State.DEGRADING)
_HALT_PATH = (State.SAVING_EVIDENCE, State.SPEAKING, State.HALTING, State.HALTING_AGAIN)
_DOMU = (
    State.CONTAINING, State.HOLDING, State.ASKING, State.TELLING, State.AWAITING_GUEST, State.INJECTING,
    State.AWAITING_MCIP, State.INJECTING_AGAIN, State.REQUESTING, State.OPERATING, State.INFORMING, State.KILLING,
)  # fmt: skip
_DOM0_SIDE = (State.APPROVING, State.CARRYING_OUT)

TABLE: tuple[Edge, ...] = (
    # A corrected error, I.2a: counted whether or not Dom0 could be told.
    Edge(State.NOTING, Event.DONE, State.COUNTED, "Dom0 was notified for its statistics"),
    Edge(State.NOTING, Event.FAILED, State.COUNTED, "Dom0 has no handler: counted and logged"),
    # The host itself, I.2b.
    Edge(State.HEALING, Event.DONE, State.HEALED, "the broken part is out of use and the host goes on"),
    Edge(State.HEALING, Event.FAILED, Go.HALT, "the host could not heal itself", row=Row.SELF_HEAL),
    Edge(State.HEALING, Event.UNCERTAIN, Go.HALT, "nobody can tell whether the host healed itself", row=Row.SELF_HEAL),
    # Nobody loses, I.2n.
    Edge(State.TAKING_OUT, Event.DONE, State.TAKEN_OUT, "the page is out of use"),
    Edge(State.TAKING_OUT, Event.FAILED, State.DEGRADING, "the page stays in use: no new guests", row=Row.UNLOCATED),
    # Not to be located, I.2u.
    Edge(State.DEGRADING, Event.DONE, State.DEGRADED, "no new guest starts on this host"),
    Edge(State.DEGRADING, Event.FAILED, State.DEGRADED, "the host could not be closed to new guests: said so"),
    # To a halt, I.2x, B.2, B.3.
    Edge(State.SAVING_EVIDENCE, Event.SAVED, State.SPEAKING, "Dom0 has the evidence"),
    Edge(State.SAVING_EVIDENCE, Event.DEADLINE, State.SPEAKING, "Dom0's time is up", (Mark.DOM0_OUT,)),
    Edge(State.SAVING_EVIDENCE, Event.DOM0_LOST, State.SPEAKING, "Dom0 cannot save anything", (Mark.DOM0_OUT,)),
    Edge(State.SAVING_EVIDENCE, Event.FAILED, State.SPEAKING, "Dom0 could not be reached", (Mark.DOM0_OUT,)),
    Edge(
        State.SAVING_EVIDENCE, Event.NOT_STOPPED, State.SPEAKING, "the consumer runs: no time for Dom0",
        (Mark.DOM0_OUT,),
    ),
    Edge(State.SPEAKING, Event.DONE, State.HALTING, "the last words are out"),
    Edge(State.SPEAKING, Event.FAILED, State.HALTING, "no sink took the last words"),
    Edge(State.SPEAKING, Event.DEADLINE, State.HALTING, "the sinks took too long"),
    Edge(State.HALTING, Event.DONE, State.HALTED, "the machine stands"),
    Edge(State.HALTING, Event.FAILED, State.HALTING_AGAIN, "the machine did not stop: once more"),
    Edge(State.HALTING_AGAIN, Event.DONE, State.HALTED, "the machine stands"),
    Edge(State.HALTING_AGAIN, Event.FAILED, State.NOT_HALTED, "the machine cannot be stopped from here"),
    # First aid to a DomU.
    Edge(State.CONTAINING, Event.DONE, Go.FIRST, "first aid is done"),
    Edge(
        State.CONTAINING, Event.NOT_ISOLATED, State.HOLDING, "a mapping of the page stays: it must not run",
        (Mark.HELD, Mark.STOPPED),
    ),
    Edge(State.CONTAINING, Event.NOT_STOPPED, Go.KILL, "it could not be stopped", (Mark.HELD,)),
    Edge(State.HOLDING, Event.DONE, Go.FIRST, "it is stopped instead"),
    Edge(State.HOLDING, Event.FAILED, Go.KILL, "neither its mapping nor itself could be stopped"),
    # Dom0 is asked, I.2c-dom0.
    Edge(State.ASKING, Event.SAYS_NOTIFY, Go.LADDER, "Dom0 wants it notified"),
    Edge(State.ASKING, Event.SAYS_OPERATE, State.OPERATING, "Dom0 operates on it", row=Row.ON_DOMAIN),
    Edge(
        State.ASKING, Event.SAYS_BOTH, State.OPERATING, "Dom0 operates on it and wants it informed", (Mark.INFORM,),
        row=Row.ON_DOMAIN,
    ),
    Edge(State.ASKING, Event.SAYS_LEAVE, Go.LADDER, "Dom0 leaves it to the hypervisor", (Mark.DOM0_OUT,)),
    Edge(State.ASKING, Event.DEADLINE, Go.LADDER, "Dom0 was silent", (Mark.DOM0_OUT,)),
    Edge(State.ASKING, Event.DOM0_LOST, Go.LADDER, "Dom0 cannot answer any more", (Mark.DOM0_OUT,)),
    Edge(State.ASKING, Event.FAILED, Go.LADDER, "Dom0 could not be asked", (Mark.DOM0_OUT,)),
    # The guest is told, I.3a-handler, I.3b-pv.
    Edge(State.TELLING, Event.DELIVERED, State.AWAITING_GUEST, "its handler has the list of lost pages", (Mark.RUNS,)),
    Edge(State.TELLING, Event.DONE, State.GUEST_HEALED, "it healed itself at once", (Mark.RUNS,)),
    Edge(State.TELLING, Event.REFUSED, Go.NEXT_RUNG, "its handler refused"),
    Edge(State.TELLING, Event.IN_MACHINE_CHECK, Go.NEXT_RUNG, "it is still in an earlier machine check"),
    Edge(State.TELLING, Event.FAILED, Go.NEXT_RUNG, "it could not be told"),
    Edge(State.TELLING, Event.UNCERTAIN, Go.NEXT_RUNG, "nobody can tell whether it was told"),
    Edge(State.AWAITING_GUEST, Event.DONE, State.GUEST_HEALED, "it healed itself"),
    Edge(State.AWAITING_GUEST, Event.REFUSED, Go.NEXT_RUNG, "it says that it cannot heal itself"),
    Edge(State.AWAITING_GUEST, Event.FAILED, Go.NEXT_RUNG, "its handler failed"),
    Edge(State.AWAITING_GUEST, Event.DEADLINE, Go.NEXT_RUNG, "it was silent"),
    Edge(State.AWAITING_GUEST, Event.UNCERTAIN, Go.NEXT_RUNG, "nobody can tell whether it healed itself"),
    # vMCE, I.3b-inject, B.5.
    Edge(State.INJECTING, Event.DONE, State.INJECTED, "the vMCE is in its banks", (Mark.RUNS,)),
    Edge(
        State.INJECTING, Event.MORE_PAGES, State.AWAITING_MCIP, "the next page waits for MCIP to clear",
        (Mark.RUNS, Mark.TOLD),
    ),
    Edge(State.INJECTING, Event.IN_MACHINE_CHECK, State.AWAITING_MCIP, "it is still in an earlier machine check"),
    Edge(State.INJECTING, Event.FAILED, Go.NEXT_RUNG, "the vMCE could not be injected"),
    Edge(State.INJECTING, Event.REFUSED, Go.NEXT_RUNG, "the vMCE was refused"),
    Edge(State.INJECTING, Event.UNCERTAIN, Go.NEXT_RUNG, "nobody can tell whether it was injected: not repeated"),
    Edge(State.INJECTING, Event.NOT_STOPPED, Go.KILL, "it could not be stopped again"),
    Edge(State.AWAITING_MCIP, Event.DEADLINE, State.INJECTING_AGAIN, "once more"),
    Edge(State.INJECTING_AGAIN, Event.DONE, State.INJECTED, "the vMCE is in its banks", (Mark.RUNS,)),
    Edge(
        State.INJECTING_AGAIN, Event.MORE_PAGES, State.AWAITING_MCIP, "the next page waits for MCIP to clear",
        (Mark.RUNS, Mark.TOLD),
    ),
    Edge(State.INJECTING_AGAIN, Event.IN_MACHINE_CHECK, Go.NEXT_RUNG, "it did not leave its earlier machine check"),
    Edge(State.INJECTING_AGAIN, Event.FAILED, Go.NEXT_RUNG, "the vMCE could not be injected"),
    Edge(State.INJECTING_AGAIN, Event.REFUSED, Go.NEXT_RUNG, "the vMCE was refused"),
    Edge(State.INJECTING_AGAIN, Event.UNCERTAIN, Go.NEXT_RUNG, "nobody can tell whether it was injected"),
    # Dom0 is asked to operate, I.3a-dom0, I.3b-dom0.
    Edge(State.REQUESTING, Event.SAYS_OPERATE, State.OPERATING, "Dom0 operates on it"),
    Edge(State.REQUESTING, Event.SAYS_BOTH, State.OPERATING, "Dom0 operates on it and informs it", (Mark.INFORM,)),
    Edge(State.REQUESTING, Event.SAYS_NOTIFY, Go.KILL, "it cannot be notified, and Dom0 does not operate on it"),
    Edge(State.REQUESTING, Event.SAYS_LEAVE, Go.KILL, "Dom0 does not operate on it"),
    Edge(State.REQUESTING, Event.DEADLINE, Go.KILL, "Dom0 was silent", (Mark.DOM0_OUT,)),
    Edge(State.REQUESTING, Event.DOM0_LOST, Go.KILL, "Dom0 cannot answer any more", (Mark.DOM0_OUT,)),
    Edge(State.REQUESTING, Event.FAILED, Go.KILL, "Dom0 could not be asked", (Mark.DOM0_OUT,)),
    Edge(State.REQUESTING, Event.NOT_STOPPED, Go.KILL, "it could not be stopped again: no time", (Mark.DOM0_OUT,)),
    Edge(State.OPERATING, Event.DONE, State.INFORMING, "Dom0's operation is done"),
    Edge(State.OPERATING, Event.FAILED, Go.KILL, "Dom0's operations failed"),
    Edge(State.OPERATING, Event.DEADLINE, Go.KILL, "Dom0's operation took too long", (Mark.DOM0_OUT,)),
    Edge(State.OPERATING, Event.DOM0_LOST, Go.KILL, "Dom0 cannot finish its operation", (Mark.DOM0_OUT,)),
    Edge(State.OPERATING, Event.DOMAIN_GONE, State.OPERATED, "it ended under Dom0's operation"),
    Edge(State.INFORMING, Event.DONE, State.OPERATED, "it was operated on"),
    Edge(State.INFORMING, Event.DELIVERED, State.OPERATED, "it was operated on, and informed", row=Row.INFORM),
    Edge(State.INFORMING, Event.REFUSED, State.OPERATED, "it was operated on; it did not want to hear of it"),
    Edge(State.INFORMING, Event.IN_MACHINE_CHECK, State.OPERATED, "it was operated on; it could not be informed"),
    Edge(State.INFORMING, Event.FAILED, State.OPERATED, "it was operated on; it could not be informed"),
    Edge(State.INFORMING, Event.UNCERTAIN, State.OPERATED, "it was operated on; perhaps it was informed"),
    # Neither, I.3a-kill, I.3b-kill.
    Edge(State.KILLING, Event.DONE, State.KILLED, "it is killed"),
    Edge(State.KILLING, Event.FAILED, Go.FREE, "it could not be killed"),
    Edge(State.KILLING, Event.DOMAIN_GONE, State.KILLED, "it has ended"),
    # Dom0's own operations, II.1, II.2.
    Edge(State.APPROVING, Event.APPROVED, State.CARRYING_OUT, "a person approved"),
    Edge(State.APPROVING, Event.DENIED, State.NOT_OPERATED, "a person denied it, and there is no other operation"),
    Edge(State.APPROVING, Event.DEADLINE, State.NOT_OPERATED, "nobody approved it in time"),
    Edge(State.APPROVING, Event.NEXT_OPERATION, State.CARRYING_OUT, "not approved: the next one needs no approval"),
    Edge(State.APPROVING, Event.NEXT_TO_APPROVE, State.APPROVING, "a person denied it, and is asked about the next"),
    Edge(State.CARRYING_OUT, Event.DONE, State.OPERATED, "the operation is done"),
    Edge(State.CARRYING_OUT, Event.NEXT_OPERATION, State.CARRYING_OUT, "it failed: the next one"),
    Edge(State.CARRYING_OUT, Event.NEXT_TO_APPROVE, State.APPROVING, "it failed: a person is asked about the next one"),
    Edge(State.CARRYING_OUT, Event.FAILED, State.NOT_OPERATED, "it failed, and there is no other operation"),
    Edge(State.CARRYING_OUT, Event.DEADLINE, State.NOT_OPERATED, "it took too long"),
    Edge(State.CARRYING_OUT, Event.UNCERTAIN, State.UNKNOWN, "nobody can tell whether it happened: not repeated"),
    # What can come at any time.
    *_edges(
        (state for state in _DOMU if state not in {State.KILLING, State.OPERATING}), Event.DOMAIN_GONE, State.GONE,
        "the domain has ended",
    ),
    *_edges(_DOMU, Event.SUPERSEDED, State.SUPERSEDED, "a later error on the same page takes its place"),
    *_edges(
        (State.NOTING, *_HOST, *_HALT_PATH, *_DOMU, *_DOM0_SIDE), Event.HOST_HALTED, State.HALTED, "the host halts",
    ),
    *_edges(_HOST, Event.SUPERSEDED, State.SUPERSEDED, "a later error on the same page replaces it"),
    *_edges(_DOM0_SIDE, Event.DOMAIN_GONE, State.GONE, "the domain has ended"),
)  # fmt: skip

_BY_PAIR: dict[tuple[State, Event], Edge] = {(edge.state, edge.event): edge for edge in TABLE}
assert len(_BY_PAIR) == len(TABLE), "two edges for one pair"  # noqa: S101 (a declaration that contradicts itself)


@dataclass(frozen=True, slots=True)
class Move:
    """Where a part went, and why."""

    position: Position
    because: str


def allowed(state: State) -> tuple[Event, ...]:
    """The events that a state allows, in the order of the table; none if it is an end."""
    return tuple(edge.event for edge in TABLE if edge.state is state)


def advance(position: Position, event: Event, facts: Facts) -> Move:
    """Where an event leads a part. Raises IllegalEventError with state, event and what was allowed."""
    edge = _BY_PAIR.get((position.state, event))
    if edge is None:
        raise IllegalEventError(position.state, event, tuple(allowed(position.state)))
    marked = _marked(position, edge.marks)
    match edge.target:
        case State() as state:
            return Move(changed(marked, state=state, row=edge.row or marked.row), edge.because)
        case Go.HALT:
            return Move(halting(marked, dom0_able=facts.dom0_able), edge.because)
        case Go.FREE:
            if facts.consumed or marked.held:
                # Whoever cannot be killed may not stand still either: there is no time to give to Dom0 (L1).
                return Move(halting(marked, dom0_able=False), f"{edge.because}: the rule is to halt")
            return Move(changed(marked, state=State.STUCK), f"{edge.because}: its lost pages stay out of its reach")
        case Go.FIRST:
            if facts.dom0_able and not marked.dom0_out:
                return Move(changed(marked, state=State.ASKING, row=Row.ASK_DOM0), f"{edge.because}; Dom0 is asked")
            return _climb(changed(marked, dom0_out=True, row=Row.ALONE), facts, 0, edge.because)
        case Go.LADDER:
            return _climb(marked, facts, 0, edge.because)
        case Go.NEXT_RUNG:
            # Once told, it ran: who consumed the error stops again until the next row is carried out (L1).
            stopped = changed(marked, stopped=marked.stopped or facts.consumed)
            return _climb(stopped, facts, 1 + _rung(marked.row), edge.because)
        case Go.KILL:
            return _climb(marked, facts, _rung(Row.PV_KILL if facts.is_pv else Row.HVM_KILL), edge.because)


def halting(position: Position, *, dom0_able: bool) -> Position:
    """The way to a halt: with time for Dom0 to save evidence only if it is able (B.3)."""
    state = State.SAVING_EVIDENCE if dom0_able and not position.dom0_out else State.SPEAKING
    # What was to be remembered for telling the domain matters no more.
    return Position(state=state, row=Row.HALT, dom0_out=position.dom0_out, stopped=position.stopped)


def _rung(row: Row) -> int:
    """Where a row stands on the ladder; -1 if it is none of its rows."""
    return next((number for number, rung in enumerate(RUNGS) if rung.row is row), -1)


def _climb(position: Position, facts: Facts, start: int, because: str) -> Move:
    """The first rung from ``start`` on that applies; the last one of each kind always does."""
    rung = next(rung for rung in RUNGS[start:] if rung.applies(position, facts))
    return Move(changed(position, state=rung.state, row=rung.row), f"{because}; {rung.because}")


def _marked(position: Position, marks: tuple[Mark, ...]) -> Position:
    for mark in marks:
        match mark:
            case Mark.DOM0_OUT:
                position = changed(position, dom0_out=True)
            case Mark.STOPPED:
                position = changed(position, stopped=True)
            case Mark.RUNS:
                position = changed(position, stopped=False)
            case Mark.HELD:
                position = changed(position, held=True)
            case Mark.INFORM:
                position = changed(position, inform=True)
            case Mark.TOLD:
                position = changed(position, told=position.told + 1)
    return position
