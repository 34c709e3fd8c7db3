"""What to do about an error depends on the unit, on what was hit, and on what the kernel has done already."""

from __future__ import annotations

from itertools import product

import pytest

from ringfence.arch.cpuid import Vendor
from ringfence.decode.meaning import UnitKind
from ringfence.diagnosis.advice import TABLE, Consumer, PageState, Situation, advice, page_state
from ringfence.diagnosis.finding import Event, Finding, diagnose
from ringfence.diagnosis.severity import Severity
from ringfence.record.evidence import (
    Claim,
    ClaimedSeverity,
    ClaimKind,
    Delivery,
    Format,
    MemoryReport,
    Origin,
    Record,
    Registers,
)
from ringfence.views import jsonl, summary

SRAR_STATUS = 0xBD80000000100134
"""A data load that took poison in (Ice Lake-SP, public log of a recovered SRAR)."""


def finding(
    vendor: Vendor,
    cpuid: int,
    bank: int,
    registers: Registers,
    *claims: str,
    delivery: Delivery = Delivery.UNKNOWN,
) -> Finding:
    return diagnose(
        Record(
            origin=Origin("x", 1), format=Format.TYPED, raw=b"", bank=bank, vendor=vendor, cpuid=cpuid,
            registers=registers, delivery=delivery,
            claims=tuple(Claim(ClaimKind.MEMORY_FAILURE, text) for text in claims),
        )
    )  # fmt: skip


def srar(*claims: str, mcg_status: int = 0xF, cs: int = 0x33) -> Finding:
    registers = Registers(status=SRAR_STATUS, addr=0xF921F31400, misc=0x86, mcg_status=mcg_status, cs=cs)
    return finding(Vendor.INTEL, 0x606A6, 1, registers, *claims, delivery=Delivery.LOCAL_MACHINE_CHECK)


def test_a_thermal_event_is_no_error_and_asks_for_a_look_at_the_cooling() -> None:
    # Linux's software bank 128 (mcelog.h, MCE_THERMAL_BANK); bit 0 of IA32_THERM_STATUS: PROCHOT.
    found = finding(Vendor.INTEL, 0x306F2, 128, Registers(status=0x88130001))
    assert found.severity is Severity.NONE
    assert "cooling" in found.advice
    other = finding(Vendor.INTEL, 0x306F2, 3, Registers(status=0))
    assert other.advice == "Nothing: this is not a hardware error."


def test_every_situation_has_advice_and_every_row_is_some_situations() -> None:
    said = set()
    for severity, unit, page, consumer, state, flags in product(
        Severity, UnitKind, (True, False), Consumer, PageState, range(8)
    ):
        seen = Situation(
            severity=severity, unit=unit, names_a_page=page, consumer=consumer, page=state,
            delivery=Delivery.POLLED if flags & 1 else Delivery.UNKNOWN,
            past_threshold=bool(flags & 2), names_no_error=bool(flags & 4),
        )  # fmt: skip
        assert advice(seen)
        said.add(next(row for row in TABLE if row.fits(seen)))
    assert said == set(TABLE)


@pytest.mark.parametrize(
    ("vendor", "cpuid", "bank", "registers", "kind", "words"),
    [
        # andikleen/mcelog issue 116, Ice Lake-SP: a corrected read.
        (Vendor.INTEL, 0x606A6, 13, Registers(status=0x8C00004200800090), UnitKind.MEMORY, "DIMM"),
        # Public forum logs: an internal parity error of a client core; a bus error.
        (Vendor.INTEL, 0xA0655, 0, Registers(status=0x90000040000F0005), UnitKind.CORE, "core"),
        (Vendor.INTEL, 0x206C2, 0, Registers(status=0x8800004000000E0F), UnitKind.LINK, "link"),
        (Vendor.INTEL, 0x206C2, 0, Registers(status=0x8800004000000402), UnitKind.CORE, "core"),
        # SMCA: the type in MCA_IPID decides (UMC, L3, PIE, SMU).
        (Vendor.AMD, 0x800F12, 15, Registers(status=0x9C2041000000011B, ipid=0x9600050F00), UnitKind.MEMORY, "DIMM"),
        (Vendor.AMD, 0x800F12, 7, Registers(status=0x9C20400000000136, ipid=0x700B020350000), UnitKind.CORE, "core"),
        (Vendor.AMD, 0x830F10, 27, Registers(status=0x982000000002080B, ipid=0x1002E00000500), UnitKind.LINK, "link"),
        # K8's northbridge: DRAM ECC (extended code 8) and a link's CRC error (1).
        (Vendor.AMD, 0x00000F4A, 4, Registers(status=0x9400C00000080A13), UnitKind.MEMORY, "DIMM"),
        (Vendor.AMD, 0x00000F4A, 4, Registers(status=0x9400C00000010A0F), UnitKind.LINK, "link"),
    ],
)
def test_a_corrected_error_is_advised_on_by_the_kind_of_unit(
    vendor: Vendor, cpuid: int, bank: int, registers: Registers, kind: UnitKind, words: str
) -> None:
    found = finding(vendor, cpuid, bank, registers)
    assert (found.severity, found.reading.unit_kind) == (Severity.CORRECTED, kind)
    assert words in found.advice


def test_memory_that_a_guest_lost_is_no_business_of_this_host() -> None:
    # qemu-devel, August 2023 (098): what QEMU prints when it passes an error on.
    guest = Record(
        origin=Origin("x"), format=Format.QEMU, raw=b"",
        memory=MemoryReport(severity=ClaimedSeverity.RECOVERABLE, guest_address=0x10B5CE000),
        claims=(Claim(ClaimKind.HYPERVISOR, "BUS_MCEERR_AR injected into the guest"),),
    )  # fmt: skip
    found = diagnose(guest)
    assert found.severity is Severity.SRAR
    assert "That guest has lost the page" in found.advice
    assert "halt" not in found.advice


@pytest.mark.parametrize(
    ("vendor", "cpuid", "bank", "registers"),
    [
        # Threshold status yellow (SDM vol. 3B 17.3.2.2.3); a corrected count whose sticky top bit is set.
        (Vendor.INTEL, 0x206C2, 8, Registers(status=0x8C4000400001009F, mcg_cap=0x1C09)),
        (Vendor.INTEL, 0x606A6, 13, Registers(status=0x8C1FFFC200800090, mcg_cap=0xF000C1C)),
        # An overflowed threshold counter, MCA_MISC0[48].
        (Vendor.AMD, 0x800F12, 15, Registers(status=0x9C2041000000011B, misc=0xD001000101000000, ipid=0x9600050F00)),
    ],
)
def test_what_has_repeated_past_its_threshold_is_to_be_replaced(
    vendor: Vendor, cpuid: int, bank: int, registers: Registers
) -> None:
    assert "past its threshold" in finding(vendor, cpuid, bank, registers).advice


def test_where_the_kernel_was_the_consumer_the_host_is_to_be_restarted() -> None:
    assert "The kernel was the consumer: restart the host" in srar(cs=0x10).advice
    assert "The kernel was the consumer" not in srar(cs=0x33).advice
    # RIPV=1 EIPV=0: another logical processor consumed it, so CS tells nothing of the consumer.
    assert "The kernel was the consumer" not in srar(cs=0x10, mcg_status=0x5).advice


def test_a_context_that_cannot_be_resumed_is_to_be_stopped() -> None:
    assert "cannot be resumed" in srar(mcg_status=0xE).advice  # RIPV=0
    assert "cannot be resumed" not in srar().advice


def test_what_the_kernel_did_with_the_page_already_is_said() -> None:
    line = "Memory failure: 0xf921f31: recovery action for dirty LRU page: "
    assert "out of use already" in srar(line + "Recovered").advice
    assert "out of use already" in srar("Memory failure: 0xf921f31: already hardware poisoned").advice
    for result in ("Ignored", "Failed", "Delayed"):
        assert "did not finish it" in srar(line + result).advice
    assert page_state([Claim(ClaimKind.OTHER, line + "Recovered")]) is PageState.UNKNOWN


def test_the_json_says_what_was_interrupted_and_whether_it_can_go_on() -> None:
    line = jsonl.line(Event(0, srar(mcg_status=0xE), 1))
    assert (line.context_lost, line.mode, line.scope) == (True, "user", "local")
    line = jsonl.line(Event(0, finding(Vendor.INTEL, 0x606A6, 13, Registers(status=0x8C00004200800090)), 1))
    assert (line.context_lost, line.mode, line.scope) == (None, None, None)


def test_an_error_with_the_code_0_is_asked_about() -> None:
    # linux-edac, November 2020: mce-inject in a KVM guest (Broadwell).
    found = finding(Vendor.INTEL, 0x406F1, 1, Registers(status=0x9000000000000000))
    assert found.summary.startswith("Corrected error: the error code is 0 (no error): injected or incomplete?")
    assert "injected" in found.advice


def test_a_summary_leads_with_what_was_left_over_and_sorts_it_behind_the_live() -> None:
    # Zen 2, a watchdog timeout found at the next start, and the same by an exception.
    stale, live = (
        finding(Vendor.AMD, 0x870F10, 5, Registers(status=0xBEA0000000000108, mcg_status=m, ipid=0x500B000000000))
        for m in (0, 5)
    )
    assert stale.summary.startswith("Left over from before: fatal error: ")
    assert (stale.severity, live.severity) == (Severity.FATAL, Severity.FATAL)
    tally = summary.Tally()
    for number, one in enumerate((stale, stale, live)):
        tally.add(Event(number, one, 1))
    assert [group.summary for group in tally.worst_first()] == [live.summary, stale.summary]


def test_the_summary_of_noise_is_short_and_the_reason_is_given_once() -> None:
    # Cezanne, linux-edac (037): a bogus L3 record.
    found = finding(Vendor.AMD, 0xA50F00, 14, Registers(status=0x8700900800000000, ipid=0x700B000000000))
    assert found.severity is Severity.NONE
    assert len(found.summary) < 120
    assert found.reading.not_an_error is not None
    assert found.reading.not_an_error.text == found.reasons[0].because
    assert found.reading.not_an_error not in found.notes


def test_the_filler_that_qemu_broadcasts_is_no_alarm() -> None:
    for vendor, cpuid in ((Vendor.AMD, 0x800F12), (Vendor.INTEL, 0x406F1)):
        filler = Registers(status=0xA000000000000000, mcg_status=5)
        assert finding(vendor, cpuid, 1, filler).severity is Severity.NONE
