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
@click.argument("case", type=int, required=False)
@click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), help="A journal, instead of the state's.")
@state_dir_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object a case.")
@click.pass_context
def explain_command(ctx: click.Context, case: int | None, journal: Path | None, state_dir: Path, as_json: bool) -> None:
    """Explain CASE: the evidence, its class, who was hit, what was decided, and what became of it, each step with its
    reason and the row of the concept. Without CASE, the cases of the journal are listed.

    \b
    Exit codes: 0 explained; 1 there is no such case; 2 usage, or the journal cannot be read.
    """
    from ringfence.journal import events as ev  # noqa: PLC0415 (other commands start without it)
    from ringfence.journal.store import Reader  # noqa: PLC0415
    from ringfence.views import chain as view  # noqa: PLC0415
    from ringfence.views.text import printable  # noqa: PLC0415
    from ringfence.world.identities import CaseId  # noqa: PLC0415

    path = journal if journal is not None else state_dir / JOURNAL
    try:
        with Reader(path) as reader:
            stored = [event for _, event in reader.events()]
    except RingfenceError as error:
        click.echo(f"{error}\n{error.advice}", err=True)
        ctx.exit(EXIT_UNREADABLE)
    names = view.names_of(stored)
    known = view.by_case(stored)
    if case is not None and case not in known:
        click.echo(f"{path}: there is no case {case}; it has {len(known)}: see ringfence explain", err=True)
        ctx.exit(EXIT_NO_SUCH_CASE)
    if case is not None:
        shown = view.chain(CaseId(case), known[CaseId(case)], names)
        click.echo(json.dumps(view.as_json(shown), ensure_ascii=False) if as_json else view.text(shown), nl=as_json)
        return
    for each, events in known.items():
        shown = view.chain(each, events, names)
        if as_json:
            click.echo(json.dumps(view.as_json(shown), ensure_ascii=False))
        else:
            click.echo(f"{each:>16}  {printable(shown.title)}")
            for line in shown.outcome or ("still open",):
                click.echo(f"{'':>16}  -> {printable(line)}")
    if not known and not as_json:
        count = sum(isinstance(event, ev.Received) for event in stored)
        click.echo(f"{path}: no case; {count} records received")
