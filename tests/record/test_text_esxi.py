"""ESX and ESXi: vectors from VMware's, Broadcom's and Dell's articles (named at each)."""

from __future__ import annotations

import pytest

from ringfence.record.evidence import Delivery, Format, Registers, Unrecognised
from tests.record.texts import evidence, record, records, said


def test_the_form_since_6_5() -> None:
    one = record(  # Broadcom KB 367928
        "2024-01-01T10:00:00.114Z cpu42:40848027)ALERT: MCA: 200: UC Excp G5 B1 Sbf80000000000114 Aaf9e74900 M86 "
        "Paf9e74900/40 Cache Hierarchy Error."
    )
    assert (one.format, one.cpu, one.bank, one.delivery) == (Format.ESXI, 42, 1, Delivery.MACHINE_CHECK)
    assert one.registers == Registers(status=0xBF80000000000114, addr=0xAF9E74900, misc=0x86, mcg_status=5)
    assert said(one) == ["severity: UC", "error: Cache Hierarchy Error.", "hypervisor: machine address Paf9e74900/40"]


@pytest.mark.parametrize(("how", "delivery"), [("Poll", Delivery.POLLED), ("Intr", Delivery.CMCI)])
def test_corrected_errors_say_how_they_came(how: str, delivery: Delivery) -> None:
    one = record(f"cpu3:5)MCA: 202: CE {how} G0 B19 S8c00004000010090 A12345000 M86 P12345000/40 Memory Controller")
    assert (one.delivery, one.bank, one.registers.mcg_status) == (delivery, 19, 0)


def test_the_form_up_to_6_0_ends_with_mcg_status() -> None:
    one = record("MC: PCPU18 B:13 S:0xfe20004000011166 M:0x7246040086 A:0x38c989b100 5")  # Dell KB 000215212
    assert (one.cpu, one.bank) == (18, 13)
    assert one.registers == Registers(status=0xFE20004000011166, misc=0x7246040086, addr=0x38C989B100, mcg_status=5)
    assert record("MC:PCPU42 B:4 S:0xbe00000000800400 M:0x41800d55315c A:0x41800d55315c 5").cpu == 42  # KB 367928


def test_the_form_of_esx_4_takes_mcg_status_from_the_line_before() -> None:
    one = record(  # VMware KB 1029491, its wildcards filled with digits
        "cpu3:4099)MCE: 1110: Machine Check Global status on cpu3: 0x7 (cputype:4 16 9 1 AMD Opteron): Restart IP\n"
        "cpu3:4099)MCE: 1118: MCE on cpu3 bank4: Status:0xfe00210000080a13 Misc:0x0 Addr:0x1234: ECC error.Valid.\n"
    )
    assert one.registers == Registers(status=0xFE00210000080A13, misc=0, addr=0x1234, mcg_status=7)
    assert (one.cpu, one.bank) == (3, 4)


def test_the_form_of_esx_3() -> None:
    one = record("ALERT: MCE: 171: Machine Check Exception: Bank 5, Status b200001806000e0f")  # VMware KB 1005184
    assert (one.bank, one.registers) == (5, Registers(status=0xB200001806000E0F))
    assert one.delivery is Delivery.MACHINE_CHECK


@pytest.mark.parametrize(
    "line",
    [  # Broadcom KB 373203
        "cpu##:##)MCA: ##: CE Poll G0 B8 S9c0000####0091 A6619##### M200401c0898##### P6619f37#####/40 Memory",
        "cpu53:*****)MCA: 202: CE Intr G0 B19 S************ Ad********** M************ P**********/40 Memory",
        "MC:PCPU**** B:4 S:0x**************** M:0x0 A:0x**** 7",
    ],
)
def test_masked_digits_are_not_guessed(line: str) -> None:
    (item,) = evidence(line)
    assert isinstance(item, Unrecognised)
    assert "masked in the log, not read: status" in item.why


def test_a_masked_address_does_not_spoil_the_status() -> None:
    one = record("cpu3:5)MCA: 202: CE Intr G0 B19 S8c00004000010090 A123***** M86 P123*****/40 Memory Controller")
    assert one.registers == Registers(status=0x8C00004000010090, misc=0x86, mcg_status=0)
    assert one.assumptions == ("masked in the log, not read: addr",)


def test_the_purple_screen_names_the_processor() -> None:
    one = record(  # Broadcom KB 414451, with the registers as the log has them
        "Machine Check Exception on PCPU3 in world 111111:idle51\n"
        "SRAR Excp G7 B1 Sbd80000000100134 A39a0c95000 M86 P39a0c95000/40 Cache Hierarchy: Level 0\n"
        "cr0=0x80010031 cr2=0x39a0c95000 cr3=0x4085897800 cr4=0x142768FMS=06/55/7 uCode=0x5803901frame=0x452940505eb0\n"
    )
    assert (one.cpuid, one.microcode) == (0x50657, 0x5803901)
    assert said(one)[0].startswith("panic: Machine Check Exception on PCPU3")


def test_a_garbled_screen_is_shown_as_unread() -> None:
    (item,) = evidence(
        "MCA: 208: UC Excp G4 86 Sbb00002000000e0b AB M180008 P8/8 I/O error"
    )  # KB 372284, misread by OCR
    assert isinstance(item, Unrecognised)


def test_what_esxi_did_stays_with_its_record() -> None:
    found = records(
        "cpu58:1)ALERT: MCA: 200: SRAR Excp G7 B1 Sbd80000000100134 A39a0c95000 M86 P39a0c95000/40 Level 0\n"
        "cpu58:1)MCAIntel: 1120: Force retiring MPN 0x39a0c95 to recover from MCA error detected by cpu58 in bank1.\n"
    )
    assert said(found[0])[-1].startswith("hypervisor: Force retiring MPN 0x39a0c95")
