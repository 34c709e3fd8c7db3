"""A virtual machine check for a guest of Intel's kind, by QEMU's human monitor: one lost page, and nothing else (B.5).

Source: QEMU target/i386/monitor.c (hmp_mce), target/i386/cpu.h; SDM vol. 3B 17.9.3.1: an SRAO of a memory scrub,
which names a page and was not consumed. Bank 9 is the one that QEMU itself uses (kvm_mce_inject). Guests on AMD get
none: KVM has no SER_P for them, and a guest that is told such an error without it panics.
"""

from __future__ import annotations

from typing import Final

from ringfence.errors import HypervisorError
from ringfence.hypervisor.kvm.guest_memory import Ask
from ringfence.hypervisor.kvm.libvirt import LibvirtError
from ringfence.hypervisor.kvm.qmp import QmpError
from ringfence.world.identities import PAGE_SHIFT, GuestFrame
from ringfence.world.steps import Result, Status

BANK: Final = 9
STATUS: Final = 0xBD00_0000_0000_00C0
"""VAL, UC, EN, MISCV, ADDRV, S; memory scrubbing error, channel not specified."""
MCG_STATUS: Final = 0x5
"""RIPV, MCIP."""
MISC: Final = 0x8C
"""A physical address, of a page of 4 KiB."""


def inject(ask: Ask, page: GuestFrame) -> Result:
    """Inject it into all virtual CPUs, as real hardware broadcasts. QEMU answers nothing if it has done so."""
    try:
        said = ask(f"mce -b 0 {BANK} {STATUS:#x} {MCG_STATUS:#x} {page << PAGE_SHIFT:#x} {MISC:#x}").strip()
    except (HypervisorError, LibvirtError, QmpError) as error:
        return Result(Status.FAILED, f"QEMU's monitor: {error}")
    if said:
        return Result(Status.FAILED, f"QEMU says: {' '.join(said.split())[:300]}")
    return Result(Status.DONE)
