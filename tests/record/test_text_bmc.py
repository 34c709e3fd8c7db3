"""Texts of management controllers that carry registers: one vector of each form, from public logs."""

from __future__ import annotations

import pytest

from ringfence.record.evidence import Delivery, Format, Location, MemoryReport, Registers, Unrecognised
from tests.record.texts import evidence, record, records, said

AMI = (
    "<180>  2023-10-14T16:07:53.872948+00:00 AMI9CC2C43CB4A4 IPMIMain:  [271 : 312 WARNING]Get Diagnose MCA data from "
    "bios, ReqLen=40:BankNum: 1, ApicId: 218,  BankType: 2,  BankScope: 0, McaStatus: 0xbf80000001000174, "
    "McaAddress: 0x00000155b8e0ae80,  McaMisc: 0x00000000"
)
HP = (  # github.com/openstreetmap/operations issue 89
    "LOG: Uncorrectable Machine Check Exception (Board 0, Processor 1, APIC ID 0x00000003, Bank 0x00000005, "
    "Status 0xBA000000'00400405, Address 0x00000000'00000000, Misc 0x00000000'00000280)"
)


def test_amis_line_has_decimal_ids_and_hexadecimal_registers() -> None:
    one = record(AMI)
    assert (one.format, one.delivery) == (Format.BMC, Delivery.FIRMWARE)
    assert (one.bank, one.apicid) == (1, 218)
    assert one.registers == Registers(status=0xBF80000001000174, addr=0x155B8E0AE80, misc=0)
    assert said(one) == ["firmware: BankType: 2,  BankScope: 0"]


def test_hps_registers_are_parted_by_an_apostrophe() -> None:
    one = record(HP)
    assert (one.bank, one.apicid, one.socket) == (5, 3, None)
    assert one.registers == Registers(status=0xBA00000000400405, addr=0, misc=0x280)
    assert said(one) == ["firmware: Board 0, Processor 1", "severity: Uncorrectable"]
    assert record(HP.replace("Board 0, ", "")).registers == one.registers


@pytest.mark.parametrize("status", ["BA000000'0040040", "'00400405", "BA0000000'00400405"])
def test_halves_that_are_none_are_not_joined(status: str) -> None:
    (item,) = evidence(HP.replace("BA000000'00400405", status))
    assert isinstance(item, Unrecognised)


def test_a_line_cut_short_is_shown_as_unread() -> None:
    (item,) = evidence(AMI[: AMI.index("McaAddress") - 12])
    assert not isinstance(item, Unrecognised)
    (item,) = evidence("BankNum: 1, McaStatus: 0xzz")
    assert isinstance(item, Unrecognised)


RSA = """\
SMI Hdlr Information Processor MachineCheck Data a Chassis=-- reporting bank:0000 reporting APICID:0060 \
Status:8C000109 20140136 CR4:00000000
SMI Hdlr Information Processor MachineCheck Data b Chassis=-- Address:0000000F FFF6D4C0 Timestamp:00035785 CD35AFB
"""
"""ibm.com/support, RETAIN tip H191645 (xSeries 440 and 445)."""
IMM = (
    "58001 - The PFA Threshold limit (correctable error logging limit) has been exceeded on DIMM number 8 at address "
    "0x1C7AE4940. MC5_Status contains 0x8C00004000010092 and MC5_Misc contains 0x00003A4000040086."
)
"""The form of Lenovo's Flex System alerts, event 58001, filled in."""


def test_ibms_two_lines_are_one_record() -> None:
    one = record(RSA)
    assert (one.bank, one.apicid, one.delivery) == (0, 0x60, Delivery.FIRMWARE)
    assert one.registers == Registers(status=0x8C00010920140136, addr=0xFFFF6D4C0)
    assert said(one) == ["other: Timestamp:00035785 CD35AFB"]
    assert len(records(RSA + RSA)) == 2


def test_an_event_of_the_imm_names_its_dimm_and_bank() -> None:
    one = record(IMM)
    assert (one.bank, one.memory) == (5, MemoryReport(location=Location(label="DIMM 8")))
    assert one.registers == Registers(status=0x8C00004000010092, addr=0x1C7AE4940, misc=0x3A4000040086)
    assert record(IMM.replace("MC5", "MCx")).bank is None


@pytest.mark.parametrize(
    "line",
    [
        "  1 | 08/08/2019 | 10:37:17 | Processor #0x40 | Uncorrectable machine check exception | Asserted",
        "2022-10-22 22:12:31 503 CPU0704 CPU 2 machine check error detected.",
        "2022-10-22 22:12:31 502 UEFI0078 One or more Machine Check errors occurred in the previous boot.",
        "CPU4001: The machine check system address reported by the processor is 0x1234000.",
    ],
)  # ipmitool; Dell knowledge base 349127
def test_words_without_registers_are_shown_as_unread(line: str) -> None:
    (item,) = evidence(line)
    assert isinstance(item, Unrecognised)
    assert "a management controller's words" in item.why


def test_an_address_without_its_first_line_is_shown_as_unread() -> None:
    (item,) = evidence(RSA.splitlines()[1])
    assert isinstance(item, Unrecognised)
