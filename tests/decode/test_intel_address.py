"""Intel's MCi_ADDR: its kind, its granularity, and whether it names a page."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.arch.mci_status import ADDRV, MISCV, UC, VAL
from ringfence.decode.intel import read_bank
from ringfence.decode.meaning import Address, AddressKind
from tests.decode.intel_vectors import HASWELL_EP, NEHALEM_EP, SKYLAKE_SP, WESTMERE_EP, record

SER_P = 1 << 24
VALID = VAL.mask | ADDRV.mask | MISCV.mask
DATA_READ = 0x0134
MEMORY_READ = 0x0090


def address(
    *, status: int = VALID | DATA_READ, addr: int | None = 0x1234000, misc: int | None, mcg_cap: int | None = SER_P
) -> Address:
    return read_bank(record(1, status, addr=addr, misc=misc, mcg_cap=mcg_cap), SKYLAKE_SP).address


@pytest.mark.parametrize(
    ("mode", "kind", "names_a_page"),
    [
        (0, AddressKind.SEGMENT_OFFSET, False),
        (1, AddressKind.LINEAR, False),
        (2, AddressKind.PHYSICAL, True),
        (3, AddressKind.MEMORY, False),
        (4, AddressKind.UNKNOWN, False),
        (5, AddressKind.UNKNOWN, False),
        (6, AddressKind.UNKNOWN, False),
        (7, AddressKind.GENERIC, False),
    ],
)
def test_the_mode_in_misc_is_the_kind_and_only_physical_names_a_page(
    mode: int, kind: AddressKind, names_a_page: bool
) -> None:
    found = address(misc=mode << 6 | 6)
    assert (found.kind, found.granularity_bytes, found.names_a_page) == (kind, 64, names_a_page)
    assert found.because


@pytest.mark.parametrize("lsb", range(64))
def test_a_physical_address_names_a_page_up_to_a_granularity_of_one(lsb: int) -> None:
    found = address(misc=2 << 6 | lsb)
    assert found.granularity_bytes == 1 << lsb
    assert found.names_a_page is (lsb <= 12)


def test_an_address_without_addrv_is_shown_but_not_trusted() -> None:
    found = address(status=VALID & ~ADDRV.mask | DATA_READ, misc=0x86)
    assert (found.value, found.kind, found.names_a_page) == (0x1234000, AddressKind.UNKNOWN, False)


def test_no_address_and_no_addrv_is_none() -> None:
    assert address(status=VAL.mask | DATA_READ, addr=None, misc=None).kind is AddressKind.NONE


def test_addrv_without_the_register_names_nothing() -> None:
    found = address(addr=None, misc=0x86)
    assert (found.kind, found.names_a_page) == (AddressKind.PHYSICAL, False)


def test_bits_that_no_physical_address_has_name_no_page() -> None:
    assert address(addr=(1 << 52) - 64, misc=0x86).names_a_page
    assert not address(addr=1 << 52, misc=0x86).names_a_page


def test_the_window_of_apics_and_flash_holds_no_memory() -> None:
    """Corpus of a Kaby Lake at boot: ADDR FEF1FFC0, logged while firmware ran from the cache."""
    assert not address(addr=0xFEF1FFC0, misc=0x86).names_a_page
    assert address(addr=0x1_0000_0000, misc=0x86).names_a_page


def test_without_miscv_a_memory_controllers_address_is_physical_but_too_vague() -> None:
    found = address(status=VAL.mask | ADDRV.mask | MEMORY_READ, misc=0x86)
    assert (found.kind, found.granularity_bytes, found.names_a_page) == (AddressKind.PHYSICAL, None, False)


def test_misc_of_the_evidence_does_not_count_without_miscv() -> None:
    found = address(status=VAL.mask | ADDRV.mask | DATA_READ, misc=0x86)
    assert (found.kind, found.names_a_page) == (AddressKind.UNKNOWN, False)


def test_without_ser_p_the_mode_is_no_mode() -> None:
    """06_1AH: MISC[7:0] of bank 8 is the transaction tracker, here 86h, which would read as "physical"."""
    cache = read_bank(record(1, VALID | DATA_READ, addr=0x1000, misc=0x86, mcg_cap=0x1C09), NEHALEM_EP).address
    assert (cache.kind, cache.names_a_page) == (AddressKind.UNKNOWN, False)


def test_without_ser_p_a_corrected_memory_error_names_its_page() -> None:
    """mcelog issue 84 (06_2CH, MCGCAP 1c09): ADDR 93e6e4300."""
    found = read_bank(
        record(8, 0x8C0000400001009F, addr=0x93E6E4300, misc=0x2000000A6646, mcg_cap=0x1C09), WESTMERE_EP
    ).address
    assert (found.kind, found.granularity_bytes, found.names_a_page) == (AddressKind.PHYSICAL, None, True)
    uncorrected = read_bank(
        record(8, 0x8C0000400001009F | UC.mask, addr=0x93E6E4300, misc=0x2000000A6646, mcg_cap=0x1C09), WESTMERE_EP
    ).address
    assert not uncorrected.names_a_page


def test_the_address_mode_is_assumed_and_said_so_where_mcg_cap_is_missing() -> None:
    reading = read_bank(record(1, VALID | DATA_READ, addr=0x1000, misc=0x86), HASWELL_EP)
    assert reading.address.kind is AddressKind.PHYSICAL
    assert any("address mode" in assumption for assumption in reading.assumptions)
    known = read_bank(record(1, VALID | DATA_READ, addr=0x1000, misc=0x86, mcg_cap=SER_P), HASWELL_EP)
    assert known.assumptions == ()


@given(
    status=st.integers(0, 2**64 - 1),
    addr=st.none() | st.integers(0, 2**64 - 1),
    misc=st.none() | st.integers(0, 2**64 - 1),
    mcg_cap=st.none() | st.integers(0, 2**64 - 1),
)
def test_what_names_a_page_is_valid_physical_and_fine_enough(
    status: int, addr: int | None, misc: int | None, mcg_cap: int | None
) -> None:
    found = read_bank(record(13, status, addr=addr, misc=misc, mcg_cap=mcg_cap), SKYLAKE_SP).address
    if found.names_a_page:
        assert found.value is not None
        assert status & VAL.mask
        assert status & ADDRV.mask
        assert found.kind is AddressKind.PHYSICAL
        assert found.granularity_bytes is None or found.granularity_bytes <= 4096
        assert found.value < 1 << 52
