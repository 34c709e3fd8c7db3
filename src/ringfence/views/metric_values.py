"""The values of every metric, from the journal's state and what the process knows of itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Final

from ringfence.decode.meaning import UnitKind
from ringfence.diagnosis.severity import Severity
from ringfence.journal.events import Deadline
from ringfence.journal.state import State
from ringfence.journal.tallies import DIMMS_TOLD_APART, OTHER, Series
from ringfence.views.metrics import (
    APPROVALS,
    BUILD,
    CASES_CLOSED,
    CASES_OPEN,
    CASES_OPENED,
    CPUS_BAD,
    DEADLINES,
    DECISIONS,
    DIMM_ERRORS,
    DOM0_ABLE,
    DOM0_HURT,
    DOMAINS,
    DROPPED,
    DRY_RUN,
    ERRORS,
    EVENTS,
    FAULTS,
    FURTHER,
    HALTED,
    INSTRUCTIONS,
    JOURNAL,
    LATENCY,
    LEFT_OVER,
    LOST,
    OLDEST,
    ORDERS,
    ORDERS_RUNNING,
    OUTCOMES,
    OUTLET_LAG,
    OUTLET_SENT,
    OUTLET_UP,
    OWN,
    PAGES,
    PAGES_BAD,
    POLICY_REFUSED,
    PROBLEMS,
    QUEUE,
    QUEUE_BOUND,
    RECORDS,
    RESERVE,
    SOURCE_ITEMS,
    SOURCE_LOST,
    SOURCE_SILENT,
    SOURCE_UP,
    STARTED,
    STARTS,
    STRAYS,
    TRENDS,
    TURN,
    TURNED_AWAY,
    UNKEPT,
    UNREAD,
    UNRECOGNISED,
    UP,
    WORDS,
    Histogram,
    Metric,
    Sample,
)
from ringfence.views.text import printable
from ringfence.world.situation import Suspect

FROM_ZERO: Final[Mapping[str, tuple[tuple[str, ...], ...]]] = MappingProxyType(
    {
        ERRORS.name: tuple((severity.value, unit.value) for severity in Severity for unit in UnitKind),
        LEFT_OVER.name: tuple((severity.value,) for severity in Severity),
        TRENDS.name: tuple((suspect.value,) for suspect in Suspect),
        DEADLINES.name: tuple((which.value,) for which in Deadline),
        WORDS.name: (("asked",), ("granted",), ("denied",)),
    }
)
"""Series that are there before their first event. Prometheus sees no increase in a series that begins with 1, and the
first uncorrected error is the one that matters (prometheus.io/docs/practices/instrumentation, "Avoid missing metrics").
Families with more combinations than are worth it have none: alerts on them ask for new series as well."""


# --- values -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue as it is now."""

    name: str
    length: int
    bound: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReading:
    """How a source of evidence does."""

    up: bool
    items: int = 0
    lost: int = 0
    silent_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OutletReading:
    """How an outlet does. ``at`` is the number of the last event that it is done with."""

    up: bool = True
    at: int = 0
    taken: int = 0
    failed: int = 0
    given_up: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """What the process knows of itself, beside the journal's state. Times are seconds since the epoch."""

    version: str
    hypervisor: str
    started_s: float
    host_now_ms: int
    halted: bool
    dom0_able: bool
    dom0_hurt: bool
    domains: int
    dry_run: bool
    policy_refused: bool
    problems: int
    journal_events: int
    journal_bytes: int
    reserve_ready: bool
    unkept: int
    latency: Histogram
    turn: Histogram
    queues: tuple[Queue, ...] = ()
    turned_away: int = 0
    dropped: int = 0
    sources: tuple[tuple[str, SourceReading], ...] = ()
    outlets: tuple[tuple[str, OutletReading], ...] = ()


def samples(state: State, readings: Readings) -> tuple[Sample, ...]:
    """Every metric's values. What can be named beforehand is there from the start (``FROM_ZERO``)."""
    return (*_of_state(state, readings), *_of_process(state, readings))


def _of_state(state: State, readings: Readings) -> Iterator[Sample]:
    tallies, closed = state.tallies, sum(last - first + 1 for first, last in state.closed.runs)
    yield Sample(STARTS, state.life)
    yield Sample(APPROVALS, len(state.approvals))
    none_open = dict.fromkeys((*Severity, OWN), 0)  # a gauge that goes away is no gauge at 0
    opened = Counter(case.severity or OWN for case in state.cases.values())
    yield from _counted(CASES_OPEN, Counter({**none_open, **opened}))
    oldest_ms = min((case.opened_ms for case in state.cases.values()), default=readings.host_now_ms)
    yield Sample(OLDEST, max(0, readings.host_now_ms - oldest_ms) / 1000)
    for metric, series in (
        (ERRORS, _by(tallies.errors, 0, 1)),
        (DIMM_ERRORS, _by_module(tallies.errors)),
        (LEFT_OVER, tallies.left_over),
        (TRENDS, tallies.trends),
        (OUTCOMES, tallies.outcomes),
        (DECISIONS, tallies.decisions),
        (ORDERS, tallies.orders),
        (DEADLINES, tallies.deadlines),
        (WORDS, tallies.approvals),
        (INSTRUCTIONS, tallies.instructions),
    ):
        yield from _series(metric, {**dict.fromkeys(FROM_ZERO.get(metric.name, ()), 0), **series})
    yield Sample(RECORDS, state.received)
    yield Sample(FURTHER, state.also_seen)
    yield Sample(UNRECOGNISED, state.unrecognised)
    yield Sample(LOST, state.lost_urgent, ("urgent",))
    yield Sample(LOST, state.lost_nonurgent, ("nonurgent",))
    live = (fault for fault in state.faults.known.values() if not fault.ended)
    yield from _series(FAULTS, Counter((fault.suspect.value, fault.stage.value) for fault in live))
    yield from _counted(PAGES, _by_dimm(state))
    yield Sample(PAGES_BAD, sum(state.faults.pages.values()))
    yield Sample(CPUS_BAD, len(state.faults.cpus))
    yield Sample(CASES_OPENED, closed + len(state.cases))
    yield Sample(CASES_CLOSED, closed)
    yield Sample(ORDERS_RUNNING, len(state.orders))
    yield Sample(UNREAD, state.unread)
    yield Sample(STRAYS, state.strays)


def _of_process(state: State, readings: Readings) -> Iterator[Sample]:
    yield Sample(UP, 1)
    yield Sample(BUILD, 1, _legible(readings.version, readings.hypervisor, state.policy_digest))
    yield Sample(STARTED, readings.started_s)
    yield Sample(PROBLEMS, readings.problems)
    yield Sample(HALTED, readings.halted)
    yield Sample(DOM0_ABLE, readings.dom0_able)
    yield Sample(DOM0_HURT, readings.dom0_hurt)
    yield Sample(DOMAINS, readings.domains)
    yield Sample(DRY_RUN, readings.dry_run)
    yield Sample(POLICY_REFUSED, readings.policy_refused)
    yield Sample(EVENTS, readings.journal_events)
    yield Sample(JOURNAL, readings.journal_bytes)
    yield Sample(RESERVE, readings.reserve_ready)
    yield Sample(UNKEPT, readings.unkept)
    yield Sample(LATENCY, readings.latency)
    yield Sample(TURN, readings.turn)
    for queue in readings.queues:
        yield Sample(QUEUE, queue.length, (queue.name,))
        yield Sample(QUEUE_BOUND, queue.bound, (queue.name,))
    yield Sample(TURNED_AWAY, readings.turned_away)
    yield Sample(DROPPED, readings.dropped)
    for name, source in readings.sources:
        labels = _legible(name)
        yield Sample(SOURCE_UP, source.up, labels)
        yield Sample(SOURCE_ITEMS, source.items, labels)
        yield Sample(SOURCE_LOST, source.lost, labels)
        yield Sample(SOURCE_SILENT, source.silent_s, labels)
    for name, outlet in readings.outlets:
        (receiver,) = _legible(name)
        yield Sample(OUTLET_UP, outlet.up, (receiver,))
        yield Sample(OUTLET_LAG, max(0, readings.journal_events - outlet.at), (receiver,))
        for result, count in (("taken", outlet.taken), ("failed", outlet.failed), ("given up", outlet.given_up)):
            yield Sample(OUTLET_SENT, count, (receiver, result))


def _by(series: Series, *places: int) -> Series:
    """Counts by some of their labels only."""
    found: Series = {}
    for labels, count in series.items():
        kept = tuple(labels[place] for place in places)
        found[kept] = found.get(kept, 0) + count
    return found


def _by_module(errors: Series) -> Series:
    """Errors by severity and module. A module that erred has every severity: its first worse one is to be seen."""
    found = _by({labels: count for labels, count in errors.items() if labels[2]}, 0, 2)
    modules = dict.fromkeys(dimm for _, dimm in found)
    return {**{(severity.value, dimm): 0 for dimm in modules for severity in Severity}, **found}


def _by_dimm(state: State) -> Counter[str]:
    """Pages out of use by module; names beyond those that are told apart count as one."""
    pages = Counter[str]()
    for dimm, frames in state.offlined.items():
        named = not dimm or dimm in state.tallies.dimms
        pages[dimm if named else OTHER] += sum(frames.values())
    return pages


def _counted(metric: Metric, counts: Counter[str]) -> Iterable[Sample]:
    return _series(metric, {(label,): count for label, count in counts.items()})


def _series(metric: Metric, series: Series) -> Iterable[Sample]:
    """The values of one metric. Labels that look alike when they are made legible are added up."""
    legible = Counter[tuple[str, ...]]()
    for labels, count in series.items():
        legible[_legible(*labels)] += count
    return [Sample(metric, count, labels) for labels, count in sorted(legible.items())]


def _legible(*labels: str) -> tuple[str, ...]:
    """Texts of evidence as labels: no control characters, no direction marks, nothing that UTF-8 cannot hold."""
    return tuple(map(_made_legible, labels))


@lru_cache(maxsize=4 * DIMMS_TOLD_APART)  # the same few at each scrape, which the writer must not wait for
def _made_legible(label: str) -> str:
    return printable(label).encode("utf-8", "backslashreplace").decode()
