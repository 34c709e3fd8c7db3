"""What MCi_ADDR holds, how fine it is, and whether it names a page of this machine's memory.

Source: SDM vol. 3B 17.3.2.3 and 17.3.2.4 (MCi_ADDR, MCi_MISC), Linux arch/x86/kernel/cpu/mce/core.c
(mce_usable_address, mce_read_aux, whole_page).
"""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.arch import mci_misc
from ringfence.arch.mci_status import ADDRV, MISCV, UC
from ringfence.decode.intel.capability import Capabilities, Known
from ringfence.decode.intel.codes import Code
from ringfence.decode.meaning import Address, AddressKind

PAGE_BYTES = 4096
PHYSICAL_BITS = 52
"""The widest physical address that the architecture allows (SDM vol. 3A 4.1.4, MAXPHYADDR)."""

DEVICE_WINDOW = range(0xFEC0_0000, 0x1_0000_0000)
"""I/O APIC, local APIC and firmware flash: no memory on any PC platform (Intel chipset datasheets, system memory map).

Firmware runs from the cache at such addresses before memory is up; what its caches log then is not about memory.
"""

_KINDS = {
    mci_misc.AddressMode.SEGMENT_OFFSET: AddressKind.SEGMENT_OFFSET,
    mci_misc.AddressMode.LINEAR: AddressKind.LINEAR,
    mci_misc.AddressMode.PHYSICAL: AddressKind.PHYSICAL,
    mci_misc.AddressMode.MEMORY: AddressKind.MEMORY,
    mci_misc.AddressMode.GENERIC: AddressKind.GENERIC,
}

_NOT_A_PAGE = {
    AddressKind.SEGMENT_OFFSET: "it is an offset in a segment",
    AddressKind.LINEAR: "it is a linear address: which page that was, the page tables of the moment knew",
    AddressKind.MEMORY: "a memory address counts within the memory device, not in the machine's address space",
    AddressKind.GENERIC: "MISC calls it generic: not known to be a system physical address",
    AddressKind.UNKNOWN: "its kind is not known",
}


@dataclass(frozen=True, slots=True)
class AddressReading:
    """An address and what had to be assumed to read it."""

    address: Address
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Form:
    """Kind and granularity, with the words that say from where they are known."""

    kind: AddressKind
    granularity_bytes: int | None
    known_from: str
    assumptions: tuple[str, ...] = ()
    fine_enough: bool = False


def read_address(status: int, addr: int | None, misc: int | None, code: Code, can: Capabilities) -> AddressReading:
    """The address of a bank with a valid error. ``misc`` is MCi_MISC if the evidence has it (None: it does not)."""
    if not ADDRV.of(status):
        why = "MCi_STATUS.ADDRV is 0: MCi_ADDR is not of this error"
        kind = AddressKind.NONE if addr is None else AddressKind.UNKNOWN
        return AddressReading(Address(addr, kind, None, names_a_page=False, because=why))
    form = _form(status, misc, code, can)
    names, why = _names_a_page(form, addr)
    return AddressReading(Address(addr, form.kind, form.granularity_bytes, names, why), form.assumptions)


def _form(status: int, misc: int | None, code: Code, can: Capabilities) -> _Form:
    if not can.ser_p:
        return _without_recovery(status, code)
    if not MISCV.of(status):
        return _by_code(code, "MCi_STATUS.MISCV is 0: no address mode, no granularity")
    if misc is None:
        return _by_code(code, "the evidence lacks MCi_MISC, which gives address mode and granularity")
    mode = mci_misc.ADDRESS_MODE.of(misc)
    assumptions: tuple[str, ...] = ()
    if can.ser_p is Known.ASSUMED:
        assumptions = (
            "MCG_CAP is not in the evidence: MCi_MISC[8:0] is taken for address mode and granularity, as with SER_P",
        )
    kind = _KINDS[mci_misc.AddressMode(mode)] if mode in _KINDS else AddressKind.UNKNOWN
    granularity = 1 << mci_misc.ADDRESS_LSB.of(misc)
    return _Form(
        kind,
        granularity,
        f"MISC says {kind.value} (mode {mode})" if mode in _KINDS else f"MISC has the reserved address mode {mode}",
        assumptions,
        fine_enough=granularity <= PAGE_BYTES,
    )


def _by_code(code: Code, why_not: str) -> _Form:
    """MISC does not help: a memory controller knows physical addresses only, others may log any kind."""
    kind = AddressKind.PHYSICAL if code.is_memory else AddressKind.UNKNOWN
    return _Form(kind, None, why_not)


def _without_recovery(status: int, code: Code) -> _Form:
    """No SER_P: MISC is model-specific. mcelog (page.c) does offline pages by such addresses of corrected errors."""
    if not code.is_memory:
        return _Form(AddressKind.UNKNOWN, None, "without MCG_CAP.SER_P no register says what MCi_ADDR holds")
    return _Form(
        AddressKind.PHYSICAL,
        None,
        "a memory controller of a processor without SER_P logs the physical address of the access",
        fine_enough=not UC.of(status),
    )


def _names_a_page(form: _Form, addr: int | None) -> tuple[bool, str]:
    if addr is None:
        return False, "MCi_STATUS.ADDRV is 1, but the evidence does not give MCi_ADDR"
    if (reason := _NOT_A_PAGE.get(form.kind)) is not None:
        return False, f"{form.known_from}: {reason}"
    if addr >> PHYSICAL_BITS:
        return False, f"it has bits above {PHYSICAL_BITS - 1}, which no physical address has"
    if addr in DEVICE_WINDOW:
        return False, "it is in the window of the APICs and the firmware flash below 4 GiB, where no memory is"
    if form.granularity_bytes is None:
        if form.fine_enough:
            return True, f"ADDRV is 1, and {form.known_from}"
        return False, f"{form.known_from}; Linux does not act on such an address (mce_usable_address)"
    if not form.fine_enough:
        return (
            False,
            f"physical, but its granularity is 2^{form.granularity_bytes.bit_length() - 1} bytes: more than a page",
        )
    return True, f"ADDRV is 1, MISC says physical, granularity {form.granularity_bytes} B"
