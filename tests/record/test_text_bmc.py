"""Texts of management controllers that carry registers: one vector of each form, from public logs."""

from __future__ import annotations

import pytest

from ringfence.record.evidence import Delivery, Format, Registers, Unrecognised
from tests.record.texts import evidence, record, said

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
