"""``ringfence explain``: the whole chain of a case, from raw registers to outcome."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ringfence.cli.exits import Exit, say_damage
from ringfence.cli.state_dir import JOURNAL, state_dir_option
from ringfence.errors import JournalDamagedError, RingfenceError

if TYPE_CHECKING:
    from ringfence.journal.lives import Life
    from ringfence.journal.store import Reader
    from ringfence.journal.telling import Told
    from ringfence.views.chain import Chain, Listed
    from ringfence.world.identities import CaseId, DomainId

EXIT_NO_SUCH_CASE = Exit.NO
EXIT_UNREADABLE = Exit.USAGE
EXIT_IN_PART = Exit.PART

MOST_NUMBER: Final = 1 << 63
"""The journal's numbers are SQLite integers: signed, of 64 bits (https://sqlite.org/datatype3.html)."""


@click.command("explain", short_help="Why, step by step, from the registers to the outcome.")
@click.argument("event", type=int, required=False)
@click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), help="A journal, instead of the state's.")
@state_dir_option
@click.option("--event", "as_event", is_flag=True, help="EVENT is an event's number, even if a case has it as well.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a case.")
@click.pass_context
def explain_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context, event: int | None, journal: Path | None, state_dir: Path, as_event: bool, as_json: bool
) -> None:
    """Explain EVENT: the evidence, its class, who was hit, what was decided, and what became of it, each step with its
    reason and the row of the concept. EVENT is the number of a case, or of an event as `ringfence events` numbers
    them: it is explained by its case, if it has one. A case goes first: --event names the event of a number that
    both have. Without EVENT, cases are listed, and records that made none
    (corrected errors).

    \b
    Exit codes: 0 explained; 1 there is no such event; 2 usage, or the journal cannot be read; 3 the journal is
    damaged: what holds of it is listed.
    """
    from ringfence.journal.store import Reader  # noqa: PLC0415 (other commands start without it)

    path = journal if journal is not None else state_dir / JOURNAL
    try:
        with Reader(path) as reader:
            if event is None:
                whole = _list(reader, as_json=as_json)
                ctx.exit(Exit.DONE if whole else EXIT_IN_PART)
            shown = _explained(reader, event, as_event=as_event)
    except RingfenceError as error:
        click.echo(f"{error}\n{error.advice}", err=True)
        ctx.exit(EXIT_UNREADABLE)
    if shown is None:
        told = f"{path}: there is no case and no event {event}"
        click.echo(f"{told}; ringfence explain without a number lists what there is", err=True)
        ctx.exit(EXIT_NO_SUCH_CASE)
    click.echo(shown.as_json() if as_json else shown.as_text(), nl=as_json)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A chain, and what the number stands for if that is another one."""

    chain: Chain
    event: int | None = None

    def as_json(self) -> str:
        from ringfence.views import chain as view  # noqa: PLC0415 (other commands start without it)

        return json.dumps(view.as_json(self.chain), ensure_ascii=False)

    def as_text(self) -> str:
        from ringfence.views import chain as view  # noqa: PLC0415 (other commands start without it)

        of = f"event {self.event} is of case {self.chain.case}:\n" if self.event is not None else ""
        return of + view.text(self.chain)


def _explained(reader: Reader, number: int, *, as_event: bool) -> _Shown | None:
    """What a number stands for, explained; None if it stands for nothing."""
    from ringfence.journal import events as ev  # noqa: PLC0415 (other commands start without it)
    from ringfence.journal.lives import lives  # noqa: PLC0415
    from ringfence.journal.telling import on_one_clock, told_of  # noqa: PLC0415
    from ringfence.views import chain as view  # noqa: PLC0415
    from ringfence.world.identities import CaseId  # noqa: PLC0415

    if number not in range(1, MOST_NUMBER):
        return None
    known = lives(reader)
    if not as_event and (told := told_of(reader, CaseId(number), known)).events:
        return _Shown(_chain(reader, CaseId(number), told))
    found = next(reader.events(number - 1), None)
    if found is None or found[0] != number:
        return None
    _, event = found
    case = getattr(event, "case", None)
    if isinstance(event, ev.Carried):
        intended = (each for _, each in reader.events(kinds=(ev.Intended,)) if isinstance(each, ev.Intended))
        case = next((each.case for each in intended if each.order == event.order), None)
    if case is not None and (told := told_of(reader, case, known)).events:
        return _Shown(_chain(reader, case, told), number)
    epoch_ms = on_one_clock([found], known).epoch_ms
    if isinstance(event, ev.Received):
        reports = (each for _, each in reader.events(number, kinds=(ev.AlsoSeen,)) if isinstance(each, ev.AlsoSeen))
        further = [each for each in reports if each.of == event.sighting]
        return _Shown(view.chain_of_record(number, event, further, epoch_ms))
    return _Shown(view.chain_of_event(number, event, _names(reader, number), epoch_ms))


def _chain(reader: Reader, case: CaseId, told: Told) -> Chain:
    """A case's chain, with the cases that its end has begun."""
    from ringfence.service.followed import followed_by  # noqa: PLC0415 (other commands start without it)
    from ringfence.views import chain as view  # noqa: PLC0415

    last, _ = told.events[-1]
    shown = view.chain(case, (each for _, each in told.events), _names(reader, last), told.epoch_ms)
    return replace(shown, followed_by=followed_by(reader, case, told))


def _names(reader: Reader, until: int) -> dict[DomainId, str]:
    """The names of domains as they were when an event happened: a later boot gives their numbers to others."""
    from ringfence.journal import events as ev  # noqa: PLC0415 (other commands start without it)
    from ringfence.views.chain import names_of  # noqa: PLC0415

    changes = takewhile(lambda each: each[0] <= until, reader.events(kinds=(ev.DomainChanged,)))
    return names_of(event for _, event in changes)


def _listed(reader: Reader) -> tuple[Listed, bool]:
    """What the journal's events come to, and whether all of them could be read. The damage is said."""
    from ringfence.journal.salvage import Found, what_holds  # noqa: PLC0415 (other commands start without it)
    from ringfence.views import chain as view  # noqa: PLC0415

    listed = view.Listed()
    try:
        for number, event in reader.events():
            listed.add(number, event)
    except JournalDamagedError as error:
        listed, found = view.Listed(), Found()
        for number, event in what_holds(reader.path, found):
            listed.add(number, event)
        say_damage(error, found)
        return listed, False
    return listed, True


def _list(reader: Reader, *, as_json: bool) -> bool:
    """Every case. Event by event, and as JSON case by case: a journal is larger than the memory of a Dom0.

    False if the journal is damaged: then what holds of it is listed.
    """
    from ringfence.journal.lives import lives  # noqa: PLC0415 (other commands start without it)
    from ringfence.journal.telling import told_of  # noqa: PLC0415
    from ringfence.views import chain as view  # noqa: PLC0415

    listed, whole = _listed(reader)
    if not as_json:
        for line in view.listing(listed):
            click.echo(line)
        return whole
    known: list[Life] = []
    with suppress(JournalDamagedError):
        known = lives(reader)
    for case, title in listed.titles.items():
        try:
            told = told_of(reader, case, known)
            shown = view.as_json(_chain(reader, case, told))
        except JournalDamagedError as error:
            shown = {"case": case, "title": title, "damaged": str(error)}
        click.echo(json.dumps(shown, ensure_ascii=False))
    return whole
