"""Xen's console: forms from its sources (xen/arch/x86/cpu/mcheck of several versions)."""

from __future__ import annotations

import pytest

from ringfence.record.evidence import (
    ClaimedSeverity,
    Delivery,
    Format,
    HypervisorReport,
    Registers,
    Unrecognised,
)
from ringfence.record.text import xen_console
from tests.record.texts import evidence, record, records, said


def test_a_machine_check_gives_its_cpu_and_mcg_status_to_every_bank() -> None:
    first, second = records(
        "(XEN) CPU3: Machine Check Exception:                5\n"
        "(XEN) Bank 5: be00000000800400[               1] at     3fe98d264ebd\n"
        "(XEN) Bank 7: 8c00004000010090\n"
    )
    assert first.format is Format.XEN_CONSOLE
    assert first.registers == Registers(status=0xBE00000000800400, misc=1, addr=0x3FE98D264EBD, mcg_status=5)
    assert second.registers == Registers(status=0x8C00004000010090, mcg_status=5)
    assert {(one.cpu, one.delivery) for one in (first, second)} == {(3, Delivery.MACHINE_CHECK)}


@pytest.mark.parametrize(
    ("head", "delivery"),
    [
        ("CMCI occurred on CPU 1.", Delivery.CMCI),
        ("POLLED occurred on CPU 1.", Delivery.POLLED),
        ("MCE: The hardware reports a non fatal, correctable incident occurred on CPU 1.", Delivery.POLLED),
        ("MCE: The hardware reports a non fatal, correctable incident occured on CPU 1.", Delivery.POLLED),
    ],
)
def test_how_it_was_delivered_is_read_from_the_head(head: str, delivery: Delivery) -> None:
    one = record(f"(XEN) {head}\n(XEN) Bank 2: d400008000040150 at    182c480179cf0\n")
    assert (one.format, one.cpu, one.bank, one.delivery) == (Format.XEN_CONSOLE, 1, 2, delivery)
    assert one.registers == Registers(status=0xD400008000040150, addr=0x182C480179CF0)


def test_a_head_without_a_bank_is_shown_as_unread() -> None:
    (item,) = evidence("(XEN) CMCI occurred on CPU 1.\n")
    assert isinstance(item, Unrecognised)


@pytest.mark.parametrize("verb", ["ownded", "owned"])
def test_an_owner_line_is_evidence_even_alone(verb: str) -> None:
    one = record(f"(XEN) MCE: This error page is {verb} by DOM 5\n")
    assert one.hypervisor == HypervisorReport(owner=5)
    assert one.memory is not None
    assert one.memory.severity is ClaimedSeverity.RECOVERABLE
    assert one.memory.physical_address is None


def test_what_xen_did_joins_the_bank_that_it_speaks_of() -> None:
    one = record(
        "(XEN) CMCI occurred on CPU 3.\n(XEN) Bank 7: bd00004000010090[       144780c86] at         12345000\n"
        "(XEN) MCE: This error page is ownded by DOM 5\n(XEN) MCE: inject vMCE to d5v0\n"
        "(XEN) MCE: d5v0: guest has not handled previous vMCE yet!\n(XEN) inject vMCE to DOM5 failed\n"
        "(XEN) domain_crash called from mcaction.c:133\n(XEN) Domain 5 (vcpu#0) crashed on cpu#3:\n"
    )
    assert one.registers.status == 0xBD00004000010090
    assert said(one) == [
        "owner: MCE: This error page is ownded by DOM 5",
        "injection: MCE: inject vMCE to d5v0",
        "injection: MCE: d5v0: guest has not handled previous vMCE yet!",
        "injection: inject vMCE to DOM5 failed",
        "hypervisor: domain_crash called from mcaction.c:133",
        "hypervisor: Domain 5 (vcpu#0) crashed on cpu#3:",
    ]


def test_a_crashed_domain_alone_is_no_machine_check() -> None:
    assert evidence("(XEN) Domain 5 (vcpu#0) crashed on cpu#3:\n") == []


def test_a_frame_that_could_not_be_unmapped_is_named() -> None:
    (item,) = evidence("(XEN) Unmap broken memory 12ab for DOM5 failed\n")
    assert isinstance(item, Unrecognised)
    fragment = xen_console.GRAMMAR.read("Unmap broken memory 12ab for DOM5 failed", False)
    assert fragment is not None
    assert fragment.hypervisor == HypervisorReport(owner=5, machine_frame=0x12AB)


def test_an_injected_error_says_that_it_is_injected() -> None:
    one = record(
        "(XEN) HV MSR INJECT (interpose) target 3 actual 3 MSR 0x415 <-- 0xbd00000000000134\n"
        "(XEN) Simulating #MC on cpu 3\n(XEN) CPU3: Machine Check Exception: 5\n"
        "(XEN) Bank 1: bd00000000000134\n"
    )
    assert said(one)[0].startswith("injection: HV MSR INJECT")
    assert said(one)[1] == "injection: Simulating #MC on cpu 3"


def test_amds_counter_of_unlogged_errors_stands_for_its_count() -> None:
    one = record("(XEN) CPU counter reports 7 correctable hardware errors that were not reported by the status MSRs\n")
    assert one.count == 7
    assert one.memory is not None
    assert one.memory.severity is ClaimedSeverity.CORRECTED


@pytest.mark.parametrize(
    "line",
    [
        "mce_intel.c:780: MCA Capability: firstbank 0, extended MCE MSR 0, BCAST, SER, CMCI",
        "CMCI: threshold 0x2 too large for CPU0 bank 17, using 0x1",
        "CPU0: Thermal monitoring enabled (TM1)",
        "CPU0: Intel machine check reporting enabled",
        "CPU3: Temperature above threshold",
        "MCE: clear_bank map 80 on CPU3",
        "MCE: polling routine found correctable error.  Use mcelog to parse above error output.",
        "MCE: d5v0: rd MC1_STATUS 0xbd00000000000134",
        "MCE: send MCE# to DOM0 through virq",
        "Bank conflict",
    ],
)
def test_lines_that_report_no_error_are_no_evidence(line: str) -> None:
    assert evidence(f"(XEN) {line}\n") == []


def test_last_words_are_kept_as_a_claim_or_shown() -> None:
    text = "(XEN) CPU3: Machine Check Exception: 4\n(XEN) Bank 5: be00000000800400\n"
    assert said(record(text + "(XEN) Fatal machine check: MCE: Fatal error happened on CPUs 8\n")) == [
        "panic: Fatal machine check: MCE: Fatal error happened on CPUs 8"
    ]
    (alone,) = evidence("(XEN) MCE: No CPU found valid MCE, need reset\n")
    assert isinstance(alone, Unrecognised)


def test_xens_own_stamps_do_not_matter() -> None:
    one = record(
        "(XEN) [2023-01-01 00:00:00] CMCI occurred on CPU 3.\n(XEN) [2023-01-01 00:00:00] Bank 7: 8c00004000010090\n"
    )
    assert (one.cpu, one.bank) == (3, 7)


UNCORRECTED = "(XEN) CPU1: Machine Check Exception: 5\n(XEN) Bank 5: bd00000000100134[ 86] at 12345000\n"
FATAL = "(XEN) CPU1: Machine Check Exception: 4\n(XEN) Bank 4: be00000000800400\n"
CORRECTED = "(XEN) POLLED occurred on CPU 3.\n(XEN) Bank 7: 8c00004000010090[ 86] at 5000\n"
OWNER = "(XEN) MCE: This error page is ownded by DOM 5\n(XEN) MCE: inject vMCE to d5v0\n"
PANIC = "(XEN) MCE: Fatal error happened on CPUs 8\n"


def test_what_xen_does_for_an_uncorrected_error_is_not_said_of_a_corrected_one() -> None:
    uncorrected, corrected = records(UNCORRECTED + CORRECTED + OWNER)
    assert uncorrected.hypervisor == HypervisorReport(owner=5)
    assert len(said(uncorrected)) == 2
    assert (corrected.hypervisor, corrected.memory, said(corrected)) == (None, None, [])


def test_an_owner_is_told_of_an_error_that_is_recovered_from_and_a_panic_of_any_uncorrected_one() -> None:
    fatal, corrected, owner = records(FATAL + CORRECTED + PANIC + OWNER)
    assert said(fatal) == ["panic: MCE: Fatal error happened on CPUs 8"]
    assert said(corrected) == []
    assert (owner.registers.status, owner.hypervisor) == (None, HypervisorReport(owner=5))
    assert said(owner)[1] == "injection: MCE: inject vMCE to d5v0"


def test_the_latest_that_fits_within_reach_is_meant() -> None:
    _, latest, _ = records(UNCORRECTED + UNCORRECTED.replace("12345000", "6789000") + CORRECTED + OWNER)
    assert latest.registers.addr == 0x6789000
    assert latest.hypervisor == HypervisorReport(owner=5)
    far = records(UNCORRECTED + "(XEN) something else\n" * 40 + CORRECTED + OWNER)
    assert [one.hypervisor for one in far] == [None, None, HypervisorReport(owner=5)]


def test_a_panic_without_an_uncorrected_error_before_it_is_shown_as_unread() -> None:
    *_, unread = evidence(CORRECTED + PANIC)
    assert isinstance(unread, Unrecognised)
    assert unread.raw == PANIC.strip().encode()
