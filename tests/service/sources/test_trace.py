"""Trace events: format files, ring-buffer pages, and what the events say."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.arch.cpuid import Vendor
from ringfence.errors import FormatError
from ringfence.record.evidence import ClaimedSeverity, Delivery, Evidence, Record, Unrecognised
from ringfence.service.sources.source import Lost, Presence
from ringfence.service.sources.trace_events import EVENTS, Occurrence, evidence
from ringfence.service.sources.trace_format import parse_event, parse_header_page
from ringfence.service.sources.trace_pages import read_page
from ringfence.service.sources.tracefs import TracefsSource
from tests.service.sources import ring_pages
from tests.service.sources.ring_pages import HEADER_PAGE, Event
from tests.service.sources.running import batches, items

PAGE = parse_header_page(HEADER_PAGE)
BUILD = {wanted.name: wanted.build for wanted in EVENTS}
MCE: dict[str, int | bytes] = {
    "status": 0x8C00004000010090, "addr": 0x12345678C0, "misc": 0x86, "mcgcap": 0x1000C16, "tsc": 0x5A1, "cpu": 300,
    "cpuid": 0x50654, "apicid": 2, "walltime": 1_700_000_000, "bank": 7,
}  # fmt: skip


def said(event: Event, **values: int | bytes) -> Evidence:
    form = parse_event(event.format(), event.system)
    payload = event.payload(values)
    return evidence(BUILD[event.name], Occurrence(form, form.decode(payload), 12.5, 3, payload))


def record(event: Event, **values: int | bytes) -> Record:
    found = said(event, **values)
    assert isinstance(found, Record)
    return found


# --- pages -----------------------------------------------------------------------------------------------------------

_payloads = st.binary(max_size=200).map(lambda raw: raw + bytes(-len(raw) % 4))


@given(
    st.integers(0, 1 << 58),
    st.lists(st.tuples(st.integers(0, 1 << 50), _payloads), max_size=12),
    st.none() | st.integers(1, 1 << 40),
)
def test_what_is_written_into_a_page_is_read_from_it(
    start: int, steps: list[tuple[int, bytes]], missed: int | None
) -> None:
    now, events = start, []
    for delta, payload in steps:
        now += delta
        events.append((now, payload))
    found = read_page(ring_pages.page(start, events, missed), PAGE)
    assert [(event.time_ns, event.payload) for event in found.events] == events
    assert (found.missed, found.is_exact, found.damage) == (missed or 0, True, None)


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_of_pages_fail(body: bytes) -> None:
    found = read_page(ring_pages.raw_page(0, body), PAGE)
    assert sum(len(event.payload) for event in found.events) <= len(body)


def test_missed_events_without_a_number_are_at_least_one() -> None:
    found = read_page(ring_pages.page(0, [], 7, stored=False), PAGE)
    assert (found.missed, found.is_exact) == (1, False)


def test_padding_discarded_events_and_absolute_stamps_are_stepped_over() -> None:
    stamp = (1 << 27) * 5 + 9
    body = (
        ring_pages.data(b"one!", 4)
        + ring_pages.encode(29, 1, 8, 0xDEAD)  # discarded: a length of 8 behind the header
        + ring_pages.encode(31, stamp & (1 << 27) - 1, stamp >> 27)
        + ring_pages.data(b"two!", 2)
        + ring_pages.encode(29, 0)
        + b"rubbish!"
    )
    found = read_page(ring_pages.raw_page(1000, body), PAGE)
    assert [(event.time_ns, event.payload) for event in found.events] == [(1004, b"one!"), (stamp + 2, b"two!")]


def test_a_page_that_promises_more_than_it_has_is_damaged_and_not_read_beyond() -> None:
    raw = bytearray(ring_pages.page(0, [(1, b"good")]))
    raw[8:12] = (5000).to_bytes(4, "little")
    assert "5000" in str(read_page(bytes(raw), PAGE).damage)
    with pytest.raises(FormatError):
        read_page(b"short", PAGE)


# --- events ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [ring_pages.MCE_6_1, ring_pages.MCE_6_13], ids=["6.1", "6.13"])
def test_an_mce_record_is_the_banks_registers_wherever_the_kernel_puts_them(event: Event) -> None:
    found = record(event, **MCE)
    assert (found.registers.status, found.registers.addr, found.registers.tsc) == (MCE["status"], MCE["addr"], 0x5A1)
    assert (found.bank, found.cpu, found.cpuid, found.vendor) == (7, 300, 0x50654, Vendor.INTEL)
    assert (found.time, found.delivery) == (1_700_000_000.0, Delivery.POLLED)


def test_the_vendor_data_of_newer_kernels_are_the_syndrome_registers() -> None:
    vendor_data = (0x11).to_bytes(8, "little") + (0x22).to_bytes(8, "little")
    found = record(ring_pages.MCE_6_13, **{**MCE, "cpuvendor": 2, "ipid": 0x9600050F00, "v_data": vendor_data})
    assert (found.registers.synd1, found.registers.synd2) == (0x11, 0x22)


def test_an_mc_event_is_edacs_report_with_dimm_and_address() -> None:
    found = record(
        ring_pages.MC_EVENT,
        error_type=0, msg=b"memory read error\0", label=b"CPU_SrcID#0_MC#0_Chan#1_DIMM#0\0", error_count=3, mc_index=0,
        top_layer=1, middle_layer=0, lower_layer=-1, address=0x12345678C0, grain_bits=5, driver_detail=b"row:0x1\0",
    )  # fmt: skip
    assert found.memory is not None and found.count == 3 and found.time == 12.5
    assert found.memory.location.label == "CPU_SrcID#0_MC#0_Chan#1_DIMM#0"
    assert (found.memory.physical_address, found.memory.grain_bytes) == (0x12345678C0, 32)
    assert found.memory.severity is ClaimedSeverity.CORRECTED
    assert [claim.text for claim in found.claims] == ["layers 1:0", "row:0x1"]


def test_a_memory_failure_is_told_in_the_words_of_the_kernel_that_runs() -> None:
    found = record(ring_pages.MEMORY_FAILURE, pfn=0x12345, type=11, result=3)
    assert found.memory is not None
    assert (found.memory.error, found.memory.page_frame) == ("dirty LRU page: Recovered", 0x12345)
    unknown = record(ring_pages.MEMORY_FAILURE, pfn=1, type=99, result=3)
    assert unknown.memory is not None and unknown.memory.error == "99: Recovered"


def test_an_extlog_event_is_firmwares_report_and_all_ones_are_not_valid() -> None:
    found = record(ring_pages.EXTLOG, err_seq=4, etype=2, sev=2, pa=0x1000, pa_mask_lsb=12, fru_text=b"DIMM_B\0")
    assert found.memory is not None and found.delivery is Delivery.FIRMWARE
    assert (found.memory.physical_address, found.memory.physical_address_mask) == (0x1000, 0xFFFFFFFFFFFFF000)
    assert (found.memory.severity, found.memory.location.label) == (ClaimedSeverity.CORRECTED, "DIMM_B")
    blank = record(ring_pages.EXTLOG, etype=0xFF, sev=0, pa=(1 << 64) - 1, pa_mask_lsb=0xFF)
    assert blank.memory is not None
    assert (blank.memory.physical_address, blank.memory.physical_address_mask, blank.memory.error) == (None, None, None)


def test_pcie_errors_and_sections_without_a_form_are_shown_and_not_decoded() -> None:
    aer = said(ring_pages.AER, dev_name=b"0000:3a:00.0\0", status=0x40, severity=2)
    assert isinstance(aer, Unrecognised) and "0000:3a:00.0, corrected, status 0x40" in aer.why
    section: dict[str, int | bytes] = {"sec_type[16]": bytes(range(16)), "sev": 1, "buf": b"\1\2"}
    other = said(ring_pages.NON_STANDARD, **section)
    assert isinstance(other, Unrecognised) and "03020100-0504-0706-0809-0a0b0c0d0e0f, fatal" in other.why


def test_a_relative_location_counts_from_the_end_of_its_own_field() -> None:
    event = Event("ras", "mc_event", 9, (("__rel_loc char[]", "label", 4), ("u8", "mc_index", 1)))
    found = record(event, label=b"DIMM_C\0", mc_index=2)
    assert found.memory is not None and found.memory.location.label == "DIMM_C"


def test_a_field_beyond_its_event_is_an_error_with_its_place() -> None:
    form = parse_event(ring_pages.MC_EVENT.format(), "ras")
    with pytest.raises(FormatError, match="ends beyond"):
        form.decode(ring_pages.MC_EVENT.payload({})[:20])


# --- the instance ----------------------------------------------------------------------------------------------------


def tracing(root: Path, pages: dict[int, list[bytes]]) -> TracefsSource:
    """A directory that has what an instance has; its raw pipes are FIFOs, which can be polled as the real ones can."""
    instance = root / "instances" / "ringfence"
    for event in (ring_pages.MCE_6_1, ring_pages.MC_EVENT, ring_pages.MEMORY_FAILURE):
        for base in (root, instance):
            place = base / "events" / event.system / event.name
            place.mkdir(parents=True)
            (place / "format").write_text(event.format())
            (place / "enable").write_text("0")
    (instance / "events" / "header_page").write_text(HEADER_PAGE)
    (instance / "trace_clock").write_text("local global [mono] boot")
    for cpu, raw in pages.items():
        place = instance / "per_cpu" / f"cpu{cpu}"
        place.mkdir(parents=True)
        os.mkfifo(place / "trace_pipe_raw")
        keep = os.open(place / "trace_pipe_raw", os.O_RDWR | os.O_NONBLOCK)
        for each in raw:
            os.write(keep, each)
        _OPEN.append(keep)
    return TracefsSource(places=(root,), wall_of_boot=lambda: 1e9)


_OPEN: list[int] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while _OPEN:
        os.close(_OPEN.pop())


def test_events_of_all_cpus_come_in_the_order_of_time_and_lost_ones_are_counted(tmp_path: Path) -> None:
    edac = ring_pages.MC_EVENT.payload({"label": b"A\0", "error_count": 1})
    failure = ring_pages.MEMORY_FAILURE.payload({"pfn": 5, "type": 11, "result": 3})
    mce = ring_pages.MCE_6_1.payload({**MCE, "walltime": 0})
    pages = {
        0: [ring_pages.page(100, [(3_000_000_000, edac)], 12)],
        10: [ring_pages.page(100, [(1_000_000_000, mce), (4_000_000_000, failure)])],
        2: [],
    }
    found = items(asyncio.run(batches(tracing(tmp_path, pages), 4)))
    assert isinstance(found[0], Lost) and (found[0].at_least, found[0].exact) == (12, True)
    records = [item for item in found if isinstance(item, Record)]
    assert [item.origin.file for item in records] == [
        "trace:mce:mce_record",
        "trace:ras:mc_event",
        "trace:memory_failure:memory_failure_event",
    ]
    assert [item.time for item in records] == pytest.approx([1e9 + 1, 1e9 + 3, 1e9 + 4])


def test_events_are_enabled_and_the_reader_is_woken_for_a_single_one(tmp_path: Path) -> None:
    source = tracing(tmp_path, {0: [ring_pages.page(0, [(1, ring_pages.MCE_6_1.payload(MCE))])]})
    asyncio.run(batches(source, 1))
    instance = tmp_path / "instances" / "ringfence"
    assert (instance / "events/mce/mce_record/enable").read_text() == "1"
    assert (instance / "buffer_percent").read_text() == "0"


def test_the_source_says_which_events_this_kernel_lacks_and_what_they_need(tmp_path: Path) -> None:
    found = tracing(tmp_path, {}).probe()
    assert found.presence is Presence.PRESENT
    assert "ras:extlog_mem_event (CONFIG_ACPI_EXTLOG)" in found.why and "mce:mce_record" not in found.why
    absent = TracefsSource(places=(tmp_path / "nowhere",)).probe()
    assert absent.presence is Presence.ABSENT and "mount -t tracefs" in absent.advice
