"""What the journal's events add up to: counts that only grow, over restarts and over what is no longer kept of them.

They are part of the state, so that whatever keeps the state keeps them. Labels are few by nature (rows, steps,
severities), but for the names of DIMMs, which come from evidence: their number is bounded here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ringfence.decision.flow import State
from ringfence.decision.policy import Operation
from ringfence.decision.rows import Row
from ringfence.decode.meaning import UnitKind
from ringfence.diagnosis.severity import Severity
from ringfence.journal import events as ev
from ringfence.world.steps import Status

DIMMS_TOLD_APART: Final = 256
"""By name, the first ones seen: twice what eight sockets of eight channels with two slots hold. Further names, which a
damaged or hostile log could invent without end, count as ``OTHER``."""

OTHER: Final = "other"
"""What has no name of its own any more, or none that this version knows."""

Series = dict[tuple[str, ...], int]
"""Counts by their labels, in the order in which the field's comment names them."""

_SEVERITIES: Final = frozenset[str](Severity)
_UNITS: Final = frozenset[str](UnitKind)
_ROWS: Final = frozenset[str](Row)
_STATES: Final = frozenset[str](State)
_OPERATIONS: Final = frozenset[str]((*Operation, "unpause", "offline", "online"))


@dataclass(slots=True)
class Tallies:
    """Counts since the journal began."""

    errors: Series = field(default_factory=dict)
    """By severity, kind of unit, DIMM (empty where none is known). As many as the evidence tells of."""
    left_over: Series = field(default_factory=dict)
    """Records that an earlier boot left, by severity."""
    decisions: Series = field(default_factory=dict)
    """By row and seat."""
    outcomes: Series = field(default_factory=dict)
    """Parts of cases that have ended, by row and state."""
    orders: Series = field(default_factory=dict)
    """Attempts that have ended, by step and status."""
    deadlines: Series = field(default_factory=dict)
    """Times that were over, by which."""
    approvals: Series = field(default_factory=dict)
    """Words of people: asked, granted, denied."""
    instructions: Series = field(default_factory=dict)
    """By operation, and whether they were taken or refused."""
    trends: Series = field(default_factory=dict)
    """Thresholds passed, by kind of suspect."""
    dimms: dict[str, None] = field(default_factory=dict)
    """The names that are told apart."""

    def more(self, series: Series, *labels: str, by: int = 1) -> None:
        """Count up."""
        series[labels] = series.get(labels, 0) + by


def tally(tallies: Tallies, event: ev.Stored, step: str = OTHER) -> None:  # noqa: PLR0912 (a table)
    """Count one event. ``step`` is the kind of step of the order that a ``Carried`` ends."""
    match event:
        case ev.Progressed() | ev.Acknowledged() | ev.DomainChanged() | ev.Impacted():
            pass  # what comes most often, and is no number: not held against all that follows
        case ev.Received(left_over=True):
            tallies.more(tallies.left_over, _known(_SEVERITIES, event.severity))
        case ev.Received():
            labels = _known(_SEVERITIES, event.severity), _known(_UNITS, event.unit_kind), _dimm(tallies, event.dimm)
            tallies.more(tallies.errors, *labels, by=max(0, event.count))
        case ev.Repeated():
            labels = _known(_SEVERITIES, event.severity), _known(_UNITS, event.unit_kind), _dimm(tallies, event.dimm)
            tallies.more(tallies.errors, *labels, by=max(0, event.count * event.reports))
        case ev.Decided():
            tallies.more(tallies.decisions, _known(_ROWS, event.row), event.seat)
        case ev.Closed():
            for entry in event.outcome:
                tallies.more(tallies.outcomes, _known(_ROWS, entry.row), _known(_STATES, entry.state))
        case ev.Carried():
            if event.status is not Status.RUNNING:
                tallies.more(tallies.orders, step, event.status)
        case ev.DeadlinePassed():
            tallies.more(tallies.deadlines, event.which)
        case ev.ApprovalAsked():
            tallies.more(tallies.approvals, "asked")
        case ev.ApprovalGiven():
            tallies.more(tallies.approvals, "granted" if event.granted else "denied")
        case ev.Instructed():
            operation = _known(_OPERATIONS, event.operation)
            tallies.more(tallies.instructions, operation, "refused" if event.refused else "taken")
        case ev.TrendSeen():
            tallies.more(tallies.trends, event.suspect)
        case _:
            pass  # counted by the state itself, or of no interest as a number


def _known(names: frozenset[str], name: str) -> str:
    return name if name in names else OTHER


def _dimm(tallies: Tallies, name: str | None) -> str:
    if not name:
        return ""
    if name not in tallies.dimms and len(tallies.dimms) < DIMMS_TOLD_APART:
        tallies.dimms[name] = None
    return name if name in tallies.dimms else OTHER
