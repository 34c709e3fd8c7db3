"""One error, several sources, one event; two errors never one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.arch.cpuid import Vendor
from ringfence.record.evidence import ClaimedSeverity, Format, Location, MemoryReport, Origin, Record, Registers
from ringfence.service.sources.joining import (
    RULES,
    WINDOW_S,
    Aspect,
    Interval,
    Joined,
    Sighting,
    contradiction,
    facts,
    join,
)
from tests.service.sources.reports import Fault, edac, firmware, poisoned, registers


def sightings(*seen: tuple[str, Record]) -> list[Sighting]:
    return [Sighting(number, source, record) for number, (source, record) in enumerate(seen)]


def numbers(events: tuple[Joined, ...]) -> list[list[int]]:
    return [[sighting.number for sighting in event.sightings] for event in events]


ONE = Fault(1000.0, 0x12345, 3, 7, 1, fatal=True)


def test_an_uncorrected_error_seen_in_five_ways_is_one_event() -> None:
    events = join(
        sightings(
            ("kmsg", registers(ONE)), ("tracefs", registers(ONE, late=-0.7)), ("tracefs", edac(ONE, late=0.01)),
            ("tracefs", poisoned(ONE, late=0.02)), ("pstore", firmware(ONE, late=1.0)),
        )
    )  # fmt: skip
    assert numbers(events) == [[0, 1, 2, 3, 4]]
    assert events[0].count == 1 and set(events[0].rules) == {"registers", "line", "page"}


def test_two_reports_of_one_source_are_two_errors_however_equal() -> None:
    events = join(sightings(("kmsg", registers(ONE)), ("kmsg", registers(ONE)), ("tracefs", registers(ONE))))
    assert [len(event.sightings) for event in events] == [2, 1]


@pytest.mark.parametrize(
    "other",
    [
        replace(ONE, line=4), replace(ONE, page=0x999), replace(ONE, bank=8), replace(ONE, cpu=2),
        replace(ONE, time=1000.0 + WINDOW_S + 0.01), replace(ONE, fatal=False),
    ],
    ids=["line", "page", "bank", "cpu", "time", "severity"],
)  # fmt: skip
def test_an_error_that_differs_in_one_thing_is_another(other: Fault) -> None:
    assert len(join(sightings(("kmsg", registers(ONE)), ("tracefs", registers(other))))) == 2


def test_the_same_latched_bank_out_of_erst_after_the_boot_is_the_same_error() -> None:
    before, after = registers(ONE, tsc=77), replace(registers(ONE, tsc=77), time=None)
    events = join(sightings(("kmsg", before), ("pstore", after)))
    assert numbers(events) == [[0, 1]] and events[0].rules == ("tsc",)
    assert len(join(sightings(("kmsg", before), ("pstore", replace(registers(ONE, tsc=78), time=None))))) == 2


def test_a_page_that_two_different_errors_hit_is_given_to_neither_and_says_so() -> None:
    other = replace(ONE, line=9)
    seen = (("kmsg", registers(ONE)), ("kmsg", registers(other)), ("tracefs", poisoned(ONE)))
    events = join(sightings(*seen))
    assert numbers(events) == [[0], [1], [2]]
    assert events[2].could_be == (0, 1)


def test_the_address_of_an_amd_channel_is_no_address_of_the_machine() -> None:
    # MCA_ADDR of a UMC (HWID 96h, PPR 57254) is normalised: the same number in EDAC's report is chance.
    umc = replace(
        registers(replace(ONE, fatal=False)),
        vendor=Vendor.AMD,
        cpuid=0xA00F11,
        registers=Registers(status=0x9C2040000000011B, addr=ONE.address, ipid=0x9600150F00, synd=1),
    )
    assert len(join(sightings(("kmsg", umc), ("tracefs", edac(replace(ONE, fatal=False)))))) == 2


def test_edacs_report_without_an_address_is_joined_by_its_dimm_and_words() -> None:
    def bare(label: str) -> Record:
        record = edac(ONE, label=label)
        assert record.memory is not None
        return replace(record, memory=replace(record.memory, physical_address=None, grain_bytes=None))

    assert len(join(sightings(("kmsg", bare("A")), ("tracefs", bare("A"))))) == 1
    assert len(join(sightings(("kmsg", bare("A")), ("tracefs", bare("B"))))) == 2


def test_a_counter_is_accounted_for_by_the_reports_of_what_it_counted() -> None:
    corrected = replace(ONE, fatal=False)
    memory = MemoryReport(severity=ClaimedSeverity.CORRECTED, location=Location(label="DIMM_A"))
    counted = Record(origin=Origin("c"), format=Format.EDAC, raw=b"", time=1005.0, count=3, memory=memory)
    seen = sightings(("tracefs", edac(corrected)), ("tracefs", edac(replace(corrected, time=1001.0))))
    counter = Sighting(2, "edac", counted, Interval(995.0, 1005.0))
    events = join([*seen, counter])
    assert [(event.count, len(event.sightings)) for event in events] == [(1, 1), (1, 1), (1, 1)]
    assert events[2].sightings == (counter,)
    less = join([*seen, replace(counter, record=replace(counted, count=2))])
    assert [event.count for event in less] == [1, 1] and "counter" in less[1].rules


def test_each_rule_says_what_it_rests_on() -> None:
    assert [rule.name for rule in RULES] == ["tsc", "registers", "line", "device", "page"]
    assert all(len(rule.doc) > 80 for rule in RULES)


# --- laws ------------------------------------------------------------------------------------------------------------

_faults = st.lists(
    st.builds(
        Fault,
        time=st.integers(0, 12).map(lambda step: 1000.0 + step / 2),
        page=st.integers(1, 2),
        line=st.integers(0, 2),
        bank=st.integers(7, 8),
        cpu=st.integers(0, 1),
        fatal=st.booleans(),
    ),
    min_size=1,
    max_size=6,
)
_WAYS: tuple[tuple[str, Callable[[Fault], Record]], ...] = (
    ("kmsg", registers),
    ("tracefs", registers),
    ("tracefs", edac),
    ("db", edac),
    ("tracefs", poisoned),
    ("ghes", firmware),
)


def _who_sees(fault: Fault, ways: tuple[int, ...]) -> list[tuple[str, Record]]:
    return [
        (source, made(fault)) for number, (source, made) in enumerate(_WAYS)
        if number in ways and (made is not poisoned or fault.fatal)
    ]  # fmt: skip


@settings(max_examples=60)
@given(st.data(), _faults)
def test_every_sighting_is_in_one_event_and_no_event_contradicts_itself(
    data: st.DataObject, faults: list[Fault]
) -> None:
    seen = [
        pair for fault in faults for pair in _who_sees(fault, tuple(data.draw(st.sets(st.integers(0, 5), min_size=1))))
    ]
    found = sightings(*seen)
    events = join(found)
    assert sorted(number for event in numbers(events) for number in event) == list(range(len(found)))
    for event in events:
        channels = [(each.source, each.aspect) for each in event.sightings if each.aspect is not Aspect.PAGE]
        assert len(channels) == len(set(channels))
        times = [each.record.time or 0.0 for each in event.sightings]
        assert max(times) - min(times) <= WINDOW_S
        values = [facts(each.record) for each in event.sightings]
        assert all(contradiction(one, other) is None for one in values for other in values)


@settings(max_examples=60)
@given(_faults)
def test_two_different_errors_that_every_source_has_seen_are_never_one(faults: list[Fault]) -> None:
    seen = [(fault, *pair) for fault in faults for pair in _who_sees(fault, (0, 1, 2, 3, 4, 5))]
    truth = {number: replace(fault, time=0.0) for number, (fault, _, _) in enumerate(seen)}
    events = join(sightings(*((source, record) for _, source, record in seen)))
    for event in numbers(events):
        assert len({truth[number] for number in event}) == 1


@settings(max_examples=40)
@given(st.data(), _faults)
def test_the_order_of_arrival_changes_nothing(data: st.DataObject, faults: list[Fault]) -> None:
    apart = [replace(fault, time=1000.0 + 0.37 * number) for number, fault in enumerate(faults)]
    seen = [
        (source, replace(record, time=(record.time or 0.0) + 0.001 * at))
        for fault in apart
        for at, (source, record) in enumerate(_who_sees(fault, (0, 2, 4)))
    ]
    found = sightings(*seen)
    shuffled = data.draw(st.permutations(found))
    groups = {frozenset(event) for event in numbers(join(found))}
    again = [replace(each, number=at) for at, each in enumerate(shuffled)]
    back = {at: each.number for at, each in enumerate(shuffled)}
    assert {frozenset(back[number] for number in event) for event in numbers(join(again))} == groups
