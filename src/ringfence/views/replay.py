"""What would have happened: events of a log with their outcomes, under one policy or two."""

from __future__ import annotations

from collections.abc import Sequence

from ringfence.diagnosis.finding import Event
from ringfence.journal.events import OutcomeEntry
from ringfence.views.chain import outcome_in_words
from ringfence.views.text import printable
from ringfence.world.identities import DomainId

COUNTED = "counted (I.2a)"
HISTORY = "history: it was found after the fact, and nobody is hit by it now (B.2)"
_NAMES = {DomainId(0): "Dom0"}


def outcome(
    entries: Sequence[OutcomeEntry], ahead: Sequence[OutcomeEntry], *, halted: bool, corrected: bool
) -> tuple[str, ...]:
    """One policy's outcome in words, a line for each part."""
    lines = [_in_words(entry) for entry in entries]
    lines += [f"ahead of an error: {_in_words(entry)}" for entry in ahead]
    if halted:
        lines.append("the host is halted")
    return tuple(lines) or (COUNTED if corrected else HISTORY,)


def _in_words(entry: OutcomeEntry) -> str:
    if entry.domain is not None and entry.domain not in _NAMES:
        return outcome_in_words(entry, {entry.domain: "the guest"})
    return outcome_in_words(entry, _NAMES)


def text(event: Event, outcomes: Sequence[tuple[str, tuple[str, ...]]]) -> str:
    """One event: what it was, and what would have become of it under each policy (name, lines)."""
    origin = event.finding.record.origin
    at = f"{origin.file}:{origin.line}" if origin.line is not None else f"{origin.file}@{origin.offset}"
    lines = [f"{printable(at)}  {printable(event.finding.summary)}"]
    same = len({found for _, found in outcomes}) == 1
    for name, found in outcomes[:1] if same else outcomes:
        lead = "" if len(outcomes) == 1 else "both: " if same else f"{printable(name)}: "
        lines += [f"    {lead}{printable(line)}" for line in found]
    return "\n".join(lines)


def as_json(event: Event, outcomes: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, object]:
    """One event as a JSON object."""
    origin = event.finding.record.origin
    return {
        "file": origin.file,
        "line": origin.line,
        "offset": origin.offset,
        "severity": event.finding.severity,
        "summary": event.finding.summary,
        "outcomes": [{"policy": name, "outcome": list(found)} for name, found in outcomes],
    }
