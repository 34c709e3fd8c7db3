"""The port: few verbs, the same for every hypervisor. A backend reports facts and obeys; it never decides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Flag, auto
from typing import NewType, Protocol

from ringfence.quick import quick
from ringfence.record.evidence import Record
from ringfence.world.identities import CaseId, DomainId, Frame
from ringfence.world.situation import Situation
from ringfence.world.steps import Order, Result
from ringfence.world.treatment import Dom0Says, Entry, StepEnded

Token = NewType("Token", int)
"""Names one arrival to its source; acknowledging it lets the source forget it."""


class Capability(Flag):
    """What a backend can do; what is missing is declared, and said to the user, instead of failing later."""

    TREATS = auto()
    """A seat in the hypervisor follows the concept: Ringfence answers, counts and instructs (the model)."""
    PAUSE = auto()
    SAVE = auto()
    RESTORE = auto()
    MIGRATE = auto()
    SHUT_DOWN = auto()
    RESTART = auto()
    DESTROY = auto()
    NOTIFY_GUEST = auto()
    INJECT_VMCE = auto()
    ISOLATE_FRAME = auto()
    OFFLINE_FRAME = auto()
    EXCHANGE_FRAME = auto()
    OFFLINE_CPU = auto()
    HALT = auto()
    FRAME_OWNER = auto()
    MAPPINGS = auto()


@quick
@dataclass(frozen=True, slots=True)
class Telemetry:
    """Evidence of an error. ``case`` is the seat's number for it if the hypervisor treats cases itself."""

    token: Token
    urgent: bool
    records: tuple[Record, ...]
    case: CaseId | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """The hypervisor asks what shall become of a domain (I.2c-dom0); ``deadline_ms`` is on the host's clock.

    ``operate`` is true where only a case II operation is left to be done (I.3a-dom0, I.3b-dom0).
    """

    token: Token
    case: CaseId
    domain: DomainId
    deadline_ms: int
    operate: bool = False


@dataclass(frozen=True, slots=True)
class Progress:
    """What the hypervisor's seat did with a case."""

    token: Token
    entry: Entry


@dataclass(frozen=True, slots=True)
class Lost:
    """``count`` pieces of evidence were dropped before anybody could fetch them (law L2).

    ``why`` where the backend can only conclude it, ``exact`` is false where more may be.
    """

    token: Token
    count: int
    urgent: bool
    why: str = ""
    exact: bool = True


@dataclass(frozen=True, slots=True)
class LeftOver:
    """Evidence of an earlier boot: last words, or banks that a warm reset left filled (B.2)."""

    token: Token
    records: tuple[Record, ...]
    sink: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A step that was RUNNING has ended. Nothing to acknowledge: it can be probed again."""

    ended: StepEnded


@dataclass(frozen=True, slots=True)
class EvidenceWanted:
    """The host is about to halt: write down what there is, and say so by ``evidence_saved`` (B.3)."""

    token: Token
    case: CaseId
    deadline_ms: int


Arrival = Telemetry | Question | Progress | Lost | LeftOver | Ended | EvidenceWanted


class Hypervisor(Protocol):
    """A hypervisor, seen from Dom0. No call blocks for longer than the hypercall behind it; none raises for a hardware
    fault. ``HypervisorError`` means that the backend itself cannot be reached.
    """

    @property
    def name(self) -> str:
        """What it is, with its version ("model concept", "Xen 4.20.0")."""
        ...

    @property
    def capabilities(self) -> Capability:
        """What it can do."""
        ...

    @property
    def boot(self) -> int:
        """Which boot of the host this is: a number that grows with each, so that evidence of an earlier one is told."""
        ...

    def now_ms(self) -> int:
        """The host's clock, milliseconds; it goes on over a reboot."""
        ...

    def arrivals(self) -> tuple[Arrival, ...]:
        """What has come, urgent first, oldest first within a class; at most 64. The same again until acknowledged."""
        ...

    def acknowledge(self, token: Token) -> None:
        """An arrival is durable: its source may forget it. An unknown token is ignored, as Xen does."""
        ...

    def situation(self, record: Record | None) -> Situation:
        """The host now, with the frames that the record's address names; without a record, no frames."""
        ...

    def carry_out(self, order: Order) -> Result:
        """Begin or do one step. RUNNING means that an ``Ended`` arrives later."""
        ...

    def probe(self, order: Order) -> Result:
        """What became of an order given earlier, maybe by an earlier life of this process; UNKNOWN if none can tell."""
        ...

    def heed_lost(self, frames: Iterable[Frame]) -> None:
        """These pages lost what they held, in this boot and before this process began: none is read to be moved."""
        ...

    def answer(self, case: CaseId, domain: DomainId, says: Dom0Says) -> Result:
        """Answer a Question. REFUSED if it is not asked (any more): the deadline has passed, the domain is gone."""
        ...

    def evidence_saved(self, case: CaseId) -> None:
        """The evidence of a case is durable: the halt need not wait any longer."""
        ...
