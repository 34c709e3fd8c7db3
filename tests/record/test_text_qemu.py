"""QEMU's messages on the host: vectors from qemu-devel (W. Roche, 2023 and 2024)."""

from __future__ import annotations

import pytest

from ringfence.record.evidence import ClaimedSeverity, ClaimKind, Format, Registers
from tests.record.texts import evidence, record, records

AR = (
    "qemu-system-x86_64: Guest MCE Memory Error at QEMU addr 0x7f89573ce000 and GUEST addr 0x10b5ce000 "
    "of type BUS_MCEERR_AR injected"
)
LARGE = (
    "qemu-system-x86_64: warning: Memory error: Loosing a large page (size: 2097152) at QEMU addr 0x7fdd7d400000 "
    "and GUEST addr 0x11600000"
)
AO = (
    "qemu-system-x86_64: warning: Guest MCE Memory Error at QEMU addr 0x7fdd7d400000 and GUEST addr 0x11600000 "
    "of type BUS_MCEERR_AO injected"
)
ON_LARGE = (
    "qemu-system-x86_64: Guest MCE Memory Error at QEMU addr 0x7fc1f5dd6000 and GUEST addr 0x19fd6000 on lost large "
    "page 200000@19e00000 of type BUS_MCEERR_AR injected"
)


def test_a_guest_address_is_never_taken_for_a_physical_one() -> None:
    one = record(AR)
    assert (one.format, one.registers) == (Format.QEMU, Registers())
    assert one.memory is not None
    assert one.memory.severity is ClaimedSeverity.RECOVERABLE
    assert (one.memory.physical_address, one.memory.page_frame) == (None, None)
    assert any("guest-physical" in assumption for assumption in one.assumptions)
    assert any("GUEST addr 0x10b5ce000" in claim.text for claim in one.claims)


@pytest.mark.parametrize(
    ("line", "meaning"), [(AR, "the guest consumed the error"), (AO, "the guest had not consumed it")]
)
def test_the_signals_type_says_whether_the_guest_consumed_it(line: str, meaning: str) -> None:
    memory = record(line).memory
    assert memory is not None
    assert memory.error == meaning


def test_a_lost_large_page_and_its_injection_are_one_event() -> None:
    first, second = records("\n".join((LARGE, AO, ON_LARGE)))
    assert first.memory is not None
    assert (first.memory.grain_bytes, first.memory.error) == (2 << 20, "the guest had not consumed it")
    assert second.memory is not None
    assert second.memory.grain_bytes == 2 << 20
    assert [claim.kind for claim in second.claims] == [ClaimKind.HYPERVISOR, ClaimKind.INJECTION]


def test_each_injection_is_an_event_of_its_own() -> None:
    assert len(records("\n".join((AR, AR, AO)))) == 3


@pytest.mark.parametrize(
    "line",
    [
        "Hardware memory error for memory used by QEMU itself instead of guest system!",
        "qemu-kvm: warning: Hardware memory error at addr 0x7fdd7d400000 of type BUS_MCEERR_AO for memory used by QEMU "
        "itself instead of guest system!",
    ],
)
def test_an_error_in_qemus_own_memory_is_told(line: str) -> None:
    one = record(line)
    assert one.memory is not None
    assert one.memory.error == "memory of QEMU itself"


def test_the_end_of_qemu_belongs_to_the_error_before_it() -> None:
    text = "Hardware memory error for memory used by QEMU itself instead of guest system!\nHardware memory error!\n"
    assert [claim.kind for claim in record(text).claims] == [ClaimKind.HYPERVISOR, ClaimKind.PANIC]


def test_other_messages_of_qemu_are_no_evidence() -> None:
    assert evidence("qemu-system-x86_64: warning: Memory error injection is off") == []
