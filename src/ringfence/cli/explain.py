"""``ringfence explain``: the whole chain of a case, from raw registers to outcome."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ringfence.cli.state_dir import JOURNAL, state_dir_option
from ringfence.errors import RingfenceError

EXIT_NO_SUCH_CASE = 1
EXIT_UNREADABLE = 2


@click.command("explain", short_help="Why, step by step, from the registers to the outcome.")
@click.argument("event", type=int, required=False)
@click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), help="A journal, instead of the state's.")
@state_dir_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a case.")
@click.pass_context
def explain_command(
    ctx: click.Context, event: int | None, journal: Path | None, state_dir: Path, as_json: bool
) -> None:
    """Explain EVENT: the evidence, its class, who was hit, what was decided, and what became of it, each step with its
    reason and the row of the concept. EVENT is the number of a case, or of a record that made none (a corrected
    error); without it, both are listed.

    \b
    Exit codes: 0 explained; 1 there is no such event; 2 usage, or the journal cannot be read.
    """
    from ringfence.journal import events as ev  # noqa: PLC0415 (other commands start without it)
    from ringfence.journal.store import Reader  # noqa: PLC0415
    from ringfence.views import chain as view  # noqa: PLC0415
    from ringfence.world.identities import CaseId  # noqa: PLC0415

    path = journal if journal is not None else state_dir / JOURNAL
    try:
        with Reader(path) as reader:
            numbered = dict(reader.events())
    except RingfenceError as error:
        click.echo(f"{error}\n{error.advice}", err=True)
        ctx.exit(EXIT_UNREADABLE)
    names = view.names_of(numbered.values())
    cases = view.by_case(numbered.values())
    records = {number: each for number, each in numbered.items() if isinstance(each, ev.Received) and each.case is None}
    if event is not None:
        of_case = cases.get(CaseId(event))
        record = records.get(event)
        if of_case is not None:
            shown = view.chain(CaseId(event), of_case, names)
        elif record is not None:
            reports = (each for each in numbered.values() if isinstance(each, ev.AlsoSeen))
            further = [each for each in reports if each.of == record.sighting]
            shown = view.chain_of_record(event, record, further)
        else:
            click.echo(f"{path}: there is no event {event}; see ringfence explain without a number", err=True)
            ctx.exit(EXIT_NO_SUCH_CASE)
        click.echo(json.dumps(view.as_json(shown), ensure_ascii=False) if as_json else view.text(shown), nl=as_json)
        return
    if as_json:
        for case, events in cases.items():
            click.echo(json.dumps(view.as_json(view.chain(case, events, names)), ensure_ascii=False))
        return
    for line in view.listing((view.chain(case, events, names) for case, events in cases.items()), records):
        click.echo(line)
