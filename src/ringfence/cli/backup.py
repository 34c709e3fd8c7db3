"""``ringfence backup``: a copy of the journal, while the service runs."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ringfence.cli.exits import Exit
from ringfence.cli.state_dir import JOURNAL, state_dir_option
from ringfence.errors import JournalDamagedError, RingfenceError

EXIT_DAMAGED = Exit.NO
EXIT_UNREADABLE = Exit.USAGE


@click.command("backup", short_help="A checked copy of the journal, while the service runs.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), help="A journal, instead of the state's.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@state_dir_option
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@click.pass_context
def backup_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context, file: Path, journal: Path | None, as_json: bool, state_dir: Path, force: bool
) -> None:
    """Copy the journal to FILE: all of it as it is at one moment, read again and checked before it gets its name.

    To restore one, stop the service, put the copy in the journal's place, and take away journal.sqlite-wal and -shm.

    \b
    Exit codes: 0 copied; 1 the journal is damaged, and nothing was copied; 2 usage, or a file cannot be written.
    """
    from ringfence.journal.backup import backup  # noqa: PLC0415 (other commands start without it)

    path = journal if journal is not None else state_dir / JOURNAL
    if file.exists() and not force:
        raise click.UsageError(f"{file} is there already; --force replaces it")
    shown = sys.stderr.isatty()
    try:
        with click.progressbar(length=1, label="copied", file=sys.stderr, hidden=not shown) as bar:

            def tell(done: int, pages: int) -> None:
                bar.length = pages
                bar.update(done - bar.pos)

            events = backup(path, file, tell)
    except RingfenceError as error:
        click.echo(f"ringfence: {error}\n  {error.advice}", err=True)
        ctx.exit(EXIT_DAMAGED if isinstance(error, JournalDamagedError) else EXIT_UNREADABLE)
    size = file.stat().st_size
    if as_json:
        click.echo(json.dumps({"file": str(file), "events": events, "bytes": size}))
    else:
        click.echo(f"{file}: {events} events, checked, {size / 1e6:.1f} MB")
