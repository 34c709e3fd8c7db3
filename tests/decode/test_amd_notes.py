"""False positives, errata and traps of AMD records become notes; certain ones say that there was no error."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.arch import mci_status
from ringfence.arch.cpuid import Processor
from ringfence.decode.amd.errata import contradictions
from ringfence.decode.meaning import AddressKind
from ringfence.record.evidence import Delivery, Format, Location, Record
from tests.decode.amd_logs import amd, logged, notes_of, read_bank

CEZANNE_A0, ZEN4, ZEN, RAVEN = amd(0x19, 0x50, 0), amd(0x19, 0x61, 2), amd(0x17, 0x01, 1), amd(0x17, 0x11)
K7, K8, MAGNY_COURS, BULLDOZER = amd(0x06, 0x08), amd(0x0F, 0x05), amd(0x10, 0x09), amd(0x15, 0x01, 2)
L3_IPID = 0x0007_00B0_4000_0000


@pytest.mark.parametrize("processor", [None, K7, K8, BULLDOZER, ZEN, ZEN4])
@pytest.mark.parametrize("bank", [0, 4, 15])
def test_a_status_without_val_is_no_error(processor: Processor | None, bank: int) -> None:
    for status in (0, 0x7FFF_FFFF_FFFF_FFFF):
        reading = read_bank(logged(bank, status), processor)
        assert reading.not_an_error is not None
        assert "VAL is clear" in reading.not_an_error.text


@pytest.mark.parametrize(
    ("bank", "status", "addr"),
    [
        # linux-edac, September 2025, B. Karwatzki: what the L3 banks of a Cezanne A0 hold in MCA_DESTAT.
        (14, 0x8700900800000000, 0x95464100000020),
        (11, 0x8400AA4800A90139, 0x6637A200000020),
        (14, 0x8724AC0800000000, 0x2BF52E00000020),
    ],
)
def test_garbage_of_cezanne_is_no_error_and_its_contradictions_are_told(bank: int, status: int, addr: int) -> None:
    reading = read_bank(logged(bank, status, addr=addr, ipid=L3_IPID), CEZANNE_A0)
    assert reading.not_an_error is not None
    assert "Cezanne" in reading.not_an_error.text
    assert "contradicts itself" in notes_of(reading)
    assert not reading.address.names_a_page
    assert reading.location == Location()


def test_an_enabled_error_of_cezanne_and_another_stepping_are_taken_seriously() -> None:
    enabled = 0x8700900800000000 | mci_status.EN.mask
    assert read_bank(logged(14, enabled, ipid=L3_IPID), CEZANNE_A0).not_an_error is None
    assert read_bank(logged(14, 0x8700900800000000, ipid=L3_IPID), amd(0x19, 0x50, 1)).not_an_error is None


GARBAGE_STATUS, GARBAGE_IPID = 0xCA0158A452CC2420, 0x8234C5C7B783BE99
"""An incident report of 2025: the same record read 99 times; rasdaemon named it a "Unified Memory Controller V2"."""


def test_a_record_of_which_nothing_holds_together_is_noise_and_the_note_says_why() -> None:
    reading = read_bank(logged(31, GARBAGE_STATUS, ipid=GARBAGE_IPID), ZEN4)
    assert reading.not_an_error is not None
    for reason in ("PCC=1", "UC=0", "Deferred=1", "EN=0", "error code", "MCA_IPID", "without an exception"):
        assert reason in reading.not_an_error.text
    (note,) = reading.notes
    assert "PCC without UC" in note.text
    assert "Poison without UC" in note.text


@pytest.mark.parametrize(
    ("record", "processor"),
    [
        (logged(31, GARBAGE_STATUS | mci_status.UC.mask, ipid=GARBAGE_IPID), ZEN4),
        (logged(31, GARBAGE_STATUS | mci_status.EN.mask, ipid=GARBAGE_IPID), ZEN4),
        (logged(31, GARBAGE_STATUS & ~mci_status.PCC.mask, ipid=GARBAGE_IPID), ZEN4),
        (logged(31, GARBAGE_STATUS & ~mci_status.DEFERRED.mask, ipid=GARBAGE_IPID), ZEN4),
        (logged(31, GARBAGE_STATUS & ~0xFFFF | 0x011B, ipid=GARBAGE_IPID), ZEN4),
        (logged(31, GARBAGE_STATUS, ipid=L3_IPID), ZEN4),
        (logged(31, GARBAGE_STATUS, ipid=0), ZEN4),
        (logged(31, GARBAGE_STATUS), ZEN4),
        (logged(31, GARBAGE_STATUS, ipid=GARBAGE_IPID, mcg_status=4), ZEN4),
        (replace(logged(31, GARBAGE_STATUS, ipid=GARBAGE_IPID), delivery=Delivery.MACHINE_CHECK), ZEN4),
        (logged(31, GARBAGE_STATUS, ipid=GARBAGE_IPID), amd(0x1A, 0x90)),
        (logged(31, GARBAGE_STATUS, ipid=GARBAGE_IPID), None),
    ],
    ids=[
        "UC", "EN", "PCC clear", "not deferred", "a code that AMD defines", "a known unit", "MCA_IPID zero",
        "no MCA_IPID", "MCIP", "by exception", "a newer family", "an unknown processor",
    ],
)  # fmt: skip
def test_it_is_taken_seriously_as_soon_as_one_thing_speaks_for_it(record: Record, processor: Processor | None) -> None:
    assert read_bank(record, processor).not_an_error is None


@given(status=st.integers(0, (1 << 64) - 1), ipid=st.integers(0, (1 << 64) - 1))
def test_no_valid_uncorrected_error_is_ever_called_noise(status: int, ipid: int) -> None:
    status |= mci_status.VAL.mask | mci_status.UC.mask
    assert read_bank(logged(31, status, ipid=ipid), ZEN4).not_an_error is None


@pytest.mark.parametrize("status", [0xDC2040000000011B, 0xBEA0000000000108])
def test_a_unit_that_no_table_names_may_be_new_and_is_no_contradiction(status: int) -> None:
    reading = read_bank(logged(9, status, ipid=0x0001_0777_0000_0000, synd=0x5A_0000_0800_0000), amd(0x1A, 0x90))
    assert reading.unit == "unknown SMCA unit (HardwareID 0x777, McaType 0x1) in bank 9"
    assert "contradicts" not in notes_of(reading)
    assert reading.not_an_error is None


def test_the_kernels_word_poison_on_the_l3_subcache_bit_of_family_15h_is_set_right() -> None:
    line = b"CPU:16 (15:2:0) MC4_STATUS[-|CE|MiscV|-|AddrV|-|Poison|CECC]: 0x9c0a4d20011c010b"
    printed = replace(logged(4, 0x9C0A4D20011C010B), format=Format.AMD_DECODED, raw=line)
    assert "subcache" in notes_of(read_bank(printed, BULLDOZER))
    unprinted = replace(printed, raw=line.replace(b"|Poison", b""))
    for record, processor in (
        (unprinted, BULLDOZER),
        (replace(printed, bank=0), BULLDOZER),
        (printed, amd(0x16, 0x00)),
        (logged(4, 0x9C0A4D20011C010B), BULLDOZER),
    ):
        assert "subcache" not in notes_of(read_bank(record, processor))


@pytest.mark.parametrize(
    ("bits", "phrase"),
    [
        ({"PCC": 1}, "PCC without UC"),
        ({"TCC": 1}, "TCC without UC"),
        ({"UC": 1, "Deferred": 1}, "UC and Deferred"),
        ({"Poison": 1}, "Poison without UC"),
        ({"CECC": 1, "UECC": 1, "Deferred": 1}, "CECC and UECC"),
        ({"CECC": 1, "UC": 1}, "CECC and UC"),
        ({"UECC": 1}, "UECC in a corrected error"),
    ],
)
def test_each_contradiction_is_seen_alone(bits: dict[str, int], phrase: str) -> None:
    status = mci_status.AMD_SMCA.join({"VAL": 1} | bits)
    (found,) = contradictions(status)
    assert found.startswith(phrase)


@pytest.mark.parametrize(
    "status",
    [
        0xBEA0000000000108,  # fatal watchdog timeout, Zen
        0x9C2030000001085B,  # deferred address violation, Raven
        0xBC800800060C0859,  # consumed poison with TCC, Zen 3
        0xBC00080001010135,  # consumed poison, Zen 3
        0xDC2040000000011B,  # corrected DRAM error, Zen
        0xD82000000002080B,  # corrected link error, Rome
        0xDC204000000D0175,  # corrected data cache error, Zen 5
    ],
)
def test_real_records_do_not_contradict_themselves(status: int) -> None:
    assert contradictions(status) == ()


def test_l1_btb_multi_match_is_benign_where_erratum_1114_holds() -> None:
    status = mci_status.AMD_SMCA.join({"VAL": 1, "EN": 1, "ErrorCodeExt": 10})
    ipid = 0x0001_00B0_0000_0000
    reading = read_bank(logged(1, status, ipid=ipid), RAVEN)
    assert reading.not_an_error is not None
    assert "L1 BTB" in reading.not_an_error.text
    assert read_bank(logged(1, status, ipid=ipid), ZEN).not_an_error is None
    assert read_bank(logged(1, status | 1 << 16, ipid=ipid), RAVEN).not_an_error is None
    assert read_bank(logged(1, status), RAVEN).not_an_error is None  # the unit is only guessed


def test_gart_walks_are_benign_unless_the_context_is_corrupt() -> None:
    status = mci_status.AMD_10H_NB.join({"VAL": 1, "UC": 1, "EN": 1, "ADDRV": 1, "ErrorCodeExt": 5, "ErrorCode": 0x1B})
    for processor in (K8, MAGNY_COURS, BULLDOZER, None):
        reading = read_bank(logged(4, status, addr=0x1000), processor)
        assert reading.error == "GART table walk found an invalid entry"
        assert reading.not_an_error is not None
        assert read_bank(logged(4, status | mci_status.PCC.mask), processor).not_an_error is None
    assert read_bank(logged(2, status), K8).not_an_error is None


def test_bank_0_of_k7_is_doubted() -> None:
    # LKML, June 2002.
    reading = read_bank(logged(0, 0x9409C00000000136), K7)
    assert "Linux keeps this bank disabled" in notes_of(reading)
    assert reading.not_an_error is None
    assert read_bank(logged(2, 0xD40040000000017A), K7).notes == ()


def test_erratum_383_is_known_by_its_status() -> None:
    for status in (0xB600000000010015, 0xF600000000010015):
        reading = read_bank(logged(0, status, addr=0x7F0012345000), MAGNY_COURS)
        assert reading.error == "data TLB multiple match"
        assert "erratum 383" in notes_of(reading)
    assert "erratum 383" not in notes_of(read_bank(logged(0, 0xB600000000010016), MAGNY_COURS))
    assert "erratum 383" not in notes_of(read_bank(logged(0, 0xB600000000010015), BULLDOZER))


def test_uncorrected_and_correctable_ecc_contradict_each_other() -> None:
    # ubuntuforums 414200 (2007): UC, PCC and CECC at once.
    reading = read_bank(logged(0, 0xB653C00000000135, addr=0x5BCF78, mcg_status=4), K8)
    assert "UC decides" in notes_of(reading)


@pytest.mark.parametrize(
    ("status", "tsc", "mcg_status", "expected"),
    [
        (0xBEA0000000000108, 0, 0, True),
        (0xBEA0000000000108, 0, 5, False),  # in an exception
        (0xBEA0000000000108, 1, 0, False),  # with a time stamp
        (0xBEA0000000000108, None, 0, False),  # the evidence does not say
        (0x9C2040000000011B, 0, 0, False),  # corrected: any poll logs it so
    ],
)
def test_leftovers_of_an_earlier_start_are_told_only_where_it_is_certain(
    status: int, tsc: int | None, mcg_status: int, expected: bool
) -> None:
    for processor, bank in ((ZEN, 5), (BULLDOZER, 5)):
        reading = read_bank(logged(bank, status, tsc=tsc, mcg_status=mcg_status), processor)
        assert ("left over from before" in notes_of(reading)) == expected


def test_a_record_of_reserved_bank_4_is_made_by_software() -> None:
    # LKML, November 2022, B. Petkov: injected on a Zen 3 server; MISC says 0xcafebeef.
    record = logged(4, 0xFE000010000B0C0F, addr=0xE1101ADD1E550012, misc=0xCAFEBEEF, mcg_status=6, tsc=0xC83826D14)
    reading = read_bank(record, amd(0x19, 0x01, 1))
    assert reading.unit == "reserved SMCA bank 4"
    assert "made by software" in notes_of(reading)
    assert not reading.address.names_a_page


def test_cc6_alias_of_family_15h_is_no_address() -> None:
    # Linux drivers/edac/amd64_edac.c, erratum 637.
    reading = read_bank(logged(4, 0x9C0240006B080813, addr=0x00FD_F712_3456), BULLDOZER)
    assert "erratum 637" in notes_of(reading)
    assert (reading.address.kind, reading.address.names_a_page) == (AddressKind.UNKNOWN, False)
    elsewhere = read_bank(logged(4, 0x9C0240006B080813, addr=0x00FD_F712_3456), K8)
    assert "erratum 637" not in notes_of(elsewhere)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (0xBC00_0800_0000_0000, "the guest consumed memory that is lost on the host"),
        (0x9C00_1800_0000_0000, "memory of the guest is lost on the host, not yet consumed"),
        (0xBD80_0000_0000_0134, "the guest consumed memory that is lost on the host"),
        (0xBD00_0000_0000_00C0, "memory of the guest is lost on the host, not yet consumed"),
    ],
)
def test_machine_checks_that_qemu_injects_name_a_page_of_the_guest(status: int, error: str) -> None:
    # QEMU target/i386/kvm/kvm.c, kvm_mce_inject, before and since AMD support (2024).
    reading = read_bank(logged(9, status, addr=0x10B5CE000, misc=0x8C, mcg_status=7), ZEN)
    assert reading.error == error
    assert reading.address.kind is AddressKind.GUEST_PHYSICAL
    assert reading.address.value == 0x10B5CE000
    assert not reading.address.names_a_page
    assert "not hardware" in notes_of(reading)


def test_the_empty_record_of_qemus_broadcast_is_known() -> None:
    # qemu-devel, September 2023, W. Roche: "Machine Check Exception: 5 Bank 1: a000000000000000".
    reading = read_bank(logged(1, 0xA000000000000000, mcg_status=5), amd(0x17, 0x01, 2))
    assert reading.not_an_error is not None
    assert "every other virtual processor" in reading.not_an_error.text


def test_what_only_looks_like_qemus_is_read_as_hardware() -> None:
    assert read_bank(logged(9, 0xBC00_0800_0000_0000, misc=0x8C, ipid=L3_IPID), ZEN).unit == "L3 Cache"
    assert "virtual" not in read_bank(logged(9, 0xBC00_0800_0000_0000, misc=0), ZEN).unit
    assert "virtual" not in read_bank(logged(1, 0xA000000000000000, mcg_status=0), ZEN).unit
