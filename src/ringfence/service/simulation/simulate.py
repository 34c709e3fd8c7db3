"""Many seeds: each is played and held against the laws; the first that breaks one is cut down to what matters."""

from __future__ import annotations

import gc
import json
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from ringfence.decision.laws import Broken, Law
from ringfence.errors import SourceError
from ringfence.service.simulation.acts import Script
from ringfence.service.simulation.checker import check
from ringfence.service.simulation.run import Run
from ringfence.service.simulation.scenario import Scenario
from ringfence.service.simulation.script import from_lines, script, to_lines
from ringfence.service.simulation.trace import Tally, Trace

RUNS_TO_SHRINK: Final = 400
"""A script of three hundred acts comes down to a handful in some two hundred runs, most of them short."""
SECONDS_TO_SHRINK: Final = 60.0
"""Whoever waits for the answer would rather have a longer script by then."""

Progress = Callable[[int], None]
"""Is told how many seeds are done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """The first seed that broke a law: all that it broke, and the acts that are enough for the first of these."""

    seed: int
    broken: tuple[Broken, ...]
    acts: int
    shrunk: Script
    after: tuple[Broken, ...]
    """What the shrunk script breaks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a simulation went through. ``seeds`` are those that were played, up to the failing one."""

    scenario: str
    seeds: int
    hours: float
    seconds: float
    tally: Tally = field(default_factory=Tally)
    failure: Failure | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """One seed."""

    seed: int
    tally: Tally
    broken: tuple[Broken, ...]


def play(
    scenario: Scenario, acts: Script, *, seed: int, hours: float, kill_at: int | None = None
) -> tuple[Trace, tuple[Broken, ...]]:
    """Play a script once, and hold the run against the laws. ``kill_at``: also kill Ringfence at this very call."""
    with tempfile.TemporaryDirectory(prefix="ringfence-") as directory:
        path = Path(directory) / "journal"
        trace = Run(scenario, acts, seed=seed, hours=hours, path=path, kill_at=kill_at).play()
    return trace, check(trace, scenario)


def simulate(
    scenario: Scenario, seeds: Sequence[int], hours: float, *, processes: int = 2, progress: Progress | None = None
) -> Report:
    """Play every seed, in order; stops at the first that breaks a law, and shrinks its script."""
    began = time.monotonic()
    tally, played, failure = Tally(), 0, None
    for outcome in _outcomes(scenario, seeds, hours, processes):
        played += 1
        tally = tally.plus(outcome.tally)
        if progress is not None:
            progress(played)
        if outcome.broken:
            failure = _failure(scenario, outcome, hours)
            break
    seconds = time.monotonic() - began
    return Report(
        scenario=scenario.name, seeds=played, hours=hours, seconds=seconds, tally=tally, failure=failure
    )  # fmt: skip


def _outcomes(scenario: Scenario, seeds: Sequence[int], hours: float, processes: int) -> Iterator[Outcome]:
    if processes <= 1 or len(seeds) <= 1:
        yield from map(partial(_one, scenario, hours), seeds)
        return
    # Not forked: whoever calls may have threads.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, mp_context=context, initializer=_begin_worker)
    try:
        one = partial(_one_of_many, scenario, hours)
        yield from pool.map(one, seeds, chunksize=max(1, min(8, len(seeds) // (4 * processes))))
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_worker() -> None:
    """What is there before the first seed stays to the end: the collector need not look at it."""
    gc.collect()
    gc.freeze()
    gc.disable()


def _one_of_many(scenario: Scenario, hours: float, seed: int) -> Outcome:
    """One seed; the circles in which a host and its loops hang together go while they are still in the CPU's cache."""
    outcome = _one(scenario, hours, seed)
    gc.collect()
    return outcome


def _one(scenario: Scenario, hours: float, seed: int) -> Outcome:
    """Play one seed. What a run makes is all alive until it ends: the collector would look at it again and again."""
    collects = gc.isenabled()
    gc.disable()
    try:
        trace, broken = play(scenario, script(scenario, seed, hours), seed=seed, hours=hours)
        trace.forget()
        return Outcome(seed, trace.tally, broken)
    finally:
        if collects:
            gc.enable()


# --- shrinking --------------------------------------------------------------------------------------------------------


def _failure(scenario: Scenario, outcome: Outcome, hours: float) -> Failure:
    whole = script(scenario, outcome.seed, hours)
    law = outcome.broken[0].law
    shrunk = shrink(scenario, whole, seed=outcome.seed, law=law)
    _, after = play(scenario, shrunk, seed=outcome.seed, hours=0 if shrunk is not whole else hours)
    return Failure(seed=outcome.seed, broken=outcome.broken, acts=len(whole), shrunk=shrunk, after=after)


def shrink(scenario: Scenario, acts: Script, *, seed: int, law: Law) -> Script:
    """The fewest acts found that still break a law (delta debugging, Zeller and Hildebrandt 2002).

    Each candidate is a run of its own, which ends soon after its last act. Bounded by runs and seconds: what is found
    by then is given. The same script if not even the whole of it breaks the law then.
    """
    until = time.monotonic() + SECONDS_TO_SHRINK
    runs = 0

    def breaks(candidate: Script) -> bool:
        nonlocal runs
        runs += 1
        _, broken = play(scenario, candidate, seed=seed, hours=0)
        return any(each.law is law for each in broken)

    if not breaks(acts):
        return acts
    parts = 2
    while len(acts) > 1 and runs < RUNS_TO_SHRINK and time.monotonic() < until:
        size = -(-len(acts) // parts)
        chunks = [acts[at : at + size] for at in range(0, len(acts), size)]
        found = _smaller(chunks, breaks, until)
        if found is not None:
            acts, parts = found, max(2, parts - 1)
        elif size == 1:
            break
        else:
            parts = min(len(acts), parts * 2)
    return acts


def _smaller(chunks: list[Script], breaks: Callable[[Script], bool], until: float) -> Script | None:
    """A chunk alone, or all chunks but one, that still break the law."""
    for chunk in chunks if len(chunks) == 2 else []:
        if breaks(chunk):
            return chunk
    for number in range(len(chunks)):
        if time.monotonic() >= until:
            return None
        rest = tuple(act for at, chunk in enumerate(chunks) if at != number for act in chunk)
        if rest and breaks(rest):
            return rest
    return None


# --- on the disk ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Replay:
    """A script to be played again, with the scenario's name and the seed that started the model's own chance."""

    scenario: str
    seed: int
    hours: float
    script: Script


def write_replay(path: Path, scenario: Scenario, failure: Failure) -> None:
    """Write a shrunk script as JSON Lines: a first line that says what it is, and a line an act. Raises OSError."""
    first = failure.after[0] if failure.after else failure.broken[0]
    head = {"scenario": scenario.name, "seed": failure.seed, "hours": 0, "law": first.law.value, "what": first.what}
    path.write_text(f"{json.dumps(head)}\n{to_lines(failure.shrunk)}", encoding="utf-8")


def read_replay(path: Path) -> Replay:
    """What ``write_replay`` wrote. Raises SourceError for anything else."""
    advice = "Name a file that `ringfence simulate` wrote when a law was broken."
    try:
        head, _, rest = path.read_text(encoding="utf-8").partition("\n")
        known = json.loads(head)
        return Replay(str(known["scenario"]), int(known["seed"]), float(known["hours"]), from_lines(rest))
    except OSError as error:
        raise SourceError(path, error.strerror or str(error), advice=advice) from error
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(path, f"no script of acts: {error}", advice=advice) from error
