"""What the journal knows of one case: its parts, what was decided and answered, what is still waited for."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from ringfence.journal.events import Deadline, Impacted, OutcomeEntry
from ringfence.world.identities import CaseId, DomainId, Frame, StepId
from ringfence.world.situation import PluginVerdict
from ringfence.world.steps import Order, Result, Status
from ringfence.world.treatment import Dom0Says


class Part(msgspec.Struct, frozen=True):
    """How far one part of a case is: a loser's, or the host's own.

    ``since_ms`` is when it came to its state, ``position`` all that it must not forget (``events.Progressed``).
    """

    state: str
    row: str
    because: str = ""
    ended: bool = False
    position: str = ""
    since_ms: int = 0


@dataclass(slots=True)
class Case:
    """An open case."""

    id: CaseId
    opened_ms: int
    severity: str = ""
    left_over: bool = False
    consumed: bool = False
    frames: dict[Frame, int] = field(default_factory=dict)
    domains: set[DomainId] = field(default_factory=set)
    dimm: str | None = None
    records: int = 0
    impact: Impacted | None = None
    parts: dict[DomainId | None, Part] = field(default_factory=dict)
    decided: dict[DomainId | None, Choice] = field(default_factory=dict)
    answers: dict[DomainId, Reply] = field(default_factory=dict)
    passed: set[tuple[DomainId | None, Deadline]] = field(default_factory=set)
    verdicts: list[PluginVerdict] = field(default_factory=list)
    approved: dict[tuple[DomainId | None, str], bool] = field(default_factory=dict)
    ended_orders: dict[StepId, Result] = field(default_factory=dict)
    evidence_saved: bool = False
    instructed: str = ""
    """The operation that a person instructed, if that is what this case is."""

    @property
    def has_ended(self) -> bool:
        """Whether it has parts, and all have ended."""
        return bool(self.parts) and all(part.ended for part in self.parts.values())


class Choice(msgspec.Struct, frozen=True):
    """What was decided for a domain, or for the host."""

    row: str
    answer: Dom0Says | None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was given, and what the hypervisor made of it."""

    says: Dom0Says
    status: Status


@dataclass(frozen=True, slots=True)
class Question:
    """A question that waits for its answer."""

    case: CaseId
    domain: DomainId
    deadline_ms: int
    operate: bool = False


@dataclass(frozen=True, slots=True)
class Approval:
    """A person's word that is waited for."""

    case: CaseId
    domain: DomainId | None
    operation: str
    deadline_ms: int


class OpenOrder(msgspec.Struct, frozen=True):
    """An order that was intended and whose end is not known. ``running``: the backend said that it has begun.

    ``life`` and ``boot`` are those in which it was intended last.
    """

    order: Order
    case: CaseId
    attempt: int
    intended_ms: int
    life: int
    boot: str
    running: bool = False
    dimm: str | None = None


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of a closed case; ``superseded_by`` names the case that took it over."""

    entries: tuple[OutcomeEntry, ...]
    superseded_by: CaseId | None = None
