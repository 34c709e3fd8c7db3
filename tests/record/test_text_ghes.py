"""Firmware's reports as the kernel prints them: forms from Linux cper.c, cper-x86.c, ghes.c and bert.c."""

from __future__ import annotations

import pytest

from ringfence.record.evidence import ClaimedSeverity, Delivery, Format, Location, Registers, Unrecognised
from tests.record.texts import evidence, record, records, said

MEMORY = """\
{1}[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 4
{1}[Hardware Error]: It has been corrected by h/w and requires no further action
{1}[Hardware Error]: event severity: corrected
{1}[Hardware Error]:  Error 0, type: corrected
{1}[Hardware Error]:  fru_text: Card02, ChnB, DIMM1
{1}[Hardware Error]:   section_type: memory error
{1}[Hardware Error]:    error_status: Storage error in DRAM memory (0x0000000000000400)
{1}[Hardware Error]:   physical_address: 0x0000000ab5e34000
{1}[Hardware Error]:   physical_address_mask: 0x00003fffffffffc0
{1}[Hardware Error]:   node:1 card:2 module:1 rank:0 bank:3 device:5 row:234 column:8 bit_position:0 \n\
{1}[Hardware Error]:   error_type: 2, single-bit ECC
{1}[Hardware Error]:   DIMM location: P2 DIMMB1 \n"""

OLD_MEMORY = """\
[Hardware Error]: Hardware error from APEI Generic Hardware Error Source: 0
[Hardware Error]: APEI generic hardware error status
[Hardware Error]: severity: 2, corrected
[Hardware Error]: section: 0, severity: 2, corrected
[Hardware Error]: flags: 0x01
[Hardware Error]: primary
[Hardware Error]: section_type: memory error
[Hardware Error]: error_status: 0x0000000000000400
[Hardware Error]: physical_address: 0x0000000ab5e34000
[Hardware Error]: node: 1
[Hardware Error]: card: 2
[Hardware Error]: module: 1
[Hardware Error]: bank: 3
[Hardware Error]: row: 234
[Hardware Error]: column: 8
[Hardware Error]: error_type: 2, single-bit ECC
"""

PROCESSOR = """\
BERT: Error records from previous boot:
[Hardware Error]: event severity: fatal
[Hardware Error]:  Error 0, type: fatal
[Hardware Error]:  fru_text: ProcessorError
[Hardware Error]:   section_type: IA32/X64 processor error
[Hardware Error]:   Local APIC_ID: 0x5
[Hardware Error]:   CPUID Info:
[Hardware Error]:   00000000: 00a20f10 00000000 05100800 00000000
[Hardware Error]:   00000010: 76f8320b 00000000 178bfbff 00000000
[Hardware Error]:   00000020: 00000000 00000000 00000000 00000000
[Hardware Error]:   Error Information Structure 0:
[Hardware Error]:    Error Structure Type: cache error
[Hardware Error]:    Check Information: 0x000000000602001f
[Hardware Error]:     Processor Context Corrupt: true
[Hardware Error]:   Context Information Structure 0:
[Hardware Error]:    Register Context Type: MSR Registers (Machine Check and other MSRs)
[Hardware Error]:    Register Array Size: 0x0050
[Hardware Error]:    MSR Address: 0xc0002051
[Hardware Error]:    Register Array:
[Hardware Error]:    00000000: bea0000000000108 000000000041d3e0
[Hardware Error]:    00000010: d012000101000000 0000000000000079
[Hardware Error]:    00000020: 000500b000000000 000000004d000000
[Hardware Error]:    00000030: 0000000000000000 0000000000000001
[Hardware Error]:    00000040: 0000000000000002 0000000000000000
BERT: Total records found: 1
"""


def test_a_memory_section_is_a_report_of_its_place() -> None:
    one = record(MEMORY)
    assert (one.format, one.delivery, one.registers) == (Format.GHES, Delivery.FIRMWARE, Registers())
    assert one.memory is not None
    assert (one.memory.severity, one.memory.error) == (ClaimedSeverity.CORRECTED, "single-bit ECC")
    assert one.memory.physical_address == 0xAB5E34000
    assert one.memory.physical_address_mask == 0x3FFFFFFFFFC0
    assert one.memory.location == Location(
        node=1, card=2, module=1, rank=0, bank=3, device=5, row=234, column=8, label="P2 DIMMB1"
    )


def test_the_form_of_old_kernels_says_the_same() -> None:
    one = record(OLD_MEMORY)
    assert one.memory is not None
    assert (one.memory.severity, one.memory.error) == (ClaimedSeverity.CORRECTED, "single-bit ECC")
    assert one.memory.physical_address == 0xAB5E34000
    assert one.memory.location == Location(node=1, card=2, module=1, bank=3, row=234, column=8)


def test_each_section_is_an_error_with_its_own_severity() -> None:
    second = (
        "{1}[Hardware Error]:  Error 1, type: recoverable\n{1}[Hardware Error]:   section_type: PCIe error\n"
        "{1}[Hardware Error]:   port_type: 0, PCIe end point\n{1}[Hardware Error]:   slot: 0\n"
    )
    first, other = records(MEMORY.replace("event severity: corrected", "event severity: recoverable") + second)
    assert first.memory is not None
    assert other.memory is not None
    assert (first.memory.severity, other.memory.severity) == (ClaimedSeverity.CORRECTED, ClaimedSeverity.RECOVERABLE)
    assert "severity: event: recoverable" in said(first)
    assert (other.memory.error, other.memory.location) == ("PCIe error", Location())


def test_events_back_to_back_do_not_mix() -> None:
    found = records(MEMORY + MEMORY.replace("type: corrected", "type: fatal").replace("ab5e34000", "ab5e35000"))
    assert [one.memory and (one.memory.severity, one.memory.page_frame) for one in found] == [
        (ClaimedSeverity.CORRECTED, 0xAB5E34),
        (ClaimedSeverity.FATAL, 0xAB5E35),
    ]


def test_a_bert_record_with_smca_registers_gives_them() -> None:
    one = record(PROCESSOR)
    assert one.registers == Registers(
        status=0xBEA0000000000108,
        addr=0x41D3E0,
        misc=0xD012000101000000,
        config=0x79,
        ipid=0x500B000000000,
        synd=0x4D000000,
        destat=1,
        deaddr=2,
    )
    assert (one.bank, one.apicid, one.cpuid) == (5, 5, 0xA20F10)
    assert one.memory is not None
    assert (one.memory.severity, one.memory.error) == (ClaimedSeverity.FATAL, "IA32/X64 processor error")
    assert "firmware: Check Information: 0x000000000602001f" in said(one)


@pytest.mark.parametrize("address", ["0xc0002050", "0xc0002059", "0x00000400", "0xc0003001"])
def test_a_dump_of_other_registers_is_not_read_as_a_bank(address: str) -> None:
    one = record(PROCESSOR.replace("0xc0002051", address))
    assert one.registers == Registers()
    assert one.bank is None


def test_a_dump_that_does_not_follow_cpuid_info_is_not_read_as_one() -> None:
    assert record(PROCESSOR.replace("[Hardware Error]:   CPUID Info:\n", "")).cpuid is None
    assert record(PROCESSOR.replace("05100800", "05100400")).cpuid is None


def test_a_report_joined_into_one_line_is_read_as_far_as_it_says() -> None:
    one = record(
        "BERT: Error records from previous boot: event severity: fatal; IA32/X64 processor error, Local APIC_ID 0x5,\n"
        "  cache error, Processor Context Corrupt: true, Uncorrected: true\n"
    )
    assert one.apicid == 5
    assert one.memory is not None
    assert one.memory.severity is ClaimedSeverity.FATAL


def test_a_head_without_a_section_is_shown_as_unread() -> None:
    found = evidence("\n".join(MEMORY.splitlines()[:3]))
    assert found
    assert all(isinstance(item, Unrecognised) for item in found)


def test_skipped_records_are_shown() -> None:
    (item,) = evidence("BERT: [Hardware Error]: Skipped 3 error records")
    assert isinstance(item, Unrecognised)


def test_the_same_words_elsewhere_are_no_evidence() -> None:
    assert (
        evidence("node: 1\nerror_type: 2, single-bit ECC\nslot: 3\n00000000: 0123456789abcdef 0123456789abcdef\n") == []
    )
