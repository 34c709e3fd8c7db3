"""The exit codes of every command: one meaning a number, so that a script can tell without knowing the command."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from ringfence.errors import JournalDamagedError
    from ringfence.journal.salvage import Found


class Exit(IntEnum):
    """What a command ends with."""

    DONE = 0
    """It was done, and what was asked about is good."""
    NO = 1
    """It was asked, and the answer is no: refused, failed, not good, a threshold reached, no such case."""
    USAGE = 2
    """Nothing was done: the command was called wrongly, or a file that it needs cannot be read or written."""
    PART = 3
    """Not all of it: the service is not running, or evidence or a journal could be read in part only."""


MEANINGS: Final = {
    Exit.DONE: "It was done, and what was asked about is good.",
    Exit.NO: "It was asked, and the answer is no: refused, failed, not good, a threshold reached, no such case.",
    Exit.USAGE: "Nothing was done: it was called wrongly, or a file that it needs cannot be read or written.",
    Exit.PART: "Not all of it: the service is not running, or evidence or a journal could be read in part only.",
}
"""For the documentation."""


def say_damage(error: JournalDamagedError, found: Found) -> None:
    """Say on standard error that a journal is damaged, and what of it could not be read."""
    lost = ""
    if found.lost == 1:
        lost = f"event {found.lost_from} is lost; "
    elif found.lost:
        lost = f"{found.lost} events are lost, between {found.lost_from} and {found.lost_to}; "
    click.echo(f"ringfence: {error}\n  {lost}what holds is shown, {found.read} events.\n  {error.advice}", err=True)
