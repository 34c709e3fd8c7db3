"""The table of SMCA bank types: complete, unambiguous, and different where models differ."""

from __future__ import annotations

from collections import Counter

import pytest

from ringfence.arch.cpuid import Signature, Vendor
from ringfence.arch.smca_banks import (
    BANK_TYPES,
    REASSIGNMENTS,
    BankType,
    assumed_bank_type,
    bank_type,
    error_names,
)

CODES = range(64)

NAMED = {bank.symbol: bank for bank in BANK_TYPES}


def signature(family: int, model: int, stepping: int = 0, vendor: Vendor = Vendor.AMD) -> Signature:
    return Signature(vendor, family, model, stepping)


def test_no_two_types_share_an_identity_or_a_symbol() -> None:
    identities = Counter((bank.hardware_id, bank.mca_type) for bank in BANK_TYPES)
    symbols = Counter(bank.symbol for bank in BANK_TYPES)
    assert set(identities.values()) == set(symbols.values()) == {1}


def test_the_types_of_linux_2026_and_their_identities_are_all_there() -> None:
    # Linux arch/x86/kernel/cpu/mce/amd.c, smca_hwid_mcatypes (March 2026), without the reserved type 0/0.
    linux = {
        (0x2E, 0): "CS", (0x2E, 2): "CS_V2", (0x164, 0): "DACC_BE", (0x157, 0): "DACC_FE", (0xB0, 3): "DE",
        (0x1E0, 0): "EDDR5CMN", (0xB0, 5): "EX", (0xB0, 6): "FP", (0x241, 0): "GMI_PCS", (0x269, 0): "GMI_PHY",
        (0xB0, 1): "IF", (0xB0, 2): "L2", (0xB0, 7): "L3", (0xB0, 0): "LS", (0xB0, 0x10): "LS_V2",
        (0x2E, 4): "MA_LLC", (0x01, 2): "MP5", (0xFF, 2): "MPART", (0xFD, 0): "MPASP", (0xFD, 1): "MPASP_V2",
        (0xBE, 0): "MPDACC", (0x01, 3): "MPDMA", (0xF9, 0): "MPM", (0x12, 0): "MPRAS", (0x6C, 0): "NBIF",
        (0x18, 0): "NBIO", (0x05, 0): "PB", (0x46, 0): "PCIE", (0x46, 1): "PCIE_V2", (0x1E1, 0): "PCIE_PL",
        (0x2E, 1): "PIE", (0xFF, 0): "PSP", (0xFF, 1): "PSP_V2", (0xA8, 0): "SATA", (0x80, 0): "SHUB",
        (0x01, 0): "SMU", (0x01, 1): "SMU_V2", (0x5C, 0): "SSBDCI", (0x96, 0): "UMC", (0x96, 1): "UMC_V2",
        (0xAA, 0): "USB", (0x180, 0): "USR_CP", (0x170, 0): "USR_DP", (0x267, 0): "WAFL_PHY",
        (0x50, 0): "XGMI_PCS", (0x259, 0): "XGMI_PHY",
    }  # fmt: skip
    assert {(bank.hardware_id, bank.mca_type): bank.symbol for bank in BANK_TYPES} == linux


@pytest.mark.parametrize("bank", BANK_TYPES, ids=lambda bank: bank.symbol)
def test_every_code_of_every_type_is_named_once_or_not_at_all(bank: BankType) -> None:
    known = signature(0x17, 0x01)
    for code in CODES:
        names = error_names(bank, code, known)
        assert names == ((bank.errors[code],) if code in bank.errors else ())
    assert all(code in CODES for code in bank.errors)


@pytest.mark.parametrize(
    ("symbol", "count", "last"),
    [
        # How many codes each type has, and the highest (rasdaemon mce-amd-smca.c 0.8.5; MPDMA: Linux 6.1).
        ("LS", 27, 26), ("LS_V2", 24, 23), ("IF", 19, 18), ("L2", 6, 5), ("DE", 10, 9), ("EX", 14, 13), ("FP", 8, 7),
        ("L3", 10, 9), ("CS", 9, 8), ("CS_V2", 21, 20), ("PIE", 9, 8), ("UMC", 13, 16), ("UMC_V2", 10, 11),
        ("MA_LLC", 7, 6), ("PSP_V2", 24, 23), ("SMU_V2", 12, 11), ("MP5", 11, 10), ("MPDMA", 54, 53), ("NBIO", 6, 5),
        ("XGMI_PCS", 29, 28), ("GMI_PCS", 32, 31), ("USR_DP", 31, 31), ("USR_CP", 13, 12), ("SATA", 8, 7),
    ],
)  # fmt: skip
def test_tables_have_as_many_codes_as_amd_published(symbol: str, count: int, last: int) -> None:
    errors = NAMED[symbol].errors
    assert (len(errors), max(errors)) == (count, last)


@pytest.mark.parametrize(
    ("family", "model", "meaning"),
    [
        (0x17, 0x31, "probe filter protocol error"),
        (0x19, 0x01, "probe filter protocol error"),
        (0x19, 0x11, "SDP read response with an unexpected RETRY"),
        (0x19, 0x61, "SDP read response with an unexpected RETRY"),
        (0x19, 0xA0, "SDP read response with an unexpected RETRY"),
        (0x1A, 0x02, "probe filter protocol error"),
        (0x1A, 0x44, "SDP read response with an unexpected RETRY"),
    ],
)
def test_erratum_1384_renumbers_the_coherent_stations_codes_on_its_models(
    family: int, model: int, meaning: str
) -> None:
    assert error_names(NAMED["CS_V2"], 9, signature(family, model)) == (meaning,)


def test_mi300a_has_its_own_names_for_memory_and_smu_errors() -> None:
    mi300a = signature(0x19, 0x90)
    assert error_names(NAMED["UMC"], 0, mi300a) == ("DRAM on-die ECC error",)
    assert error_names(NAMED["UMC"], 3, mi300a) == ()
    assert error_names(NAMED["SMU_V2"], 62, mi300a) == ("poison error from a GFX sub-IP",)
    assert error_names(NAMED["SMU_V2"], 62, signature(0x19, 0x11)) == ()


def test_without_a_processor_every_meaning_is_offered_the_common_one_first() -> None:
    assert error_names(NAMED["CS_V2"], 9, None) == (
        "probe filter protocol error",
        "SDP read response with an unexpected RETRY",
    )
    assert error_names(NAMED["CS_V2"], 0, None) == ("illegal request",)
    assert error_names(NAMED["LS"], 12, None) == ("DC data error type 1 and poison consumption",)


def test_every_reassignment_names_a_type_and_changes_something() -> None:
    for change in REASSIGNMENTS:
        assert change.errors != NAMED[change.symbol].errors
        assert change.holds_for(signature(change.family, change.first_model))
        assert not change.holds_for(signature(change.family, change.last_model + 1))
        assert not change.holds_for(signature(change.family + 1, change.first_model))


def test_unknown_hardware_is_nobody() -> None:
    assert bank_type(0x5C7, 0x8234) is None
    assert bank_type(0xB0, 0x4) is None  # reserved in every PPR
    assert bank_type(0x0, 0x0) is None


@pytest.mark.parametrize(
    ("family", "model", "bank", "symbol"),
    [
        (0x17, 0x01, 0, "LS"),
        (0x17, 0x71, 0, "LS"),
        (0x19, 0x21, 0, "LS_V2"),  # IPID 0x1000b000000000 in logs of Zen 3
        (0x1A, 0x44, 0, "LS"),  # IPID 0x000000b000000000 in logs of Zen 5
        (0x17, 0x01, 15, "UMC"),
        (0x17, 0x18, 20, "CS"),
        (0x17, 0x71, 17, "UMC"),
        (0x17, 0x31, 27, "PIE"),
        (0x19, 0x61, 21, "UMC"),
        (0x19, 0x61, 5, "EX"),
    ],
)
def test_bank_numbers_are_guessed_where_logs_or_manuals_attest_them(
    family: int, model: int, bank: int, symbol: str
) -> None:
    guess = assumed_bank_type(bank, signature(family, model))
    assert guess is not None
    assert guess[0].symbol == symbol


def test_bank_numbers_that_nothing_attests_are_not_guessed() -> None:
    assert assumed_bank_type(21, signature(0x19, 0x01)) is None
    assert assumed_bank_type(4, signature(0x19, 0x01)) is None
    assert assumed_bank_type(0, None) is None  # two types of load-store unit
    assert assumed_bank_type(17, None) is None


def test_hygon_is_read_by_the_same_guesses_as_the_core_it_is_built_on() -> None:
    guess = assumed_bank_type(0, signature(0x18, 0x01, vendor=Vendor.HYGON))
    assert guess is not None
    assert guess[0].symbol == "LS"
