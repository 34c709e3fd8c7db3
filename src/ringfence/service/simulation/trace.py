"""What a run leaves behind for the checker: the model's facts and what the simulator itself did and saw, in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringfence.hypervisor.model.machine import LoggedError
from ringfence.hypervisor.model.observer import (
    Carried,
    Channel,
    DomainChanged,
    Dropped,
    GuestTold,
    Halted,
    Injected,
    MachineChecked,
    MappingsChanged,
    Ran,
    Rebooted,
    Reported,
    Said,
    Touched,
)
from ringfence.hypervisor.port import Token
from ringfence.journal import events as ev
from ringfence.journal.events import Stored
from ringfence.journal.state import State
from ringfence.quick import quick
from ringfence.record.evidence import Record
from ringfence.service.simulation.acts import Script, Wrong
from ringfence.world.frames import FrameFacts, Mapping
from ringfence.world.identities import CaseId, DomainId, Frame
from ringfence.world.steps import Order, Result
from ringfence.world.treatment import Dom0Says


@quick
@dataclass(frozen=True, slots=True)
class Truth:
    """What was true at the moment of a report of an uncorrected error, before anybody did anything about it.

    ``case`` is what the seat made of it (None: no case). ``error`` is what the hardware logged (None: not found any
    more), ``frame`` the page frame that is bad, ``pages`` what is lost with it and who had it (empty if the evidence
    does not name the page), ``consumer`` the domain whose CPU took the error in (None: no domain did). ``earlier`` are
    ways to the bad page that were taken away after an earlier report of it: who had them has lost it all the same.
    """

    at_ns: int
    record: Record
    case: CaseId | None
    error: LoggedError | None
    frame: Frame | None
    pages: tuple[FrameFacts, ...]
    consumer: DomainId | None
    earlier: tuple[Mapping, ...] = ()


@dataclass(frozen=True, slots=True)
class Dom0Is:
    """How Dom0 stands from now on, by the world's doing."""

    at_ns: int
    handler: bool
    hurt: bool


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator, or a guest itself, does something to a domain: not Ringfence's doing."""

    at_ns: int
    domain: DomainId | None
    what: str


@dataclass(frozen=True, slots=True)
class Life:
    """A life of Ringfence begins (``number`` from 1 on), or, with ``ended``, is over."""

    at_ns: int
    number: int
    ended: bool = False
    killed: bool = False


@dataclass(frozen=True, slots=True)
class Arrived:
    """What the port showed: the kinds of the arrivals in their order, and the tokens of telemetry with their class."""

    at_ns: int
    kinds: tuple[str, ...]
    telemetry: tuple[tuple[Token, bool], ...]


@quick
@dataclass(frozen=True, slots=True)
class Acknowledged:
    """An arrival was acknowledged. ``durable`` is the number of the last event in the journal then."""

    at_ns: int
    token: Token
    durable: int


@dataclass(frozen=True, slots=True)
class Ordered:
    """Dom0 is about to order a step. ``durable`` is the number of the last event in the journal then."""

    at_ns: int
    order: Order
    durable: int


@dataclass(frozen=True, slots=True)
class AnsweredBy:
    """Dom0 answered. ``deadline_ms``: of the question as it was shown last, None if none was."""

    at_ns: int
    case: CaseId
    domain: DomainId
    says: Dom0Says
    result: Result
    deadline_ms: int | None


@dataclass(frozen=True, slots=True)
class Turned:
    """Ringfence has done all that was due: whatever had been reported before is durable now."""

    at_ns: int


@dataclass(frozen=True, slots=True)
class SinkIs:
    """A sink of last words is broken, or works again."""

    at_ns: int
    sink: str
    broken: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something was instructed that must be refused: whether it was, and what changed all the same."""

    at_ns: int
    wrong: Wrong
    refused: bool
    said: str
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Down:
    """The host was reset; ``boot`` is the number of the boot that begins."""

    at_ns: int
    boot: int
    by_operator: bool


Note = (
    Truth | Dom0Is | Operator | Life | Arrived | Acknowledged | Ordered | AnsweredBy | SinkIs | Refusal | Down | Turned
)

Happening = (
    Injected
    | MachineChecked
    | Reported
    | Touched
    | GuestTold
    | Dropped
    | DomainChanged
    | MappingsChanged
    | Carried
    | Said
    | Halted
    | Rebooted
    | Note
)
"""Everything that has an instant: all facts of the model but the spans in which somebody ran."""


@dataclass(frozen=True, slots=True)
class Sample:
    """The writer's state after so many events of the journal (``applied``), as it was then."""

    applied: int
    state: State


@dataclass(slots=True)
class Tally:
    """What a run went through."""

    acts: int = 0
    skipped: int = 0
    errors: int = 0
    uncorrected: int = 0
    corrected: int = 0
    kills: int = 0
    lives: int = 0
    resumed: int = 0
    """Orders and cases that a killed life had left open."""
    decisions: int = 0
    questions: int = 0
    answers: int = 0
    orders: int = 0
    vmces: int = 0
    notices: int = 0
    halts: int = 0
    reboots: int = 0
    lost: int = 0
    refusals: int = 0
    guests_ended: int = 0
    journal_events: int = 0
    calls: int = 0

    def plus(self, other: Tally) -> Tally:
        """This and another run together."""
        return Tally(**{name: getattr(self, name) + getattr(other, name) for name in self.__slots__})


@dataclass(slots=True)
class Trace:
    """A whole run. ``faults`` is how the run itself failed (an exception of the code under test), empty if it did not.

    ``journal`` holds every event that is durable, with its number; ``tail`` tells that the run had the time to end
    everything that was open.
    """

    script: Script
    happened: list[Happening] = field(default_factory=list)
    ran: list[Ran] = field(default_factory=list)
    journal: list[tuple[int, Stored]] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)
    fault: str = ""
    ended_ms: int = 0

    def forget(self) -> None:
        """Let go of what happened; the tally stays. The host, which knows its trace, is held by circles of its own."""
        self.happened.clear()
        self.ran.clear()
        self.journal.clear()
        self.samples.clear()


def count(trace: Trace) -> None:
    """Count what the run went through."""
    tally = trace.tally
    for _, event in trace.journal:
        match event:
            case ev.Decided():
                tally.decisions += 1
            case ev.Carried():
                tally.orders += 1
            case ev.Received(corrected=True):
                tally.corrected += 1
            case _:
                pass
    for what in trace.happened:
        match what:
            case Truth():
                tally.uncorrected += 1
            case GuestTold(channel=Channel.VMCE):
                tally.vmces += 1
            case GuestTold():
                tally.notices += 1
            case Dropped():
                tally.lost += 1
            case _:
                pass
