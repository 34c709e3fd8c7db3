"""``ringfence simulate``: seeded days of a host on which everything goes wrong, held against the laws."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringfence.cli.exits import Exit
from ringfence.errors import PolicyError, RingfenceError

if TYPE_CHECKING:
    from ringfence.decision.laws import Broken
    from ringfence.service.simulation.scenario import Scenario
    from ringfence.service.simulation.simulate import Report

EXIT_GOOD = Exit.DONE
EXIT_BROKEN = Exit.NO
EXIT_UNREADABLE = Exit.USAGE

REPLAY_FILE = "ringfence-broken-{scenario}-{seed}.jsonl"


@click.command("simulate", short_help="Simulate hosts, with faults and kills, and check every law.")
@click.option("--seeds", default=100, show_default=True, type=click.IntRange(1, 1_000_000), help="How many runs.")
@click.option("--seed-from", default=1, show_default=True, type=click.IntRange(0), help="The first seed.")
@click.option(
    "--hours", default=24.0, show_default=True, type=click.FloatRange(0.01, 24 * 365), help="Simulated hours of a run."
)
@click.option("--scenario", default=None, help="The name of a scenario, or a TOML file.  [default: default]")
@click.option("--scenarios", "lists", is_flag=True, help="List the scenarios that have a name, and do no more.")
@click.option(
    "--replay", type=click.Path(path_type=Path), help="Play the script in this file again, and print what happened."
)
@click.option("--enumerate", "enumerates", is_flag=True, help="Follow every combination through the flow instead.")
@click.option("--jobs", default=2, show_default=True, type=click.IntRange(1, 256), help="Processes.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def simulate_command(  # noqa: PLR0913, PLR0917 (one parameter an option)
    ctx: click.Context,
    seeds: int,
    seed_from: int,
    hours: float,
    scenario: str | None,
    lists: bool,
    replay: Path | None,
    enumerates: bool,
    jobs: int,
    as_json: bool,
) -> None:
    """Play simulated days on the model host and check the laws L1 to L10 against what really happened there.

    Hardware errors of every kind and place, guests that misbehave, Dom0 absent or hurt, and Ringfence itself killed at
    any call of its port or journal. It stops at the first law that is broken, with the seed, what led to it, and a
    file with the few acts that are enough to break it (--replay plays it again).

    With --enumerate no chance is left: every combination of severity, impact, Dom0, guest, handler, delivery and
    operation is followed to its end, and every pair of errors on a page and on a domain.

    \b
    Exit codes: 0 no law was broken; 1 one was; 2 usage, or a file cannot be read.
    """
    from ringfence.service.simulation.scenario import SCENARIOS, named  # noqa: PLC0415 (other commands start without)
    from ringfence.service.simulation.simulate import read_replay, simulate, write_replay  # noqa: PLC0415

    if enumerates:
        ctx.exit(_enumerate(jobs, as_json=as_json))
    if lists:
        click.echo("".join(f"{each.name:<16} {each.says}\n" for each in SCENARIOS.values()), nl=False)
        return
    try:
        if replay is not None:
            known = read_replay(replay)
            chosen = named(scenario or known.scenario)
            ctx.exit(_replay(chosen, replay, as_json=as_json))
        chosen = named(scenario or "default")
    except PolicyError as error:
        click.echo(f"{error}\n{error.advice}", err=True)
        ctx.exit(EXIT_UNREADABLE)
    except RingfenceError as error:
        click.echo(f"ringfence: {error}\n  {error.advice}", err=True)
        ctx.exit(EXIT_UNREADABLE)
    numbers = range(seed_from, seed_from + seeds)
    with _progress(seeds, as_json=as_json) as tell:
        report = simulate(chosen, numbers, hours, processes=jobs, progress=tell)
    file = ""
    if report.failure is not None:
        path = Path(REPLAY_FILE.format(scenario=Path(chosen.name).stem, seed=report.failure.seed))
        write_replay(path, chosen, report.failure)
        file = str(path)
    click.echo(_as_json(report, file) if as_json else _as_text(report, file), nl=as_json)
    ctx.exit(EXIT_GOOD if report.failure is None else EXIT_BROKEN)


def _enumerate(jobs: int, *, as_json: bool) -> int:
    from ringfence.service.enumeration import enumerate_all  # noqa: PLC0415 (only this option needs it)
    from ringfence.views.enumeration import enumeration_text  # noqa: PLC0415

    proof = enumerate_all(workers=jobs)
    if as_json:
        found = {"missing": list(proof.missing), "broken": [_plain(each) for each in proof.broken]}
        click.echo(json.dumps({"states": sum(each.states for each in proof.reports), **found}))
    else:
        click.echo(enumeration_text(proof.reports, proof.missing, proof.broken), nl=False)
    return EXIT_GOOD if proof.holds else EXIT_BROKEN


class _Bar:
    """A progress bar on a terminal, nothing elsewhere."""

    def __init__(self, length: int) -> None:
        self._bar = click.progressbar(length=length, label="seeds", file=sys.stderr, show_pos=True)

    def __enter__(self) -> Callable[[int], None]:
        self._bar.__enter__()
        return lambda done: self._bar.update(done - self._bar.pos)

    def __exit__(self, *what: object) -> None:
        self._bar.render_finish()


def _progress(length: int, *, as_json: bool) -> _Bar | nullcontext[None]:
    return _Bar(length) if sys.stderr.isatty() and not as_json else nullcontext()


def _replay(scenario: Scenario, path: Path, *, as_json: bool) -> int:
    from ringfence.service.simulation.laws.story import shown  # noqa: PLC0415 (only this option needs it)
    from ringfence.service.simulation.simulate import play, read_replay  # noqa: PLC0415

    known = read_replay(path)
    trace, broken = play(scenario, known.script, seed=known.seed, hours=known.hours)
    if as_json:
        click.echo(json.dumps({"seed": known.seed, "broken": [_plain(each) for each in broken]}))
    else:
        click.echo("".join(f"{shown(what)}\n" for what in trace.happened), nl=False)
        click.echo("".join(f"{each}\n" for each in broken) or "No law was broken.\n", nl=False)
    return EXIT_BROKEN if broken else EXIT_GOOD


_WORDS = (
    ("errors", "errors injected"),
    ("uncorrected", "uncorrected errors reported"),
    ("corrected", "corrected errors counted"),
    ("decisions", "decisions in the journal"),
    ("questions", "questions to Dom0"),
    ("orders", "orders carried out by Dom0"),
    ("vmces", "vMCEs to guests"),
    ("notices", "notices to PV MCA handlers"),
    ("guests_ended", "guests that ended"),
    ("lost", "records lost, and counted as such"),
    ("refusals", "wrong instructions refused"),
    ("kills", "kills of Ringfence"),
    ("resumed", "orders and cases taken up after a kill"),
    ("halts", "halts"),
    ("reboots", "reboots"),
    ("journal_events", "events in journals"),
)


def _as_text(report: Report, file: str) -> str:
    tally = report.tally
    lines = [
        f"{report.seeds} seed(s) of {report.hours:g} h of the scenario {report.scenario!r}, "
        f"in {report.seconds:.1f} s ({report.seconds / report.seeds:.2f} s each)",
        *(f"{getattr(tally, name):>12,}  {words}" for name, words in _WORDS),
    ]
    failure = report.failure
    if failure is None:
        return "\n".join([*lines, "No law was broken.", ""])
    first = failure.after[0] if failure.after else failure.broken[0]
    lines += [f"Seed {failure.seed}: {first}", *first.path]
    lines += [f"also: {each}" for each in failure.broken if each.law is not first.law]
    lines += [f"{len(failure.shrunk)} of {failure.acts} acts are enough: ringfence simulate --replay {file}", ""]
    return "\n".join(lines)


def _as_json(report: Report, file: str) -> str:
    failure = report.failure
    return json.dumps(
        {
            "scenario": report.scenario,
            "seeds": report.seeds,
            "hours": report.hours,
            "seconds": round(report.seconds, 3),
            "went_through": {name: getattr(report.tally, name) for name, _ in _WORDS},
            "failure": None
            if failure is None
            else {
                "seed": failure.seed,
                "broken": [_plain(each) for each in failure.broken],
                "acts": failure.acts,
                "shrunk": len(failure.shrunk),
                "replay": file,
            },
        }
    )


def _plain(broken: Broken) -> dict[str, object]:
    return {"law": broken.law.value, "what": broken.what, "path": list(broken.path)}
