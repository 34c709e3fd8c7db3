"""The parts of the machine for a person at a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import click

from ringfence.cli.control_text import when
from ringfence.service import control_protocol as say
from ringfence.service.control_protocol import PartState
from ringfence.views.text import printable
from ringfence.world.situation import Suspect

_COLOURS: Final = {
    PartState.FAULTY: "red",
    PartState.DEALT_WITH: "magenta",
    PartState.RETIRED: "cyan",
    PartState.SUSPECTED: "yellow",
    PartState.CLEARED: "green",
}

_REPLACE: Final = "replace it, then: ringfence repaired '{part}' --replaced"
_PAGE: Final = "take it out of use: ringfence page offline {frame}; what is replaced is its DIMM"


def _what_to_do(each: say.PartLine) -> str:
    """What only a person can do; empty if there is nothing. A page is no part that can be exchanged."""
    if each.state is not PartState.FAULTY:
        return ""
    if each.suspect == Suspect.PAGE:
        return _PAGE.format(frame=printable(each.name.removeprefix("page ")))
    return _REPLACE.format(part=printable(each.part))


def parts(found: say.PartList, *, everything: bool) -> str:
    """The parts, the worst first, each with what it rests on."""
    lines = [line for each in found.parts for line in _part(each)]
    if found.left_off:
        lines.append(f"{found.left_off} more are not shown")
    if not found.parts:
        lines.append("nothing is held against any part")
    if not everything and (found.watched or found.cleared):
        lines.append(f"{found.watched} parts are only watched, {found.cleared} were cleared (ringfence parts --all)")
    return "".join(f"{line}\n" for line in lines)


def _part(each: say.PartLine) -> Iterator[str]:
    state = click.style(str(each.state), fg=_COLOURS.get(each.state))
    grade = f", {each.grade} suspect" if each.grade else ""
    yield f"{click.style(printable(each.part), bold=True)}: {state}{grade}"
    yield f"    {_counted(each)}"
    if each.engine is not None:
        engine = each.engine
        what = "different syndromes" if engine.distinct else "errors"
        hours = f"{engine.window_s / 3600:g} h"
        level = f"{engine.level} of {engine.limit} {what} in {hours}"
        yield f"    engine ({engine.engine}): {level}  [{printable(engine.source)}]"
    yield from (f"    for: {printable(sentence)}" for sentence in each.speaks_for)
    yield from (f"    against: {printable(sentence)}" for sentence in each.speaks_against)
    if each.case is not None:
        yield f"    case {each.case} acts on it (ringfence explain {each.case})"
    elif each.cases:
        yield f"    last acted on by case {each.cases[-1]} (ringfence explain {each.cases[-1]})"
    if each.state is PartState.CLEARED:
        by = f" by {printable(each.who)}" if each.who else ""
        yield f"    {each.stage}{by}, {when(each.since_wall_ms)}"
    if each.serial:
        yield f"    serial number {printable(each.serial)}"
    if todo := _what_to_do(each):
        yield f"    {todo}"


def _counted(each: say.PartLine) -> str:
    errors = f"{each.errors} error{'s' * (each.errors != 1)}"
    distinct = f", {each.distinct} different syndrome{'s' * (each.distinct != 1)}" if each.distinct else ""
    if each.first_wall_ms is None:
        return f"{errors}{distinct}"
    until = f" to {when(each.last_wall_ms)}" if each.last_wall_ms != each.first_wall_ms else ""
    return f"{errors}{distinct}, {when(each.first_wall_ms)}{until}"
