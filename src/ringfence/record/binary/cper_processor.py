"""Processor error sections of firmware error records: the generic one, and the IA32/X64 one with its register dumps.

Sources: UEFI 2.10 N.2.4.1 (generic), N.2.4.2 (IA32/X64), N.2.4.2.1 (error information), N.2.4.2.2 (context
information); Linux drivers/firmware/efi/cper-x86.c and arch/x86/kernel/cpu/mce/apei.c for how AMD's firmware uses them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from struct import Struct
from typing import Final
from uuid import UUID

from ringfence.arch.cpuid import Vendor
from ringfence.record.binary import guids
from ringfence.record.binary.layout import part, take

_GENERIC = Struct("<Q6B2xQ128s5Q")
_IA32_X64 = Struct("<QQ48s")
_ERROR_INFO = Struct("<16s6Q")
_CONTEXT_INFO = Struct("<HHIQ")
_REGISTER = Struct("<Q")
_CPUID_EAX = Struct("<Q")

_MSR_CONTEXT = 1

CONTEXT_TYPES: Final = (
    "unclassified data",
    "MSR registers",
    "32-bit mode execution context",
    "64-bit mode execution context",
    "FXSAVE context",
    "32-bit mode debug registers",
    "64-bit mode debug registers",
    "memory-mapped registers",
)
"""Register Context Type, by its number (UEFI N.2.4.2.2)."""


# --- the generic section ---------------------------------------------------------------------------------------------

_PROCESSOR_TYPES: Final = ("IA32/X64", "IA64", "ARM")
_ERROR_BITS: Final = ("cache error", "TLB error", "bus error", "micro-architectural error")
_OPERATIONS: Final = ("unknown operation", "data read", "data write", "instruction execution")
_FLAG_BITS: Final = ("restartable", "precise IP", "overflow", "corrected")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessorGeneric:
    """A processor error in general terms: what the section flags as valid, the rest None.

    ``cpuid`` is CPUID.1:EAX (the Processor Version Info, on x86), ``processor_id`` the APIC id, ``words`` the rest.
    """

    cpuid: int | None
    processor_id: int | None
    ip: int | None
    words: tuple[str, ...]


def unpack_generic(body: bytes) -> ProcessorGeneric:
    """The section. Raises FormatError if it is shorter than its 192 bytes."""
    (
        validation, kind, isa, error, operation, flags, level, version, brand, processor_id, target, requestor,
        responder, ip,
    ) = take(_GENERIC, body, 0, "processor generic error section")  # fmt: skip
    words = (
        _name(_PROCESSOR_TYPES, kind, "processor type"),
        f"instruction set {isa}",
        _bits(_ERROR_BITS, error) or "unknown error",
        _name(_OPERATIONS, operation, "operation"),
        _bits(_FLAG_BITS, flags),
        f"level {level}",
        "",  # the version goes to cpuid
        f"brand {_text(brand)}",
        "",  # the processor id has a field of its own
        f"target address {target:#x}",
        f"requestor id {requestor:#x}",
        f"responder id {responder:#x}",
    )
    is_x86 = not validation & 1 or kind == 0
    return ProcessorGeneric(
        cpuid=version & 0xFFFF_FFFF if validation >> 6 & 1 and is_x86 else None,
        processor_id=processor_id if validation >> 8 & 1 else None,
        ip=ip if validation >> 12 & 1 else None,
        words=tuple(text for bit, text in enumerate(words) if validation >> bit & 1 and text),
    )


def _name(names: tuple[str, ...], number: int, what: str) -> str:
    return names[number] if number < len(names) else f"{what} {number}"


def _bits(names: tuple[str, ...], value: int) -> str:
    """The names of the set bits; a set bit without a name is shown as a number."""
    words = [name for bit, name in enumerate(names) if value >> bit & 1]
    words += [f"bit {bit}" for bit in range(len(names), value.bit_length()) if value >> bit & 1]
    return ", ".join(words)


def _text(raw: bytes) -> str:
    """A NUL-padded string; bytes that are not printable ASCII are shown escaped."""
    return raw.partition(b"\0")[0].decode("ascii", "backslashreplace").strip()


# --- the IA32/X64 section --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _CheckField:
    """One field of a check structure: the bit that validates it, its place, and its values' names (a flag: one)."""

    valid: int
    high: int
    low: int
    names: tuple[str, ...]
    what: str = ""


_TRANSACTIONS = ("instruction", "data access", "generic transaction")
_CHECK_OPERATIONS = (
    "generic error",
    "generic read",
    "generic write",
    "data read",
    "data write",
    "instruction fetch",
    "prefetch",
    "eviction",
    "snoop",
)
_CHECK: Final = (
    _CheckField(0, 17, 16, _TRANSACTIONS, "transaction type"),
    _CheckField(1, 21, 18, _CHECK_OPERATIONS, "operation"),
    _CheckField(2, 24, 22, (), "level"),
    _CheckField(3, 25, 25, ("processor context corrupt",)),
    _CheckField(4, 26, 26, ("uncorrected",)),
    _CheckField(5, 27, 27, ("precise IP",)),
    _CheckField(6, 28, 28, ("restartable IP",)),
    _CheckField(7, 29, 29, ("overflow",)),
)
_BUS_CHECK: Final = (
    *_CHECK,
    _CheckField(
        8, 31, 30, ("processor originated", "processor responded", "processor observed", "generic"), "participation"
    ),
    _CheckField(9, 32, 32, ("time out",)),
    _CheckField(10, 34, 33, ("memory access", "reserved address space", "I/O", "other transaction"), "address space"),
)
_MS_ERRORS = (
    "no error",
    "unclassified",
    "microcode ROM parity error",
    "external error",
    "FRC error",
    "internal unclassified",
)
_MS_CHECK: Final = (
    _CheckField(0, 18, 16, _MS_ERRORS, "error type"),
    _CheckField(1, 19, 19, ("processor context corrupt",)),
    _CheckField(2, 20, 20, ("uncorrected",)),
    _CheckField(3, 21, 21, ("precise IP",)),
    _CheckField(4, 22, 22, ("restartable IP",)),
    _CheckField(5, 23, 23, ("overflow",)),
)
_CHECKS: Final = {
    guids.CACHE_CHECK: ("cache check", _CHECK),
    guids.TLB_CHECK: ("TLB check", _CHECK),
    guids.BUS_CHECK: ("bus check", _BUS_CHECK),
    guids.MS_CHECK: ("MS check", _MS_CHECK),
}


def check_text(kind: UUID, check_info: int) -> str:
    """A Check Information value in words, its raw value first (UEFI N.2.4.2.1)."""
    name, layout = _CHECKS.get(kind, (f"error structure {kind}", ()))
    words = []
    for field in layout:
        if not check_info >> field.valid & 1:
            continue
        value = check_info >> field.low & (1 << field.high - field.low + 1) - 1
        if field.what:
            words.append(field.names[value] if value < len(field.names) else f"{field.what} {value}")
        elif value:
            words += field.names
    return f"{name} {check_info:#x}: {', '.join(words)}" if words else f"{name} {check_info:#x}"


class MachineCheckMsr(Enum):
    """Which machine-check register an MSR is, named as the fields of ``Registers``."""

    MCG_CAP = "mcg_cap"
    MCG_STATUS = "mcg_status"
    CTL2 = "ctl2"
    STATUS = "status"
    ADDR = "addr"
    MISC = "misc"
    CONFIG = "config"
    IPID = "ipid"
    SYND = "synd"
    DESTAT = "destat"
    DEADDR = "deaddr"
    SYND1 = "synd1"
    SYND2 = "synd2"


_LEGACY: Final = {1: MachineCheckMsr.STATUS, 2: MachineCheckMsr.ADDR, 3: MachineCheckMsr.MISC}
_SMCA: Final = {
    1: MachineCheckMsr.STATUS,
    2: MachineCheckMsr.ADDR,
    3: MachineCheckMsr.MISC,
    4: MachineCheckMsr.CONFIG,
    5: MachineCheckMsr.IPID,
    6: MachineCheckMsr.SYND,
    8: MachineCheckMsr.DESTAT,
    9: MachineCheckMsr.DEADDR,
    14: MachineCheckMsr.SYND1,
    15: MachineCheckMsr.SYND2,
}
_SMCA_BASE, _SMCA_END = 0xC000_2000, 0xC000_3000


def machine_check_msr(msr: int) -> tuple[int | None, MachineCheckMsr] | None:
    """Bank (None for a global register) and register of an MSR; None if it is no machine-check register.

    SDM vol. 4 table 2-2 (179H, 17AH, 280H to 29FH, 400H to 47FH); APM vol. 2 9.3.3 (C000_2000H, sixteen to a bank).
    """
    if msr == 0x179:
        return None, MachineCheckMsr.MCG_CAP
    if msr == 0x17A:
        return None, MachineCheckMsr.MCG_STATUS
    if 0x280 <= msr < 0x2A0:
        return msr - 0x280, MachineCheckMsr.CTL2
    if 0x400 <= msr < 0x480 and (legacy := _LEGACY.get(msr & 3)):
        return msr - 0x400 >> 2, legacy
    if _SMCA_BASE <= msr < _SMCA_END and (smca := _SMCA.get(msr & 0xF)):
        return msr - _SMCA_BASE >> 4, smca
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ia32X64:
    """An IA32/X64 processor error section.

    ``banks``: for each bank whose registers were dumped, in the dump's order, the registers with their values;
    ``common``: MCG_CAP and MCG_STATUS, where dumped. ``words``: one text for each error information structure and for
    each dump. ``is_smca``: the dump is of AMD's scalable MCA registers.
    """

    apicid: int | None
    cpuid: int | None
    ip: int | None
    banks: Mapping[int, Mapping[MachineCheckMsr, int]]
    common: Mapping[MachineCheckMsr, int]
    words: tuple[str, ...]
    is_smca: bool

    def vendor(self) -> tuple[Vendor | None, str | None]:
        """The vendor, as far as the section proves it, and what had to be assumed."""
        if not self.is_smca:
            return None, None
        # Family 18h is Hygon's own; AMD never used it (Linux arch/x86/kernel/cpu/hygon.c).
        is_hygon = self.cpuid is not None and self.cpuid & 0x0FF0_0F00 == 0x0090_0F00
        vendor = Vendor.HYGON if is_hygon else Vendor.AMD
        return vendor, f"vendor {vendor}: the section dumps SMCA registers and names no vendor"


def unpack_ia32_x64(body: bytes) -> Ia32X64:
    """The section. Raises FormatError if a structure that it announces is not wholly in it."""
    what = "IA32/X64 processor error section"
    validation, apicid, cpuid = take(_IA32_X64, body, 0, what)
    at = _IA32_X64.size
    words: list[str] = []
    ip = None
    for _ in range(validation >> 2 & 0x3F):
        info_words, info_ip = _error_information(body, at)
        words += info_words
        ip = info_ip if ip is None else ip
        at += _ERROR_INFO.size
    banks: dict[int, dict[MachineCheckMsr, int]] = {}
    common: dict[MachineCheckMsr, int] = {}
    is_smca = False
    for _ in range(validation >> 8 & 0x3F):
        kind, size, msr, mm_address = take(_CONTEXT_INFO, body, at, "processor context information structure")
        at += _CONTEXT_INFO.size
        dump = part(body, at, size, "register array")
        at += size
        words.append(_context_text(kind, size, msr, mm_address))
        if kind == _MSR_CONTEXT:
            is_smca |= _SMCA_BASE <= msr < _SMCA_END
            for bank, register, value in _machine_check_registers(msr, dump):
                (common if bank is None else banks.setdefault(bank, {}))[register] = value
    has_eax = validation >> 1 & 1
    return Ia32X64(
        apicid=apicid & 0xFFFF_FFFF if validation & 1 else None,
        cpuid=(take(_CPUID_EAX, cpuid, 0, what)[0] & 0xFFFF_FFFF or None) if has_eax else None,
        ip=ip,
        banks={bank: values for bank, values in banks.items() if MachineCheckMsr.STATUS in values},
        common=common,
        words=tuple(words),
        is_smca=is_smca,
    )


def _error_information(body: bytes, at: int) -> tuple[list[str], int | None]:
    """What one error information structure says, in words, and the instruction pointer if it is valid."""
    what = "processor error information structure"
    raw_kind, validation, check, target, requestor, responder, ip = take(_ERROR_INFO, body, at, what)
    kind = UUID(bytes_le=raw_kind)
    words = [check_text(kind, check) if validation & 1 else _CHECKS.get(kind, (f"error structure {kind}", ()))[0]]
    ids = ((1, "target id", target), (2, "requestor id", requestor), (3, "responder id", responder))
    words += [f"{name} {value:#x}" for bit, name, value in ids if validation >> bit & 1]
    return words, ip if validation >> 4 & 1 else None


def _context_text(kind: int, size: int, msr: int, mm_address: int) -> str:
    text = f"{_name(CONTEXT_TYPES, kind, 'context type')}, {size} bytes"
    if kind == _MSR_CONTEXT:
        return f"{text} from MSR {msr:#x}"
    return f"{text} from {mm_address:#x}" if kind == len(CONTEXT_TYPES) - 1 else text


def _machine_check_registers(msr: int, dump: bytes) -> Iterator[tuple[int | None, MachineCheckMsr, int]]:
    """The machine-check registers in a dump of consecutive MSRs, the first of which is ``msr``."""
    for index in range(len(dump) // _REGISTER.size):
        known = machine_check_msr(msr + index)
        if known is not None:
            (value,) = take(_REGISTER, dump, index * _REGISTER.size, "register array")
            yield *known, value
