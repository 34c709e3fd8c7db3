"""What a reader of an AMD record should know: known false positives, errata, traps, each with its source."""

from __future__ import annotations

from typing import Final

from ringfence.arch import mci_status
from ringfence.arch.cpuid import Signature
from ringfence.arch.mcg import MCIP
from ringfence.arch.smca_banks import RESERVED_BANK, BankType
from ringfence.decode.amd.codes import CodeKind, error_code
from ringfence.decode.meaning import Note
from ringfence.record.evidence import Delivery, Format, Record

_AMD_C: Final = "Linux arch/x86/kernel/cpu/mce/amd.c"

INVALID: Final = Note(
    "VAL is clear: the register holds no error, whatever its other bits say",
    "APM vol. 2 9.3.2.2 (VAL)",
)

_BOGUS_ON_CEZANNE = Note(
    "garbage: on this processor (Cezanne A0, family 19h model 50h stepping 0) L3 banks hold leftovers in MCA_DESTAT; "
    "they never raised an interrupt, kernels of 2025 began to read them, and Linux now discards every record of this "
    "processor whose EN bit is clear",
    f"{_AMD_C}, amd_filter_mce (commit 0422b07bc4c2, April 2026); linux-edac, September 2025",
)
_L1_BTB = Note(
    "benign: these processors may report many L1 BTB multi-match errors without harm; Linux discards them",
    f"Revision Guide for AMD Family 17h Models 10h-2Fh, erratum 1114; {_AMD_C}, amd_filter_mce",
)
_GART = Note(
    "benign: a device asked the GART for a page that it does not map; the graphics driver or IOMMU code causes that, "
    "not broken hardware, and Linux and Xen switch the report off",
    f"{_AMD_C}, amd_filter_mce; Xen xen/arch/x86/cpu/mcheck/mce_amd.c, MCEQUIRK_K8_GART",
)
_K7_BANK_0 = Note(
    "several K7 processors report errors in bank 0 that are none: Linux keeps this bank disabled on all of them",
    f"{_AMD_C}, amd_apply_cpu_quirks",
)
_TLB_MULTIMATCH = Note(
    "the signature of erratum 383: a guest (or a kernel) that changes the size of a page without a TLB flush makes the "
    "processor find two entries; hardware is not broken, and KVM shuts the guest down",
    "Revision Guide for AMD Family 10h, erratum 383; Linux arch/x86/kvm/svm/svm.c, is_erratum_383",
)
_CORE_HANG = Note(
    "a core retired no instruction for the watchdog's whole period. The report says that the core hung, not why: an "
    "access that no device answered, a voltage or clock too far out of specification, or a broken core. The reset that "
    "follows is why it is often first read at the next start",
    "PPR 54945, MCA_STATUS_EX (WDT); Linux bug reports with this record (bugzilla 206903)",
)
_FIRST_ON_START = Note(
    "uncorrected, outside any exception and without a time stamp: Linux logs such a record only when it brings a "
    "processor up (start, resume or CPU hot-add). It is left over from before that moment",
    "Linux arch/x86/kernel/cpu/mce/core.c, machine_check_poll (MCP_UC)",
)
_RESERVED_BANK = Note(
    "bank 4 is reserved on Scalable MCA processors and reads as zero: a record from it was made by software "
    "(error injection) or by a hypervisor",
    "PPR 54945 (family 17h), MCA Banks; Linux drivers/edac/mce_amd.c (SMCA_RESERVED)",
)
_CC6_SAVE_AREA = Note(
    "the address lies in 00FD_F7xx_xxxxh: on family 15h such an address is the internal alias of the CC6 save area "
    "and no system address (erratum 637)",
    "Linux drivers/edac/amd64_edac.c, get_error_address",
)
_ECC_FLAG_CONTRADICTS_UC = Note(
    "UC says that the error was not corrected, CECC that it was a correctable ECC error: the bits contradict each "
    "other; UC decides",
    "APM vol. 2 9.3.2.2; BKDG 26094, MCi_STATUS",
)

_NOISE = Note(
    "noise, as nothing in the record holds together: PCC=1 with UC=0, Deferred=1 and EN=0, read without an exception; "
    "an error code that AMD does not define; an MCA_IPID that no source knows for this processor family. A real error "
    "with PCC sets UC and stops the machine; these are leftovers in the bank's registers",
    "APM vol. 2 9.3.2; PPR 55898 (family 19h), MCA_STATUS and MCA_IPID; the conclusion is ours, no erratum says it",
)
_L3_SUBCACHE = Note(
    "the kernel's word Poison is not what the bit says: in this bank of family 15h bit 43 is the upper one of the L3 "
    "subcache's number. Older kernels print the word for it in every bank, newer ones leave this bank out",
    "BKDG 42301 (family 15h), MC4_STATUS, bits 43:42; Linux drivers/edac/mce_amd.c, amd_decode_mce",
)

_ERRATUM_383_STATUS: Final = 0xB600_0000_0001_0015
_L1_BTB_MULTI_MATCH: Final = 10
_WATCHDOG_TIMEOUT: Final = 0
_GART_ERROR: Final = 5
_CC6_ALIAS: Final = 0x00FDF7
_FAMILIES_WITH_PUBLIC_UNITS: Final = (0x17, 0x19)
_POISON_IN_PRINT: Final = b"|Poison"


def is_cc6_alias(address: int) -> bool:
    """Whether a northbridge address of family 15h is the CC6 save area's alias (erratum 637)."""
    return address >> 24 & 0xFFFFFF == _CC6_ALIAS


def smca_false_positive(record: Record, status: int, bank: BankType | None, signature: Signature | None) -> Note | None:
    """The reason why a record of an SMCA bank is no error, where that is certain."""
    registers = record.registers
    if not mci_status.VAL.of(status):
        return INVALID
    if signature is None:
        return None
    model = (signature.family, signature.model, signature.stepping)
    if model == (0x19, 0x50, 0) and not mci_status.EN.of(status):
        return _BOGUS_ON_CEZANNE
    if (
        signature.family == 0x17
        and 0x10 <= signature.model <= 0x2F
        and bank is not None
        and bank.symbol == "IF"
        and registers.ipid is not None
        and mci_status.XEC.of(status) == _L1_BTB_MULTI_MATCH
    ):
        return _L1_BTB
    if signature.family in _FAMILIES_WITH_PUBLIC_UNITS and _is_noise(record, status, bank):
        return _NOISE
    return None


def _is_noise(record: Record, status: int, bank: BankType | None) -> bool:
    """Whether nothing in an SMCA record holds together. All of it is asked for: an error must not be explained away.

    An unknown unit or code alone may be new hardware, PCC without UC alone a real error that was logged badly.
    """
    contradictory = (
        mci_status.PCC.of(status)
        and not mci_status.UC.of(status)
        and mci_status.DEFERRED.of(status)
        and not mci_status.EN.of(status)
    )
    nameless = (
        bank is None
        and bool(record.registers.ipid)
        and error_code(mci_status.ERROR_CODE.of(status)).kind is CodeKind.UNKNOWN
    )
    by_exception = (
        record.delivery in {Delivery.MACHINE_CHECK, Delivery.LOCAL_MACHINE_CHECK}
        or MCIP.of(record.registers.mcg_status or 0) == 1
    )
    return bool(contradictory) and nameless and not by_exception


def legacy_false_positive(status: int, bank: int | None, extended_code: int) -> Note | None:
    """The reason why a record of a bank before SMCA is no error, where that is certain."""
    if not mci_status.VAL.of(status):
        return INVALID
    if bank == mci_status.LEGACY_NORTHBRIDGE_BANK and extended_code == _GART_ERROR and not mci_status.PCC.of(status):
        return _GART
    return None


def smca_notes(record: Record, status: int, bank: BankType | None, ambiguous: tuple[str, ...]) -> tuple[Note, ...]:
    """Notes on a record of an SMCA bank. ``ambiguous``: what ``contradictions`` found."""
    notes: list[Note] = []
    if record.bank == RESERVED_BANK:
        notes.append(_RESERVED_BANK)
    if bank is not None and bank.symbol == "EX" and mci_status.XEC.of(status) == _WATCHDOG_TIMEOUT:
        notes.append(_CORE_HANG)
    if _logged_at_start(record, status):
        notes.append(_FIRST_ON_START)
    if ambiguous:
        notes.append(
            Note(
                f"the record contradicts itself: {'; '.join(ambiguous)}. It may be noise, such as the leftovers that "
                "some processors hold in the deferred-error registers of banks which report no deferred errors",
                "PPR 55898, MCA_STATUS; linux-edac, September 2025 (MCA_DESTAT read without a deferred error)",
            )
        )
    return tuple(notes)


def legacy_notes(
    record: Record, status: int, signature: Signature | None, address: int | None, extended_code: int
) -> tuple[Note, ...]:
    """Notes on a record of a bank before SMCA."""
    family = signature.family if signature is not None else None
    notes: list[Note] = []
    if family == 0x06 and record.bank == 0:
        notes.append(_K7_BANK_0)
    overflow_or_not = status & ~mci_status.OVER.mask
    if family in (0x10, 0x12) and record.bank == 0 and overflow_or_not == _ERRATUM_383_STATUS:
        notes.append(_TLB_MULTIMATCH)
    if family == 0x15 and record.bank == 4 and address is not None and is_cc6_alias(address):
        notes.append(_CC6_SAVE_AREA)
    if family in (0x10, 0x12, 0x14, 0x15, 0x16) and record.bank == 5 and extended_code == _WATCHDOG_TIMEOUT:
        notes.append(_CORE_HANG)
    if family == 0x15 and record.bank == mci_status.LEGACY_NORTHBRIDGE_BANK:
        printed = record.format is Format.AMD_DECODED and _POISON_IN_PRINT in record.raw
        if printed and mci_status.POISON.of(status):
            notes.append(_L3_SUBCACHE)
    if mci_status.UC.of(status) and mci_status.CECC.of(status):
        notes.append(_ECC_FLAG_CONTRADICTS_UC)
    if _logged_at_start(record, status):
        notes.append(_FIRST_ON_START)
    return tuple(notes)


def contradictions(status: int) -> tuple[str, ...]:
    """Bits of an SMCA record that cannot hold together, one phrase each; empty for a consistent record.

    An MCA_IPID that no table names is none: that is what new hardware looks like.
    """
    uc, deferred = mci_status.UC.of(status), mci_status.DEFERRED.of(status)
    found: list[str] = []
    if mci_status.PCC.of(status) and not uc:
        found.append("PCC without UC (a corrected or deferred error leaves the context whole)")
    if mci_status.TCC.of(status) and not uc:
        found.append("TCC without UC")
    if uc and deferred:
        found.append("UC and Deferred (a deferred error is one that was not consumed)")
    if mci_status.POISON.of(status) and not uc:
        found.append("Poison without UC (Poison means that poisoned data was consumed)")
    if mci_status.CECC.of(status) and mci_status.UECC.of(status):
        found.append("CECC and UECC")
    if mci_status.CECC.of(status) and uc:
        found.append("CECC and UC")
    if mci_status.UECC.of(status) and not uc and not deferred:
        found.append("UECC in a corrected error")
    return tuple(found)


def _logged_at_start(record: Record, status: int) -> bool:
    """Linux polls leave uncorrected errors of AMD processors alone, except the one when a processor comes up."""
    return mci_status.UC.of(status) == 1 and record.registers.tsc == 0 and record.registers.mcg_status == 0
