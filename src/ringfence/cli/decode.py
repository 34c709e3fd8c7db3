"""``ringfence decode``: any evidence in, explained findings out."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click

from ringfence import api
from ringfence.cli.exits import Exit
from ringfence.cli.registers_option import Hexadecimal, ProcessorType
from ringfence.decode.decoder import KnownProcessor
from ringfence.decode.dimm import KnownDimms
from ringfence.diagnosis.finding import Event, events
from ringfence.diagnosis.severity import Severity
from ringfence.errors import MissingExtraError, RingfenceError, SourceError
from ringfence.record.evidence import Evidence, Lull, Registers, Unrecognised
from ringfence.record.reader import follow
from ringfence.record.sources import STDIN, Source, expand

if TYPE_CHECKING:
    from ringfence.diagnosis.table import Batch, PartReader
    from ringfence.views.bulk_items import ItemWriter
    from ringfence.views.summary import Tally

EXIT_READ = Exit.DONE
EXIT_FAIL_ON = Exit.NO
EXIT_USAGE = Exit.USAGE
EXIT_STRICT = Exit.PART
EXIT_PIPE = 141
"""What a shell shows of a program that SIGPIPE ended: whoever read the output (head, less) had enough of it."""

_UNCORRECTED = "uncorrected"


@dataclass(slots=True)
class Outcome:
    """What the exit code is made of."""

    worst: Severity = Severity.NONE
    unreadable: int = 0
    failed_sources: list[str] = field(default_factory=list)

    def saw(self, item: Event | Unrecognised) -> None:
        """Take note of one item."""
        if isinstance(item, Unrecognised):
            self.unreadable += 1
        else:
            self.reached(item.finding.severity)

    def reached(self, severity: Severity) -> None:
        """Take note of a severity."""
        if severity.badness > self.worst.badness:
            self.worst = severity

    def took(self, batch: Batch) -> None:
        """Take note of a batch."""
        for severity in set(batch.facts.of_kinds("severity", lambda finding: finding.severity)):
            self.reached(severity)
        for item in batch.others:
            if isinstance(item, Unrecognised):
                self.unreadable += 1
            else:
                self.reached(item.severity)

    def failed(self, source: Source, error: RingfenceError) -> None:
        """Take note of a source that cannot be read, and say so."""
        self.failed_sources.append(source.name)
        _complain(error)

    def exit_code(self, fail_on: Severity | None, strict: bool) -> int:
        """0 read, 1 the severity was reached, 2 a source could not be read, 3 strict and unreadable evidence."""
        if fail_on is not None and self.worst.badness >= fail_on.badness:
            return EXIT_FAIL_ON
        if self.failed_sources:
            return EXIT_USAGE
        return EXIT_STRICT if strict and self.unreadable else EXIT_READ


def _fail_on(_ctx: click.Context, _param: click.Parameter, value: str | None) -> Severity | None:
    if value is None:
        return None
    return Severity.DEFERRED if value == _UNCORRECTED else Severity(value.upper())


def _colour(choice: str) -> bool:
    return choice == "always" or (choice == "auto" and sys.stdout.isatty())


BULK_BYTES = 4 << 20
"""From this size on a log is read by columns, if numpy is there: below it, loading numpy would take longer."""


def _bulk(sources: list[Source]) -> bool:
    """Whether to read by columns: a large log, and numpy to do it with."""
    return any((source.size_bytes or 0) >= BULK_BYTES for source in sources) and find_spec("numpy") is not None


class _Progress:
    """A progress bar on standard error, for long reading on a terminal; silent elsewhere."""

    MIN_BYTES = 8 << 20

    def __init__(self, sources: list[Source], wanted: bool) -> None:
        total = sum(source.size_bytes or 0 for source in sources)
        self._bar = None
        if wanted and total >= self.MIN_BYTES and sys.stderr.isatty() and not sys.stdout.isatty():
            self._bar = click.progressbar(length=total, label="reading", file=sys.stderr, show_eta=True)

    def __enter__(self) -> Callable[[int], None] | None:
        if self._bar is None:
            return None
        self._bar.__enter__()
        return self._bar.update

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.render_finish()


def _found(names: tuple[str, ...], outcome: Outcome) -> Iterator[Source]:
    """The sources that the names stand for. A name that is nothing readable is complained of; the others are read."""
    for name in names:
        try:
            yield from expand((name,))
        except RingfenceError as error:
            outcome.failed_sources.append(name)
            _complain(error)


def _dimms(smbios: str, sources: list[Source]) -> KnownDimms | None:
    try:
        return api.dimms(smbios, sources)
    except RingfenceError as error:
        raise click.BadParameter(f"{error}\n  {error.advice}", param_hint="--smbios") from error


def _evidence(
    sources: list[Source], outcome: Outcome, progress: Callable[[int], None] | None
) -> Iterator[Evidence | Lull]:
    for source in sources:
        try:
            yield from follow(source, progress)
        except RingfenceError as error:
            outcome.failed(source, error)


def _at_once(items: Iterable[Event | Unrecognised]) -> Iterator[Event | Unrecognised]:
    """The items, each written out before the next is waited for: somebody may be watching a pipe."""
    for item in items:
        yield item
        sys.stdout.flush()


@contextmanager
def _until_the_pipe_breaks() -> Iterator[None]:
    """End quietly when nobody reads the output any more."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        # What is still buffered has nowhere to go: without this Python complains of it when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_PIPE)


def _complain(error: RingfenceError) -> None:
    click.echo(f"ringfence: {error}\n  {error.advice}", err=True)


def _write_text(items: Iterable[Event | Unrecognised], outcome: Outcome, verbose: bool, colour: bool) -> None:
    from ringfence.views import registers, text  # noqa: PLC0415 (only the view that is asked for is loaded)

    write = sys.stdout.write
    shown = 0
    for item in items:
        outcome.saw(item)
        if shown:
            write("\n")
        shown += 1
        if isinstance(item, Unrecognised):
            write(text.unrecognised_text(item, colour=colour))
            continue
        write(text.event_text(item, colour=colour))
        if verbose:
            write(registers.registers_text(item.finding))
    if not shown:
        write("No machine-check evidence found.\n")


def _write_json(items: Iterable[Event | Unrecognised], outcome: Outcome) -> None:
    from ringfence.views import jsonl  # noqa: PLC0415 (only the view that is asked for is loaded)

    out: IO[bytes] = sys.stdout.buffer
    for item in items:
        outcome.saw(item)
        shown = jsonl.unrecognised_line(item) if isinstance(item, Unrecognised) else jsonl.line(item)
        out.write(jsonl.encode(shown) + b"\n")
    out.flush()


def _write_summary(items: Iterable[Event | Unrecognised], outcome: Outcome, as_json: bool, colour: bool) -> None:
    from ringfence.views import summary  # noqa: PLC0415 (only the view that is asked for is loaded)

    tally = summary.Tally()
    for item in items:
        outcome.saw(item)
        tally.add(item)
    _show_summary(tally, as_json, colour)


def _show_summary(tally: Tally, as_json: bool, colour: bool) -> None:
    from ringfence.views import jsonl, summary  # noqa: PLC0415 (only the view that is asked for is loaded)

    if as_json:
        for group in summary.lines(tally):
            sys.stdout.buffer.write(jsonl.encode(group) + b"\n")
        sys.stdout.buffer.flush()
    else:
        sys.stdout.write(summary.text(tally, colour=colour))


@dataclass(frozen=True, slots=True)
class _Bulk:
    """What is read by columns, and what is known of it beforehand."""

    sources: list[Source]
    known: KnownProcessor | None
    dimms: KnownDimms | None
    progress: Callable[[int], None] | None

    def batches(self, outcome: Outcome, work: type[PartReader] | None = None) -> Iterator[Batch]:
        """The batches; ``outcome`` is told of sources that cannot be read."""
        from ringfence.diagnosis.batches import batches  # noqa: PLC0415 (numpy is loaded for large logs only)
        from ringfence.diagnosis.table import PartReader  # noqa: PLC0415

        return batches(
            self.sources,
            self.known,
            self.dimms,
            work=PartReader if work is None else work,
            progress=self.progress,
            failed=outcome.failed,
        )


def _bulk_summary(read: _Bulk, outcome: Outcome) -> Tally:
    from ringfence.views import bulk  # noqa: PLC0415 (numpy is loaded for large logs only)
    from ringfence.views.summary import Tally  # noqa: PLC0415

    tally = Tally()
    for batch in read.batches(outcome):
        outcome.reached(bulk.tally(tally, batch))
    outcome.unreadable = tally.unrecognised
    return tally


def _bulk_text(read: _Bulk, outcome: Outcome, colour: bool) -> None:
    from ringfence.views import bulk  # noqa: PLC0415 (numpy is loaded for large logs only)

    writer = bulk.TextWriter(colour)
    _write_items(read, outcome, writer, bulk.ColourTextReader if colour else bulk.TextReader)
    if not writer.shown:
        sys.stdout.write("No machine-check evidence found.\n")


def _bulk_json(read: _Bulk, outcome: Outcome) -> None:
    from ringfence.views import bulk_jsonl  # noqa: PLC0415 (numpy is loaded for large logs only)

    _write_items(read, outcome, bulk_jsonl.JsonWriter(), bulk_jsonl.JsonReader)


def _write_items(read: _Bulk, outcome: Outcome, writer: ItemWriter, work: type[PartReader]) -> None:
    out = sys.stdout.buffer
    for batch in read.batches(outcome, work):
        outcome.took(batch)
        out.writelines(writer.write(batch))
    out.writelines(writer.finish())
    out.flush()


def _write_parquet(read: _Bulk, path: Path, outcome: Outcome) -> None:
    def told() -> Iterator[Batch]:
        for batch in read.batches(outcome):
            outcome.took(batch)
            yield batch

    try:
        from ringfence.views import arrow  # noqa: PLC0415 (pyarrow is loaded for tables only)

        arrow.write_parquet(told(), path)
    except MissingExtraError as error:
        outcome.failed_sources.append(str(path))
        _complain(error)
    except OSError as error:
        outcome.failed_sources.append(str(path))
        why = error.strerror or str(error)
        _complain(SourceError(path, why, advice="Name a file in a directory that you may write to."))


def _agree(typed: dict[str, int | None], bank: int | None, files: tuple[str, ...], parquet: Path | None) -> None:
    """Refuse what does not go with --status, or without it."""
    if typed["status"] is None and (any(value is not None for value in typed.values()) or bank is not None):
        raise click.UsageError("--addr, --misc, --bank and the like go with --status")
    if typed["status"] is not None and parquet is not None:
        raise click.UsageError("--parquet writes what FILEs hold: it does not go with --status")
    if parquet is not None and str(parquet) == STDIN:
        raise click.UsageError("--parquet needs a file: the format cannot be written to a pipe")
    if typed["status"] is not None and files:
        raise click.UsageError("--status decodes what is typed: give no FILE with it")


@click.command("decode", short_help="Explain machine-check evidence in logs, dumps or typed registers.")
@click.argument("files", nargs=-1, type=click.Path(path_type=str, allow_dash=True), metavar="[FILE|DIRECTORY|-]...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line (schema: docs/decode-schema.json).")
@click.option("--summary", is_flag=True, help="Group repeated errors by what they are, worst first.")
@click.option("--parquet", type=click.Path(dir_okay=False, path_type=Path), help="Write a table, one row a report.")
@click.option("-v", "--verbose", is_flag=True, help="Show raw registers with every field named.")
@click.option(
    "--fail-on",
    type=click.Choice(
        [*(s.value.lower() for s in Severity if s is not Severity.NONE), _UNCORRECTED], case_sensitive=False
    ),
    callback=_fail_on,
    help="Exit with 1 if an error of this severity or worse is found.",
)
@click.option("--strict", is_flag=True, help="Exit with 3 if evidence was found that cannot be read.")
@click.option("--cpu", "known", type=ProcessorType(), help="Processor of records that do not name one, e.g. 0:306f2.")
@click.option(
    "--smbios",
    default="auto",
    show_default=True,
    metavar="auto|here|none|FILE",
    help="Name DIMMs by this machine's SMBIOS table (auto: if the evidence is surely of this machine; here: you say "
    "that it is), or by FILE, from the machine that the evidence is of.",
)
@click.option("--status", type=Hexadecimal(), help="Decode this MCi_STATUS instead of files.")
@click.option("--addr", type=Hexadecimal(), help="MCi_ADDR to --status.")
@click.option("--misc", type=Hexadecimal(), help="MCi_MISC to --status.")
@click.option("--synd", type=Hexadecimal(), help="MCA_SYND to --status (AMD).")
@click.option("--ipid", type=Hexadecimal(), help="MCA_IPID to --status (AMD).")
@click.option("--mcg-status", type=Hexadecimal(), help="MCG_STATUS to --status.")
@click.option("--mcg-cap", type=Hexadecimal(), help="MCG_CAP to --status.")
@click.option("--bank", type=click.IntRange(0, 255), help="Bank number to --status.")
@click.option("--color", "--colour", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True)
@click.option("--progress/--no-progress", default=True, help="Progress bar for long reading, on a terminal only.")
@click.pass_context
def decode_command(  # noqa: PLR0913, PLR0917 (one parameter an option)
    ctx: click.Context,
    /,
    files: tuple[str, ...],
    as_json: bool,
    summary: bool,
    parquet: Path | None,
    verbose: bool,
    fail_on: Severity | None,
    strict: bool,
    known: KnownProcessor | None,
    smbios: str,
    color: str,
    progress: bool,
    bank: int | None,
    **typed: int | None,
) -> None:
    """Explain machine-check evidence: what happened, how bad it is, where, what to do, and why.

    Reads logs (kernel, Xen, ESXi, FreeBSD, mcelog, rasdaemon, BMC), binary dumps (struct mce, Xen mc_info, CPER, BERT,
    rasdaemon's database), compressed or not, and directories of them; the format is told by content. Without FILE it
    reads standard input.

    \b
    Examples:
      ringfence decode /var/log/kern.log
      dmesg | ringfence decode --fail-on uncorrected
      ringfence decode --status 0xbe00000000800400 --cpu 0:206c2 --bank 5
      ringfence decode --summary /var/log/

    \b
    Exit codes: 0 read; 1 --fail-on reached; 2 usage, or a source that cannot be read; 3 --strict and evidence
    that cannot be read; 141 the reader of the output went away.
    """
    outcome = Outcome()
    _agree(typed, bank, files, parquet)
    if typed["status"] is None and not files:
        if sys.stdin.isatty():
            raise click.UsageError("nothing to read: name a FILE, pipe a log in, or give --status")
        files = (STDIN,)
    sources = list(_found(files, outcome))
    dimms = _dimms(smbios, sources)
    with _until_the_pipe_breaks(), _Progress(sources, progress) as told:
        evidence: Iterable[Evidence | Lull]
        evidence = (
            [api.typed(Registers(**typed), bank=bank, known=known)]
            if typed["status"] is not None
            else _evidence(sources, outcome, told)
        )
        items = events(evidence, known, dimms)
        if STDIN in files:
            items = _at_once(items)
        bulk = _Bulk(sources, known, dimms, told)
        by_columns = typed["status"] is None and not verbose and _bulk(sources)
        if parquet is not None:
            _write_parquet(bulk, parquet, outcome)
        elif summary and by_columns:
            _show_summary(_bulk_summary(bulk, outcome), as_json, _colour(color))
        elif summary:
            _write_summary(items, outcome, as_json, _colour(color))
        elif as_json and by_columns:
            _bulk_json(bulk, outcome)
        elif as_json:
            _write_json(items, outcome)
        elif by_columns:
            _bulk_text(bulk, outcome, _colour(color))
        else:
            _write_text(items, outcome, verbose, _colour(color))
    if outcome.unreadable and not as_json:
        pieces = "1 piece" if outcome.unreadable == 1 else f"{outcome.unreadable} pieces"
        click.echo(f"ringfence: {pieces} of evidence could not be read", err=True)
    ctx.exit(outcome.exit_code(fail_on, strict))
