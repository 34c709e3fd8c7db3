"""Reports that come one by one: one error is counted once, whoever tells of it and in whatever order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.record.evidence import ClaimedSeverity, Format, Origin, Record
from ringfence.service.sources import attaching
from ringfence.service.sources.attaching import Attaching, Further, New, Placed, Unjudged
from ringfence.service.sources.edac_sysfs import interval
from ringfence.service.sources.joining import Sighting, join
from tests.service.sources.reports import SRAR, Fault, counted, edac, firmware, poisoned, registers

ONE = Fault(1000.0, 0x12345, 3, 7, 1, fatal=True)
SOFT = replace(ONE, fatal=False)


def place(known: Attaching, *told: tuple[str, Record]) -> list[Placed]:
    return [known.place(source, record) for source, record in told]


def errors(found: Iterable[Placed]) -> list[int]:
    """The number of the error that each report is of."""
    return [each.number if isinstance(each, New) else each.of for each in found if not isinstance(each, Unjudged)]


def test_the_first_report_is_the_error_and_the_others_are_of_it() -> None:
    found = place(
        Attaching(), ("tracefs", registers(ONE)), ("kmsg", registers(ONE, late=0.7)), ("tracefs", edac(ONE)),
        ("tracefs", poisoned(ONE, late=0.02)), ("ghes", firmware(ONE, late=1.0)),
    )  # fmt: skip
    assert isinstance(found[0], New)
    assert errors(found) == [1, 1, 1, 1, 1]
    assert [each.rule for each in found if isinstance(each, Further)] == ["registers", "line", "page", "line"]


def test_a_corrected_error_that_one_source_reports_again_is_another_error() -> None:
    told = [(source, registers(replace(SOFT, time=1000.0 + each / 10))) for each in range(3) for source in ("a", "b")]
    assert errors(place(Attaching(), *told)) == [1, 1, 2, 2, 3, 3]


def test_what_is_latched_is_one_error_and_what_is_consumed_again_is_another() -> None:
    latched = [("kmsg", registers(ONE, late=each, tsc=7 + each)) for each in (0, 300)]
    assert errors(place(Attaching(), *latched)) == [1, 1]
    consumed = [("kmsg", registers(ONE, late=each, status=SRAR, tsc=7 + each)) for each in (0, 300)]
    assert errors(place(Attaching(), *consumed)) == [1, 2]


def test_what_two_cpus_read_is_one_error_in_every_source() -> None:
    """Both hyperthreads of a core report the bank that they share, and the sources need not agree in the order."""
    one, other = registers(SOFT), registers(replace(SOFT, cpu=2))
    found = place(Attaching(), ("kmsg", one), ("kmsg", other), ("tracefs", other), ("tracefs", one))
    assert errors(found) == [1, 1, 1, 1]


def test_what_could_be_of_two_errors_is_of_neither_and_says_so() -> None:
    other = replace(ONE, line=9)
    found = place(Attaching(), ("kmsg", registers(ONE)), ("kmsg", registers(other)), ("tracefs", poisoned(ONE)))
    assert isinstance(found[2], New) and found[2].could_be == (1, 2)


def test_what_says_nothing_of_how_bad_it_is_is_an_error_only_with_another() -> None:
    memory = poisoned(ONE).memory
    assert memory is not None
    silent = replace(poisoned(ONE), memory=replace(memory, severity=None))
    known = Attaching()
    assert isinstance(known.place("kmsg", replace(silent, raw=b"before")), Unjudged)
    found = place(known, ("tracefs", registers(ONE)), ("kmsg", silent))
    assert errors(found) == [1, 1]


def test_a_report_that_makes_it_worse_or_names_its_page_is_to_be_heard() -> None:
    nowhere = edac(ONE)
    assert nowhere.memory is not None
    nowhere = replace(nowhere, memory=replace(nowhere.memory, physical_address=None, grain_bytes=None))
    again = edac(ONE, late=0.1)
    found = place(Attaching(), ("kmsg", nowhere), ("tracefs", again), ("db", edac(ONE, late=0.2)))
    assert errors(found) == [1, 1, 1]
    assert [each.presses for each in found if isinstance(each, Further)] == [True, False]


def test_that_an_error_is_fatal_is_to_be_heard_and_another_word_for_unconsumed_is_not() -> None:
    worst = firmware(ONE)
    assert worst.memory is not None
    worst = replace(worst, memory=replace(worst.memory, severity=ClaimedSeverity.FATAL))
    found = place(Attaching(), ("kmsg", registers(ONE)), ("db", edac(ONE)), ("ghes", worst))
    assert errors(found) == [1, 1, 1]
    assert [each.presses for each in found if isinstance(each, Further)] == [False, True]


def test_a_corrected_error_presses_nobody() -> None:
    found = place(Attaching(), ("kmsg", edac(SOFT)), ("tracefs", registers(SOFT)))
    assert [each.presses for each in found if isinstance(each, Further)] == [False]


# --- counters ---------------------------------------------------------------------------------------------------------


def count(known: Attaching, record: Record) -> Placed:
    between = interval(record)
    assert between is not None
    return known.count("edac", record, between)


def test_a_counter_tells_only_of_what_nobody_else_saw() -> None:
    known = Attaching()
    place(known, ("tracefs", edac(SOFT)), ("tracefs", edac(replace(SOFT, time=1001.0))))
    lost = count(known, counted(5, since=995.0, until=1005.0))
    assert isinstance(lost, New) and lost.count == 3
    more = Attaching()
    place(more, ("tracefs", edac(SOFT)), ("tracefs", edac(replace(SOFT, time=1001.0))))
    seen = count(more, counted(2, since=995.0, until=1005.0))
    assert isinstance(seen, Further) and seen.rule == "counter"


def test_an_error_is_accounted_for_once() -> None:
    known = Attaching()
    place(known, ("tracefs", edac(SOFT)))
    first, second = (count(known, counted(1, since=since, until=since + 10)) for since in (991.0, 1001.0))
    assert isinstance(first, Further)
    assert isinstance(second, New) and second.count == 1


def test_a_counter_of_another_dimm_or_kind_is_not_accounted_for() -> None:
    known = Attaching()
    place(known, ("tracefs", edac(SOFT)))
    assert isinstance(count(known, counted(1, since=995.0, until=1005.0, label="DIMM_B")), New)
    assert isinstance(count(known, counted(1, since=995.0, until=1005.0, fatal=True)), New)


# --- laws -------------------------------------------------------------------------------------------------------------

WAYS: tuple[tuple[str, Callable[[Fault], Record]], ...] = (
    ("kmsg", registers),
    ("tracefs", registers),
    ("tracefs", edac),
    ("db", edac),
    ("ghes", firmware),
)

faults = st.lists(
    st.builds(
        Fault, time=st.integers(0, 12).map(lambda step: 1000.0 + step / 2), page=st.integers(1, 2),
        line=st.integers(0, 2), bank=st.integers(7, 8), cpu=st.integers(0, 1), fatal=st.booleans(),
    ),
    min_size=1, max_size=6,
)  # fmt: skip


@st.composite
def told(draw: st.DrawFn, *, apart: bool) -> list[tuple[int, str, Record]]:
    """Reports in some order, each with the number of its fault; ``apart``: no two faults are of one page."""
    those = draw(faults)
    if apart:
        those = [replace(fault, page=100 + number) for number, fault in enumerate(those)]
    reports = [
        (number, *WAYS[way])
        for number in range(len(those))
        for way in sorted(draw(st.sets(st.integers(0, len(WAYS) - 1), min_size=1)))
    ]
    return [(number, source, made(those[number])) for number, source, made in draw(st.permutations(reports))]


@settings(max_examples=80)
@given(told(apart=True))
def test_errors_that_can_be_told_apart_are_found_as_if_all_had_come_at_once(
    reports: list[tuple[int, str, Record]],
) -> None:
    found = errors(place(Attaching(), *((source, record) for _, source, record in reports)))
    by_error: dict[int, set[int]] = {}
    for place_, error in enumerate(found):
        by_error.setdefault(error, set()).add(place_)
    events = join(Sighting(number, source, record) for number, (_, source, record) in enumerate(reports))
    assert sorted(by_error.values(), key=min) == [{each.number for each in event.sightings} for event in events]


@settings(max_examples=80)
@given(told(apart=False), st.data())
def test_after_a_restart_a_report_is_placed_as_it_would_have_been(
    reports: list[tuple[int, str, Record]], data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, len(reports)))
    living = Attaching()
    journal = [(source, living.place(source, record)) for _, source, record in reports[:cut]]
    restarted = Attaching(1 + sum(isinstance(each, New) for _, each in journal))
    for source, each in journal:
        assert not isinstance(each, Unjudged)
        of, rule = (each.number, "") if isinstance(each, New) else (each.of, each.rule)
        restarted.recall(source, each.record, of, rule)
    rest = [(source, record) for _, source, record in reports[cut:]]
    assert errors(place(restarted, *rest)) == errors(place(living, *rest))


def test_what_is_remembered_is_bounded_and_what_is_forgotten_counts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attaching, "KEPT", 4)
    known = Attaching()
    for number in range(100):
        known.place("kmsg", registers(replace(SOFT, page=number)))
        assert max(len(known._known), len(known._errors), len(known._channels["kmsg"].numbers)) <= 4
    assert sum(map(len, known._index.values())) <= 4 * 5
    assert isinstance(known.place("tracefs", registers(replace(SOFT, page=99))), Further)
    assert isinstance(known.place("tracefs", registers(replace(SOFT, page=1))), New)


def test_an_unnamed_processor_is_the_one_that_the_source_named_before() -> None:
    known = Attaching()
    known.place("kmsg", registers(SOFT))
    bare = replace(
        registers(replace(SOFT, page=5)), vendor=None, cpuid=None, format=Format.PRINTK, origin=Origin("x", 9)
    )
    found = known.place("kmsg", bare)
    assert isinstance(found, New) and found.record.cpuid == 0x50654
    assert any("same log" in each for each in found.record.assumptions)
