"""The board of ``ringfence demo``: domains, pages, what happens and why, live on a terminal or line by line."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ringfence.decision.rows import MEANINGS, Row
from ringfence.views.chain import Link, clock
from ringfence.views.text import printable
from ringfence.world.domain import DomainState
from ringfence.world.situation import Situation

if TYPE_CHECKING:
    from rich.console import RenderableType

LINES_KEPT: Final = 200
"""More than any terminal is high."""


@dataclass(slots=True)
class Board:
    """What is shown: ``caption`` is what the script does now, ``rows`` are the rows of the concept that were passed."""

    title: str
    now_ms: int = 0
    caption: str = ""
    situation: Situation | None = None
    frames_out: int = 0
    halted: bool = False
    rows: dict[Row, int] = field(default_factory=dict)
    lines: deque[tuple[Link, bool]] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))

    def passed(self, names: Iterable[str]) -> None:
        """Rows were passed."""
        for name in names:
            if name in list(Row):
                self.rows[Row(name)] = self.rows.get(Row(name), 0) + 1

    @property
    def missing(self) -> tuple[Row, ...]:
        """The rows that were not passed."""
        return tuple(row for row in Row if row not in self.rows)


def plain(link: Link, *, details: bool = False) -> str:
    """One link as a line of text."""
    row = f"[{link.row}] " if link.row else ""
    more = "".join(f"\n{'':26}- {printable(each)}" for each in link.details) if details else ""
    return f"{clock(link.at_ms)}  {link.what:<10}  {row}{printable(link.text)}{more}"


_STATES: dict[DomainState, str] = {
    DomainState.RUNNING: "green",
    DomainState.PAUSED: "yellow",
    DomainState.SAVED: "cyan",
    DomainState.MIGRATED: "cyan",
    DomainState.SHUT_DOWN: "dim",
    DomainState.CRASHED: "red",
    DomainState.DESTROYED: "red",
}
_KINDS: dict[str, str] = {
    "finding": "bold",
    "decision": "cyan",
    "answer": "cyan",
    "question": "magenta",
    "outcome": "green",
    "order": "blue",
    "result": "blue",
    "lost": "bold red",
    "deadline": "yellow",
}


WHY_SHOWN: Final = 4
"""Reasons of a decision on the board, which has few lines; ``ringfence explain`` has all of them."""

_NOT_THE_WHY: Final = (f"{Row.CLASSIFY}: ", f"{Row.POISONING}: ")
"""What every decision on an uncorrected error begins with: its finding stands above it."""


def _with_why(link: Link) -> list[str]:
    """One link as lines of the board: a decision with its reasons."""
    lines = [plain(link)]
    if link.what == "decision":
        why = [each for each in link.details if not each.startswith(_NOT_THE_WHY)]
        lines += [f"{'':26}- {printable(each)}" for each in why[:WHY_SHOWN]]
    return lines


def rendered(board: Board, height: int) -> RenderableType:
    """The board for a terminal of so many lines. Needs the extra ``console``."""
    from rich.columns import Columns  # noqa: PLC0415 (an optional dependency, slow to import)
    from rich.console import Group  # noqa: PLC0415
    from rich.panel import Panel  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    domains = Table(box=None, expand=True, pad_edge=False)
    for column in ("domain", "kind", "state", "handler", "MCA"):
        domains.add_column(column, no_wrap=True)
    for each in board.situation.domains if board.situation is not None else ():
        domains.add_row(
            printable(each.name),
            each.kind,
            Text(each.state, _STATES[each.state]),
            each.handler,
            "on" if each.mca_enabled else "-",
        )
    dom0 = board.situation.dom0 if board.situation is not None else None
    able = "?" if dom0 is None else "hurt" if dom0.hurt else "able" if dom0.has_handler else "no handler"
    state = Text(f"{clock(board.now_ms)}   Dom0: {able}   pages out of use: {board.frames_out}")
    if board.halted:
        state.append("   HALTED", "bold red")
    rows = Columns([Text(row, "bold green" if row in board.rows else "dim") for row in Row], padding=(0, 2), equal=True)
    used = 12 + (len(board.situation.domains) if board.situation is not None else 0)
    lines = [
        Text(text, _KINDS.get(link.what, "") if not number else "dim")
        for link, _ in board.lines
        for number, text in enumerate(_with_why(link))
    ]
    log = Text("\n", no_wrap=True, overflow="ellipsis").join(lines[-max(5, height - used) :])
    return Group(
        Panel(Group(state, Text(board.caption, "bold"), domains), title=board.title),
        Panel(log, title="what happens, and why"),
        Panel(rows, title=f"rows of the concept: {len(board.rows)} of {len(Row)}"),
    )


def summary(board: Board, outcomes: Iterable[tuple[int, str, tuple[str, ...]]], journal: str) -> str:
    """What is said at the end: what became of each case, which rows were passed, and where the journal lies."""
    lines = ["", "What became of each case:"]
    for case, title, ends in outcomes:
        lines.append(f"  {case}  {printable(title)}")
        lines += [f"      -> {printable(end)}" for end in ends or ("still open",)]
    lines += ["", f"Rows of the concept passed: {len(board.rows)} of {len(Row)}"]
    lines += [f"  {row:<13} {times:>4}x  {MEANINGS[row].condition}" for row, times in sorted(board.rows.items())]
    if board.missing:
        lines.append(f"  not passed: {', '.join(board.missing)}")
    lines += ["", f"The journal lies in {journal}", f"Explain a case: ringfence explain --journal {journal} CASE"]
    return "\n".join(lines)
