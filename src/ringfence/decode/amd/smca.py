"""One bank of a Scalable MCA processor (AMD family 17h and later, Hygon): unit, error, address, place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringfence.arch import mci_status, smca_registers
from ringfence.arch.cpuid import Signature
from ringfence.arch.smca_banks import RESERVED_BANK, BankType, assumed_bank_type, bank_type, error_names
from ringfence.decode.amd.codes import error_code
from ringfence.decode.amd.counter import COUNT, counter_details, has_counter
from ringfence.decode.amd.errata import contradictions, smca_false_positive, smca_notes
from ringfence.decode.amd.smca_address import Logged, has_stacked_memory, is_dram_address, read_address
from ringfence.decode.meaning import NO_WORDS, BankReading, Placed, Wording, located
from ringfence.record.evidence import Location, Record, Registers

_PRIORITIES: Final = ("no error", "transparent", "corrected", "deferred", "uncorrected", "fatal")
_DRAM_ECC: Final = 0
_WORD: Final = 0xFFFF_FFFF_FFFF_FFFF
_RESERVED_BITS: Final = _WORD & ~mci_status.AMD_SMCA.declared_mask


@dataclass(frozen=True, slots=True)
class _Identity:
    """Which bank it is: ``type`` None where nothing says so. ``ipid`` is MCA_IPID unless absent or zero."""

    type: BankType | None
    unit: str
    ipid: int | None
    assumptions: tuple[str, ...] = ()


def read_smca(record: Record, status: int, signature: Signature | None) -> BankReading:
    """What a bank of a Scalable MCA processor says. Sources: PPR 55898 (MCA_STATUS, MCA_IPID, MCA_SYND) and its kin.

    An unknown bank type or error code is given by its numbers. The registers of a record that contradicts itself are
    not believed about the place. Never raises for any register values.
    """
    registers = record.registers
    identity = _identify(record, signature)
    doubts = contradictions(status)
    address = read_address(Logged(registers, status, identity.type, signature, doubts))
    error, ambiguity = _error(identity.type, status, signature)
    wording = _wording(registers.synd, status, identity.type)
    details = (
        *wording.details,
        f"extended error code {mci_status.XEC.of(status)}",
        *(() if identity.type is None else (error_code(mci_status.ERROR_CODE.of(status)).phrase,)),
        *_status_details(status),
        *_identity_details(identity),
        *_misc_details(registers, status),
        *_deferred_register_details(registers, status),
        *_fru_details(registers),
    )
    counter = registers.misc if mci_status.MISCV.of(status) and has_counter(registers.misc) else None
    return BankReading(
        unit=identity.unit,
        error=error,
        details=details,
        address=address.address,
        location=(
            Location(socket=record.socket, node=record.node)
            if doubts
            else _location(record, status, identity, signature, address.address.value)
        ),
        notes=smca_notes(record, status, identity.type, doubts),
        assumptions=(*identity.assumptions, *ambiguity, *address.assumptions),
        threshold_count=None if counter is None else COUNT.of(counter),
        placed=(
            *(() if doubts else _core_places(status)),
            *(() if doubts else _syndrome_places(registers, status)),
            *(() if doubts else _chip_select_places(registers, status, identity.type, signature)),
            *(() if counter is None else (COUNT,)),
        ),
        not_an_error=smca_false_positive(record, status, identity.type, signature),
        wording=wording,
    )


def words(bank: int | None, signature: Signature | None, status: int, synd: int | None, ipid: int | None) -> Wording:
    """The ``wording`` of a bank's reading, from all that it depends on."""
    return _wording(synd, status, _type(bank, ipid, signature))


WORD_BITS: Final = mci_status.ERR_CORE_ID_VAL.mask | mci_status.ERR_CORE_ID.mask | mci_status.SYNDV.mask
"""The bits of MCA_STATUS on which ``words`` depends, beside XEC."""


def _wording(synd: int | None, status: int, kind: BankType | None) -> Wording:
    details = (*_core_details(status), *_syndrome_details(synd, status, kind))
    return Wording(details=details) if details else NO_WORDS


def _type(bank: int | None, ipid: int | None, signature: Signature | None) -> BankType | None:
    """The bank's type, named by MCA_IPID or assumed."""
    if ipid:
        return bank_type(smca_registers.HARDWARE_ID.of(ipid), smca_registers.MCA_TYPE.of(ipid))
    if bank is None or bank == RESERVED_BANK:
        return None
    assumed = assumed_bank_type(bank, signature)
    return None if assumed is None else assumed[0]


def _identify(record: Record, signature: Signature | None) -> _Identity:
    ipid, bank = record.registers.ipid, record.bank
    if ipid:
        return _identified(ipid, bank, signature)
    if bank == RESERVED_BANK:
        return _Identity(None, "reserved SMCA bank 4", None)
    missing = "MCA_IPID is not in the evidence" if ipid is None else "MCA_IPID is zero"
    if bank is not None and (assumed := assumed_bank_type(bank, signature)) is not None:
        kind, cite = assumed
        return _Identity(kind, kind.name, None, (f"{missing}: bank {bank} is taken for {kind.symbol}; {cite}",))
    number = "without a number" if bank is None else str(bank)
    return _Identity(None, f"unknown SMCA bank {number}", None, (f"{missing}: the bank's type cannot be told",))


def _identified(ipid: int, bank: int | None, signature: Signature | None) -> _Identity:
    hardware_id, mca_type = smca_registers.HARDWARE_ID.of(ipid), smca_registers.MCA_TYPE.of(ipid)
    kind = bank_type(hardware_id, mca_type)
    if kind is None:
        number = "" if bank is None else f" in bank {bank}"
        unit = f"unknown SMCA unit (HardwareID {hardware_id:#x}, McaType {mca_type:#x}){number}"
        return _Identity(None, unit, ipid)
    counts_channels = kind.symbol == "UMC" and not (signature is not None and has_stacked_memory(signature))
    unit = f"{kind.name}, channel {_umc_channel(ipid)}" if counts_channels else kind.name
    return _Identity(kind, unit, ipid)


def _error(kind: BankType | None, status: int, signature: Signature | None) -> tuple[str, tuple[str, ...]]:
    """The error's name, and the assumption if models differ about it."""
    extended = mci_status.XEC.of(status)
    if kind is None:
        return error_code(mci_status.ERROR_CODE.of(status)).phrase, ()
    names = error_names(kind, extended, signature)
    match names:
        case ():
            return f"extended error code {extended}, which no public source names for {kind.symbol}", ()
        case (name,):
            return name, ()
        case _:
            return names[0], (
                f"the processor is not known, and models differ: extended error code {extended} of {kind.symbol} "
                f"may also be: {'; '.join(names[1:])}",
            )


def _status_details(status: int) -> tuple[str, ...]:
    flags = (
        (mci_status.CECC, "a correctable ECC error (CECC)"),
        (mci_status.UECC, "an uncorrectable ECC error (UECC)"),
        (mci_status.DEFERRED, "deferred: the data was found bad and marked as poison; nothing has consumed it yet"),
        (mci_status.POISON, "poison: poisoned data was consumed"),
        (mci_status.SCRUB, "found by a scrubber"),
        (mci_status.OVER, "overflow: at least one more error came and was not kept"),
    )
    phrases = [phrase for field, phrase in flags if field.of(status)]
    if mci_status.TCC.of(status) and not mci_status.PCC.of(status):  # with PCC=1 it says nothing (APM vol. 2 9.3.2.2)
        phrases.append("the context of the interrupted task may be corrupt (TCC)")
    if not mci_status.EN.of(status):
        phrases.append("reporting of this error is not enabled (EN clear)")
    reserved = status & _RESERVED_BITS
    if reserved:
        bits = ", ".join(str(bit) for bit in range(63, -1, -1) if reserved >> bit & 1)
        phrases.append(f"reserved bits of MCA_STATUS are set: {bits}")
    return tuple(phrases)


def _identity_details(identity: _Identity) -> tuple[str, ...]:
    if identity.ipid is None:
        return ()
    high, low = smca_registers.INSTANCE_ID_HI.of(identity.ipid), smca_registers.INSTANCE_ID.of(identity.ipid)
    if not high and not low:
        return ()
    return (f"instance {low:#x}" + (f", high part {high:#x}" if high else ""),)


def _core_details(status: int) -> tuple[str, ...]:
    if not mci_status.ERR_CORE_ID_VAL.of(status):
        return ()
    return (f"reported for core {mci_status.ERR_CORE_ID.of(status)} of those that share the bank",)


def _syndrome_details(synd: int | None, status: int, kind: BankType | None) -> tuple[str, ...]:
    if synd is None or not mci_status.SYNDV.of(status):
        return ()
    priority = smca_registers.ERROR_PRIORITY.of(synd)
    said = _PRIORITIES[priority] if priority < len(_PRIORITIES) else f"reserved ({priority})"
    phrases = [f"logged with priority: {said}"]
    information = smca_registers.ERROR_INFORMATION.of(synd)
    if _is_dram_ecc(kind, status):
        phrases += _dram_ecc_details(information)
    elif information:
        phrases.append(f"error information {information:#x}")
    return tuple(phrases)


def _dram_ecc_details(information: int) -> list[str]:
    """MCA_SYND_UMC.ErrorInformation of a DRAM ECC error (PPR 55803, MCA_SYND_UMC, DramEccErr)."""
    phrases = [f"chip select {information & 7}"]
    if rank_multiply := information >> 4 & 7:
        phrases.append(f"chip id (rank multiply) {rank_multiply}")
    if symbol := information >> 8 & 0x3F:
        phrases.append(f"symbol {symbol} (of a corrected error)")
    if information >> 14 & 1:
        phrases.append("the hardware's history had marked this symbol before")
    if information >> 15 & 1:
        phrases.append("the symbol is one that software manages as bad")
    return phrases


def _misc_details(registers: Registers, status: int) -> tuple[str, ...]:
    if registers.misc is None or not mci_status.MISCV.of(status):
        return ()
    return counter_details(registers.misc)


def _deferred_register_details(registers: Registers, status: int) -> tuple[str, ...]:
    destat = registers.destat
    if destat is None or not mci_status.VAL.of(destat):
        return ()
    if mci_status.DEFERRED.of(status):
        return ("MCA_DESTAT holds the same deferred error",)
    return (f"MCA_DESTAT ({destat:#018x}) holds another, deferred error, whose extended error code it does not tell",)


def _fru_details(registers: Registers) -> tuple[str, ...]:
    """The FRU's name in MCA_SYND1 and MCA_SYND2, where MCA_CONFIG says that they hold one."""
    config, first, second = registers.config, registers.synd1, registers.synd2
    if config is None or not smca_registers.FRU_TEXT_IN_MCA.of(config) or first is None or second is None:
        return ()
    raw = (first & _WORD).to_bytes(8, "little") + (second & _WORD).to_bytes(8, "little")
    text = raw.decode("ascii", errors="replace").rstrip("\0 ")
    return (f"FRU text {text!r}",) if text else ()


def _syndrome_places(registers: Registers, status: int) -> tuple[Placed, ...]:
    """The syndrome's valid bits, if there are any.

    Linux's EDAC keeps 16 bits of it (``struct err_info``), so that its text shows less of the 32-bit ones.
    """
    if registers.synd is None or not mci_status.SYNDV.of(status):
        return ()
    return (_SYNDROME,) if smca_registers.SYNDROME_LENGTH.of(registers.synd) else ()


_SYNDROME: Final = Placed(
    "syndrome",
    "synd",
    ((smca_registers.SYNDROME.high, smca_registers.SYNDROME.low, 0),),
    (smca_registers.SYNDROME_LENGTH.high, smca_registers.SYNDROME_LENGTH.low),
)
_CORE: Final = Placed("core", "status", ((mci_status.ERR_CORE_ID.high, mci_status.ERR_CORE_ID.low, 0),))
_CHIP_SELECT: Final = Placed("csrow", "synd", ((2, 0, 0),))


def _core_places(status: int) -> tuple[Placed, ...]:
    return (_CORE,) if mci_status.ERR_CORE_ID_VAL.of(status) else ()


def _chip_select_places(
    registers: Registers, status: int, kind: BankType | None, signature: Signature | None
) -> tuple[Placed, ...]:
    """The chip select of a DRAM ECC error: ErrorInformation[2:0] (PPR 55803, MCA_SYND_UMC)."""
    if kind is None or not _is_dram_ecc(kind, status) or is_dram_address(kind, status, signature):
        return ()
    return (_CHIP_SELECT,) if registers.synd is not None and mci_status.SYNDV.of(status) else ()


def _is_dram_ecc(kind: BankType | None, status: int) -> bool:
    return kind is not None and kind.symbol == "UMC" and mci_status.XEC.of(status) == _DRAM_ECC


def _umc_channel(ipid: int) -> int:
    """The UMC that an MCA_IPID names (Linux drivers/edac/amd64_edac.c, find_umc_channel)."""
    return smca_registers.INSTANCE_ID.of(ipid) >> 20


def _location(
    record: Record, status: int, identity: _Identity, signature: Signature | None, address: int | None
) -> Location:
    """The place as far as the registers tell it; a memory controller's channel and chip select above all."""
    core = mci_status.ERR_CORE_ID.of(status) if mci_status.ERR_CORE_ID_VAL.of(status) else None
    found = located(
        Location(socket=record.socket, node=record.node, core=core),
        (
            *_syndrome_places(record.registers, status),
            *_chip_select_places(record.registers, status, identity.type, signature),
        ),
        record.registers.synd or 0,
    )
    kind, ipid = identity.type, identity.ipid
    if kind is None:
        return found
    if kind.symbol == "UMC":
        if is_dram_address(kind, status, signature):
            return _hbm_address_location(ipid, address).merged(found)
        return Location(channel=None if ipid is None else _umc_channel(ipid)).merged(found)
    if kind.symbol == "UMC_V2" and ipid is not None:
        return _hbm_channel_location(ipid).merged(found)
    return found


def _hbm_channel_location(ipid: int) -> Location:
    """UMC v2 of a GPU node: the UMC's PHY and its HBM channel (rasdaemon mce-amd-smca.c, find_hbm_channel)."""
    umc = _umc_channel(ipid)
    channel = ipid >> 12 & 0xF
    return Location(controller=umc // 2, channel=channel + 4 if umc % 2 else channel)


def _hbm_address_location(ipid: int | None, address: int | None) -> Location:
    """MI300A: MCA_ADDR[27:0] is stack id, pseudo-channel, row, bank, column, 0 (Linux drivers/ras/amd/atl/umc.c).

    Bank and pseudo-channel stand as logged; the memory controller may hash them.
    """
    node = None if ipid is None else smca_registers.INSTANCE_ID_HI.of(ipid) // 4
    if address is None:
        return Location(node=node)
    return Location(node=node, row=address >> 10 & 0x7FFF, bank=address >> 6 & 0xF, column=address >> 1 & 0x1F)
