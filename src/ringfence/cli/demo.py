"""``ringfence demo``: a model host with a handful of guests, and half a minute that passes every row of the concept."""

from __future__ import annotations

import json
import shutil
import sys
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ringfence.cli.exits import Exit
from ringfence.cli.state_dir import state_dir_option
from ringfence.decision.rows import Row
from ringfence.errors import MissingExtraError, RingfenceError

if TYPE_CHECKING:
    from rich.live import Live

    from ringfence.service.simulation.run import Run
    from ringfence.views.board import Board
    from ringfence.views.chain import Link
    from ringfence.world.identities import DomainId, StepId

EXIT_BROKEN = Exit.NO
EXIT_UNREADABLE = Exit.USAGE
MODELS = "model "
"""How the names of model hosts begin."""
LONGEST_PAUSE_S = 3.0
"""At speed 1: the longest that the script waits. What lies between the halt, the reset and the end is not sat out."""


@click.command("demo", short_help="Play machine checks on a model host, live, with every decision explained.")
@click.option("--speed", type=click.FloatRange(min=0), default=1.0, show_default=True, help="How fast; 0: at once.")
@click.option("--seed", type=int, default=1, show_default=True, help="Chance; the same seed gives the same run.")
@click.option("--scenario", "scenario_name", help="A scenario by name or from a TOML file, instead of the script.")
@click.option(
    "--hours",
    type=click.FloatRange(min=0.01, max=24),
    default=0.5,
    show_default=True,
    help="How long, with --scenario.",
)
@click.option("--policy", "policy_file", type=click.Path(), help="A policy file, instead of the scenario's policy.")
@click.option("--journal", type=click.Path(path_type=Path, dir_okay=False), help="Where the journal goes.")
@click.option("--plain", is_flag=True, help="Lines instead of a live board.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line for each thing that happens.")
@state_dir_option
@click.pass_context
def demo_command(  # noqa: PLR0913, PLR0917 (one argument an option)
    ctx: click.Context,
    speed: float,
    seed: int,
    scenario_name: str | None,
    hours: float,
    policy_file: str | None,
    journal: Path | None,
    plain: bool,
    as_json: bool,
    state_dir: Path,
) -> None:
    """Play a scripted half minute on a model host: hardware errors of every kind, what is decided about each and why,
    and what becomes of it. Then a summary, and where the journal lies.

    \b
    Exit codes: 0 played; 1 the program itself failed; 2 usage, or a file cannot be read.
    """
    path = journal if journal is not None else state_dir / "demo.sqlite"
    live = sys.stdout.isatty() and not plain and not as_json
    try:
        run, board, captions = _prepared(path, seed, scenario_name, hours, policy_file)
        with _screen(live) as screen:
            player = _Player(run, board, captions, screen, speed=speed, as_json=as_json)
            run.watch = player.follow
            trace = run.play()
            player.follow()
    except RingfenceError as error:
        click.echo(f"{error}\n{error.advice}", err=True)
        ctx.exit(EXIT_UNREADABLE)
    if trace.fault:
        click.echo(f"the program failed: {trace.fault}", err=True)
        ctx.exit(EXIT_BROKEN)
    if not as_json:
        click.echo(_summary(path, board))


def _prepared(
    path: Path, seed: int, scenario_name: str | None, hours: float, policy_file: str | None
) -> tuple[Run, Board, list[tuple[int, str]]]:
    """The run, the board, and the captions with their times."""
    from dataclasses import replace  # noqa: PLC0415 (other commands start without all this)

    from ringfence.service import demo  # noqa: PLC0415
    from ringfence.service.policy_source import load as load_policy  # noqa: PLC0415
    from ringfence.service.simulation import scenario as scenarios  # noqa: PLC0415
    from ringfence.service.simulation.run import Run  # noqa: PLC0415
    from ringfence.service.simulation.script import script  # noqa: PLC0415
    from ringfence.views.board import Board  # noqa: PLC0415

    captions: list[tuple[int, str]] = []
    if scenario_name is None:
        scenario, acts = demo.SCENARIO, tuple(scene.act for scene in demo.SCENES)
        captions = [(scene.act.at_ms, scene.says) for scene in demo.SCENES]
        hours = 0.0
    else:
        known = scenario_name in scenarios.SCENARIOS
        scenario = scenarios.named(scenario_name) if known else scenarios.read(Path(scenario_name))
        acts = script(scenario, seed, hours)
    if policy_file is not None:
        scenario = replace(scenario, policy=load_policy(policy_file).policy)
    _clear(path)
    run = Run(scenario, acts, seed=seed, hours=hours, path=path)
    return run, Board(f"Ringfence demo: {scenario.name} on {run.host.name}"), captions


def _clear(path: Path) -> None:
    """Make room for the demo's journal: an earlier demo's goes, anything else stays where it is."""
    from ringfence.errors import JournalError  # noqa: PLC0415 (other commands start without all this)
    from ringfence.journal import events as ev  # noqa: PLC0415
    from ringfence.journal.store import SIDE_FILES, Reader  # noqa: PLC0415

    if path.exists():
        with Reader(path) as reader:
            first = next((event for _, event in reader.events()), None)
        if not isinstance(first, ev.Started) or not first.hypervisor.startswith(MODELS):
            raise JournalError(
                path, "this is no journal of a demo", advice="It stays as it is: name another file for the journal."
            )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for each in (path, *(path.with_name(path.name + end) for end in SIDE_FILES)):
            each.unlink(missing_ok=True)
    except OSError as error:
        raise JournalError(
            path, error.strerror or str(error), advice="Name a journal in a directory that you may write to."
        ) from error


def _screen(live: bool) -> AbstractContextManager[Live | None]:
    if not live:
        return nullcontext()
    try:
        from rich.live import Live  # noqa: PLC0415 (an optional dependency)
    except ImportError as error:
        raise MissingExtraError("the live board (or use --plain)", "console") from error
    return Live(screen=True, auto_refresh=False)


class _Player:
    """Shows what happens, at the pace that was asked for."""

    def __init__(  # noqa: PLR0913 (what it shows, and how)
        self,
        run: Run,
        board: Board,
        captions: list[tuple[int, str]],
        screen: Live | None,
        *,
        speed: float,
        as_json: bool,
    ) -> None:
        self._run, self._board, self._screen = run, board, screen
        self._captions = list(captions)
        self._speed, self._as_json = speed, as_json
        self._shown = 0
        self._noted = 0
        self._at_ms = 0
        self._names: dict[DomainId, str] = {}
        self._orders: dict[StepId, str] = {}

    def follow(self) -> None:
        """Show what is new; called after everything that happens."""
        from ringfence.journal import events as ev  # noqa: PLC0415 (only when something is played)
        from ringfence.journal.store import Reader  # noqa: PLC0415
        from ringfence.views import chain  # noqa: PLC0415

        board, now_ms = self._board, self._run.host.now_ms()
        due = self._due(now_ms)
        with Reader(self._run.path) as reader:
            new = list(reader.events(after=self._shown))
        if not new and not due and board.halted == self._run.host.halted:
            return
        self._pace(now_ms)
        board.now_ms, board.halted = now_ms, self._run.host.halted
        self._names |= chain.names_of(event for _, event in new)
        for number, event in new:
            self._shown = number
            if isinstance(event, ev.Intended):
                self._orders[event.order] = chain.step_in_words(event.step, self._names)
            link = chain.link(event, self._names, orders=self._orders)
            if link is None:
                continue
            while due and due[0].at_ms <= event.at_ms:
                self._say(due.pop(0))
            rows = {link.row, *(detail.partition(":")[0] for detail in link.details)} - {""}
            board.passed(rows)
            board.frames_out += "OfflineFrame" in link.text and link.what in {"step", "order"}
            self._say(link)
        for each in due:
            self._say(each)
        if not board.halted:
            board.situation = self._run.host.situation(None)
        self._draw()

    def _due(self, now_ms: int) -> list[Link]:
        """What no journal has and happened by now, in its order: the script's captions, and instructions that were
        refused (II.4), which are not Ringfence's own.
        """
        from ringfence.service.simulation.trace import Refusal  # noqa: PLC0415 (only when something is played)
        from ringfence.views.chain import Link  # noqa: PLC0415

        found: list[Link] = []
        while self._captions and self._captions[0][0] <= now_ms:
            at_ms, caption = self._captions.pop(0)
            if caption != self._board.caption:
                found.append(Link(at_ms, "scene", "", caption))
            self._board.caption = caption
        notes = self._run.trace.happened
        for note in notes[self._noted :]:
            if isinstance(note, Refusal):
                word = "" if note.refused else "NOT refused, "
                self._board.passed([Row.CHECKED])
                found.append(Link(note.at_ns // 1_000_000, "refusal", Row.CHECKED, f"{note.wrong}: {word}{note.said}"))
        self._noted = len(notes)
        return sorted(found, key=lambda each: each.at_ms)

    def _pace(self, now_ms: int) -> None:
        gap_ms, self._at_ms = now_ms - self._at_ms, now_ms
        if self._speed > 0 and gap_ms > 0:
            time.sleep(min(gap_ms / 1000, LONGEST_PAUSE_S) / self._speed)

    def _say(self, link: Link) -> None:
        from ringfence.views.board import plain  # noqa: PLC0415 (only when something is played)

        self._board.lines.append((link, False))
        if self._as_json:
            as_object = {name: getattr(link, name) for name in link.__slots__}
            click.echo(json.dumps(as_object, ensure_ascii=False))
        elif self._screen is None:
            click.echo(plain(link, details=link.what in {"finding", "impact", "decision"}))

    def _draw(self) -> None:
        if self._screen is None:
            return
        from ringfence.views.board import rendered  # noqa: PLC0415 (only on a terminal)

        self._screen.update(rendered(self._board, shutil.get_terminal_size().lines), refresh=True)


def _summary(path: Path, board: Board) -> str:
    from ringfence.journal.store import Reader  # noqa: PLC0415 (only when something was played)
    from ringfence.views import chain  # noqa: PLC0415
    from ringfence.views.board import summary  # noqa: PLC0415

    with Reader(path) as reader:
        stored = [event for _, event in reader.events()]
    names = chain.names_of(stored)
    chains = (chain.chain(case, events, names) for case, events in chain.by_case(stored).items())
    told = ((each.case, each.title, each.outcome) for each in chains if each.case is not None)
    return summary(board, told, str(path))
