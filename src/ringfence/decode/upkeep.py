"""What upkeep depends on: the kind of unit, whether its errors are past their threshold, whether the code names any."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ringfence.arch import mci_misc, mci_status, smca_registers
from ringfence.arch.cpuid import Processor, Signature, Vendor
from ringfence.arch.smca_banks import BankType, assumed_bank_type, bank_type
from ringfence.decode.amd import codes as amd_codes
from ringfence.decode.amd import has_smca
from ringfence.decode.amd.counter import has_counter
from ringfence.decode.intel.capability import capabilities
from ringfence.decode.intel.codes import CodeKind, classify
from ringfence.decode.intel.known_issues import THERMAL_BANK, is_made_by_apei
from ringfence.decode.meaning import AddressKind, BankReading, UnitKind
from ringfence.record.evidence import Format, Location, Record

_AMD: Final = frozenset({Vendor.AMD, Vendor.HYGON})
_FIRMWARE: Final = frozenset({Format.GHES, Format.CPER, Format.GHES_BLOCK})
_YELLOW: Final = 2
_OVERFLOWED_COUNT: Final = 0x4000
"""MCi_STATUS[52], the top of the corrected-error count, is sticky (SDM vol. 3B 17.3.2.2.1)."""

_BY_CODE: Final[Mapping[CodeKind, UnitKind]] = {
    CodeKind.MEMORY: UnitKind.MEMORY,
    CodeKind.EXTENDED_MEMORY: UnitKind.MEMORY,
    CodeKind.BUS: UnitKind.LINK,
    CodeKind.IO: UnitKind.LINK,
    CodeKind.CACHE: UnitKind.CORE,
    CodeKind.GENERIC_CACHE: UnitKind.CORE,
    CodeKind.TLB: UnitKind.CORE,
    CodeKind.MICROCODE_ROM_PARITY: UnitKind.CORE,
    CodeKind.FRC: UnitKind.CORE,
    CodeKind.INTERNAL_PARITY: UnitKind.CORE,
    CodeKind.INTERNAL_TIMER: UnitKind.CORE,
    CodeKind.INTERNAL_UNCLASSIFIED: UnitKind.CORE,
}
_CACHES: Final = frozenset({"L3"})
_MEMORY: Final = frozenset({"UMC", "UMC_V2", "EDDR5CMN"})
_LINKS: Final = frozenset(
    {
        "PIE", "NBIO", "PCIE", "PCIE_V2", "PCIE_PL", "SSBDCI", "USR_DP", "USR_CP", "XGMI_PCS", "XGMI_PHY", "GMI_PCS",
        "GMI_PHY", "WAFL_PHY",
    }
)  # fmt: skip
_DRAM_ECC: Final = frozenset({0x0, 0x8})
_K8: Final = 0x0F


def unit_kind(record: Record, vendor: Vendor | None, processor: Processor | None, reading: BankReading) -> UnitKind:
    """The kind of unit that a reading is about; total. A bank's error code decides, of an SMCA bank its type."""
    status = record.registers.status
    if record.format is Format.QEMU or reading.address.kind is AddressKind.GUEST_PHYSICAL:
        return UnitKind.GUEST_MEMORY
    if status is None:
        memory = record.memory
        located = memory is not None and (memory.physical_address is not None or memory.location != Location())
        return UnitKind.MEMORY if located or record.format not in _FIRMWARE else UnitKind.OTHER
    if is_made_by_apei(record.bank, status):
        return UnitKind.MEMORY
    signature = None if processor is None else processor.signature
    if vendor in _AMD:
        return _of_smca(record, signature) if has_smca(record, signature) else _of_legacy(record, status, signature)
    if record.bank == THERMAL_BANK:
        return UnitKind.THERMAL
    by_code = _BY_CODE.get(classify(mci_status.MCACOD.of(status)).kind, UnitKind.OTHER)
    in_controller = reading.location.controller is not None or reading.location.channel is not None
    return UnitKind.MEMORY if in_controller and by_code is not UnitKind.LINK else by_code


def smca_type(record: Record, signature: Signature | None) -> BankType | None:
    """Which kind of SMCA bank a record is of, by MCA_IPID or else by the model's usual numbering; None if neither."""
    if ipid := record.registers.ipid:
        return bank_type(smca_registers.HARDWARE_ID.of(ipid), smca_registers.MCA_TYPE.of(ipid))
    assumed = None if record.bank is None else assumed_bank_type(record.bank, signature)
    return None if assumed is None else assumed[0]


def _of_smca(record: Record, signature: Signature | None) -> UnitKind:
    kind = smca_type(record, signature)
    if kind is None:
        return UnitKind.OTHER
    if kind.core or kind.symbol in _CACHES:
        return UnitKind.CORE
    if kind.symbol in _MEMORY:
        return UnitKind.MEMORY
    return UnitKind.LINK if kind.symbol in _LINKS else UnitKind.OTHER


def _of_legacy(record: Record, status: int, signature: Signature | None) -> UnitKind:
    """Before SMCA: the northbridge has DRAM, links and the L3; every other bank is a core's (BKDG, MCi_STATUS)."""
    if record.bank != mci_status.LEGACY_NORTHBRIDGE_BANK:
        return UnitKind.CORE if record.bank is not None else UnitKind.OTHER
    is_k8 = signature is not None and signature.family == _K8
    extended = (mci_status.K8_XEC if is_k8 else mci_status.LEGACY_XEC).of(status)
    match amd_codes.error_code(mci_status.ERROR_CODE.of(status)).kind:
        case amd_codes.CodeKind.BUS:
            return UnitKind.MEMORY if extended in _DRAM_ECC else UnitKind.LINK
        case amd_codes.CodeKind.MEMORY:
            return UnitKind.CORE
        case amd_codes.CodeKind.TLB | amd_codes.CodeKind.INTERNAL | amd_codes.CodeKind.UNKNOWN:
            return UnitKind.OTHER


def is_past_threshold(record: Record, vendor: Vendor | None, processor: Processor | None) -> bool:
    """Whether the registers say that corrected errors came too often.

    Intel: threshold status yellow (SDM vol. 3B 17.3.2.2.3), or the count's sticky overflow bit. AMD: the threshold
    counter has overflowed (APM vol. 2 9.3.3).
    """
    registers = record.registers
    status = registers.status
    if status is None or mci_status.UC.of(status) or not mci_status.VAL.of(status):
        return False
    if vendor in _AMD:
        misc = registers.misc if mci_status.MISCV.of(status) else None
        return misc is not None and has_counter(misc) and bool(mci_misc.COUNTER_OVERFLOW.of(misc))
    can = capabilities(registers.mcg_cap, processor)
    yellow = bool(can.tes_p) and mci_status.THRESHOLD_STATUS.of(status) == _YELLOW
    return yellow or (bool(can.cmci_p) and mci_status.CORRECTED_COUNT.of(status) >= _OVERFLOWED_COUNT)


def names_no_error(record: Record, vendor: Vendor | None) -> bool:
    """Whether a bank is valid and its whole error code, MCi_STATUS[31:0], is zero (SDM vol. 3B 17.9.1, "No Error").

    AMD defines no such code; there the extended part may name an error beside it.
    """
    status = record.registers.status
    if status is None or vendor in _AMD or (record.bank is not None and record.bank >= THERMAL_BANK):
        return False
    return bool(mci_status.VAL.of(status)) and not status & 0xFFFF_FFFF
