"""The board of the demo on a terminal: what a person sees of a decision is what it was taken for."""

from __future__ import annotations

import io

from rich.console import Console

from ringfence.views.board import WHY_SHOWN, Board, rendered
from ringfence.views.chain import Link


def shown(board: Board, lines: int) -> str:
    console = Console(file=io.StringIO(), width=120, height=lines)
    console.print(rendered(board, lines))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_decision_stands_there_with_its_reasons_and_the_last_lines_stay_in_sight() -> None:
    board = Board("a test")
    why = ("I.1: it is uncorrected", "B.7: the platform marks it", "I.2c-dom0: a DomU is hit", "B.4: no handler")
    board.lines.append((Link(0, "decision", "I.2c-dom0", "in Dom0's seat", (*why, *("more",) * WHY_SHOWN)), False))
    told = shown(board, 40)
    assert "- I.2c-dom0: a DomU is hit" in told and "- B.4: no handler" in told
    assert "I.1: it is" not in told, "the finding above says so"
    assert told.count("- more") == WHY_SHOWN - 2
    for number in range(50):
        board.lines.append((Link(number, "decision", "", f"number {number}", ("because",)), False))
    told = shown(board, 40)
    assert "number 49" in told and told.count("because") == told.count("number")
