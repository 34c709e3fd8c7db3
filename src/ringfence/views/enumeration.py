"""A proof by exhaustion as text: how much was gone through, what can become of what, and which laws broke how."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ringfence.decision.enumeration_report import Outcome, Report
from ringfence.decision.laws import TEXTS, Broken


def enumeration_text(reports: Iterable[Report], missing: Iterable[str], broken: Iterable[Broken]) -> str:
    """The counts of each report, then what nothing led to and every broken law with the way to it, or that all hold."""
    lines = ["                         beginnings     states      moves  paths"]
    lines += [_counts(report) for report in reports]
    failures = [*missing_lines(missing), *broken_lines(broken)]
    lines += [
        "",
        *(failures or ["Every law holds, every row and every edge of the flow is reached, and every way ends."]),
    ]
    return "\n".join(lines) + "\n"


def _counts(report: Report) -> str:
    return f"{report.name:<24} {report.beginnings:>10,} {report.states:>10,} {report.moves:>10,}  {report.paths:,}"


def missing_lines(missing: Iterable[str]) -> Iterator[str]:
    """What is declared and was not reached, a line each."""
    return (f"not reached: {each}" for each in missing)


def broken_lines(broken: Iterable[Broken]) -> Iterator[str]:
    """Each broken law: what it says, what happened, and the shortest way to it."""
    for each in broken:
        yield str(each)
        yield f"  {each.law}: {TEXTS[each.law]}"
        yield from (f"    {number}. {step}" for number, step in enumerate(each.path))


def outcome_cells(outcome: Outcome) -> tuple[str, ...]:
    """An outcome as cells: what it began with, the rows in the order they are tried, the ends."""
    rows = ", ".join(outcome.rows)
    ends = ", ".join(str(end).replace("_", " ") for end in outcome.ends)
    return (*outcome.what, rows, ends)
