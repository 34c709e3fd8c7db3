"""Machine checks that QEMU makes up for an AMD guest: they have no bank type, and a guest-physical address."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringfence.arch.mcg import MCIP, RIPV
from ringfence.decode.meaning import Address, AddressKind, BankReading, Note
from ringfence.record.evidence import Record

_SOURCE: Final = "QEMU target/i386/kvm/kvm.c, kvm_mce_inject"
_BROADCAST_SOURCE: Final = "QEMU target/i386/helper.c, cpu_x86_inject_mce"

_BANK: Final = 9
_MISC: Final = 0x8C
"""A physical address (mode 2) with a least significant bit of 12, in Intel's layout, whatever the guest's vendor."""
_BROADCAST_BANK: Final = 1
_BROADCAST_STATUS: Final = 0xA000_0000_0000_0000
_PAGE_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class _Form:
    status: int
    error: str
    note: str


_FORMS: tuple[_Form, ...] = (
    _Form(0xBC00_0800_0000_0000, "the guest consumed memory that is lost on the host", "QEMU 9.1 and later"),
    _Form(0x9C00_1800_0000_0000, "memory of the guest is lost on the host, not yet consumed", "QEMU 9.1 and later"),
    _Form(
        0xBD80_0000_0000_0134,
        "the guest consumed memory that is lost on the host",
        "older QEMU, which gives AMD guests Intel's bits (S, AR); they read as other bits on AMD",
    ),
    _Form(
        0xBD00_0000_0000_00C0,
        "memory of the guest is lost on the host, not yet consumed",
        "older QEMU, which gives AMD guests Intel's bits (S) and Intel's memory-scrub code",
    ),
)


def read_virtual(record: Record) -> BankReading | None:
    """The reading of a machine check that QEMU injected into an AMD guest; None if the record is not certainly one."""
    registers = record.registers
    if registers.ipid or registers.synd:
        return None
    if record.bank == _BANK and registers.misc == _MISC:
        for form in _FORMS:
            if registers.status == form.status:
                return _injected(record, form)
    if (
        record.bank == _BROADCAST_BANK
        and registers.status == _BROADCAST_STATUS
        and registers.mcg_status == RIPV.mask | MCIP.mask
        and not registers.addr
        and not registers.misc
    ):
        return _broadcast()
    return None


def _injected(record: Record, form: _Form) -> BankReading:
    return BankReading(
        unit="virtual machine check (QEMU)",
        error=form.error,
        address=Address(
            record.registers.addr,
            AddressKind.GUEST_PHYSICAL,
            _PAGE_BYTES,
            False,
            "QEMU puts a guest-physical page address here: it names a page inside the guest, and none of the host",
        ),
        notes=(Note(f"not hardware: a machine check that QEMU injected into this guest ({form.note})", _SOURCE),),
    )


def _broadcast() -> BankReading:
    return BankReading(
        unit="virtual machine check (QEMU)",
        error="a machine check of another virtual processor, broadcast",
        address=Address(None, AddressKind.NONE, None, False, "the broadcast carries no address"),
        not_an_error=Note(
            "not hardware: QEMU raises this empty record on every other virtual processor when it injects an error of "
            "memory into one; the error itself is in bank 9 of that one",
            _BROADCAST_SOURCE,
        ),
    )
