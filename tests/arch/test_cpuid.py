"""CPUID signatures and the names that go with them. Signatures are from the logs and headers named beside them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.arch import cpuid, models
from ringfence.arch.cpuid import Signature, Vendor

NAMED = [
    # Linux arch/x86/include/asm/intel-family.h and "PROCESSOR 0:..." lines of public bug reports
    (0x306F2, Signature(Vendor.INTEL, 6, 0x3F, 2), "Haswell-EP"),
    (0x306E4, Signature(Vendor.INTEL, 6, 0x3E, 4), "Ivy Bridge-EP"),
    (0x306E7, Signature(Vendor.INTEL, 6, 0x3E, 7), "Ivy Bridge-EX"),
    (0x206D7, Signature(Vendor.INTEL, 6, 0x2D, 7), "Sandy Bridge-EP"),
    (0x206C2, Signature(Vendor.INTEL, 6, 0x2C, 2), "Westmere-EP"),
    (0x206F2, Signature(Vendor.INTEL, 6, 0x2F, 2), "Westmere-EX"),
    (0x50654, Signature(Vendor.INTEL, 6, 0x55, 4), "Skylake-SP"),
    (0x50657, Signature(Vendor.INTEL, 6, 0x55, 7), "Cascade Lake-SP"),
    (0x5065B, Signature(Vendor.INTEL, 6, 0x55, 11), "Cooper Lake-SP"),
    (0x50663, Signature(Vendor.INTEL, 6, 0x56, 3), "Broadwell-DE"),
    (0x606A6, Signature(Vendor.INTEL, 6, 0x6A, 6), "Ice Lake-SP"),
    (0x806F8, Signature(Vendor.INTEL, 6, 0x8F, 8), "Sapphire Rapids"),
    (0xC06F2, Signature(Vendor.INTEL, 6, 0xCF, 2), "Emerald Rapids"),
    (0xA06D0, Signature(Vendor.INTEL, 6, 0xAD, 0), "Granite Rapids"),
    (0xA06F3, Signature(Vendor.INTEL, 6, 0xAF, 3), "Sierra Forest"),
    (0xD06D0, Signature(Vendor.INTEL, 6, 0xDD, 0), "Clearwater Forest"),
    (0x400F10, Signature(Vendor.INTEL, 19, 0x01, 0), "Diamond Rapids"),
    (0x300F10, Signature(Vendor.INTEL, 18, 0x01, 0), "Nova Lake"),
    (0x906EB, Signature(Vendor.INTEL, 6, 0x9E, 11), "Coffee Lake"),
    (0x906E9, Signature(Vendor.INTEL, 6, 0x9E, 9), "Kaby Lake"),
    (0x6E8, Signature(Vendor.INTEL, 6, 0x0E, 8), "Core (Yonah)"),
    (0x6B4, Signature(Vendor.INTEL, 6, 0x0B, 4), "Pentium III (P6)"),
    (0x619, Signature(Vendor.INTEL, 6, 0x01, 9), "Pentium Pro (P6)"),
    (0xF29, Signature(Vendor.INTEL, 15, 0x02, 9), "Pentium 4 (Northwood)"),
    (0x50671, Signature(Vendor.INTEL, 6, 0x57, 1), "Knights Landing"),
    # AMD: revision guides and PPRs; "PROCESSOR 2:..." and "CPU:0 (19:61:2)" lines of public bug reports
    (0x662, Signature(Vendor.AMD, 6, 0x06, 2), "K7"),
    (0xF5A, Signature(Vendor.AMD, 0x0F, 0x05, 10), "K8 (revision B to E)"),
    (0x40F12, Signature(Vendor.AMD, 0x0F, 0x41, 2), "K8 (revision F and G)"),
    (0x100F42, Signature(Vendor.AMD, 0x10, 0x04, 2), "K10 (Shanghai)"),
    (0x600F12, Signature(Vendor.AMD, 0x15, 0x01, 2), "Bulldozer"),
    (0x800F11, Signature(Vendor.AMD, 0x17, 0x01, 1), "Zen (Naples, Summit Ridge)"),
    (0x810F81, Signature(Vendor.AMD, 0x17, 0x18, 1), "Zen+ (Picasso)"),
    (0x830F10, Signature(Vendor.AMD, 0x17, 0x31, 0), "Zen 2 (Rome, Castle Peak)"),
    (0x870F10, Signature(Vendor.AMD, 0x17, 0x71, 0), "Zen 2 (Matisse)"),
    (0xA00F11, Signature(Vendor.AMD, 0x19, 0x01, 1), "Zen 3 (Milan)"),
    (0xA20F12, Signature(Vendor.AMD, 0x19, 0x21, 2), "Zen 3 (Vermeer)"),
    (0xA50F00, Signature(Vendor.AMD, 0x19, 0x50, 0), "Zen 3 (Cezanne)"),
    (0xA10F11, Signature(Vendor.AMD, 0x19, 0x11, 1), "Zen 4 (Genoa)"),
    (0xA60F12, Signature(Vendor.AMD, 0x19, 0x61, 2), "Zen 4 (Raphael)"),
    (0xAA0F01, Signature(Vendor.AMD, 0x19, 0xA0, 1), "Zen 4c (Bergamo, Siena)"),
    (0xB00F21, Signature(Vendor.AMD, 0x1A, 0x02, 1), "Zen 5 (Turin)"),
    (0xB10F10, Signature(Vendor.AMD, 0x1A, 0x11, 0), "Zen 5c (Turin Dense)"),
    (0xB40F40, Signature(Vendor.AMD, 0x1A, 0x44, 0), "Zen 5 (Granite Ridge)"),
    (0x900F02, Signature(Vendor.HYGON, 0x18, 0x00, 2), "Dhyana"),
    (0x307B0, Signature(Vendor.ZHAOXIN, 7, 0x3B, 0), "LuJiaZui"),
    (0x6FE, Signature(Vendor.CENTAUR, 6, 0x0F, 14), "Nano (Isaiah)"),
]


@pytest.mark.parametrize(("eax", "signature", "name"), NAMED)
def test_a_signature_is_taken_apart_named_and_put_together_again(eax: int, signature: Signature, name: str) -> None:
    found = cpuid.processor(signature.vendor, eax)
    assert found.signature == signature
    assert found.microarchitecture == name
    assert cpuid.eax(found.signature) == eax


def test_a_model_that_no_table_knows_has_no_name() -> None:
    assert cpuid.processor(Vendor.INTEL, 0x50F70).microarchitecture is None  # family 20
    assert cpuid.microarchitecture(Signature(Vendor.INTEL, 6, 0x55, 9)) is None  # between Cascade and Cooper Lake
    assert cpuid.microarchitecture(Signature(Vendor.AMD, 0x1A, 0x90, 0)) is None
    assert cpuid.microarchitecture(Signature(Vendor.AMD, 6, 0x3F, 2)) is None  # Intel's Haswell-EP
    assert cpuid.microarchitecture(Signature(Vendor.INTEL, 0x12, 0x02, 0)) is None


@given(st.sampled_from(Vendor), st.integers(0, 0xFFFFFFFF))
def test_a_signature_survives_the_way_to_eax_and_back(vendor: Vendor, eax: int) -> None:
    once = cpuid.signature(vendor, eax)
    assert cpuid.signature(vendor, cpuid.eax(once)) == once


@given(st.integers(0, 0xFFFFFFFF))
def test_only_reserved_bits_the_type_and_unused_extensions_are_lost(eax: int) -> None:
    kept = cpuid.eax(cpuid.signature(Vendor.AMD, eax))
    assert kept & 0xFFF == eax & 0xFFF
    if (eax >> 8) & 0xF == 0xF:
        assert kept == eax & 0x0FFF0FFF


def test_linux_prints_family_model_stepping_in_hexadecimal() -> None:
    # "[Hardware Error]: CPU:0 (17:71:0) ..." belongs to "PROCESSOR 2:870f10"
    found = cpuid.parse_family_model_stepping(Vendor.AMD, "17:71:0")
    assert found == Signature(Vendor.AMD, 0x17, 0x71, 0)
    assert cpuid.eax(found) == 0x870F10


@pytest.mark.parametrize(
    "text", ["", "17:71", "17:71:0:0", "17:71:g", "17::0", "-1:0:0", "17:171:0", "110:0:0", "5:10:0", "+1:1:1"]
)
def test_what_is_no_signature_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"family"):
        cpuid.parse_family_model_stepping(Vendor.AMD, text)


def test_linux_numbers_its_vendors_and_we_read_them_both_ways() -> None:
    # Linux arch/x86/include/asm/processor.h, X86_VENDOR_*
    expected = {Vendor.INTEL: 0, Vendor.AMD: 2, Vendor.CENTAUR: 5, Vendor.HYGON: 9, Vendor.ZHAOXIN: 10}
    assert {vendor: cpuid.linux_vendor_number(vendor) for vendor in Vendor} == expected
    for vendor, number in expected.items():
        assert cpuid.linux_vendor(number) is vendor
    assert cpuid.linux_vendor(7) is None  # Transmeta


def test_vendor_strings_are_recognised_with_and_without_their_blanks() -> None:
    assert cpuid.vendor_of("GenuineIntel") is Vendor.INTEL
    assert cpuid.vendor_of("AuthenticAMD") is Vendor.AMD
    assert cpuid.vendor_of("HygonGenuine") is Vendor.HYGON
    assert cpuid.vendor_of("  Shanghai  ") is Vendor.ZHAOXIN
    assert cpuid.vendor_of("Shanghai") is Vendor.ZHAOXIN
    assert cpuid.vendor_of("CentaurHauls") is Vendor.CENTAUR
    assert cpuid.vendor_of("GenuineTMx86") is None
    assert cpuid.vendor_of("") is None


def test_scalable_mca_is_amd_from_17h_on_and_hygon() -> None:
    assert not cpuid.is_smca(Signature(Vendor.AMD, 0x16, 0x30, 0))
    assert cpuid.is_smca(Signature(Vendor.AMD, 0x17, 0x01, 0))
    assert cpuid.is_smca(Signature(Vendor.AMD, 0x1A, 0x44, 0))
    assert cpuid.is_smca(Signature(Vendor.HYGON, 0x18, 0x00, 0))
    assert not cpuid.is_smca(Signature(Vendor.INTEL, 19, 0x01, 0))


@pytest.mark.parametrize("vendor", Vendor)
def test_every_row_of_the_model_tables_can_be_reached(vendor: Vendor) -> None:
    tables = {
        Vendor.INTEL: models.INTEL,
        Vendor.AMD: models.AMD,
        Vendor.HYGON: models.HYGON,
        Vendor.ZHAOXIN: models.ZHAOXIN,
        Vendor.CENTAUR: models.CENTAUR,
    }
    table = tables[vendor]
    for index, row in enumerate(table):
        keys = [
            (row.family, model, stepping)
            for model in range(row.first_model, row.last_model + 1)
            for stepping in range(row.first_stepping, row.last_stepping + 1)
        ]
        assert any(not any(key in earlier for earlier in table[:index]) for key in keys), row
