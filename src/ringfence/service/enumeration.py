"""The proof by exhaustion that no row is missing and no law is broken.

``enumerate_all`` is the whole of it: every part, every beginning, every pair of errors. Each can be run alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import product

from ringfence.decision.enumeration import IN_ORDER, count_paths, enumerate_parts
from ringfence.decision.enumeration_entry import enumerate_entries
from ringfence.decision.enumeration_report import Breaches, Outcome, Report
from ringfence.decision.flow import State
from ringfence.decision.laws import Broken, Law
from ringfence.decision.rows import Row
from ringfence.service.pair_explorer import GUESTS, ON_A_GRANTED_PAGE, ON_ONE_DOMAIN, ErrorKind, Guest, PairExplorer

# --- the proof ------------------------------------------------------------------------------------------------------

HEADS = ("first error", "second error", "Dom0")


@dataclass(slots=True)
class _Sum:
    beginnings: int = 0
    states: int = 0
    moves: int = 0
    paths: int = 0
    rows: set[Row] = field(default_factory=set)
    ends: dict[tuple[str, ...], set[State]] = field(default_factory=dict)
    rows_of: dict[tuple[str, ...], set[Row]] = field(default_factory=dict)


Pair = tuple[Guest, ErrorKind, ErrorKind, bool]
"""A guest, the first error, the second one, and whether Dom0 can be asked."""


def pairs() -> Iterator[Pair]:
    """Each pair with each guest and state of Dom0; on a granted page, which has two losers, Dom0 cannot be asked."""
    for guest, (first, second), able in product(GUESTS, ON_ONE_DOMAIN, (False, True)):
        yield guest, first, second, able
    for guest, (first, second) in product(GUESTS, ON_A_GRANTED_PAGE):
        yield guest, first, second, False


def enumerate_pairs(chosen: Iterable[Pair] | None = None, *, until: Law | None = None) -> Report:
    """Follow pairs of errors (all ``pairs`` if none are chosen) to their ends, and say what was found.

    ``until``: go no further than to the first that breaks this law.
    """
    breaches, whole = Breaches(), _Sum()
    for guest, first, second, able in pairs() if chosen is None else chosen:
        if breaches.has(until):
            break
        explorer = PairExplorer(guest, first, second, able=able, breaches=breaches)
        explorer.run()
        paths = count_paths(explorer.moves)
        if paths is None:
            breaches.add(Law.L2, "a way leads back to where it has been: it may never end", (explorer.words,))
        whole.beginnings += 1
        whole.states += len(explorer.nodes)
        whole.moves += sum(map(len, explorer.moves))
        whole.paths += paths or 0
        whole.rows |= explorer.rows
        what = (first.name, second.name, "able, or hurt on the way" if able else "without a handler")
        whole.ends.setdefault(what, set()).update(explorer.ends)
        whole.rows_of.setdefault(what, set()).update(explorer.rows)
    return Report(
        name="every pair of errors",
        beginnings=whole.beginnings,
        states=whole.states,
        moves=whole.moves,
        paths=whole.paths,
        rows=frozenset(whole.rows),
        flow_states=frozenset(state for ends in whole.ends.values() for state in ends),
        heads=HEADS,
        outcomes=_outcomes(whole.rows_of, whole.ends),
        broken=breaches.all,
    )


SHOWN_BY = {
    State.SPEAKING: Row.LAST_WORDS,
    State.SAVING_EVIDENCE: Row.DOM0_IF_ABLE,
    State.TELLING: Row.PV_MEANS_HANDLER,
    State.INJECTING: Row.INJECTION,
}
"""Rows that say how something is done, and the state in which it is."""


@dataclass(frozen=True, slots=True)
class Proof:
    """All three enumerations, and what none of them reached."""

    reports: tuple[Report, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """What is declared and was not reached by any of them."""
        shown = {row for report in self.reports for state in report.flow_states if (row := SHOWN_BY.get(state))}
        rows = {row for report in self.reports for row in report.rows} | shown
        unreached = tuple(f"row: {row}" for row in Row if row not in rows)
        return (*unreached, *(each for report in self.reports for each in report.missing))

    @property
    def broken(self) -> tuple[Broken, ...]:
        """Every law that did not hold."""
        return tuple(each for report in self.reports for each in report.broken)

    @property
    def holds(self) -> bool:
        """Whether all laws hold and everything declared is reached."""
        return not self.broken and not self.missing


def enumerate_all(*, workers: int = 1) -> Proof:
    """The whole proof: half a minute on one core. ``workers``: so many processes share it."""
    if workers <= 1:
        return Proof((enumerate_parts(), enumerate_entries(), enumerate_pairs()))
    with ProcessPoolExecutor(workers) as pool:
        shares = [pool.submit(enumerate_pairs_of, guest) for guest in GUESTS]
        parts, entries = pool.submit(enumerate_parts), pool.submit(enumerate_entries)
        return Proof((parts.result(), entries.result(), merged([share.result() for share in shares])))


def enumerate_pairs_of(guest: Guest) -> Report:
    """All pairs on one kind of guest."""
    return enumerate_pairs(pair for pair in pairs() if pair[0] == guest)


def merged(reports: Sequence[Report]) -> Report:
    """Reports about different beginnings of one enumeration as one."""
    rows: dict[tuple[str, ...], set[Row]] = {}
    ends: dict[tuple[str, ...], set[State]] = {}
    breaches = Breaches()
    for report in reports:
        for each in report.outcomes:
            rows.setdefault(each.what, set()).update(each.rows)
            ends.setdefault(each.what, set()).update(each.ends)
        for broken in report.broken:
            breaches.add(broken.law, broken.what, broken.path)
    return replace(
        reports[0],
        beginnings=sum(report.beginnings for report in reports),
        states=sum(report.states for report in reports),
        moves=sum(report.moves for report in reports),
        paths=sum(report.paths for report in reports),
        rows=frozenset(row for report in reports for row in report.rows),
        flow_states=frozenset(state for report in reports for state in report.flow_states),
        outcomes=_outcomes(rows, ends),
        broken=breaches.all,
    )


def _outcomes(rows: dict[tuple[str, ...], set[Row]], ends: dict[tuple[str, ...], set[State]]) -> tuple[Outcome, ...]:
    return tuple(
        Outcome(
            what=what,
            rows=tuple(row for row in IN_ORDER if row in rows[what]),
            ends=tuple(state for state in State if state in reached),
        )
        for what, reached in ends.items()
    )
