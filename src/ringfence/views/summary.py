"""Repeated errors grouped by what they are: how many, when first and last, worst first."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from ringfence.diagnosis.events import Relation
from ringfence.diagnosis.finding import Event, Finding
from ringfence.diagnosis.severity import Severity
from ringfence.record.evidence import Origin, Unrecognised
from ringfence.views.jsonl import schema_of
from ringfence.views.text import counted, place, printable, severity_colour
from ringfence.views.times import iso

SHOWN_UNRECOGNISED = 10
"""Unreadable places that a summary lists one by one; the rest are counted."""


@dataclass(slots=True)
class Group:
    """Events with the same summary sentence and the same advice.

    ``errors`` counts what the sources count, each event once; ``reports`` counts every report, read again or not.
    ``first``/``last`` are seconds since the epoch, None if no report carries a time.
    """

    severity: Severity
    summary: str
    advice: str
    example: str
    is_left_over: bool = False
    errors: int = 0
    events: int = 0
    reports: int = 0
    first: float | None = None
    last: float | None = None

    def saw(self, time: float | None) -> None:
        """Widen the span of time."""
        if time is not None:
            self.first = time if self.first is None else min(self.first, time)
            self.last = time if self.last is None else max(self.last, time)


class GroupLine(msgspec.Struct, omit_defaults=True):
    """One group as JSON."""

    severity: Severity
    summary: str
    advice: str
    example: str
    errors: int
    events: int
    reports: int
    first: str | None = None
    last: str | None = None


@dataclass(slots=True)
class Tally:
    """The groups of everything seen. Memory grows with the number of kinds of error, not of errors."""

    groups: dict[tuple[Severity, str, str], Group] = field(default_factory=dict)
    unrecognised: int = 0
    unrecognised_places: list[str] = field(default_factory=list)

    def group(self, key: tuple[Severity, str, str], is_left_over: bool, origin: Origin) -> Group:
        """The group with this severity, sentence and advice, made when it is first seen, at ``origin``."""
        found = self.groups.get(key)
        if found is None:
            found = self.groups[key] = Group(*key, place(origin), is_left_over)
        return found

    def add(self, item: Event | Unrecognised) -> None:
        """Count one event with its further reports, or one piece of unreadable evidence."""
        if isinstance(item, Unrecognised):
            self.unrecognised += 1
            if len(self.unrecognised_places) < SHOWN_UNRECOGNISED:
                self.unrecognised_places.append(f"{place(item.origin)}: {item.why}")
            return
        group = self._reported(item.finding)
        group.errors += item.count
        group.events += item.relation is Relation.NEW
        for again in item.reports:
            self._reported(again.finding)

    def _reported(self, finding: Finding) -> Group:
        key = (finding.severity, finding.summary, finding.advice)
        group = self.group(key, finding.is_left_over, finding.record.origin)
        group.reports += 1
        group.saw(finding.record.time)
        return group

    def worst_first(self) -> list[Group]:
        """The groups: worst severity first, what is left over behind the live ones, then by the number of errors."""
        return sorted(
            self.groups.values(), key=lambda g: (-g.severity.badness, g.is_left_over, -g.errors, g.summary, g.advice)
        )


def text(tally: Tally, *, colour: bool = False) -> str:
    """The summary for people."""
    if not tally.groups and not tally.unrecognised:
        return "No machine-check evidence found.\n"
    out = []
    for group in tally.worst_first():
        on, off = severity_colour(group.severity) if colour else ("", "")
        again = f", reported {counted(group.reports, 'time')}" if group.reports != group.events else ""
        span = ""
        if group.first is not None and group.last is not None:
            first, last = iso(group.first), iso(group.last)
            span = f"; at {first}" if first == last else f"; first {first}, last {last}"
        out.append(
            f"{group.errors:>9} x {on}{printable(group.summary)}{off}\n"
            f"{'':12}{counted(group.events, 'event')}{again}{span}; e.g. {group.example}\n"
            f"{'':12}{group.advice}\n"
        )
    if tally.unrecognised:
        out.append(f"{tally.unrecognised:>9} x not readable as evidence:\n")
        out.extend(f"{'':12}{where}\n" for where in tally.unrecognised_places)
        if tally.unrecognised > len(tally.unrecognised_places):
            out.append(f"{'':12}... and {tally.unrecognised - len(tally.unrecognised_places)} more\n")
    return "".join(out)


def lines(tally: Tally) -> list[GroupLine]:
    """The summary as JSON lines."""
    return [
        GroupLine(
            severity=group.severity,
            summary=group.summary,
            advice=group.advice,
            example=group.example,
            errors=group.errors,
            events=group.events,
            reports=group.reports,
            first=iso(group.first),
            last=iso(group.last),
        )
        for group in tally.worst_first()
    ]


def schema() -> dict[str, object]:
    """The JSON Schema (2020-12) of one line of the summary."""
    return schema_of("One line of `ringfence decode --summary --json`", GroupLine)
