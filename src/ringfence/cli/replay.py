"""``ringfence replay``: what would have happened, had a log's errors hit a model host under a policy."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from pathlib import Path

import click

from ringfence.cli.exits import Exit
from ringfence.errors import RingfenceError

EXIT_UNREADABLE = Exit.USAGE
DEFAULT_NAME = "the default policy"


@click.command("replay", short_help="What would have happened: a log's errors put to a model host.")
@click.argument("logs", nargs=-1, required=True, type=click.Path())
@click.option("--policy", "policy_file", type=click.Path(), help="A policy file; without it, the default policy.")
@click.option("--against", type=click.Path(), help="Another policy file to compare with; 'default' for the default.")
@click.option(
    "--stand-in",
    type=click.Choice(["hvm", "hvm-plain", "pv", "pv-plain"]),
    default="hvm",
    show_default=True,
    help="What guest had the pages: HVM that enabled MCA or not, PV with a handler or without.",
)
@click.option("--all", "show_all", is_flag=True, help="Show corrected errors that were only counted, too.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the journals in this directory; it has none of an earlier replay.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each event.")
@click.pass_context
def replay_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context,
    logs: tuple[str, ...],
    policy_file: str | None,
    against: str | None,
    stand_in: str,
    show_all: bool,
    keep: Path | None,
    as_json: bool,
) -> None:
    """Put the evidence in LOGS (any format that decode reads; - for standard input) to a model host, and say what would
    have happened under a policy, or under two side by side.

    A log does not say whose page an error hit: a stand-in guest is taken to have had every page that is named, and to
    have run wherever something was consumed outside of the kernel.

    \b
    Exit codes: 0 replayed; 2 usage, or a file cannot be read.
    """
    from ringfence import api  # noqa: PLC0415 (other commands start without all this)
    from ringfence.service.policy_source import load  # noqa: PLC0415
    from ringfence.service.replay import replay  # noqa: PLC0415
    from ringfence.views import jsonl  # noqa: PLC0415
    from ringfence.views import replay as view  # noqa: PLC0415
    from ringfence.views.text import unrecognised_text  # noqa: PLC0415

    names = [policy_file or DEFAULT_NAME, *([against if against != "default" else DEFAULT_NAME] if against else [])]
    counts: Counter[str] = Counter()
    differ = unreadable = 0
    try:
        policies = tuple(load(None if name == DEFAULT_NAME else name).policy for name in names)
        with tempfile.TemporaryDirectory(prefix="ringfence-replay-") as scratch:
            directory = keep if keep is not None else Path(scratch)
            directory.mkdir(parents=True, exist_ok=True)
            for played in replay(api.findings(*logs), policies, directory, stand_in=stand_in):
                if isinstance(played, api.Unrecognised):
                    unreadable += 1
                    if as_json:
                        click.echo(jsonl.encode(jsonl.unrecognised_line(played)))
                    else:
                        click.echo(unrecognised_text(played))
                    continue
                event = played[0].event
                is_corrected = event.finding.severity == "CORRECTED"
                ends = [
                    view.outcome(each.outcome, each.ahead, halted=each.halted, corrected=is_corrected)
                    for each in played
                ]
                outcomes = list(zip(names, ends, strict=True))
                counts[event.finding.severity] += 1
                differ += len(set(ends)) > 1
                if as_json:
                    click.echo(json.dumps(view.as_json(event, outcomes), ensure_ascii=False))
                elif show_all or any(end != (view.COUNTED,) for end in ends):
                    click.echo(view.text(event, outcomes))
    except RingfenceError as error:
        click.echo(f"{error}\n{error.advice}", err=True)
        ctx.exit(EXIT_UNREADABLE)
    if not as_json:
        classes = ", ".join(f"{count} {severity}" for severity, count in counts.most_common())
        click.echo(f"\n{counts.total()} events ({classes or 'none'}); {unreadable} unreadable")
        click.echo(
            f"Assumed: the stand-in ({stand_in}) had every page that is named, and ran where something was consumed."
        )
        if against is not None:
            click.echo(f"The policies differ in {differ} of them.")
        if keep is not None:
            click.echo(f"The journals lie in {keep}")
