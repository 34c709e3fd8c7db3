"""FreeBSD's six lines (sys/x86/x86/mca.c), and TrueNAS's copies of one of them."""

from __future__ import annotations

import pytest

from ringfence.arch.cpuid import Vendor
from ringfence.diagnosis.finding import diagnose
from ringfence.record.evidence import ClaimedSeverity, Delivery, Format, Location, Record, Registers, Unrecognised
from tests.record.texts import evidence, record, records, said

OPTERON = """\
MCA: Bank 4, Status 0x9c35c00100080a13
MCA: Global Cap 0x0000000000000106, Status 0x0000000000000000
MCA: Vendor "AuthenticAMD", ID 0x100f80, APIC ID 12
MCA: CPU 10 COR OVER BUSLG Responder RD Memory
MCA: Address 0x3f1b6ab00
MCA: Misc 0xc00a000001000000
"""
"""Rendered from mca_log's formats."""


def test_six_lines_are_one_record() -> None:
    one = record(OPTERON)
    assert one.format is Format.FREEBSD
    assert one.registers == Registers(
        status=0x9C35C00100080A13, addr=0x3F1B6AB00, misc=0xC00A000001000000, mcg_cap=0x106, mcg_status=0
    )
    assert (one.bank, one.cpu, one.apicid, one.vendor, one.cpuid) == (4, 10, 12, Vendor.AMD, 0x100F80)
    assert said(one) == ["severity: COR OVER", "error: BUSLG Responder RD Memory"]


def test_records_back_to_back_are_told_by_their_bank_line() -> None:
    found = records(OPTERON + OPTERON.replace("Bank 4", "Bank 2"))
    assert [one.bank for one in found] == [4, 2]
    assert {one.cpu for one in found} == {10}


def test_the_number_in_parentheses_is_the_count() -> None:
    one = record(OPTERON.replace("COR OVER BUSLG Responder RD Memory", "COR (5) OVER RD channel 1 memory error"))
    assert one.count == 5
    assert record(OPTERON.replace("COR OVER", "COR (0) OVER")).count == 1


def test_the_mode_behind_an_address_is_a_claim() -> None:
    one = record(OPTERON.replace("0x3f1b6ab00", "0x3f1b6ab00 (Mode: Physical Address, LSB: 6)"))
    assert one.registers.addr == 0x3F1B6AB00
    assert "other: (Mode: Physical Address, LSB: 6)" in said(one)


@pytest.mark.parametrize(
    ("line", "severity", "channel"),
    [
        ("MCA: CPU 39 COR (1) MS channel 1 memory error", ClaimedSeverity.CORRECTED, 1),
        ("MCA: CPU 2 UNCOR PCC RD channel 0 memory error", ClaimedSeverity.FATAL, 0),
        ("MCA: CPU 2 UNCOR RD channel 0 memory error", ClaimedSeverity.RECOVERABLE, 0),
    ],
)
def test_a_lone_memory_line_is_a_report(line: str, severity: ClaimedSeverity, channel: int) -> None:
    memory = record(line).memory
    assert memory is not None
    assert (memory.severity, memory.location.channel) == (severity, channel)


def test_a_lone_cache_line_is_shown_as_unread() -> None:
    (item,) = evidence("MCA: CPU 0 COR (1) ICACHE L2 IRD error")
    assert isinstance(item, Unrecognised)


@pytest.mark.parametrize("line", ["MCA: Unable to allocate space for an event.", "MCA: hello"])
def test_other_lines_are_no_evidence(line: str) -> None:
    assert evidence(line) == []


APEI = """\
APEI Corrected Memory Error:
 Error Status: 0x400
 Physical Address: 0x3f1b6ab00
 Physical Address Mask: 0xffffffffffffffc0
 Node: 0
 Card: 1
 Module: 0
 Bank: 769
 Device: 4
 Row: 4097
 Column: 24
 Bit Position: 3
 Memory Error Type: 2
 Rank Number: 1
 Module Handle: 0x1100
 Extended Row: 4097
 Bank Group: 3
 Bank Address: 1
 Flags: 0x1
 FRU Id: 00000000-0000-0000-0000-000000000000
 FRU Text: DIMM_A1
"""
"""Rendered from the formats of apei_mem_handler and apei_ged_handler."""


def test_what_firmware_reports_of_memory_is_a_record_with_its_place() -> None:
    one = record(f"MCA: hello\n{APEI}")
    assert (one.format, one.delivery) == (Format.FREEBSD, Delivery.FIRMWARE)
    assert one.memory is not None
    assert (one.memory.severity, one.memory.error) == (ClaimedSeverity.CORRECTED, "single-bit ECC")
    assert (one.memory.physical_address, one.memory.physical_address_mask) == (0x3F1B6AB00, 0xFFFFFFFFFFFFFFC0)
    assert one.memory.module_handle == 0x1100
    assert diagnose(one).reading.unit == "memory, as firmware reports it"
    assert one.memory.location == Location(
        node=0, card=1, module=0, bank_group=3, bank=1, device=4, row=4097, column=24, rank=1
    )
    assert "firmware: FRU Text: DIMM_A1" in said(one)
    assert one.assumptions == ()


def test_a_row_of_more_bits_than_its_line_is_said() -> None:
    one = record(APEI.replace("Extended Row: 4097", "Extended Row: 69633"))
    assert one.memory is not None
    assert one.memory.location.row == 4097
    assert "Extended Row" in one.assumptions[0]


def test_reports_back_to_back_and_of_other_kinds_are_told_apart() -> None:
    found = evidence(
        APEI
        + "APEI Fatal PCIe Error:\n Port Type: 4\n Version: 301\n DeviceID: 00 01 02\n AER Info:\n 00 00 00 00\n"
        + "APEI Recoverable Error dc3ea0b0-a144-4797-b95b-53fa242b6e1d:\n Error Data:\n 00 ff 01\n Flags: 0x0\n"
        + "panic: APEI Fatal Hardware Error!\n"
    )
    assert [one.memory.error for one in found if isinstance(one, Record) and one.memory is not None] == [
        "single-bit ECC", "PCIe error", "section dc3ea0b0-a144-4797-b95b-53fa242b6e1d",
    ]  # fmt: skip
    assert len(found) == 3


def test_a_severity_that_freebsd_does_not_know_is_shown_unread() -> None:
    (item,) = evidence("APEI ??? Memory Error:\n Node: 0\n")
    assert isinstance(item, Unrecognised)


@pytest.mark.parametrize("line", [" Node: 0", "APEI is enabled", " Row: 7", " 00 01 02"])
def test_a_field_without_its_report_is_no_evidence(line: str) -> None:
    assert evidence(line) == []
