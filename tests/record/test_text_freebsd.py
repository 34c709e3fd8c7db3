"""FreeBSD's six lines (sys/x86/x86/mca.c), and TrueNAS's copies of one of them."""

from __future__ import annotations

import pytest

from ringfence.arch.cpuid import Vendor
from ringfence.record.evidence import ClaimedSeverity, Format, Registers, Unrecognised
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
