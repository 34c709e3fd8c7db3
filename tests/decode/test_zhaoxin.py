"""Zhaoxin and Centaur: Intel's codes, the KH-50000's banks (rasdaemon, mce-zhaoxin-kh50000.c)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.arch.cpuid import Vendor
from ringfence.decode import intel, zhaoxin
from ringfence.decode.meaning import AddressKind
from tests.decode.intel_vectors import KH50000, processor, record, said

VALID = 1 << 63
MISCV = 1 << 59


@given(status=st.integers(0, 2**64 - 1), bank=st.none() | st.integers(0, 255))
def test_without_a_table_a_bank_reads_as_intels_do(status: int, bank: int | None) -> None:
    kx5000 = processor(7, 0x1B, vendor=Vendor.ZHAOXIN)
    mine, intels = (read(record(bank, status), kx5000) for read in (zhaoxin.read_bank, intel.read_bank))
    assert (mine.unit, mine.error, mine.address) == (intels.unit, intels.error, intels.address)


@pytest.mark.parametrize(
    ("bank", "mscod", "code", "misc", "unit", "error", "details"),
    [
        (
            0,
            2 << 9 | 1 << 7 | 3 << 3 | 5,
            0x400,
            None,
            "Core",
            "Internal timer error: the processor hung",
            ("I/O die 1, core die (CCD) 3, core 5 of it",),
        ),
        (
            1,
            3 << 8,
            0x135,
            None,
            "L2 cache (PL2)",
            "Data cache error, level 1, data read: multi-bit ECC error in data",
            (),
        ),
        (
            2,
            1,
            0xE0B,
            1 << 32 | 0x3A << 24 | 2 << 19 | 1 << 16,
            "PCI Express (CRMCA0)",
            "Generic I/O error: PCI Express non-fatal error",
            ("PCI Express device 0001:3a:02.1", "reported by the PCI Express device 0001:3a:02.1 (see its AER log)"),
        ),
        (
            3,
            6,
            0x80F,
            1 << 27,
            "I/O die interconnect (ZDI, CRMCA0)",
            "Bus or interconnect error, generic level: generic request, other transaction, request of this processor, "
            "no timeout: replay number rolled over",
            ("ZDI link 2",),
        ),
        (
            22,
            2 << 8,
            0x402,
            1 << 24,
            "SVID 2",
            "Internal unclassified error 0x0402: voltage regulator over-current",
            ("voltage regulator 1",),
        ),
        (9, 2, 0x005, None, "Memory controller", "Memory controller parity error: multi-bit ECC error", ()),
        (30, 5, 0x402, None, "Host interface (HIF) 2", "Internal unclassified error 0x0402: CXL poison, corrected", ()),
    ],
)
def test_kh50000(
    bank: int, mscod: int, code: int, misc: int | None, unit: str, error: str, details: tuple[str, ...]
) -> None:
    status = VALID | mscod << 16 | code | (0 if misc is None else MISCV)
    reading = zhaoxin.read_bank(record(bank, status, misc=misc), KH50000)
    assert (reading.unit, reading.error, reading.details) == (unit, error, details)


def test_a_memory_error_of_kh50000_is_placed() -> None:
    status = VALID | MISCV | 1 << 58 | 1 << 16 | 0x94
    reading = zhaoxin.read_bank(record(10, status, misc=2 << 25 | 0x5A << 9 | 0x86, addr=0x12340), KH50000)
    assert reading.error == "Memory read error on channel 4: single-bit ECC error"
    assert "channel C0" in reading.details
    assert said(reading.location) == {"channel": 4, "rank": 2, "syndrome": 0x5A}
    assert reading.address.kind is AddressKind.PHYSICAL


@pytest.mark.parametrize(
    ("family", "model", "told"), [(7, 0x1B, True), (6, 0x19, True), (6, 0x1F, True), (7, 0x7B, False)]
)
def test_the_false_svad_error_of_bank_8_is_told(family: int, model: int, told: bool) -> None:
    """Linux arch/x86/kernel/cpu/mce/core.c, mce_zhaoxin_feature_init."""
    reading = zhaoxin.read_bank(record(8, VALID | 0x402), processor(family, model, vendor=Vendor.CENTAUR))
    assert any("SVAD" in note.text for note in reading.notes) is told
    assert not zhaoxin.read_bank(record(7, VALID | 0x402), processor(family, model, vendor=Vendor.CENTAUR)).notes


@given(
    status=st.integers(0, 2**64 - 1),
    misc=st.none() | st.integers(0, 2**64 - 1),
    bank=st.none() | st.integers(0, 255),
)
def test_any_registers_of_kh50000_read(status: int, misc: int | None, bank: int | None) -> None:
    reading = zhaoxin.read_bank(record(bank, status, misc=misc), KH50000)
    assert reading.unit
    assert reading.error
