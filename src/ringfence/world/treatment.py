"""What a seat is told, and what it wants done: the values that pass between a hypervisor and whoever treats a case."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from ringfence.record.evidence import Record
from ringfence.world.identities import CaseId, CpuId, DomainId, Frame, GuestFrame, StepId
from ringfence.world.situation import Situation
from ringfence.world.steps import Order, Result

# --- what a seat is told ------------------------------------------------------------------------------------------


class Dom0Says(StrEnum):
    """What Dom0 answers for one domain, on the wire between the seats."""

    NOTIFY = "notify"
    OPERATE = "operate"
    BOTH = "notify-and-operate"
    LEAVE = "leave"
    OPERATED = "operated"
    """Dom0's operation has ended well."""
    NOT_OPERATED = "not operated"
    """Dom0's operations have all failed."""


@dataclass(frozen=True, slots=True)
class Answered:
    """Dom0 answered for a domain of a case."""

    case: CaseId
    domain: DomainId
    says: Dom0Says


@dataclass(frozen=True, slots=True)
class StepEnded:
    """A step that was ordered has ended (or was refused)."""

    order: StepId
    result: Result


@dataclass(frozen=True, slots=True)
class TimePassed:
    """The time that the seat asked for is over; ``alarm`` is the seat's own number for it."""

    alarm: int


@dataclass(frozen=True, slots=True)
class DomainGone:
    """A domain has ended, for whatever reason."""

    domain: DomainId
    because: str = ""


@dataclass(frozen=True, slots=True)
class Dom0Changed:
    """Dom0's handler came or went, or Dom0 was hurt, or a verified probe showed that it works again."""


Told = Answered | StepEnded | TimePassed | DomainGone | Dom0Changed

TAKEN_UP: Final = "taken up"
"""The event of an entry by which a part goes on after a kill where it stood (law L9)."""

# --- what a seat wants ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Alarm:
    """Wake the seat at ``at_ms`` on the host's clock; an alarm that is not wanted any more is ignored when it rings."""

    alarm: int
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A consumer or a loser, as the seat judged it. ``party`` and ``certainty`` are words of diagnosis.impact."""

    party: str
    certainty: str
    domain: DomainId | None = None
    pages: tuple[GuestFrame, ...] = ()
    unnumbered: int = 0


class Reason(msgspec.Struct, frozen=True):
    """Why: a row of the concept, a sentence, and the rule or source that it rests on."""

    row: str
    because: str
    rests_on: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Whom an error hit, as it was when the seat decided: what Dom0 sees later, the seat's own deeds have changed.

    ``frames`` are (host frame, pages) pairs; ``grounds`` speak for or against the impact.
    """

    consumer: Hit
    losers: tuple[Hit, ...]
    certainty: str
    grounds: tuple[tuple[Reason, bool], ...]
    frames: tuple[tuple[Frame, int], ...] = ()
    cpu: CpuId | None = None
    consumed: bool = False


class Entry(msgspec.Struct, frozen=True):
    """One transition of a case, for Dom0's journal; or (``judgement``) what the seat judged and why it decided so.

    ``domain`` is None for the host's own part. ``state`` and ``event`` are names of the flow's table, ``row`` the
    concept's row. ``ended`` marks the last entry of this part. ``position`` is all that the part must not forget, in
    ``decision.flow.Position``'s own word for it.
    """

    case: CaseId
    at_ms: int
    domain: DomainId | None
    event: str
    state: str
    row: str
    because: str
    steps: tuple[str, ...] = ()
    ended: bool = False
    judgement: Judgement | None = None
    reasons: tuple[Reason, ...] = ()
    position: str = ""


Wanted = Order | Alarm | Entry
"""Carry out in this order. Orders come before the entries that speak of them: a seat never waits for a disk."""


class TreatingSeat(Protocol):
    """Whoever treats machine checks in the hypervisor's seat. Calls return at once; nothing is read but arguments."""

    def reported(
        self, records: Sequence[Record], situation_of: Callable[[Record], Situation]
    ) -> tuple[tuple[CaseId | None, ...], tuple[Wanted, ...]]:
        """Errors were reported: all that the banks of all CPUs held in one #MC, or what one poll or interrupt found.

        They come together, for only together do they say which CPU took the error in and which ones were stopped along
        with it. Returns the number of each record's case (None: a corrected error, or no error), and what to do now.
        """
        ...

    def told(self, what: Told, situation: Situation) -> tuple[Wanted, ...]:
        """Something happened that the seat may be waiting for; the situation names no frames.

        Raises IllegalEventError for an answer that nobody waits for; nothing is changed then (L8).
        """
        ...
