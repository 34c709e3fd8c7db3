"""What a simulated day costs, and which part of the program the CPU time goes to.

    python -m bench.simulate [--seeds 16] [--seed-from 1] [--hours 24] [--scenario default]

One process plays seeds one after the other as a worker of ``ringfence simulate`` does. **Whole**: CPU seconds a seed
with nothing measured within. **Parts**: the same seeds once more with a stopwatch at the borders between the parts, by
which each moment counts for the innermost part that it is in; the stopwatch takes a few per cent itself, and these are
shared out among the parts. **SQLite alone**: the very rows that these seeds wrote, in the same transactions and with
the same tables, put into files by Python's sqlite3 and nothing else: what no loop above it can go below.

The goal is that of 1,000 seeds in two minutes on two cores. A missed goal ends it with 1. CPU seconds are those of this
machine with all that runs beside it: only what stands in one run may be compared.
"""

from __future__ import annotations

import argparse
import gc
import sqlite3
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from ringfence.hypervisor.model.host import ModelHost
from ringfence.journal.schema import migrate
from ringfence.journal.store import Journal
from ringfence.service.ledger import Ledger
from ringfence.service.loop import Loop
from ringfence.service.simulation import simulate
from ringfence.service.simulation.checker import check
from ringfence.service.simulation.metered import WAL_PAGES, MeteredHost
from ringfence.service.simulation.run import Run
from ringfence.service.simulation.scenario import Scenario, named
from ringfence.service.simulation.script import script
from ringfence.service.simulation.strikes import Strikes
from ringfence.service.simulation.witness import WatchedSeat, Witness

GOAL_S: Final = 0.24
"""Two cores for two minutes, by 1,000 seeds."""

REST: Final = "the simulator: the script drawn, acts, what passes noted, files removed"
JOURNAL: Final = "the journal: encoded, chained, written; opened and closed at each life"
MODEL: Final = "the model host"

BORDERS: Final[tuple[tuple[type, tuple[str, ...], str], ...]] = (
    (Journal, ("__init__", "append", "close"), JOURNAL),
    (Ledger, ("__init__",), "a life taken up from the journal: snapshot read, events folded"),
    (Loop, ("__init__", "turn", "approve"), "the loop in Dom0: evidence, trends, answers, orders, the state folded"),
    (WatchedSeat, ("reported", "told"), "the hypervisor's seat: diagnosed, contained, decided, followed"),
    (MeteredHost, ("arrivals", "acknowledge", "carry_out", "probe", "answer", "evidence_saved", "situation"), MODEL),
    (ModelHost, ("advance_to_next", "create", "reboot", "destroy", "crash", "situation"), MODEL),
    (Strikes, ("hit", "hit_unit", "read_again"), MODEL),
    (Witness, ("see", "truth", "note"), "the witness: what the laws are held against"),
    (Run, ("_finish",), "the whole journal read back and counted"),
)

PRAGMAS: Final = {"journal_mode": "WAL", "synchronous": "OFF", "wal_autocheckpoint": WAL_PAGES}
"""What the simulator sets."""

Rows = list[list[tuple[Any, ...]]]
"""The rows of one seed's journal, by transactions."""


class Stopwatch:
    """CPU seconds by part; a part that is entered within another one stops that one's clock."""

    def __init__(self) -> None:
        self.parts: defaultdict[str, float] = defaultdict(float)
        self._within = [REST]
        self._since = time.process_time()

    def turn_to(self, part: str) -> None:
        """From now on it is another part."""
        now = time.process_time()
        self.parts[self._within[-1]] += now - self._since
        self._within.append(part)
        self._since = now

    def turn_back(self) -> None:
        """It is the part again that was before."""
        now = time.process_time()
        self.parts[self._within.pop()] += now - self._since
        self._since = now

    def at_border(self, of: type, name: str, part: str) -> None:
        """Have a method count for a part."""
        inner: Callable[..., object] = getattr(of, name)

        def timed(*given: object, **named: object) -> object:
            self.turn_to(part)
            try:
                return inner(*given, **named)
            finally:
                self.turn_back()

        setattr(of, name, timed)


def played(scenario: Scenario, seed: int, hours: float) -> None:
    """One seed, as a worker plays it. Raises AssertionError if it breaks a law."""
    outcome = simulate._one_of_many(scenario, hours, seed)
    assert not outcome.broken, f"seed {seed}: {outcome.broken[0]}"


def taken_down(scenario: Scenario, seeds: Sequence[int], hours: float) -> list[Rows]:
    """The rows that these seeds write."""
    found: list[Rows] = []
    inner = Journal._write

    def write(journal: Journal, rows: list[Any]) -> None:
        found[-1].append(rows)
        inner(journal, rows)

    with patch.object(Journal, "_write", write):
        for seed in seeds:
            found.append([])
            played(scenario, seed, hours)
    return found


def sqlite_alone_s(rows: Rows) -> float:
    """CPU seconds to put these rows into a file, by what the simulator sets SQLite to."""
    with tempfile.TemporaryDirectory() as directory:
        began = time.process_time()
        path = Path(directory) / "journal"
        connection = sqlite3.connect(path, isolation_level=None)
        for pragma, value in PRAGMAS.items():
            connection.execute(f"PRAGMA {pragma} = {value}").fetchall()
        migrate(connection, path)
        for each in rows:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)", each)
            connection.execute("UPDATE head SET number = ?, crc = ?", (each[-1][0], each[-1][-1]))
            connection.execute("COMMIT")
        connection.close()
        return time.process_time() - began


class Parts:
    """Plays seeds by a stopwatch."""

    def __init__(self, watch: Stopwatch) -> None:
        self._watch = watch
        watch.at_border(Parts, "_checked", "the laws checked")
        watch.at_border(Parts, "_collected", "the collector: what hangs together in circles")

    def play(self, scenario: Scenario, seed: int, hours: float) -> None:
        """One seed."""
        with tempfile.TemporaryDirectory() as directory:
            acts = script(scenario, seed, hours)
            trace = Run(scenario, acts, seed=seed, hours=hours, path=Path(directory) / "journal").play()
        self._checked(trace, scenario)
        trace.forget()
        self._collected()

    def _checked(self, *given: Any) -> None:
        check(*given)

    def _collected(self) -> None:
        gc.collect()


def main() -> int:
    """Measure and print; 1 if the goal is missed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=16)
    parser.add_argument("--seed-from", type=int, default=1)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--scenario", default="default")
    given = parser.parse_args()
    scenario, seeds = named(given.scenario), range(given.seed_from, given.seed_from + given.seeds)
    simulate._begin_worker()
    played(scenario, seeds.stop, given.hours)  # what is made once is there now

    began = time.process_time()
    for seed in seeds:
        played(scenario, seed, given.hours)
    whole_s = (time.process_time() - began) / len(seeds)
    print(f"whole: {whole_s:.3f} CPU s a seed ({whole_s / GOAL_S:.2f} times the goal of {GOAL_S})\n")

    rows = taken_down(scenario, seeds, given.hours)
    sqlite_s = sum(map(sqlite_alone_s, rows)) / len(seeds)

    watch = Stopwatch()
    for of, names, part in BORDERS:
        for name in names:
            watch.at_border(of, name, part)
    parts = Parts(watch)
    for seed in seeds:
        parts.play(scenario, seed, given.hours)
    all_s = sum(watch.parts.values())
    for part, seconds in sorted(watch.parts.items(), key=lambda each: -each[1]):
        print(f"{whole_s * seconds / all_s:8.4f}  {seconds / all_s:4.0%}  {part}")
    events = sum(len(each) for group in rows for each in group) / len(seeds)
    transactions = sum(map(len, rows)) / len(seeds)
    print(f"\nSQLite alone: {sqlite_s:.4f} CPU s for {events:,.0f} events in {transactions:,.0f} transactions a seed")
    return int(whole_s > GOAL_S)


if __name__ == "__main__":
    sys.exit(main())
