"""What the service answers, for a person at a terminal: the worst first, one thing a line, nothing to decode.

Colours are styles that ``click.echo`` takes away where the output is no terminal.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import click

from ringfence.service import control_protocol as say
from ringfence.views.capabilities import CAPABILITIES
from ringfence.views.chain import clock
from ringfence.views.text import printable
from ringfence.views.times import to_the_ms

_STATES: Final = {
    "running": "green",
    "paused": "yellow",
    "saved": "cyan",
    "migrated": "cyan",
    "crashed": "red",
    "destroyed": "red",
}
_SORTS: Final = {
    "finding": "yellow",
    "lost": "red",
    "outcome": "green",
    "approval": "magenta",
    "instruction": "magenta",
}

_LOST = " (a queue that was full, or log lines that were overwritten unread: the events `lost` say which)"


def when(wall_ms: int | None, at_ms: int = 0) -> str:
    """A time in UTC, to the millisecond; the host's clock where the wall clock was not known."""
    if wall_ms is None:
        return f"host {clock(at_ms)}"
    return to_the_ms(wall_ms)


def span(ms: int) -> str:
    """A span of time in its two largest units."""
    seconds = max(0, ms) // 1000
    for unit_s, unit, less_s, less in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit_s:
            return f"{seconds // unit_s} {unit} {seconds % unit_s // less_s} {less}"
    return f"{seconds} s"


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]], colours: dict[str, str] | None = None) -> str:
    """Columns as wide as what stands in them; the last one is not filled up. ``colours`` of whole cells, by text."""
    lines = [heads, *([printable(text) for text in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    known = colours or {}

    def cell(text: str, width: int) -> str:
        filled = text.ljust(width)
        return click.style(filled, fg=known[text]) if text in known else filled

    def shown(line: Iterable[str]) -> str:
        return "  ".join(cell(text, width) for text, width in zip(line, widths, strict=True)).rstrip()

    return "".join(f"{shown(line)}\n" for line in lines)


def status(health: say.Health) -> str:
    """How the service is: what is wrong first."""
    if health.problems:
        head = click.style("NOT WELL", fg="red", bold=True)
        problems = "".join(f"  ! {printable(each)}\n" for each in health.problems)
    else:
        head, problems = click.style("well", fg="green", bold=True), ""
    waiting = f"{health.approvals} (ringfence approve)" if health.approvals else "0"
    storms = f"{health.together}: {health.together - health.summed} kept one by one, {health.summed} by number and page"
    rows = (
        ("service", f"Ringfence {health.service_version}, pid {health.pid}, life {health.life}"),
        ("since", when(health.started_wall_ms)),
        ("host", f"{health.hypervisor}, boot {health.boot}" + (", HALTED" if health.halted else "")),
        ("Dom0", health.dom0),
        ("domains", str(health.domains)),
        ("open cases", str(health.open_cases)),
        ("waits for you", waiting),
        ("running orders", str(health.orders)),
        (
            "records received",
            f"{health.received}, and {health.also_seen} further reports of the same errors; "
            f"{health.unrecognised} not understood",
        ),
        *((("of them in storms", storms),) if health.together else ()),
        (
            "evidence lost",
            f"{health.lost_urgent} urgent, {health.lost_nonurgent} other{_LOST * bool(health.lost_nonurgent)}",
        ),
        ("journal", f"{health.journal_events} events in {health.state_dir}, {health.unwritten} wait for room"),
        ("policy", f"{health.policy} ({health.policy_digest})"),
        ("configuration", f"{health.configuration} ({health.configuration_digest})"),
        *(
            (("at restart", f"{', '.join(health.at_restart)}: changed, and not yet in force"),)
            if health.at_restart
            else ()
        ),
        ("you", f"{health.you}: you may {', '.join(health.you_may)}"),
        ("cannot do", ", ".join(CAPABILITIES.get(each, each) for each in health.lacks) or "-"),
        (
            "clients",
            f"{health.clients} now; {health.turned_away} turned away, {health.slow_readers} dropped as too slow, "
            f"{health.bad_lines} lines that are no request",
        ),
    )
    noted = (each.partition(": ") for each in health.notes)
    told = (*rows, *((who, what) for who, _, what in noted))
    return f"{head}\n{problems}" + "".join(f"  {name:<17} {printable(value)}\n" for name, value in told)


def event(each: say.Event, *, details: bool) -> str:
    """One event as a line, with its reasons below it if they are wanted."""
    row = f"[{each.row}] " if each.row else ""
    case = f" (case {each.case})" if each.case is not None else ""
    sort = click.style(f"{each.what:<11}", fg=_SORTS.get(each.what))
    more = "".join(f"\n{'':26}- {printable(detail)}" for detail in each.details) if details else ""
    return f"{each.number:>7}  {when(each.wall_ms, each.at_ms)}  {sort} {row}{printable(each.text)}{case}{more}"


def cases(found: say.CaseList) -> str:
    """The cases, each with its parts."""
    if not found.cases:
        return "no open case\n"
    lines: list[str] = []
    for each in found.cases:
        state = click.style("open", fg="yellow") if each.open else "closed"
        about = each.instructed or each.severity
        what = f", {printable(about)}" if about else ""
        since = f", since {when(each.opened_wall_ms)}" if each.opened_wall_ms is not None else ""
        pages = f", {each.pages} page{'s' if each.pages != 1 else ''}" if each.pages else ""
        lines.append(f"{each.case}  {state}{what}{since}{pages}")
        lines += [
            f"    {printable(part.whom)}: {part.state.replace('_', ' ')} by {part.row}"
            + (f"; {printable(part.because)}" if part.because else "")
            for part in each.parts
        ]
        if each.fault:
            lines.append(f"    acts ahead on {printable(each.fault)}")
        if each.superseded_by is not None:
            lines.append(f"    taken over by case {each.superseded_by}")
    return "".join(f"{line}\n" for line in lines)


def domains(found: say.DomainList) -> str:
    """The domains as a table."""
    rows = (
        (
            str(each.domain),
            each.name,
            each.kind,
            each.state,
            str(each.vcpus),
            str(each.memory_mib),
            each.handler,
            "on" if each.mca_enabled else "-",
            ", ".join(map(str, each.cases)) or "-",
        )
        for each in found.domains
    )
    thrown = "".join(
        f"\n{each.name}: thrown away of what its agent said: {', '.join(f'{n} {why}' for why, n in each.thrown)}\n"
        for each in found.domains
        if each.thrown
    )
    return (
        table(("ID", "NAME", "KIND", "STATE", "VCPUS", "MIB", "HANDLER", "MCA", "OPEN CASES"), rows, _STATES) + thrown
    )


def approvals(found: say.ApprovalList) -> str:
    """What waits, with the command that lets it go on."""
    if not found.approvals:
        return "nothing waits for your word\n"
    rows = (
        (str(each.case), each.name, each.operation, span(each.left_ms), when(each.deadline_wall_ms))
        for each in found.approvals
    )
    first = found.approvals[0]
    return (
        table(("CASE", "DOMAIN", "OPERATION", "TIME LEFT", "UNTIL"), rows)
        + f"\nringfence approve {first.case} {first.domain}   or   ringfence reject {first.case} {first.domain}\n"
    )
