"""mcelog's text: vectors from bug reports and forums (named at each), and what its sources print."""

from __future__ import annotations

import pytest

from ringfence.arch.cpuid import Vendor
from ringfence.record.evidence import Format, Registers, Unrecognised
from ringfence.record.text import mcelog
from tests.record.texts import evidence, record, records, said

SKYLAKE_SRAO = """\
Hardware event. This is not a software error.
MCE 0
CPU 19 BANK 14 TSC f3086e49d7de
RIP !INEXACT! 10:ffffffff816ab6a5
MISC 900010080000086 ADDR 5f14903680
TIME 1556364329 Sat Apr 27 19:25:29 2019
MCG status:RIPV MCIP
MCi status:
Error overflow
Uncorrected error
SRAO
MCA: MEMORY CONTROLLER MS_CHANNEL1_ERR
MemCtrl: Uncorrected patrol scrub error
STATUS fd001dc0001000c1 MCGSTATUS 5
MCGCAP f000814 APICID 60 SOCKETID 1
PPIN fd003dc0001000c1
CPUID Vendor Intel Family 6 Model 85
"""
"""Registers of a Skylake-SP's patrol scrub error, from a kernel developer's public notes."""


def test_every_field_of_a_record_is_read() -> None:
    one = record(SKYLAKE_SRAO)
    assert one.format is Format.MCELOG
    assert one.registers == Registers(
        status=0xFD001DC0001000C1,
        addr=0x5F14903680,
        misc=0x900010080000086,
        mcg_status=5,
        mcg_cap=0xF000814,
        tsc=0xF3086E49D7DE,
        ip=0xFFFFFFFF816AB6A5,
        cs=0x10,
    )
    assert (one.cpu, one.bank, one.socket, one.apicid) == (19, 14, 1, 0x60)
    assert (one.vendor, one.cpuid, one.time) == (Vendor.INTEL, 0x50650, 1556364329.0)
    assert "stepping 0: this mcelog prints none" in one.assumptions


def test_what_mcelog_decoded_is_kept_as_its_claim() -> None:
    assert said(record(SKYLAKE_SRAO)) == [
        "other: RIP is inexact (EIPV clear)",
        "severity: Error overflow",
        "severity: Uncorrected error",
        "severity: SRAO",
        "error: MEMORY CONTROLLER MS_CHANNEL1_ERR",
        "error: MemCtrl: Uncorrected patrol scrub error",
        "other: PPIN fd003dc0001000c1",
    ]


def test_a_ppin_that_looks_like_a_status_is_no_ppin() -> None:
    one = record(SKYLAKE_SRAO)
    assert one.registers.ppin is None
    assert any("PPIN" in assumption for assumption in one.assumptions)
    good = record(SKYLAKE_SRAO.replace("PPIN fd003dc0001000c1", "PPIN 11a090eb80bf0c9c"))
    assert good.registers.ppin == 0x11A090EB80BF0C9C


def test_records_back_to_back_do_not_mix() -> None:
    second = SKYLAKE_SRAO.replace("MCE 0", "MCE 1").replace("fd001dc0001000c1", "fd003dc0001000c1")
    first_status, second_status = (one.registers.status for one in records(SKYLAKE_SRAO + second))
    assert (first_status, second_status) == (0xFD001DC0001000C1, 0xFD003DC0001000C1)


@pytest.mark.parametrize("lost", range(1, 13))
def test_a_copy_that_lost_its_first_lines_is_still_one_record(lost: int) -> None:
    rest = "\n".join(SKYLAKE_SRAO.splitlines()[lost:])
    found = [one for one in evidence(rest) if not isinstance(one, Unrecognised)]
    assert [one.registers.status for one in found] == [0xFD001DC0001000C1]
    assert [one.apicid for one in found] == [0x60]


def test_a_record_that_lost_its_head_stays_apart_from_its_neighbours() -> None:
    lines = SKYLAKE_SRAO.splitlines()
    headless = "\n".join(line for line in lines if not line.startswith(("CPU ", "MISC "))).replace("fd001", "9c001")
    found = records("\n".join((SKYLAKE_SRAO, headless, SKYLAKE_SRAO)))
    assert [one.registers.status for one in found] == [0xFD001DC0001000C1, 0x9C001DC0001000C1, 0xFD001DC0001000C1]
    assert [one.cpu for one in found] == [19, None, 19]


def test_records_without_any_announcement_are_told_by_their_cpu_line() -> None:
    body = "\n".join(SKYLAKE_SRAO.splitlines()[2:]) + "\n"
    assert len(records(body + body)) == 2


def test_the_old_k8_form_names_the_unit_after_the_bank() -> None:
    one = record(  # aslab.com support article 123
        "MCE 0\nCPU 1 4 northbridge TSC 511338368e676\nADDR 46a9f888\n  Northbridge ECC error\n  ECC syndrome = e3\n"
        "       bit46 = corrected ecc error\n  bus error 'local node response, request didn't time out\n"
        "             generic read mem transaction\n             memory access, level generic'\n"
        "STATUS 9471c00000000a13 MCGSTATUS 0\n"
    )
    assert (one.cpu, one.bank) == (1, 4)
    assert one.registers == Registers(status=0x9471C00000000A13, mcg_status=0, tsc=0x511338368E676, addr=0x46A9F888)
    assert "error: ECC syndrome = e3" in said(one)


def test_a_thermal_event_has_the_kernels_bank_number() -> None:
    one = record(  # a laptop's syslog, 2011
        "Jun 20 19:29:52 laptop mcelog: HARDWARE ERROR. This is *NOT* a software problem!\n"
        "Jun 20 19:29:52 laptop mcelog: MCE 0\n"
        "Jun 20 19:29:52 laptop mcelog: CPU 7 THERMAL EVENT TSC 581128f91ab \n"
        "Jun 20 19:29:52 laptop mcelog: TIME 1308623392 Mon Jun 20 19:29:52 2011\n"
        "Jun 20 19:29:52 laptop mcelog: Processor 7 below trip temperature. Throttling disabled\n"
        "Jun 20 19:29:52 laptop mcelog: STATUS c000000088260c00 MCGSTATUS 0\n"
        "Jun 20 19:29:52 laptop mcelog: MCGCAP c09 APICID 7 SOCKETID 0 \n"
        "Jun 20 19:29:52 laptop mcelog: CPUID Vendor Intel Family 6 Model 42\n"
    )
    assert (one.bank, one.cpu, one.time, one.cpuid) == (mcelog.EXTENDED_BANK, 7, 1308623392.0, 0x206A0)
    assert one.stamp == "Jun 20 19:29:52"


@pytest.mark.parametrize(
    ("line", "bank"),
    [
        ("CPU 3 BANK 7 ", 7),
        ("CPU 3 BANK 8 MISC 6464480100081186 ADDR 29f7e5c00 ", 8),
        ("CPU 3 2 bus unit TSC 1b6a [at 2660 Mhz 0 days 3:1:2 uptime (unreliable)]", 2),
        ("CPU 3 129 MC4_MISC0 DRAM threshold ", 129),
        ("CPU 3 THERMAL EVENT TSC 5 ", 128),
        ("CPU 3 Timeout waiting for exception on other CPUs ", 218),
        ("CPU 3 ACPI/APEI reported error ", 255),
        ("CPU 3 Undecoded extended event 8a ", 0x8A),
    ],
)
def test_every_form_of_the_cpu_line_is_read(line: str, bank: int) -> None:
    fragment = mcelog.GRAMMAR.read(line, False)
    assert fragment is not None
    assert fragment.opens
    assert (fragment.values["cpu"], fragment.values["bank"]) == (3, bank)


@pytest.mark.parametrize(
    "line",
    ["CPU 3 BANK 7 TSC xyz", "CPU 3 BANK 1234", "CPU 3 is a good one", "CPU 3 2 bicycles", "STATUS 200", "TIME 5",
     "MCA: CPU 0 COR (5) RD channel 0 memory error", "PPIN 12", "Uncorrected error", "BANK 7", "MISC 5"],
)  # fmt: skip
def test_lines_that_only_resemble_mcelogs_are_left_alone(line: str) -> None:
    assert mcelog.GRAMMAR.read(line, False) is None


def test_the_raw_form_has_one_register_a_line_and_decimal_ids() -> None:
    one = record(  # mcelog.c, dump_mce_raw_ascii
        "CPU 12\nBANK 7\nTSC 0\nRIP 0x10:0xffffffff81000000\nMISC 0x20000000000\nADDR 0\nSTATUS 0x8800000000000080\n"
        "MCGSTATUS 0x5\nPROCESSOR 0:0x406f1\nTIME 1556364329\nSOCKETID 1\nAPICID 12\nMCGCAP 0x7000c16\n"
    )
    assert one.registers == Registers(
        status=0x8800000000000080,
        misc=0x20000000000,
        addr=0,
        mcg_status=5,
        mcg_cap=0x7000C16,
        ip=0xFFFFFFFF81000000,
        cs=0x10,
    )
    assert (one.cpu, one.bank, one.cpuid, one.socket, one.apicid) == (12, 7, 0x406F1, 1, 12)


def test_the_model_above_family_15_is_known_to_be_cut() -> None:
    fragment = mcelog.GRAMMAR.read("CPUID Vendor AMD Family 16 Model 8 Step 1", True)
    assert fragment is not None
    assert fragment.values == {"vendor": Vendor.AMD, "cpuid": 0x100F81}
    assert any("low four bits" in assumption for assumption in fragment.assumptions)


def test_the_daemons_chatter_is_no_evidence() -> None:
    chatter = (
        "mcelog: failed to prefill DIMM database from DMI data\nRunning trigger `dimm-error-trigger'\n"
        "mcelog: Family 6 Model 4d CPU: only decoding architectural errors\n"
        "Kernel does not support page offline interface\n"
    )
    assert evidence(chatter) == []
