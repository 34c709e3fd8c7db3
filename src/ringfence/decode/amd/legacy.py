"""One bank of an AMD processor before Scalable MCA: K7, K8, families 10h to 16h."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringfence.arch import mci_status
from ringfence.arch.bitfield import Field
from ringfence.arch.cpuid import Signature
from ringfence.decode.amd.codes import Code, CodeKind, Participation, error_code
from ringfence.decode.amd.counter import COUNT, counter_details, has_counter
from ringfence.decode.amd.errata import is_cc6_alias, legacy_false_positive, legacy_notes
from ringfence.decode.amd.legacy_errors import ANY_UNITS, BEFORE_15H, UNITS, error_phrase
from ringfence.decode.meaning import Address, AddressKind, BankReading
from ringfence.record.evidence import Location, Record

_NORTHBRIDGE: Final = mci_status.LEGACY_NORTHBRIDGE_BANK
_K7: Final = 0x06
_K8: Final = 0x0F
_PAGE_BYTES: Final = 4096

_WITHOUT_DRAM_ECC: Final = 0x11
_ECC_WORD_BYTES: Final = 8

_DRAM_ECC: Final = frozenset({0x0, 0x8})
_ON_A_LINK: Final = frozenset({0x1, 0x2, 0x3, 0x4, 0x6, 0xA, 0xB, 0xE})
_IN_L3: Final = frozenset({0x1C, 0x1D, 0x1E})
_WATCHDOG: Final = 0x0
_EXECUTION_BANK: Final = 5
_DATA_BANKS: Final = frozenset({0, 2, 3})
_UNUSED: Final = "Linux does not take an address of these banks for usable"

_K8_NORTHBRIDGE_ADDRESS: Final = Field("ErrAddr", 39, 3, "system address", "BKDG 26094, MC4_ADDR")
_NORTHBRIDGE_ADDRESS: Final = Field("ErrAddr", 47, 1, "system address", "BKDG 31116, MC4_ADDR")
_CORE_ADDRESS: Final = Field("ADDR", 47, 0, "address", "BKDG 31116, MCi_ADDR")


@dataclass(frozen=True, slots=True)
class _Logged:
    """One bank as logged, with its codes taken out."""

    bank: int | None
    status: int
    addr: int | None
    family: int | None
    extended: int
    code: Code


def read_legacy(record: Record, status: int, signature: Signature | None) -> BankReading:
    """What a bank of an AMD processor before Scalable MCA says. Sources: the family's BKDG; see ``legacy_errors``.

    Without ``signature`` only what all families share is said. Never raises for any register values.
    """
    family = None if signature is None else signature.family
    code = error_code(mci_status.ERROR_CODE.of(status))
    extended = _extended_code(status, record.bank, signature)
    error = _error(record.bank, family, extended, code)
    address = _address(_Logged(record.bank, status, record.registers.addr, family, extended, code))
    misc = record.registers.misc
    counter = misc if mci_status.MISCV.of(status) and has_counter(misc) else None
    return BankReading(
        unit=_unit(record.bank, family),
        error=error,
        details=(
            f"extended error code {extended:#x}",
            *(() if error == code.phrase else (code.phrase,)),
            *_status_details(status, record.bank, family),
            *_northbridge_details(record, status, signature, extended),
        ),
        address=address,
        location=_location(record, status, signature, extended),
        notes=legacy_notes(record, status, signature, record.registers.addr, extended),
        assumptions=_assumptions(family),
        threshold_count=None if counter is None else COUNT.of(counter),
        placed=() if counter is None else (COUNT,),
        not_an_error=legacy_false_positive(status, record.bank, extended),
    )


def _assumptions(family: int | None) -> tuple[str, ...]:
    if family is None:
        return (
            "the processor is not known and no Scalable MCA register is in the evidence: read as one before family 17h",
        )
    if family == _K7:
        return ("the K7's own manual is not public: bits 54:45 of MCi_STATUS are read as K8 has them",)
    return ()


def _extended_code(status: int, bank: int | None, signature: Signature | None) -> int:
    """ErrorCodeExt: 5 bits in the northbridge, 4 in older cores, 5 in newer ones, 6 on family 15h model 60h.

    Source: Linux drivers/edac/mce_amd.c (xec_mask).
    """
    family = None if signature is None else signature.family
    if bank == _NORTHBRIDGE:
        return (mci_status.K8_XEC if family == _K8 else mci_status.LEGACY_XEC).of(status)
    if family in BEFORE_15H or family == _K7:
        return mci_status.K8_XEC.of(status)
    if signature is not None and (family, signature.model) == (0x15, 0x60):
        return mci_status.XEC.of(status)
    return mci_status.LEGACY_XEC.of(status)


def _unit(bank: int | None, family: int | None) -> str:
    if bank is None:
        return "unknown bank"
    units = ANY_UNITS if family is None else UNITS.get(family, {})
    return units.get(bank, f"unknown bank {bank}")


def _error(bank: int | None, family: int | None, extended: int, code: Code) -> str:
    """The rule's phrase; for K7 and unknown processors only what their error code says."""
    if bank is not None and family is not None:
        phrase = error_phrase(bank, family, extended, code)
        if phrase is not None:
            return phrase
    if bank == _NORTHBRIDGE and family is None:
        # The northbridge's codes mean the same on every family that has them.
        phrase = error_phrase(bank, 0x10, extended, code)
        if phrase is not None:
            return phrase
    return code.phrase


def _status_details(status: int, bank: int | None, family: int | None) -> tuple[str, ...]:
    phrases: list[str] = []
    if mci_status.CECC.of(status):
        phrases.append("a correctable ECC error (CECC)")
    if mci_status.UECC.of(status):
        phrases.append("an uncorrectable ECC error (UECC)")
    if family in (0x15, 0x16):
        if mci_status.DEFERRED.of(status):
            phrases.append("deferred: the data was found bad and marked; nothing has consumed it yet")
        if bank != _NORTHBRIDGE and mci_status.POISON.of(status):
            phrases.append("poison: poisoned data was consumed")
    if family != _K7 and mci_status.SCRUB.of(status):
        phrases.append("found by a scrubber")
    if mci_status.OVER.of(status):
        phrases.append("overflow: at least one more error came and was not kept")
    if bank != _NORTHBRIDGE and (syndrome := mci_status.LEGACY_SYNDROME_LOW.of(status)) and _has_ecc(status):
        phrases.append(f"ECC syndrome {syndrome:#04x}")
    return tuple(phrases)


def _has_ecc(status: int) -> bool:
    return bool(mci_status.CECC.of(status) or mci_status.UECC.of(status))


def _northbridge_details(record: Record, status: int, signature: Signature | None, extended: int) -> tuple[str, ...]:
    if record.bank != _NORTHBRIDGE:
        return ()
    family = None if signature is None else signature.family
    phrases: list[str] = []
    if extended in _DRAM_ECC and _has_ecc(status):
        phrases.append(f"ECC syndrome {_dram_syndrome(status, extended):#06x}")
    if extended in _ON_A_LINK:
        link = (mci_status.K8_LINK if family == _K8 else mci_status.LEGACY_LINK).of(status)
        phrases.append(f"HyperTransport link {link}")
        if family != _K8 and mci_status.LEGACY_SUB_LINK.of(status):
            phrases.append("upper sublink")
    if extended in _IN_L3 and family in (0x10, 0x15):
        phrases.append(f"L3 subcache {mci_status.LEGACY_SUB_CACHE.of(status)}")
    if (core := _core(status, signature)) is not None:
        phrases.append(f"reported for core {core} of the node")
    if record.registers.misc is not None and mci_status.MISCV.of(status):
        phrases += counter_details(record.registers.misc)
    return tuple(phrases)


def _dram_syndrome(status: int, extended: int) -> int:
    """8 bits from a 64/8 ECC word, 16 with chipkill (BKDG 26094, MC4_STATUS; Linux amd64_edac.h extract_syndrome)."""
    low = mci_status.LEGACY_SYNDROME_LOW.of(status)
    if extended == 0:
        return low
    return mci_status.LEGACY_SYNDROME_HIGH.of(status) << 8 | low


def _core(status: int, signature: Signature | None) -> int | None:
    """The node's core that reported to the northbridge: one bit per core up to 10h model 7, then a number.

    Source: Linux 3.x drivers/edac/mce_amd.c (decode_mc4_mce); BKDG 31116, MC4_STATUS (ErrCpuVal).
    """
    if signature is None or signature.family == _K7:
        return None
    if signature.family == _K8 or (signature.family == 0x10 and signature.model <= 7):
        field = mci_status.K8_ERR_CPU if signature.family == _K8 else mci_status.LEGACY_ERR_CORE_ID
        which = field.of(status)
        return which.bit_length() - 1 if which and which & (which - 1) == 0 else None
    if mci_status.ERR_CORE_ID_VAL.of(status):
        return mci_status.LEGACY_ERR_CORE_ID.of(status)
    return None


def _location(record: Record, status: int, signature: Signature | None, extended: int) -> Location:
    if record.bank != _NORTHBRIDGE:
        return Location(socket=record.socket, node=record.node)
    syndrome = None
    if extended in _DRAM_ECC and mci_status.CECC.of(status):
        syndrome = _dram_syndrome(status, extended)
    return Location(socket=record.socket, node=record.node, core=_core(status, signature), syndrome=syndrome)


def _address(logged: _Logged) -> Address:
    if not mci_status.ADDRV.of(logged.status):
        return Address(None, AddressKind.NONE, None, False, "ADDRV is clear: no address was logged")
    address = _northbridge_address(logged) if logged.bank == _NORTHBRIDGE else _core_address(logged)
    if address.value is None:
        because = f"ADDRV is set, but the evidence does not carry MCi_ADDR; {address.because}"
        return Address(None, address.kind, address.granularity_bytes, False, because)
    return address


def _northbridge_address(logged: _Logged) -> Address:
    """MC4_ADDR. Linux uses it for DRAM ECC errors, unless this node only observed them (amd64_edac.c)."""
    if logged.extended not in _DRAM_ECC or logged.family == _WITHOUT_DRAM_ECC:
        return Address(
            logged.addr,
            AddressKind.UNKNOWN,
            None,
            False,
            "only for a DRAM ECC error is the northbridge's address known to be one of memory (amd_mce_usable_address)",
        )
    field = _K8_NORTHBRIDGE_ADDRESS if logged.family == _K8 else _NORTHBRIDGE_ADDRESS
    granularity_bytes = _ECC_WORD_BYTES if logged.family == _K8 else None
    physical = None if logged.addr is None else logged.addr & field.mask
    kind, names_a_page = AddressKind.PHYSICAL, True
    because = "the northbridge logs the system address of a DRAM ECC error (BKDG, MC4_ADDR)"
    if logged.code.participation is Participation.OBSERVER:
        names_a_page = False
        because = "this node only observed the error: Linux's EDAC does not use the address of an observer"
    elif logged.family == 0x15 and physical is not None and is_cc6_alias(physical):
        kind, names_a_page = AddressKind.UNKNOWN, False
        because = "the internal alias of the CC6 save area, not a system address (erratum 637)"
    return Address(physical, kind, granularity_bytes, names_a_page, because, field.mask)


def _core_address(logged: _Logged) -> Address:
    """MCi_ADDR of a core's bank. Linux uses it only with Poison (15h, 16h; amd_mce_usable_address)."""
    if logged.family is None or logged.family == _K7:
        because = "no source says which kind of address this bank logs"
        return Address(logged.addr, AddressKind.UNKNOWN, None, False, because)
    value = None if logged.addr is None else _CORE_ADDRESS.of(logged.addr)
    if logged.code.kind is CodeKind.TLB:
        because = "an error of a TLB logs the linear address of the page that it translates"
        value = None if value is None else value & -_PAGE_BYTES
        mask = _CORE_ADDRESS.mask & -_PAGE_BYTES
        return Address(value, AddressKind.LINEAR, _PAGE_BYTES, False, because, mask)
    if logged.bank == _EXECUTION_BANK and logged.extended == _WATCHDOG:
        because = "a watchdog timeout logs an instruction's address (BKDG, MC5_ADDR)"
        return Address(value, AddressKind.LINEAR, None, False, because, _CORE_ADDRESS.mask)
    if logged.family in (0x15, 0x16) and mci_status.POISON.of(logged.status) and mci_status.UC.of(logged.status):
        because = "Poison is set: the processor consumed poisoned data, and logs where it came from"
        return Address(value, AddressKind.PHYSICAL, None, True, because, _CORE_ADDRESS.mask)
    if logged.bank in _DATA_BANKS and logged.code.kind in (CodeKind.MEMORY, CodeKind.BUS):
        because = f"cache and bus errors log a physical address, some arrays only an index (BKDG, MCi_ADDR); {_UNUSED}"
        return Address(value, AddressKind.PHYSICAL, None, False, because, _CORE_ADDRESS.mask)
    because = f"its kind depends on the array (BKDG, MCi_ADDR); {_UNUSED}"
    return Address(value, AddressKind.UNKNOWN, None, False, because, _CORE_ADDRESS.mask)
