"""mce-inject's files: what is ordered is read by the rules of its grammar, and said to be no report of hardware."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.arch.cpuid import Vendor
from ringfence.record.evidence import Delivery, Format, Record, Registers, Unrecognised
from ringfence.record.text.mce_inject import ORDERED, terms
from tests.record.texts import evidence, record, records, said

SRAR = """\
# a load takes bad data in
CPU 3 BANK 2
STATUS UNCORRECTED SRAR 0x134
MCGSTATUS RIPV MCIP EIPV
ADDR 0x12345000
MISC 0x8c
RIP 0x73:0x1eadbabe
IRQBROADCAST
"""
"""In the form of mce-test's cases/coverage/soft-inj/recoverable_ucr/data."""


def test_words_and_numbers_of_a_status_are_combined() -> None:
    one = record(SRAR)
    assert one.format is Format.MCE_INJECT
    assert one.registers == Registers(
        status=0xBD80000000000134, mcg_status=7, addr=0x12345000, misc=0x8C, cs=0x73, ip=0x1EADBABE
    )
    assert (one.cpu, one.bank, one.delivery) == (3, 2, Delivery.MACHINE_CHECK)


def test_it_is_said_that_nothing_was_reported_by_hardware() -> None:
    assert said(record(SRAR))[0] == f"injection: {ORDERED}"


def test_numbers_are_c_s() -> None:
    one = record("CPU 0 BANK 010\nMCGSTATUS MCIP\nSTATUS FATAL OVER\nRIP 12343434\nMISC 11\nHOLD\n")
    assert (one.bank, one.registers.ip, one.registers.misc) == (8, 12343434, 11)


def test_valid_bits_are_set_in_the_status_said_before_and_lost_by_one_said_behind() -> None:
    assert record("CPU 0 BANK 1\nSTATUS CORRECTED\nADDR 0xabcd\n").registers.status == 0x9400000000000000
    assert record("CPU 0 BANK 1\nADDR 0xabcd\nSTATUS CORRECTED\n").registers.status == 0x9000000000000000


def test_machine_checks_of_one_file_are_told_by_their_first_lines() -> None:
    found = records(
        "# two\nCPU 0 BANK 1\nSTATUS CORRECTED\nADDR 0xabcd\n# \nCPU 1 BANK 2\nSTATUS corrected\nADDR 0x1234\n"
        "CPU 2 STATUS FATAL BANK 4 POLL\n"
    )
    assert [(one.cpu, one.bank, one.registers.addr) for one in found] == [(0, 1, 0xABCD), (1, 2, 0x1234), (2, 4, None)]
    assert found[2].delivery is Delivery.POLLED


def test_the_short_form_of_mcelogs_generators_is_one() -> None:
    one = record("# cache\nCPU 1 2\n# nehalem\nPROCESSOR 0:0x106a0\nMCGCAP 0x800\nSTATUS 0x8820000000000105\n")
    assert (one.format, one.cpu, one.bank, one.vendor, one.cpuid) == (Format.MCE_INJECT, 1, 2, Vendor.INTEL, 0x106A0)
    assert one.registers == Registers(status=0x8820000000000105, mcg_cap=0x800)


def test_what_is_left_out_is_zero_and_said() -> None:
    one = records(f"{SRAR}MCE\nSTATUS fatal\n")[1]
    assert (one.cpu, one.bank) == (0, 0)
    assert "bank 0: mce-inject takes 0 where none is named" in one.assumptions


def test_mcelogs_own_records_stay_mcelogs() -> None:
    one = record("CPU 0 BANK 4\nMISC 11\nSTATUS 0xb200000000070f0f\nMCGSTATUS 0x0\nTSC 0x5f8\nSTATUS\n")
    assert (one.format, one.registers.misc) == (Format.MCELOG, 0x11)


def test_both_may_stand_in_one_log() -> None:
    mcelog = "CPU 6\nBANK 8\nTSC 0x5f8de1b6c4a\nMISC 11\nSTATUS 0x88000040000200cf\nMCGSTATUS 0x0\n"
    found = records(f"{mcelog}\n{SRAR}\n{mcelog}")
    assert [(one.format, one.registers.misc) for one in found] == [
        (Format.MCELOG, 0x11), (Format.MCE_INJECT, 0x8C), (Format.MCELOG, 0x11),
    ]  # fmt: skip


def test_an_order_without_a_status_is_no_record() -> None:
    found = evidence("CPU 1 BANK 0\nNOBROADCAST\n")
    assert not [item for item in found if isinstance(item, Record)]
    assert all(isinstance(item, Unrecognised) for item in found)


@pytest.mark.parametrize(
    "line",
    [
        "CPU", "CPU x", "STATUS", "STATUS WRONG", "ADDR 1 2", "ADDR 0x1ffffffffffffffff", "HOLD 1", "CPU 0 BANK 256",
        "RIP 1:2:3", "1 2 3", "CPU 08", "CPU 0 northbridge", "; STATUS UC", "HOLD " * 80,
    ],
)  # fmt: skip
def test_what_the_grammar_refuses_is_refused(line: str) -> None:
    assert terms(line) is None


@pytest.mark.parametrize("line", ["MCE", "CPU 0 2", "HOLD", "STATUS UC", "POLL"])
def test_a_line_alone_is_no_evidence(line: str) -> None:
    assert evidence(line) == []


@given(st.text(alphabet="CPUBANKSTIDR 0x1:<>{}#_\t", max_size=60))
def test_no_line_is_too_strange(line: str) -> None:
    found = terms(line)
    assert found is None or all(term.keyword for term in found)
