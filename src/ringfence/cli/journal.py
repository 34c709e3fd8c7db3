"""``ringfence journal``: look after the journal's file."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

import click

from ringfence.cli.exits import Exit
from ringfence.cli.state_dir import JOURNAL, state_dir_option
from ringfence.errors import JournalDamagedError, RingfenceError

EXIT_DAMAGED = Exit.NO
EXIT_LOST = Exit.NO
EXIT_UNREADABLE = Exit.USAGE

journal_option = click.option(
    "--journal", type=click.Path(path_type=Path, dir_okay=False), help="A journal, instead of the state's."
)


@click.group("journal", short_help="Look after the journal: check, info, compact, salvage.")
def journal_command() -> None:
    """Look after the journal's file. The running service does all of this by itself but a check of all that is old."""


_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object.")


def _tell(as_json: bool, text: str, **facts: object) -> None:
    """What was found or done: in words, or as one JSON object."""
    click.echo(json.dumps(facts, ensure_ascii=False) if as_json else text)


def _path(journal: Path | None, state_dir: Path) -> Path:
    return journal if journal is not None else state_dir / JOURNAL


def _fail(ctx: click.Context, error: RingfenceError) -> NoReturn:
    click.echo(f"ringfence: {error}\n  {error.advice}", err=True)
    ctx.exit(EXIT_DAMAGED if isinstance(error, JournalDamagedError) else EXIT_UNREADABLE)


@journal_command.command("check")
@_json_option
@journal_option
@state_dir_option
@click.pass_context
def check_command(ctx: click.Context, as_json: bool, journal: Path | None, state_dir: Path) -> None:
    """Read the whole journal and check every event, the chain of their CRCs, and the snapshots. The service may run.

    \b
    Exit codes: 0 it is sound; 1 it is damaged; 2 usage, or it cannot be read.
    """
    from ringfence.journal.store import Reader  # noqa: PLC0415 (other commands start without it)

    path = _path(journal, state_dir)
    try:
        with Reader(path) as reader:
            events = reader.check()
    except JournalDamagedError as error:
        if as_json:
            _tell(as_json, "", journal=str(path), sound=False, problem=str(error))
        _fail(ctx, error)
    except RingfenceError as error:
        _fail(ctx, error)
    _tell(as_json, f"{path}: sound, {events} events", journal=str(path), sound=True, events=events)


@journal_command.command("info")
@_json_option
@journal_option
@state_dir_option
@click.pass_context
def info_command(ctx: click.Context, as_json: bool, journal: Path | None, state_dir: Path) -> None:
    """What is in the journal, since when, and how much room it takes. Nothing is checked. The service may run.

    \b
    Exit codes: 0 shown; 1 it is damaged; 2 usage, or it cannot be read.
    """
    from ringfence.journal.lives import lives  # noqa: PLC0415 (other commands start without it)
    from ringfence.journal.salvage import set_aside  # noqa: PLC0415
    from ringfence.journal.snapshot import SHAPE  # noqa: PLC0415
    from ringfence.journal.store import Reader  # noqa: PLC0415

    path = _path(journal, state_dir)
    try:
        with Reader(path) as reader:
            base, kept, last = reader.base.number, reader.kept, reader.last
            begun, snapshots, used = lives(reader), reader.snapshots(), reader.used_bytes
    except RingfenceError as error:
        _fail(ctx, error)
    before = f"; of those up to {base}, {len(kept)} are kept" if base else ""
    first = next((life.epoch_ms for life in begun if life.epoch_ms is not None), None)
    lines = [
        ("file", f"{path}, {path.stat().st_size / 1e6:.1f} MB, of which {used / 1e6:.1f} MB are used"),
        ("events", f"{base + 1 if last > base else last} to {last}{before}"),
        ("since", "unknown" if first is None else f"{datetime.fromtimestamp(first / 1000, UTC):%Y-%m-%d %H:%M} UTC"),
        ("starts", str(len(begun))),
    ]
    for each in snapshots:
        use = (
            ""
            if each.fits and each.version == SHAPE
            else ", of other events"
            if not each.fits
            else ", another version's"
        )
        lines.append(("snapshot", f"after event {each.number}, {each.bytes / 1e6:.2f} MB{use}"))
    lines += [("damaged", f"{each}: set aside, look at it and take it away") for each in set_aside(path)]
    text = "\n".join(f"{name:<10} {said}" for name, said in lines)
    _tell(
        as_json, text, journal=str(path), bytes=path.stat().st_size, used_bytes=used, base=base, kept=len(kept),
        last=last, since_wall_ms=first, starts=len(begun),
        snapshots=[{"event": each.number, "bytes": each.bytes, "usable": each.fits and each.version == SHAPE}
                   for each in snapshots],
        set_aside=[str(each) for each in set_aside(path)],
    )  # fmt: skip


@journal_command.command("compact")
@journal_option
@state_dir_option
@click.option("--keep-days", type=click.IntRange(min=1), help="Drop what is older than so many days.")
@click.option("--upto", type=click.IntRange(min=1), metavar="N", help="Drop events up to this number.")
@click.option("--archive", is_flag=True, help="Keep what is dropped in journal-archive, compressed.")
@click.option("--shrink", is_flag=True, help="Give the file's free room back to the disk; needs as much for a while.")
@click.pass_context
def compact_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context,
    journal: Path | None,
    state_dir: Path,
    keep_days: int | None,
    upto: int | None,
    archive: bool,
    shrink: bool,
) -> None:
    """Drop old events, while the service does not run. What is open, counted or judged bad stays, with all that is
    needed to explain it; the running service does this by itself, within the configuration's bounds.

    \b
    Exit codes: 0 done; 1 the journal is damaged; 2 usage, or it is in use, or cannot be written.
    """
    from ringfence.journal.archive import Archive  # noqa: PLC0415 (other commands start without it)
    from ringfence.journal.retention import carry_out, plan_upto, tidy, too_old  # noqa: PLC0415
    from ringfence.journal.store import Journal  # noqa: PLC0415

    if keep_days is None and upto is None and not shrink:
        raise click.UsageError("say what shall go: --keep-days or --upto; or --shrink")
    path = _path(journal, state_dir)
    if not path.exists():
        raise click.UsageError(f"{path}: there is no such journal")
    now_wall_ms = round(datetime.now(UTC).timestamp() * 1000)
    try:
        with Journal(path, reserve_bytes=0) as opened:
            wanted = upto or (too_old(opened, keep_days, now_wall_ms) if keep_days else 0)
            if wanted > opened.base.number:
                because = f"they are older than {keep_days} days" if upto is None else "somebody wanted it"
                kept_in = Archive(path.with_name("journal-archive"), 1 << 62) if archive else None
                plan = plan_upto(opened, wanted, because, kept_in)
                if plan.events:
                    for _ in carry_out(opened, plan, opened.at_ms(opened.last)):
                        pass
                said = f"{plan.events} events with {plan.text_bytes / 1e6:.1f} MB dropped, {len(plan.kept)} are needed"
                click.echo(said if plan.events else f"nothing is dropped: all {len(plan.kept)} are needed")
            elif not shrink:
                click.echo("nothing is that old")
            for _ in tidy(opened):
                pass
            if shrink:
                opened.shrink()
    except OSError as error:
        click.echo(f"ringfence: {error}", err=True)
        ctx.exit(EXIT_UNREADABLE)
    except RingfenceError as error:
        _fail(ctx, error)
    click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


@journal_command.command("salvage")
@click.argument("new", type=click.Path(path_type=Path, dir_okay=False))
@_json_option
@journal_option
@state_dir_option
@click.pass_context
def salvage_command(ctx: click.Context, new: Path, as_json: bool, journal: Path | None, state_dir: Path) -> None:
    """Make the journal NEW of what a damaged one still holds; the damaged one is not touched. Each event has the number
    that it had; none is made up. The service does this by itself when it starts.

    \b
    Exit codes: 0 nothing is lost; 1 something is, and what; 2 usage, or a file cannot be read or written.
    """
    from ringfence.journal.salvage import salvage  # noqa: PLC0415 (other commands start without it)

    path = _path(journal, state_dir)
    try:
        said = salvage(path, new, f"salvaged by hand from {path}")
    except RingfenceError as error:
        click.echo(f"ringfence: {error}\n  {error.advice}", err=True)
        ctx.exit(EXIT_UNREADABLE)
    _tell(
        as_json, f"{new}: {said.read} events", journal=str(new), events=said.read, lost=said.lost,
        lost_from=said.lost_from, lost_to=said.lost_to,
    )  # fmt: skip
    if said.lost:
        click.echo(f"{said.lost} events are lost, between {said.lost_from} and {said.lost_to}", err=True)
        ctx.exit(EXIT_LOST)
