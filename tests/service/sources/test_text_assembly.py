"""Lines that come one by one give what the whole log gives, and where to resume is always between two events."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.record.evidence import Evidence, Record
from ringfence.record.text import reader
from ringfence.record.text.lines import RawLine
from ringfence.service.sources.text_assembly import Marked, TextAssembly

_EVENT = (
    b"[    1.0] mce: [Hardware Error]: CPU %d: Machine Check: 0 Bank %d: 8c00004000010090",
    b"[    1.0] mce: [Hardware Error]: TSC 5a1 ADDR 12345678c0 MISC 86 ",
    b"[    1.0] mce: [Hardware Error]: PROCESSOR 0:50654 TIME 1700000000 SOCKET 0 APIC 2 microcode 2006b06",
)
_EDAC = b"[    1.1] EDAC MC0: 1 CE memory read error on DIMM_%d (channel:0 slot:0 page:0x12345678 offset:0xc0 grain:32)"
_OTHER = b"[    1.2] usb 1-%d: new high-speed USB device"


def _event(number: int) -> list[bytes]:
    return [_EVENT[0] % (number % 8, number % 20), *_EVENT[1:]]


_parts = st.lists(
    st.one_of(
        st.integers(0, 99).map(_event),
        st.integers(0, 9).map(lambda number: [_EDAC % number]),
        st.integers(1, 60).map(lambda count: [_OTHER % number for number in range(count)]),
        st.integers(0, 99).map(lambda number: _event(number)[:2]),
    ),
    max_size=40,
)


def _lines(parts: list[list[bytes]]) -> list[RawLine]:
    return [RawLine(number, raw) for number, raw in enumerate((raw for part in parts for raw in part), start=1)]


@settings(max_examples=60)
@given(_parts, st.integers(1, 50))
def test_line_by_line_is_as_good_as_the_whole(parts: list[list[bytes]], stride: int) -> None:
    lines = _lines(parts)
    assembly = TextAssembly("log", 0)
    found: list[Evidence] = []
    for line in lines:
        assembly.feed(Marked(line, line.number))
        if line.number % stride == 0:
            found.extend(assembly.ready())
    found.extend(assembly.silent())
    assert found == list(reader.read(lines, "log"))
    assert assembly.settled == len(lines)


@settings(max_examples=8)
@given(st.integers(600, 1500), st.integers(100, 700))
def test_a_storm_is_handed_over_as_it_goes_and_a_restart_at_any_time_neither_loses_nor_repeats(
    events: int, restart: int
) -> None:
    lines = _lines([_event(number) for number in range(events)])
    before = TextAssembly("log", 0)
    found: list[Evidence] = []
    for line in lines[: 2 * restart]:
        before.feed(Marked(line, line.number))
        found.extend(before.ready())
    resumed = TextAssembly("log", before.settled)
    for line in lines[before.settled :]:
        resumed.feed(Marked(line, line.number))
        found.extend(resumed.ready())
    found.extend(resumed.silent())
    records = [item for item in found if isinstance(item, Record)]
    assert len(records) == len(found) == events
    assert [item.bank for item in records] == [number % 20 for number in range(events)]
