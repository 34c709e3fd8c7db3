"""Intel's model-specific banks: vectors from real logs and from mcelog's tests, and sweeps of every MSCOD."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.arch.cpuid import Processor, Vendor
from ringfence.decode.intel import classify, read_bank
from ringfence.decode.intel.bank import Logged, Reader, apply
from ringfence.decode.intel.models import model_of
from ringfence.record.evidence import Delivery, Record
from tests.decode import intel_vectors as iv
from tests.decode.intel_vectors import processor, record, said


class Vector(NamedTuple):
    """A bank as logged, and what it means."""

    source: str
    processor: Processor
    bank: int
    status: int
    misc: int | None
    unit: str
    error: str
    location: dict[str, int | str]


VECTORS = [
    Vector(
        "mcelog issue 116 (Ice Lake-SP, ras-mc-ctl)",
        iv.ICE_LAKE_SP,
        13,
        0x8C00004200800090,
        0xD03451DE4819486,
        "Integrated memory controller (iMC) 0, channel 0",
        "Memory read error on channel 0: corrected read error",
        {
            "controller": 0,
            "channel": 0,
            "slot": 1,
            "rank": 1,
            "bank_group": 1,
            "bank": 1,
            "row": 0x3BC90,
            "column": 0x328,
            "device": 0xD,
        },
    ),
    Vector(
        "mcelog output of a Skylake-SP, 2019 (three SRAO patrol scrubs)",
        iv.SKYLAKE_SP,
        14,
        0xFD001DC0001000C1,
        0x900010080000086,
        "Integrated memory controller (iMC) 0, channel 1",
        "Memory scrubbing error on channel 1: uncorrected patrol scrub error",
        {"controller": 0, "channel": 1},
    ),
    Vector(
        "linux-edac, November 2020 (A. Yao, Cascade Lake)",
        iv.SKYLAKE_SP,
        7,
        0xBE00000001010091,
        0x200400C008002086,
        "Mesh to memory (M2M) 0",
        "Memory read error on channel 1: data error on a read (MscodDataRdErr)",
        {"controller": 0, "channel": 1},
    ),
    Vector(
        "vmcore analysis, May 2025 (Broadwell-EP)",
        iv.BROADWELL_EP,
        10,
        0xFE002984001000C1,
        0x1229440404003E8C,
        "Integrated memory controller (iMC) 0, channel 1",
        "Memory scrubbing error on channel 1: uncorrected patrol scrub error",
        {"controller": 0, "channel": 1},
    ),
    Vector(
        "radiasoft/devops issue 134 (Ivy Bridge-EP)",
        iv.IVY_BRIDGE_EP,
        11,
        0x8C00004F000800C2,
        0x900040004001E8C,
        "Integrated memory controller (iMC) 0, channel 2",
        "Memory scrubbing error on channel 2: corrected patrol scrub error",
        {"controller": 0, "channel": 2},
    ),
    Vector(
        "kernel bug, September 2015 (Ivy Bridge-EX)",
        iv.IVY_BRIDGE_EP,
        7,
        0xCC00014000010092,
        0x4430B486,
        "Home agent (HA) 0",
        "Memory read error on channel 2",
        {"controller": 0, "channel": 2},
    ),
    Vector(
        "edac-utils issue 10 (Sandy Bridge-EP)",
        iv.SANDY_BRIDGE_EP,
        5,
        0x8C00004000010092,
        0x42525286,
        "Memory controller (bank 5)",
        "Memory read error on channel 2",
        {"channel": 2},
    ),
    Vector(
        "mcelog output of a Broadwell-DE, 2022",
        iv.BROADWELL_DE,
        9,
        0x8C000045000800C0,
        0x900004000400A8C,
        "Integrated memory controller (iMC) 0, channel 0",
        "Memory scrubbing error on channel 0: corrected patrol scrub error",
        {"controller": 0, "channel": 0},
    ),
    Vector(
        "mcelog issue 84 (Westmere-EP)",
        iv.WESTMERE_EP,
        8,
        0x8C0000400001009F,
        0x2000000A6646,
        "Integrated memory controller (iMC)",
        "Memory read error, channel not specified: ECC error on a memory read",
        {"controller": 0, "channel": 2, "slot": 2, "syndrome": 0x2000},
    ),
    Vector(
        "mcelog input and output of a Nehalem in an operations blog",
        iv.NEHALEM_EP,
        8,
        0x88000040000200CF,
        0x98873A2000043000,
        "Integrated memory controller (iMC)",
        "Memory scrubbing error, channel not specified: ECC error found by scrubbing",
        {"controller": 0, "channel": 1, "slot": 0, "syndrome": 0x98873A20},
    ),
    Vector(
        "martin.hinner.info/p6microcode/wiki/mce (Yonah)",
        iv.YONAH,
        0,
        0xF200084000000800,
        None,
        "Bus or interconnect (bank 0)",
        "Bus or interconnect error, level 0: generic request, memory, request of this processor, no timeout: "
        "time-out BINIT#: no micro-instruction retired for too long (ROB time-out); failure that asserts IERR#",
        {},
    ),
    Vector(
        "LKML 20250928032842.1399147-1-qiuxu.zhuo@intel.com (0:d06d0)",
        processor(6, 0xDD),
        3,
        0xBD80000000070134,
        0x80,
        "Cache (bank 3)",
        "Data cache error, level 0, data read",
        {},
    ),
    Vector(
        "stable mail for commit 8eed4e00a370 (Granite Rapids)",
        iv.GRANITE_RAPIDS,
        1,
        0xBD80000000100134,
        0x86,
        "Data cache unit (DCU)",
        "Data cache error, level 0, data read",
        {},
    ),
    Vector(
        "mcelog input/spr_uc_patscrub",
        iv.SAPPHIRE_RAPIDS,
        13,
        0x8000000010100080,
        None,
        "Integrated memory controller (iMC) 0, channel 0",
        "Memory controller error (generic undefined request) on channel 0: uncorrected patrol scrub error on the "
        "mirror's second channel (UC_PATSCRUB_MIRR2ND_ERR)",
        {"controller": 0, "channel": 0},
    ),
    Vector(
        "mcelog input/dmr_dcu_srar",
        iv.DIAMOND_RAPIDS,
        1,
        0xBD80000010100134,
        None,
        "Cache (bank 1)",
        "Data cache error, level 0, data read",
        {},
    ),
    Vector(
        "mcelog issue 73 (Westmere-EX)",
        iv.WESTMERE_EX,
        5,
        0xFA00000000400405,
        0x100,
        "Bank 5",
        "Internal unclassified error 0x0405",
        {},
    ),
    Vector(
        "qemu/libvirt-users, May 2023 (Comet Lake)",
        processor(6, 0xA5),
        0,
        0x9000004000010005,
        None,
        "Instruction fetch unit (IFU)",
        "Internal parity error",
        {},
    ),
]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.source)
def test_a_logged_bank_means(vector: Vector) -> None:
    reading = read_bank(record(vector.bank, vector.status, misc=vector.misc), vector.processor)
    assert (reading.unit, reading.error, said(reading.location)) == (vector.unit, vector.error, vector.location)


@pytest.mark.parametrize(
    ("cpu", "bank", "mscod", "code", "error"),
    [
        # SDM vol. 3B chapter 18, one per table.
        (
            iv.SANDY_BRIDGE_EP,
            4,
            0x7103,
            0x402,
            "Internal unclassified error 0x0402: Bad_OpCode; MC_WATCHDG_TIMEOUT_PKGC_MAIN",
        ),
        (iv.HASWELL_EP, 4, 0x2501, 0x402, "PCU internal error: MC_SVID_COMMAND_TIMEOUT"),
        (
            iv.HASWELL_EP,
            20,
            0x0031,
            0xC0F,
            "Bus or interconnect error, generic level: generic request, other "
            "transaction, seen as a third party, no timeout: receiver: CRC error, retried successfully without "
            "re-initialising the physical layer",
        ),
        (
            iv.BROADWELL_DE,
            9,
            0x0200,
            0xB0,
            "Memory address/command error on channel 0: DDR4 command/address parity error",
        ),
        (iv.SKYLAKE_SP, 4, 0x4100, 0x402, "PCU internal error: MCA_SVID_COMMAND_TIMEOUT"),
        (iv.SKYLAKE_SP, 13, 0x0807, 0x90, "Memory read error on channel 0: uncorrectable error"),
        (iv.ICE_LAKE_SP, 4, 0x7A00, 0x402, "PCU internal error: MCA_PKGS_RESET_PREP_TIMEOUT"),
        (
            iv.ICE_LAKE_SP,
            7,
            0x0032,
            0x80F,
            "Bus or interconnect error, generic level: generic request, other "
            "transaction, request of this processor, no timeout: corrected: sender received a link-level retry",
        ),
        (iv.SAPPHIRE_RAPIDS, 4, 0x0005, 0x40C, "Shutdown error: shutdown after a triple fault"),
        (iv.SAPPHIRE_RAPIDS, 4, 0x0005, 0x402, "PCU internal error: stack overflow"),
        (
            iv.SAPPHIRE_RAPIDS,
            5,
            0x0015,
            0x80F,
            "Bus or interconnect error, generic level: generic request, other "
            "transaction, request of this processor, no timeout: receiver SGX MAC error",
        ),
        (
            iv.GRANITE_RAPIDS,
            13,
            0x2106,
            0x90,
            "Memory read error on channel 0: persistent corrected ECC error in the write data buffer, subchannel 1",
        ),
        (iv.DIAMOND_RAPIDS, 4, 0, 0x40B, "Scan-at-field error"),
        (iv.DIAMOND_RAPIDS, 11, 0x2310, 0x402, "Internal unclassified error 0x0402: MCA_PCU_SVID_ERROR"),
        (
            iv.PENTIUM_4,
            0,
            0x0080,
            0x80F,
            "Bus or interconnect error, generic level: generic request, other "
            "transaction, request of this processor, no timeout: pad address glitch",
        ),
        (iv.TULSA, 4, 0x0100, 0x400, "Internal timer error: Enhanced SpeedStep TM1-TM2 error"),
        (iv.DUNNINGTON, 4, 0x0500, 0x400, "Internal timer error: quiet cycle time-out (correctable)"),
        (iv.NEHALEM_EP, 7, 0x0300, 0x001, "Unclassified error: reset firmware did not complete"),
    ],
)
def test_model_specific_codes(cpu: Processor, bank: int, mscod: int, code: int, error: str) -> None:
    assert read_bank(record(bank, 1 << 63 | mscod << 16 | code), cpu).error == error


INTERCONNECT_BANKS = [
    (iv.NEHALEM_EP, 0),
    (iv.HASWELL_EP, 5),
    (iv.SKYLAKE_SP, 5),
    (iv.ICE_LAKE_SP, 5),
    (iv.SAPPHIRE_RAPIDS, 5),
    (iv.GRANITE_RAPIDS, 5),
    (iv.DIAMOND_RAPIDS, 18),
]


@pytest.mark.parametrize(("cpu", "bank"), INTERCONNECT_BANKS)
def test_codes_of_an_interconnect_bank_are_named_for_bus_errors_only(cpu: Processor, bank: int) -> None:
    names = {read_bank(record(bank, 0xB2 << 56 | mscod << 16 | 0xE0F), cpu).error for mscod in (0, 1, 2, 3)}
    assert len(names) > 1
    for mscod in (0, 1, 2, 3):
        assert (
            read_bank(record(bank, 0xB2 << 56 | mscod << 16 | 0x402), cpu).error == "Internal unclassified error 0x0402"
        )


@pytest.mark.parametrize(
    ("status", "kind", "uc"),
    [(0xB200000000200E0F, "a corrected", 1), (0x9000000000010E0F, "an uncorrected", 0)],
)
def test_a_code_listed_as_of_the_other_kind_than_uc_says_is_noted(status: int, kind: str, uc: int) -> None:
    reading = read_bank(record(5, status), iv.SKYLAKE_SP)
    assert "corrected:" not in reading.error
    (note,) = (note.text for note in reading.notes if "MCi_STATUS.UC is" in note.text)
    assert f"listed as {kind} error's" in note
    assert f"UC is {uc}" in note
    agreeing = read_bank(record(5, status ^ 1 << 61), iv.SKYLAKE_SP)
    assert f"{kind.split()[1]}: " in agreeing.error
    assert not [note for note in agreeing.notes if "MCi_STATUS.UC is" in note.text]


def test_a_field_is_compared_whole() -> None:
    """MSCOD 0215h of a Granite Rapids UPI bank is not 15h, the SGX failure."""
    reading = read_bank(record(5, 1 << 63 | 0x0215 << 16 | 0x80F), iv.GRANITE_RAPIDS)
    assert "SGX" not in reading.error
    assert any("0x215" in detail for detail in reading.details)


def test_a_model_specific_code_without_a_table_is_shown() -> None:
    """linux-hyperv: the ACPI power-off write that the hypervisor intercepted."""
    reading = read_bank(record(0, 0xB2000000C0060001, mcg_status=4), iv.ICE_LAKE_SP)
    assert reading.error == "Unclassified error"
    assert "model-specific error code 0xc006 (MSCOD)" in reading.details


def test_misc_counts_only_with_miscv() -> None:
    with_misc = 0x8C00004200800090
    assert said(read_bank(record(13, with_misc & ~(1 << 59), misc=0xD03451DE4819486), iv.ICE_LAKE_SP).location) == {
        "controller": 0,
        "channel": 0,
    }


def test_a_persistent_memory_error_has_no_dram_location() -> None:
    """Linux drivers/edac/i10nm_base.c, i10nm_mscod_is_ddrt."""
    reading = read_bank(record(13, 0x8C00004208070090, misc=0xD03451DE4819486), iv.ICE_LAKE_SP)
    assert said(reading.location) == {"controller": 0, "channel": 0}


def test_the_row_of_sapphire_rapids_ends_where_the_bank_begins() -> None:
    """Linux drivers/edac/i10nm_base.c, case SPR: row [36:19], bank group [38:37] and [41], bank [40:39]."""
    misc = 0x1ABCD << 19 | 0b10 << 37 | 0b11 << 39 | 1 << 41 | 0x86 | 1 << 58
    place = read_bank(record(16, 0x8C00004000800090, misc=misc), iv.SAPPHIRE_RAPIDS).location
    assert (place.row, place.bank_group, place.bank, place.slot, place.rank) == (0x1ABCD, 0b110, 0b11, 1, 0)
    assert (place.controller, place.channel) == (1, 1)


def test_granite_rapids_places_the_error_only_if_status_says_that_misc_does() -> None:
    """mcelog granite.c: MISCV and bit 33 ("other information" [1])."""
    misc = 5 << 55 | 3 << 43 | 0x1234 << 19 | 0x86
    status = 0x8C00004000800090
    placed = read_bank(record(15, status | 1 << 33, misc=misc), iv.GRANITE_RAPIDS).location
    assert (placed.channel, placed.rank, placed.row, placed.device) == (2, 5, 0x1234, 3)
    assert said(read_bank(record(15, status, misc=misc), iv.GRANITE_RAPIDS).location) == {"channel": 2}


@pytest.mark.parametrize(
    ("known", "bank", "status"),
    [
        (iv.ICE_LAKE_SP, 13, 0x8C00004000800090),
        (iv.SAPPHIRE_RAPIDS, 13, 0x8C00004000800090),
        (iv.SAPPHIRE_RAPIDS, 30, 0x8C00004000800090),
        (iv.GRANITE_RAPIDS, 13, 0x8C00004200800090),
        (iv.DIAMOND_RAPIDS, 19, 0x8C00004200800090),
    ],
)
@pytest.mark.parametrize("misc", [0x86, 0x8C, 0x1FF, 0])
def test_a_misc_of_address_mode_and_granularity_alone_places_nothing(
    known: Processor, bank: int, status: int, misc: int
) -> None:
    reading = read_bank(record(bank, status, misc=misc), known)
    assert said(reading.location).keys() <= {"controller", "channel"}
    assert any("no DRAM location" in detail for detail in reading.details)
    assert not any("rank" in detail or "ECC mode" in detail for detail in reading.details if "no DRAM" not in detail)
    assert [placed.name for placed in reading.placed if placed.name != "corrected_count"] == []
    for location_bit in range(9, 64):
        assert "no DRAM location" not in " ".join(
            read_bank(record(bank, status, misc=misc | 1 << location_bit), known).details
        )


@pytest.mark.parametrize(
    ("known", "bank", "code", "channel"),
    [(iv.HASWELL_EP, 9, 0x93, 0), (iv.IVY_BRIDGE_EP, 11, 0xC0, 2), (iv.ICE_LAKE_SP, 14, 0x90, 1)],
)
def test_where_bank_and_error_code_name_two_channels_the_note_names_both_and_the_one_taken(
    known: Processor, bank: int, code: int, channel: int
) -> None:
    reading = read_bank(record(bank, 0x8C00004000000000 | code), known)
    assert reading.location.channel == channel
    (note,) = (note for note in reading.notes if "two channels" in note.text)
    assert f"channel {channel}'s" in note.text
    assert f"says {code & 0xF}." in note.text
    assert f"{channel} is taken: " in note.text


@pytest.mark.parametrize(
    ("bank", "code"), [(9, 0x90), (9, 0x9F), (12, 0x93), (13, 0xC0), (16, 0xC3), (7, 0x93), (9, 0x134), (4, 0x402)]
)
def test_a_channel_named_once_or_alike_needs_no_note(bank: int, code: int) -> None:
    reading = read_bank(record(bank, 0x8C00004000000000 | code), iv.HASWELL_EP)
    assert not any("two channels" in note.text for note in reading.notes)


def test_failing_ranks_of_ivy_bridge() -> None:
    """SDM vol. 3B chapter 18, 06_3EH, MCi_MISC: ranks in [50:46] and [55:51], valid with bits 62 and 63."""
    misc = 1 << 62 | 5 << 46 | 1 << 63 | 2 << 51 | 0x86
    reading = read_bank(record(9, 0x8C00004000800090, misc=misc), iv.IVY_BRIDGE_EP)
    assert (reading.location.rank, reading.location.slot) == (5, 1)
    assert "second failing device in rank 2 of the channel" in reading.details


@pytest.mark.parametrize(
    ("cpu", "misc", "how"),
    [
        # mcelog input/bdw_mirror1, bdw_mirror2, skx_mirror1, skx_mirror2
        (iv.BROADWELL_EP, 0x20000000000, "with failover of the channel"),
        (iv.BROADWELL_EP, 0x40000000000, "the primary channel was scrubbed"),
        (iv.SKYLAKE_SP, 0x8000000000000000, "with failover of the channel"),
        (iv.SKYLAKE_SP, 0x4000000000000000, "the primary channel was scrubbed"),
    ],
)
def test_mirroring(cpu: Processor, misc: int, how: str) -> None:
    reading = read_bank(record(7, 0x8800000000000080, misc=misc), cpu)
    assert f"corrected by mirroring, {how}" in reading.details


def test_an_io_error_names_the_device_that_reported_it() -> None:
    """mcelog input/iomca."""
    reading = read_bank(record(1, 0x9C00000000000E0B, misc=0xABCDEF, addr=0xABCD), iv.HASWELL_EP)
    assert "reported by the PCI Express device 0000:00:15.3 (see its AER log)" in reading.details


def test_knights_landing_counts_the_channels_of_bank_15_from_three() -> None:
    """Linux drivers/edac/sb_edac.c, knl_channel_remap."""
    assert read_bank(record(15, 0x8C00004000080091), iv.KNIGHTS_LANDING).location.channel == 4
    assert read_bank(record(16, 0x8C00004000080091), iv.KNIGHTS_LANDING).location.channel == 1


class TestTheCorrectedErrorCount:
    def test_is_the_field_where_mcg_cap_announces_it(self) -> None:
        reading = read_bank(record(9, 0x8C000045000800C0, mcg_cap=0x1000C16), iv.BROADWELL_DE)
        assert (reading.corrected_count, reading.assumptions) == (1, ())

    def test_is_unknown_where_it_is_not_announced(self) -> None:
        assert read_bank(record(9, 0x8C000045000800C0, mcg_cap=0x16), iv.BROADWELL_DE).corrected_count is None
        assert read_bank(record(0, 0xF200084000000800), iv.YONAH).corrected_count is None

    def test_is_assumed_where_mcg_cap_is_missing(self) -> None:
        reading = read_bank(record(10, 0xFE002984001000C1), iv.BROADWELL_EP)
        assert reading.corrected_count == 166
        assert any("CMCI_P" in assumption for assumption in reading.assumptions)

    def test_saturates(self) -> None:
        reading = read_bank(record(9, 1 << 63 | 0x7FFF << 38 | 0x90, mcg_cap=0x1000C16), iv.BROADWELL_DE)
        assert reading.corrected_count == 0x7FFF
        assert any("saturated" in detail for detail in reading.details)


class TestTheThresholdStatus:
    @pytest.mark.parametrize(("value", "word"), [(1, "green"), (2, "yellow"), (3, "reserved")])
    def test_is_told_for_corrected_errors(self, value: int, word: str) -> None:
        """mcelog input/GENCACHE, MCGCAP 800h."""
        reading = read_bank(record(2, 1 << 63 | value << 53 | 0x101, mcg_cap=0x800), iv.NEHALEM_EP)
        assert any(word in detail for detail in reading.details)

    def test_is_not_told_for_uncorrected_errors_or_without_tes_p(self) -> None:
        for status, cap in ((0b101 << 61 | 2 << 53 | 0x101, 0x800), (1 << 63 | 2 << 53 | 0x101, 0)):
            reading = read_bank(record(2, status, mcg_cap=cap), iv.NEHALEM_EP)
            assert not any("yellow" in detail for detail in reading.details)


@pytest.mark.parametrize(("cap", "told"), [(1 << 25, True), (1 << 24, False), (0, False)])
def test_the_firmware_mark_needs_emc_p(cap: int, told: bool) -> None:
    """SDM vol. 3B 17.3.2.2; mcelog asks for SER_P instead."""
    reading = read_bank(record(13, 1 << 63 | 1 << 37 | 0x90, mcg_cap=cap), iv.SKYLAKE_SP)
    assert any("firmware" in detail for detail in reading.details) is told


def test_the_location_has_the_socket_of_the_record() -> None:
    assert read_bank(record(13, 1 << 63 | 0x90, socket=3), iv.SKYLAKE_SP).location.socket == 3


MODELS = [
    *(processor(6, model) for model in range(0x100)),
    *(processor(15, model) for model in range(8)),
    processor(19, 1),
]


def every_table() -> dict[tuple[Reader, ...], int]:
    """Each distinct way to read a bank, with one bank's number that is read so."""
    tables = {bank.readers: number for cpu in MODELS for number, bank in model_of(cpu).banks.items() if bank.readers}
    assert len(tables) > 30
    return tables


# A field of MSCOD is at most a byte wide, or the whole: each byte alone, the pages in use, a stride through the rest.
SOME_MSCODS = sorted(
    {*range(0x300), *(high << 8 for high in range(0x100)), *range(0x800, 0x840), *range(0x1000, 0x1100), 0xFFFF}
    | set(range(0, 0x10000, 61))
)


def test_every_table_takes_every_model_specific_code() -> None:
    for readers, number in every_table().items():
        for mscod in SOME_MSCODS:
            specific = apply(readers, Logged(number, 1 << 63 | mscod << 16 | 0x90, None, classify(0x90)))
            assert all(text.strip() for text in (*specific.phrases, *specific.details))


@pytest.mark.parametrize(
    ("cpu", "bank", "stride"),
    [
        (iv.SKYLAKE_SP, 13, 1),
        (iv.ICE_LAKE_SP, 13, 1),
        (iv.SAPPHIRE_RAPIDS, 20, 7),
        (iv.GRANITE_RAPIDS, 13, 7),
        (iv.DIAMOND_RAPIDS, 19, 7),
    ],
)
def test_no_code_of_a_memory_controller_is_passed_over(cpu: Processor, bank: int, stride: int) -> None:
    readers = model_of(cpu).banks[bank].readers[:2]
    for mscod in range(1, 0x10000, stride):
        specific = apply(readers, Logged(bank, 1 << 63 | mscod << 16 | 0x90, None, classify(0x90)))
        assert specific.phrases or specific.details


WORDS = st.none() | st.integers(0, 2**64 - 1)


@settings(max_examples=400)
@given(
    evidence=st.builds(
        record,
        st.none() | st.integers(0, 255),
        st.integers(0, 2**64 - 1),
        misc=WORDS,
        addr=WORDS,
        mcg_status=WORDS,
        mcg_cap=WORDS,
        delivery=st.sampled_from(Delivery),
    ),
    cpu=st.none() | st.sampled_from(MODELS) | st.builds(processor, st.integers(0, 270), st.integers(0, 255)),
)
def test_any_registers_of_any_model_read(evidence: Record, cpu: Processor | None) -> None:
    reading = read_bank(evidence, cpu)
    assert reading == read_bank(evidence, cpu)
    assert reading.unit
    assert reading.error
    assert reading.address.because
    assert reading.address.value == evidence.registers.addr


def test_a_processor_of_another_maker_has_no_tables_of_intels() -> None:
    assert read_bank(record(13, 1 << 63 | 0x90), processor(6, 0x55, vendor=Vendor.ZHAOXIN)).unit == (
        "Memory controller (bank 13)"
    )
