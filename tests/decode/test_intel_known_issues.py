"""Known false positives and artefacts of Intel's banks: what is no error, and what only needs a word of warning."""

from __future__ import annotations

import pytest

from ringfence.arch.cpuid import Processor, Vendor
from ringfence.decode.intel import read_bank
from ringfence.decode.intel.known_issues import NOT_AN_ERROR, NOTES
from ringfence.record.evidence import Delivery, Record
from tests.decode import intel_vectors as iv
from tests.decode.intel_vectors import processor, record


def notes(evidence: Record, cpu: Processor | None) -> str:
    return " ".join(note.text for note in read_bank(evidence, cpu).notes)


@pytest.mark.parametrize("status", [0, 0x1234])
def test_a_bank_without_val_holds_no_error(status: int) -> None:
    """rasdaemon issue 155 (Broadwell-DE, all zero) and mcelog input/full1 (STATUS 1234)."""
    reading = read_bank(record(9, status, addr=0x1000), iv.BROADWELL_DE)
    assert reading.error == "No valid error"
    assert reading.not_an_error is not None
    assert not reading.address.names_a_page


@pytest.mark.parametrize("model", [0x3C, 0x45, 0x46, 0x3D, 0x55])
def test_the_spurious_parity_error_of_bank_0_is_no_error(model: int) -> None:
    """Linux arch/x86/kernel/cpu/mce/intel.c, intel_filter_mce."""
    spurious = 0x90000040000F0005
    assert read_bank(record(0, spurious), processor(6, model)).not_an_error is not None
    assert read_bank(record(1, spurious), processor(6, model)).not_an_error is None
    assert read_bank(record(0, spurious | 1 << 61), processor(6, model)).not_an_error is None
    assert read_bank(record(0, 0x9000004000010005), processor(6, model)).not_an_error is None


def test_the_same_parity_error_is_one_on_other_models() -> None:
    assert read_bank(record(0, 0x90000040000F0005), iv.ICE_LAKE_SP).not_an_error is None


def test_a_thermal_event_is_no_machine_check() -> None:
    """mcelog output of a Sandy Bridge laptop, June 2011."""
    reading = read_bank(record(128, 0xC000000088260C00, mcg_cap=0xC09), processor(6, 0x2A))
    assert (reading.unit, reading.error) == ("Thermal monitor", "Processor below its trip temperature again")
    assert reading.details == ("38 degrees Celsius below the throttling temperature",)
    assert reading.not_an_error is not None
    hot = read_bank(record(128, 1), processor(6, 0x2A))
    assert hot.error == "Processor above its trip temperature: throttling"


@pytest.mark.parametrize(
    ("bank", "status"),
    [
        (None, 0xB40000000000009F),  # mcelog issue 74
        (255, 0xBC0000000000009F),  # mcelog issue 74, newer kernel
        (255, 0x9C0000000000009F),
        (255, 0xBE0000000000009F),
        (1, 0x940000000000009F),
    ],
)
def test_a_record_that_apei_made_is_no_bank_of_a_processor(bank: int | None, status: int) -> None:
    reading = read_bank(record(bank, status, addr=0xE16677000, misc=0x8C), iv.SKYLAKE_SP)
    assert reading.error == "Memory error reported by firmware"
    assert not reading.address.names_a_page
    assert reading.not_an_error is None
    assert "APEI" in reading.unit
    assert "GHES" in notes(record(bank, status), iv.SKYLAKE_SP)


def test_a_true_memory_controller_error_is_not_taken_for_apeis() -> None:
    for bank, status in ((13, 0xBC0000000000009F), (255, 0xBC00000000800090), (None, 0x8C0000400001009F)):
        assert "APEI" not in read_bank(record(bank, status), iv.SKYLAKE_SP).unit


def test_qemus_broadcast_is_told() -> None:
    """qemu-devel, August 2023: bank 1 a000000000000000."""
    filler = read_bank(record(1, 0xA000000000000000, mcg_status=5), None).not_an_error
    assert filler is not None
    assert "another virtual processor" in filler.text
    for doubtful in (record(1, 0xA000000000000000, mcg_status=4), record(2, 0xA000000000000000, mcg_status=5)):
        assert read_bank(doubtful, None).not_an_error is None
    assert "another virtual processor" in notes(record(1, 0xA000000000000000, mcg_status=4), None)
    assert "another virtual processor" not in notes(record(2, 0xA000000000000000, mcg_status=5), None)


def test_val_without_a_code_smells_of_injection() -> None:
    """linux-edac, November 2020: mce-inject in a KVM guest."""
    assert "inject" in notes(record(1, 0xB000000000000000), iv.BROADWELL_EP)


class TestAFatalErrorThatDidNotComeByAnException:
    def test_is_told_to_be_an_old_one(self) -> None:
        """askubuntu 2019 (Kaby Lake), bank 7 at boot, TSC 0."""
        assert "found in the bank later" in notes(record(7, 0xEE2000000040110A), iv.KABY_LAKE)

    def test_of_a_pentium_iii_may_be_rubbish_of_the_bios(self) -> None:
        """LKML 2003: "non fatal" after resume."""
        evidence = record(1, 0xE200000000000175, mcg_status=None, delivery=Delivery.POLLED)
        assert "rubbish" in notes(evidence, iv.PENTIUM_III)
        assert "rubbish" not in notes(evidence, iv.CORE2)

    def test_is_not_suspected_if_it_came_by_one(self) -> None:
        for evidence in (
            record(7, 0xEE2000000040110A, mcg_status=5),
            record(7, 0xEE2000000040110A, delivery=Delivery.MACHINE_CHECK),
            record(7, 0xEE2000000040110A, mcg_status=None),
        ):
            assert "found in the bank later" not in notes(evidence, iv.KABY_LAKE)


def test_a_patrol_scrub_error_that_skylake_calls_corrected_is_told() -> None:
    """Linux arch/x86/kernel/cpu/mce/severity.c: model 55h, stepping 4 on, banks 13 to 18."""
    evidence = record(13, 0x8C000040001000C0, addr=0x1000, misc=0x8C)
    assert "UC=0" in notes(evidence, processor(6, 0x55, 4))
    assert "UC=0" not in notes(evidence, processor(6, 0x55, 3))
    assert "UC=0" not in notes(record(12, 0x8C000040001000C0), processor(6, 0x55, 4))


def test_rep_movs_on_skylake() -> None:
    evidence = record(1, 0xBD80000000100134, addr=0x1000, misc=0x86, mcg_status=0xF)
    assert "REP MOVS" in notes(evidence, iv.SKYLAKE_SP)
    assert "REP MOVS" not in notes(evidence, iv.ICE_LAKE_SP)


def test_the_lost_instruction_pointer_of_sandy_bridge() -> None:
    evidence = record(0, 0xBD80000000000150, addr=0x1000, misc=0x86, mcg_status=4)
    assert "context is valid" in notes(evidence, iv.SANDY_BRIDGE_EP)
    assert "context is valid" not in notes(record(0, 0xBD80000000000150, mcg_status=5), iv.SANDY_BRIDGE_EP)


def test_a_hung_core_shows_in_the_pcus_bank() -> None:
    assert "3-strike" in notes(record(4, 0xBE00000000800400, mcg_status=4), iv.BROADWELL_DE)


def test_the_rendezvous_timeout_is_linuxs() -> None:
    assert read_bank(record(218, 0), None).unit == "Operating system"


def test_errata_of_intels_models_are_not_laid_at_other_makers_doors() -> None:
    assert read_bank(record(0, 0x90000040000F0005), processor(6, 0x3C, vendor=Vendor.CENTAUR)).not_an_error is None


def test_every_row_has_a_name_of_its_own_and_a_source() -> None:
    rows = (*NOT_AN_ERROR, *NOTES)
    assert len({row.name for row in rows}) == len(rows)
    assert all(row.note.source and row.note.text.endswith(".") for row in rows)
