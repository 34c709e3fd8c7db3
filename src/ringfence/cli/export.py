"""``ringfence export``: the journal's events as JSON lines, for whatever reads them."""

from __future__ import annotations

import csv
import json
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ringfence.cli.exits import Exit
from ringfence.cli.state_dir import JOURNAL, state_dir_option
from ringfence.errors import JournalDamagedError, RingfenceError

if TYPE_CHECKING:
    from ringfence.journal.lives import Dated

EXIT_UNREADABLE = Exit.USAGE
EXIT_IN_PART = Exit.PART

COLUMNS: Final = ("number", "time", "kind", "case", "domain", "summary", "event")
"""Of a line of --csv: what most kinds of events have, and the whole event as JSON."""

_AGO = re.compile(r"(\d{1,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


class Moment(click.ParamType[datetime]):
    """A time: of ISO 8601 (UTC unless it says otherwise), or so long ago (90s, 15m, 12h, 7d)."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """As ``click.ParamType.convert``."""
        text = str(value)
        if ago := _AGO.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            self.fail(f"{text!r} is no time: 2026-05-01, 2026-05-01T12:30:00+02:00, or 15m, 12h, 7d ago", param, ctx)
        return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


@click.command("export", short_help="The journal's events as JSON lines, raw records included.")
@click.option("--after", type=click.IntRange(min=0), default=0, help="Only events after this number.")
@click.option("--since", type=Moment(), metavar="TIME", help="Only events since then: ISO 8601 (UTC), or 15m, 12h, 7d.")
@click.option("--kind", "kinds", multiple=True, metavar="KIND", help="Only events of this kind; may be given again.")
@click.option("--csv", "as_csv", is_flag=True, help="As CSV: number, time, kind, case, domain, summary, event (JSON).")
@click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), help="A journal, instead of the state's.")
@state_dir_option
@click.pass_context
def export_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context,
    after: int,
    since: datetime | None,
    kinds: tuple[str, ...],
    as_csv: bool,
    journal: Path | None,
    state_dir: Path,
) -> None:
    """Write every event as one JSON object a line: its number, its time (UTC, null where no clock was known), and the
    event as the journal has it. docs/journal-upkeep.md says what is in a line; an event's kinds and fields are in
    docs/reference/journal.md. The service may run meanwhile.

    To go on later, ask for what comes --after the last number. With --csv, a spreadsheet can read it (RFC 4180).

    \b
    Exit codes: 0 written; 2 usage, or the journal cannot be read; 3 it is damaged: all before the damage is written.
    """
    from ringfence.journal.events import KINDS  # noqa: PLC0415 (other commands start without it)
    from ringfence.journal.lives import dated  # noqa: PLC0415
    from ringfence.journal.store import Reader  # noqa: PLC0415

    if unknown := [each for each in kinds if each not in KINDS]:
        raise click.UsageError(f"no event is called {unknown[0]}; there are: {', '.join(sorted(KINDS))}")
    path = journal if journal is not None else state_dir / JOURNAL
    since_ms = None if since is None else round(since.timestamp() * 1000)
    try:
        with Reader(path) as reader:
            lines = dated(reader, after, since_ms=since_ms, kinds=kinds)
            if as_csv:
                _write_csv(lines)
            else:
                for each in lines:
                    sys.stdout.write(f'{{"number":{each.number},"time":{_time(each.wall_ms)},"event":{each.text}}}\n')
    except JournalDamagedError as error:
        click.echo(f"ringfence: {error}\n  {error.advice}", err=True)
        ctx.exit(EXIT_IN_PART)
    except RingfenceError as error:
        click.echo(f"ringfence: {error}\n  {error.advice}", err=True)
        ctx.exit(EXIT_UNREADABLE)


def _write_csv(lines: Iterable[Dated]) -> None:
    table = csv.writer(sys.stdout)
    table.writerow(COLUMNS)
    for each in lines:
        event = json.loads(each.text)
        shown = (event.get(name, "") for name in ("kind", "case", "domain", "summary"))
        time = _time(each.wall_ms)
        table.writerow((each.number, "" if time == "null" else time.strip('"'), *shown, each.text))


def _time(wall_ms: int | None) -> str:
    if wall_ms is None:
        return "null"
    seconds, ms = divmod(wall_ms, 1000)
    try:
        return f'"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{ms:03}Z"'
    except (OverflowError, ValueError, OSError):
        return "null"  # no calendar has it
