"""AMD before Scalable MCA: real logs, and the tables of every family swept."""

from __future__ import annotations

import pytest

from ringfence.arch import mci_status
from ringfence.arch.cpuid import Processor
from ringfence.decode.amd.codes import error_code
from ringfence.decode.amd.legacy_errors import RULES, UNITS, error_phrase
from ringfence.decode.meaning import AddressKind
from ringfence.record.evidence import Location
from tests.decode.amd_logs import amd, logged, notes_of, read_bank

K7, K8, K8_REV_F, F10H, F11H = amd(0x06, 0x08), amd(0x0F, 0x05), amd(0x0F, 0x4B), amd(0x10, 0x09), amd(0x11, 0x03)
F12H, F14H, F15H, F16H = amd(0x12, 0x01), amd(0x14, 0x01), amd(0x15, 0x02), amd(0x16, 0x00)
CARRIZO = amd(0x15, 0x60)

BUS_READ_MEMORY = 0x0813


@pytest.mark.parametrize(
    ("processor", "bank", "status", "addr", "unit", "error", "location"),
    [
        # aslab.com knowledge base 123 (mcelog on K8): "Northbridge ECC error, ECC syndrome = e3".
        (K8, 4, 0x9471C00000000A13, 0x46A9F888, "northbridge", "DRAM ECC error", Location(syndrome=0xE3)),
        # OpenVZ wiki: "Bank 4: b604a00100000813", panic. Uncorrectable, so no syndrome that tells bits.
        (K8, 4, 0xB604A00100000813, 0x7E4F2F68, "northbridge", "DRAM ECC error", Location(core=0)),
        # LKML 2005, hdparm on K8.
        (K8, 4, 0xB200000000070F0F, None, "northbridge", "northbridge watchdog timeout", Location()),
        # ubuntuforums 414200 (2007).
        (K8_REV_F, 0, 0xB653C00000000135, 0x5BCF78, "data cache unit", "data cache data or tag error", Location()),
        # A blog of 2020, family 15h: "MC4 Error (node 2): L3 data cache ECC error."
        (F15H, 4, 0x9C0A4D20011C010B, 0x11244, "northbridge", "L3 data cache ECC error", Location()),
        # An Opteron with 64 cores: "DRAM ECC error detected on the NB", overflow.
        (F15H, 4, 0xDC10410040080A13, None, "northbridge", "DRAM ECC error", Location(syndrome=0x4020)),
        # serverfault 926365 (family 15h): corrected, whatever the answer there said.
        (F15H, 4, 0x9C0240006B080813, None, "northbridge", "DRAM ECC error", Location(syndrome=0x6B04)),
    ],
)
def test_logs_of_k8_and_family_15h(
    *, processor: Processor, bank: int, status: int, addr: int | None, unit: str, error: str, location: Location
) -> None:
    reading = read_bank(logged(bank, status, addr=addr), processor)
    assert (reading.unit, reading.error, reading.location) == (unit, error, location)
    assert reading.not_an_error is None
    assert reading.assumptions == ()


@pytest.mark.parametrize(
    ("bank", "status", "unit", "error"),
    [
        # LKML, December 2004 (two banks) and June 2002.
        (2, 0xD40040000000017A, "bus unit (L2)", "memory (cache) error: eviction, generic, L2"),
        (1, 0xD400400000000152, "instruction cache unit", "memory (cache) error: instruction fetch, instruction, L2"),
        (0, 0x9409C00000000136, "data cache unit", "memory (cache) error: data read, data, L2"),
    ],
)
def test_logs_of_k7_say_what_the_error_code_says(bank: int, status: int, unit: str, error: str) -> None:
    reading = read_bank(logged(bank, status), K7)
    assert (reading.unit, reading.error) == (unit, error)
    assert "a correctable ECC error (CECC)" in reading.details
    assert reading.address.kind is AddressKind.UNKNOWN
    assert len(reading.assumptions) == 1


def test_bit_43_of_the_northbridge_of_family_15h_is_a_subcache_and_not_poison() -> None:
    # Kernels before 2012 printed "Poison" for this record.
    reading = read_bank(logged(4, 0x9C0A4D20011C010B, addr=0x11244), F15H)
    assert "L3 subcache 3" in reading.details
    assert not [detail for detail in reading.details if detail.startswith("poison")]
    in_core = read_bank(logged(0, 0x9C00_0800_0000_0135), F15H)
    assert "poison: poisoned data was consumed" in in_core.details


@pytest.mark.parametrize(
    ("processor", "status", "addr", "value", "granularity_bytes", "names_a_page"),
    [
        (K8, 0x9471C00000000A13, 0xFFFF_FF12_3456_789F, 0x12_3456_7898, 8, True),
        (F10H, 0x9471C00000080A13, 0xFFFF_1234_5678_9ABF, 0x1234_5678_9ABE, None, True),
        (F15H, 0x9471C00000080C13, 0x1234_5678, 0x1234_5678, None, False),  # only observed
    ],
)
def test_northbridge_logs_the_system_address_of_dram_errors(
    *,
    processor: Processor,
    status: int,
    addr: int,
    value: int,
    granularity_bytes: int | None,
    names_a_page: bool,
) -> None:
    address = read_bank(logged(4, status, addr=addr), processor).address
    assert address.kind is AddressKind.PHYSICAL
    assert (address.value, address.granularity_bytes, address.names_a_page) == (value, granularity_bytes, names_a_page)


def test_other_addresses_of_the_northbridge_are_not_taken_for_memory() -> None:
    for code in set(range(32)) - {0, 8}:
        address = read_bank(logged(4, 0x9400_0000_0000_0813 | code << 16, addr=0x1234_5678), F15H).address
        assert (address.kind, address.names_a_page) == (AddressKind.UNKNOWN, False)


def test_family_11h_has_no_dram_ecc() -> None:
    reading = read_bank(logged(4, 0x9471C00000080A13, addr=0x46A9F888), F11H)
    assert reading.error.startswith("bus error: generic read, memory")
    assert not reading.address.names_a_page


@pytest.mark.parametrize(
    ("processor", "bank", "status", "kind", "names_a_page"),
    [
        (K8, 0, 0xB400_0000_0000_0015, AddressKind.LINEAR, False),  # TLB: a page of linear addresses
        (K8, 0, 0xB400_0000_0000_0135, AddressKind.PHYSICAL, False),  # data cache
        (K8, 1, 0xB400_0000_0000_0151, AddressKind.UNKNOWN, False),  # instruction cache
        (F15H, 5, 0xB400_0000_0000_0136, AddressKind.LINEAR, False),  # watchdog
        (F15H, 0, 0xB400_0800_0000_0135, AddressKind.PHYSICAL, True),  # consumed poison
        (F15H, 0, 0x9400_0800_0000_0135, AddressKind.PHYSICAL, False),  # poison bit, but nothing consumed
        (F10H, 0, 0xB400_0800_0000_0135, AddressKind.PHYSICAL, False),  # no poison before family 15h
    ],
)
def test_addresses_of_a_cores_banks(
    processor: Processor, bank: int, status: int, kind: AddressKind, names_a_page: bool
) -> None:
    address = read_bank(logged(bank, status, addr=0x1234_5000), processor).address
    assert (address.kind, address.names_a_page) == (kind, names_a_page)


def test_a_missing_address_is_told_apart_from_none_logged() -> None:
    missing = read_bank(logged(4, 0x9471C00000000A13), K8).address
    assert missing.kind is AddressKind.PHYSICAL
    assert missing.value is None
    assert not missing.names_a_page
    assert "does not carry" in missing.because
    none = read_bank(logged(4, 0x9071C00000000A13, addr=0x1000), K8).address
    assert (none.kind, none.value) == (AddressKind.NONE, None)


def test_hypertransport_errors_tell_their_link() -> None:
    for link in range(4):
        reading = read_bank(logged(4, 0xB000_0000_0001_0A0F | link << 36, node=1), K8)
        assert reading.error == "CRC error on a HyperTransport link"
        assert f"HyperTransport link {link}" in reading.details
        assert reading.location == Location(node=1)
    reading = read_bank(logged(4, 0xB000_0230_000A_0A0F), F10H)
    assert {"HyperTransport link 3", "upper sublink"} <= set(reading.details)


@pytest.mark.parametrize(
    ("processor", "bits", "core"),
    [
        (K8, 0x1 << 32, 0),
        (K8, 0x2 << 32, 1),
        (K8, 0x3 << 32, None),  # both: no single core
        (amd(0x10, 0x04), 0x8 << 32, 3),  # one bit per core
        (amd(0x10, 0x09), 1 << 56 | 0x5 << 32, 5),  # a number, where it is valid
        (amd(0x10, 0x09), 0x5 << 32, None),
        (F15H, 1 << 56 | 0x7 << 32, 7),
    ],
)
def test_the_northbridge_tells_the_core(processor: Processor, bits: int, core: int | None) -> None:
    reading = read_bank(logged(4, 0xB000_0000_0007_0F0F | bits), processor)
    assert reading.location == Location(core=core)


def test_threshold_counter_of_the_northbridge() -> None:
    record = logged(4, 0x9C10410040080A13, misc=0xC000_0FFD_0100_0000)
    assert read_bank(record, F15H).threshold_count == 4093
    elsewhere = logged(2, 0x9C10410040080A13, misc=0xC000_0FFD_0100_0000)
    assert not [detail for detail in read_bank(elsewhere, F15H).details if "counter" in detail]


def test_an_unknown_processor_is_read_by_what_all_families_share() -> None:
    reading = read_bank(logged(4, 0xDC10410040080A13), None)
    assert (reading.unit, reading.error) == ("northbridge", "DRAM ECC error")
    assert reading.location.syndrome == 0x4020
    assert len(reading.assumptions) == 1
    reading = read_bank(logged(2, 0xD40040000000017A), None)
    assert reading.unit == "bus unit or combined unit, L2 (bank 2)"
    assert reading.error == "memory (cache) error: eviction, generic, L2"


def test_extended_codes_are_as_wide_as_the_family_has_them() -> None:
    for processor, wide in ((K8, 0xF), (F10H, 0xF), (F14H, 0xF), (F15H, 0x1F), (F16H, 0x1F), (CARRIZO, 0x3F)):
        reading = read_bank(logged(0, 0x9000_0000_003F_0135), processor)
        assert reading.details[0] == f"extended error code {wide:#x}"
    for processor, wide in ((K8, 0xF), (F10H, 0x1F), (CARRIZO, 0x1F)):
        reading = read_bank(logged(4, 0x9000_0000_003F_0813), processor)
        assert reading.details[0] == f"extended error code {wide:#x}"


# What Linux's drivers/edac/mce_amd.c calls "Corrupted MCx MCE info" is what no rule names.
@pytest.mark.parametrize(
    ("family", "bank", "extended", "raw", "phrase"),
    [
        (0x0F, 0, 0, 0x0015, "data TLB parity error in the physical array"),
        (0x0F, 0, 1, 0x0015, "data TLB multiple match, or parity error in the virtual array"),
        (0x10, 0, 2, 0x0015, "data TLB locked miss"),
        (0x10, 0, 0, 0x0011, None),  # an instruction TLB error in the data cache
        (0x0F, 0, 0, 0x0A13, "error in a system line fill of the data cache"),
        (0x10, 0, 0, 0x0A13, None),
        (0x10, 0, 0, 0x0105, "data cache error found by the data scrubber"),
        (0x12, 0, 0, 0x0105, "data cache data or tag error"),
        (0x12, 0, 0, 0x0136, "error in a data cache line fill from L2"),
        (0x14, 0, 0, 0x0135, "data cache data or tag parity error, load or hardware prefetch"),
        (0x14, 0, 0, 0x0136, None),
        (0x16, 0, 0, 0x0145, "data cache data or tag parity error, store"),
        (0x14, 0, 0, 0x0175, "copyback parity error on a tag miss"),
        (0x14, 0, 0, 0x0185, "tag parity error in a snoop"),
        (0x14, 0, 0, 0x0833, "system read data error on a load"),
        (0x14, 0, 0, 0x0813, "system read data error on a TLB reload"),
        (0x15, 0, 0x11, 0x0135, "store queue (STQ) access error"),
        (0x15, 0, 0x04, 0x0135, None),
        (0x15, 0, 0, 0x0833, "system read data error"),
        (0x15, 0, 0, 0x0600, "hardware assertion"),
        (0x0F, 1, 0, 0x0152, "error in an instruction cache line fill from L2"),
        (0x0F, 1, 0, 0x0151, "instruction cache parity error in a data load"),
        (0x0F, 1, 0, 0x0171, "copyback parity or victim error"),
        (0x0F, 1, 0, 0x0181, "tag snoop error"),
        (0x14, 1, 2, 0x0161, "microcode patch RAM parity error"),
        (0x15, 1, 0x0D, 0x0151, "PFB valid bit parity error"),
        (0x15, 1, 0x0B, 0x0151, None),
        (0x15, 1, 0x15, 0x0151, "decoder dispatch micro-op queue parity error"),
        (0x0F, 2, 1, 0x0A13, "error in the write data buffers"),
        (0x0F, 2, 2, 0x0136, "error in the L2 cache tags"),
        (0x0F, 2, 0, 0x017A, "L2 cache error in a data copyback"),
        (0x0F, 2, 0, 0x010A, "parity or ECC error in a data access from L2"),
        (0x0F, 2, 0, 0x0136, None),
        (0x15, 2, 0x11, 0x0136, "hard L2 tag ECC error"),
        (0x15, 2, 0x0D, 0x0136, None),
        (0x15, 2, 1, 0x0016, "poisoned data provided for a TLB fill"),
        (0x16, 2, 0x05, 0x0116, "input buffer (IBUFF) parity error"),
        (0x16, 2, 0x05, 0x0126, "output buffer (OBUFF) parity error"),
        (0x16, 2, 0x1A, 0x0116, None),
        (0x16, 2, 0x1B, 0x0116, "L2 data array ECC error"),
        (0x10, 3, 0, 0x0833, "error in a load"),
        (0x10, 3, 0, 0x0813, None),
        (0x0F, 4, 8, 0x0813, "DRAM ECC error (chipkill)"),
        (0x10, 4, 8, 0x0813, "DRAM ECC error"),
        (0x10, 4, 0xF, 0x0010, "GART table walk data error"),
        (0x10, 4, 0xF, 0x0813, "DMA exclusion vector table walk data error"),
        (0x10, 4, 0xF, 0x0135, None),
        (0x15, 4, 0x19, 0x0813, "compute unit data error"),
        (0x10, 4, 0x19, 0x0813, None),
        (0x10, 4, 0x1F, 0x0813, "probe filter directory ECC error"),
        (0x15, 5, 0, 0x0136, "core watchdog timeout"),
        (0x15, 5, 0xD, 0x0136, "retire status queue parity error"),
        (0x15, 5, 0xE, 0x0136, None),
        (0x0F, 5, 0, 0x0136, None),
        (0x15, 6, 5, 0x0136, "status register file parity error"),
        (0x15, 6, 6, 0x0136, None),
        (0x10, 6, 0, 0x0136, None),
    ],
)
def test_meanings_by_family_bank_and_codes(family: int, bank: int, extended: int, raw: int, phrase: str | None) -> None:
    assert error_phrase(bank, family, extended, error_code(raw)) == phrase


def test_every_rule_is_reached_by_some_family_and_codes() -> None:
    defined = [code for raw in range(0x1000) if (code := error_code(raw)).kind is not code.kind.UNKNOWN]
    reached = set()
    for bank in {rule.bank for rule in RULES}:
        rules = [rule for rule in RULES if rule.bank == bank]
        # One code for every value that any rule of the bank tells apart is enough.
        kinds = {(code.kind, code.level, code.request, code.transaction, code.space): code for code in defined}
        for family in UNITS:
            for extended in range(32):
                for code in kinds.values():
                    for rule in rules:
                        if rule.matches(bank, family, extended, code):
                            reached.add(rule)
                            break
    assert [rule for rule in RULES if rule not in reached] == []


@pytest.mark.parametrize("family", sorted(UNITS))
def test_every_bank_and_extended_code_of_every_family_says_something(family: int) -> None:
    processor = amd(family, 0x02)
    for bank in range(8):
        for extended in range(64):
            for raw in (0x0015, 0x0135, 0x0813, 0x0600, 0x0000):
                reading = read_bank(logged(bank, 0x9000_0000_0000_0000 | extended << 16 | raw), processor)
                assert reading.error
                assert reading.details[0].startswith("extended error code ")
                known = UNITS[family].get(bank)
                assert reading.unit == (known or f"unknown bank {bank}")


def test_no_bank_number_is_no_bank() -> None:
    reading = read_bank(logged(None, 0x9471C00000000A13, addr=0x1000), K8)
    assert reading.unit == "unknown bank"
    assert reading.error.startswith("bus error: generic read, memory")
    assert notes_of(reading) == ""


def test_deferred_errors_exist_since_family_15h() -> None:
    deferred = mci_status.DEFERRED.mask | 0x8000_0000_0000_0135
    assert any(detail.startswith("deferred") for detail in read_bank(logged(0, deferred), F16H).details)
    assert not any(detail.startswith("deferred") for detail in read_bank(logged(0, deferred), F12H).details)
