"""Register layouts: which bits mean what on which processor."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.arch import mcg, mci_ctl2, mci_misc, mci_status, ppin, smca_registers
from ringfence.arch.bitfield import Register
from ringfence.arch.cpuid import Signature, Vendor

REGISTERS: tuple[Register, ...] = tuple(
    value
    for module in (mcg, mci_ctl2, mci_misc, mci_status, ppin, smca_registers)
    for value in vars(module).values()
    if isinstance(value, Register)
)


def by_name(register: Register, value: int) -> dict[str, int]:
    return {piece.field.name: piece.value for piece in register.split(value) if piece.field and piece.value}


@pytest.mark.parametrize("register", REGISTERS, ids=lambda register: register.name)
def test_a_register_lists_its_fields_from_the_highest_bit_down_and_says_where_they_come_from(
    register: Register,
) -> None:
    highs = [field.high for field in register.fields]
    assert highs == sorted(highs, reverse=True)
    assert register.cite
    assert all(field.cite and field.meaning for field in register.fields)


@given(st.sampled_from(REGISTERS), st.integers(0, 2**64 - 1))
def test_no_bit_is_lost_between_a_register_and_its_pieces(register: Register, value: int) -> None:
    assert sum(piece.value << piece.low for piece in register.split(value)) == value


def test_the_architectural_bits_are_the_same_for_every_maker() -> None:
    for register in (value for value in vars(mci_status).values() if isinstance(value, Register)):
        assert register.fields[:7] == mci_status.ARCHITECTURAL


def test_an_srar_of_an_ice_lake_server() -> None:
    # LKML patch on EX_TYPE uaccess (2022): "CPU 120: Machine Check Exception: f Bank 1: bd80000000100134"
    assert by_name(mci_status.INTEL, 0xBD80000000100134) == {
        "VAL": 1,
        "UC": 1,
        "EN": 1,
        "MISCV": 1,
        "ADDRV": 1,
        "S": 1,
        "AR": 1,
        "MSCOD": 0x10,
        "MCACOD": 0x134,
    }
    assert by_name(mcg.MCG_STATUS, 0xF) == {"LMCE_S": 1, "MCIP": 1, "EIPV": 1, "RIPV": 1}


def test_corrected_counts_and_yellow_status_need_their_capability() -> None:
    # andikleen/mcelog issue 116: corrected read error, count 1, MCG_CAP 0f000c1c
    status, mcg_cap = 0x8C00004200800090, 0x0F000C1C
    assert mci_status.intel_layout(mcg_cap)["CORRECTED_COUNT"].of(status) == 1
    without_cmci = mci_status.intel_layout(mcg_cap & ~mcg.CMCI_P.mask)
    assert "CORRECTED_COUNT" not in {field.name for field in without_cmci.fields}


@pytest.mark.parametrize(("ser_p", "tes_p", "cmci_p", "emc_p"), tuple(product((0, 1), repeat=4)))
def test_intels_layout_names_exactly_what_mcg_cap_makes_architectural(
    ser_p: int, tes_p: int, cmci_p: int, emc_p: int
) -> None:
    # SDM vol. 3B 17.3.2.2; S and AR with SER_P alone, see intel_layout
    register = mci_status.intel_layout(
        mcg.MCG_CAP.join({"SER_P": ser_p, "TES_P": tes_p, "CMCI_P": cmci_p, "EMC_P": emc_p})
    )
    names = {field.name for field in register.fields}
    assert ({"S", "AR"} <= names) == bool(ser_p)
    assert ("THRESHOLD_STATUS" in names) == bool(tes_p)
    assert ("CORRECTED_COUNT" in names) == bool(cmci_p)
    assert ("FIRMWARE_UPDATED" in names) == bool(emc_p)
    reserved = mci_status.S.mask | mci_status.AR.mask if tes_p and not ser_p else 0
    assert register.declared_mask == (2**64 - 1) & ~reserved


def test_without_mcg_cap_the_full_intel_layout_is_taken() -> None:
    assert mci_status.intel_layout(None) is mci_status.INTEL
    assert mci_status.intel_layout(0x0F000C1C).fields == mci_status.INTEL.fields


def test_bit_43_is_poison_except_in_the_northbridge_of_family_15h() -> None:
    # Linux drivers/edac/mce_amd.c: on family 15h bank 4 it belongs to McaStatSubCache
    bulldozer = Signature(Vendor.AMD, 0x15, 1, 2)
    poison = mci_status.POISON.mask
    assert by_name(mci_status.layout(Vendor.AMD, bulldozer, False, bank=0), poison) == {"Poison": 1}
    assert by_name(mci_status.layout(Vendor.AMD, bulldozer, False, bank=4), poison) == {"McaStatSubCache": 2}


def test_a_northbridge_error_of_family_15h_taken_apart() -> None:
    # serverfault question on a 6200 Opteron: MC4_STATUS 0x9c0240006b080813, corrected DRAM ECC
    register = mci_status.layout(Vendor.AMD, Signature(Vendor.AMD, 0x15, 1, 2), False, bank=4)
    assert by_name(register, 0x9C0240006B080813) == {
        "VAL": 1,
        "EN": 1,
        "MISCV": 1,
        "ADDRV": 1,
        "Syndrome[7:0]": 4,
        "CECC": 1,
        "Syndrome[15:8]": 0x6B,
        "ErrorCodeExt": 8,
        "ErrorCode": 0x0813,
    }


@pytest.mark.parametrize(
    ("vendor", "family", "smca", "expected"),
    [
        (Vendor.INTEL, 6, False, mci_status.INTEL),
        (Vendor.ZHAOXIN, 7, False, mci_status.ZHAOXIN),
        (Vendor.CENTAUR, 7, False, mci_status.ZHAOXIN),
        (Vendor.HYGON, 0x18, False, mci_status.AMD_SMCA),
        (Vendor.AMD, 0x17, True, mci_status.AMD_SMCA),
        (Vendor.AMD, 0x06, False, mci_status.AMD_LEGACY),
        (Vendor.AMD, 0x0F, False, mci_status.AMD_K8_CORE),
        (Vendor.AMD, 0x10, False, mci_status.AMD_10H_CORE),
        (Vendor.AMD, 0x14, False, mci_status.AMD_10H_CORE),
        (Vendor.AMD, 0x15, False, mci_status.AMD_15H_CORE),
        (Vendor.AMD, 0x16, False, mci_status.AMD_16H_CORE),
    ],
)
def test_each_generation_has_its_layout(vendor: Vendor, family: int, smca: bool, expected: Register) -> None:
    assert mci_status.layout(vendor, Signature(vendor, family, 0, 0), smca) == expected


def test_what_is_not_known_names_only_what_holds_for_all() -> None:
    assert mci_status.layout(None, None, False) is mci_status.UNKNOWN_VENDOR
    assert mci_status.layout(None, None, True) is mci_status.AMD_SMCA
    assert mci_status.layout(Vendor.AMD, None, False) is mci_status.AMD_LEGACY


def test_a_load_store_error_of_a_zen_3() -> None:
    # LKML on firewire and Ryzen (October 2023): "CPU 17: Machine Check: 0 Bank 0: bc00080001010135",
    # MISC d012000000000000 IPID 1000b000000000
    assert by_name(mci_status.AMD_SMCA, 0xBC00080001010135) == {
        "VAL": 1,
        "UC": 1,
        "EN": 1,
        "MISCV": 1,
        "ADDRV": 1,
        "Poison": 1,
        "AddrLsb": 1,
        "ErrorCodeExt": 1,
        "ErrorCode": 0x135,
    }
    assert by_name(smca_registers.IPID, 0x1000B000000000) == {"McaType": 0x10, "HardwareID": 0xB0}
    assert by_name(mci_misc.AMD_MISC0, 0xD012000000000000) == {
        "Valid": 1,
        "CntP": 1,
        "IntP": 1,
        "LvtOffset": 1,
        "ThresholdIntType": 1,
    }


def test_misc_of_a_recoverable_error_says_physical_address_and_a_cache_line() -> None:
    # the same Ice Lake record: MISC 86
    pieces = by_name(mci_misc.INTEL, 0x86)
    assert mci_misc.AddressMode(pieces["ADDRESS_MODE"]) is mci_misc.AddressMode.PHYSICAL
    assert 1 << pieces["ADDRESS_LSB"] == 64
