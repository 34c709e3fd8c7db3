"""Known false positives, errata and artefacts: notes with their source, and what is no hardware error at all.

A row matches on what a bank logged. ``NOT_AN_ERROR`` rows say that no hardware error stands behind the record;
``NOTES`` rows tell a reader what else to know. A row that hides a true error would be worse than none: where the
source calls a record doubtful but not void, it is a note.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringfence.arch.cpuid import Processor, Signature, Vendor
from ringfence.arch.mcg import EIPV, LMCE_S, MCIP, RIPV
from ringfence.arch.mci_status import ADDRV, AR, EN, MISCV, OVER, PCC, UC, VAL, S
from ringfence.decode.intel.codes import Code, CodeKind
from ringfence.decode.meaning import Note
from ringfence.record.evidence import Delivery, Record

THERMAL_BANK = 128
"""Linux's software bank for thermal events (mcelog.h, MCE_THERMAL_BANK); its status is IA32_THERM_STATUS."""

TIMEOUT_BANK = 218
"""Linux's software bank for "other processors did not come to the rendezvous" (mcelog.h, MCE_TIMEOUT_BANK)."""

APEI_BANK = 255
"""Bank -1, as an unsigned byte: made by Linux from a firmware record (arch/x86/kernel/cpu/mce/apei.c)."""

_APEI_CODE = 0x009F
_QEMU_BROADCAST_STATUS = VAL.mask | UC.mask


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What the rows look at."""

    signature: Signature | None
    bank: int | None
    status: int
    mcg_status: int | None
    delivery: Delivery
    code: Code

    def is_model(self, *models: int) -> bool:
        """Whether the processor is one of these models of family 6."""
        return self.signature is not None and self.signature.family == 6 and self.signature.model in models


@dataclass(frozen=True, slots=True)
class Row:
    """A known issue: ``matches`` decides, ``note`` is what to say."""

    name: str
    matches: Callable[[Sighting], bool]
    note: Note


def sighting(record: Record, status: int, code: Code, processor: Processor | None) -> Sighting:
    """The sighting of a bank; processors of other vendors count as unknown, so Intel's errata do not match them."""
    signature = processor.signature if processor is not None else None
    if signature is not None and signature.vendor is not Vendor.INTEL:
        signature = None
    return Sighting(
        signature=signature,
        bank=record.bank,
        status=status,
        mcg_status=record.registers.mcg_status,
        delivery=record.delivery,
        code=code,
    )


def not_an_error(seen: Sighting) -> Note | None:
    """Why the record is no hardware error, or None."""
    return next((row.note for row in NOT_AN_ERROR if row.matches(seen)), None)


def notes(seen: Sighting) -> tuple[Note, ...]:
    """What else a reader should know."""
    return tuple(row.note for row in NOTES if row.matches(seen))


def is_made_by_apei(bank: int | None, status: int) -> bool:
    """Whether Linux made this record from a firmware (APEI) memory error record: the bank is no bank.

    VAL, EN, ADDRV (and MISCV in newer kernels), code 009Fh, UC from "recoverable" and PCC from "panic" on, nothing
    else. The bank is -1, in old kernels 1; evidence that lost the bank number is recognised by the status alone.
    """
    if bank not in (None, 1, APEI_BANK):
        return False
    fixed = VAL.mask | EN.mask | ADDRV.mask | _APEI_CODE
    variable = status & ~fixed
    return status & fixed == fixed and variable & ~MISCV.mask in (0, UC.mask, UC.mask | PCC.mask)


def _polled_but_fatal(seen: Sighting) -> bool:
    """UC and PCC, but no machine-check exception: MCIP is 0, or the record says that it was polled."""
    if not (UC.of(seen.status) and PCC.of(seen.status)):
        return False
    if seen.delivery in (Delivery.MACHINE_CHECK, Delivery.LOCAL_MACHINE_CHECK):
        return False
    return seen.mcg_status == 0 or (seen.mcg_status is None and seen.delivery in (Delivery.POLLED, Delivery.CMCI))


_SRAR = VAL.mask | UC.mask | EN.mask | MISCV.mask | ADDRV.mask | S.mask | AR.mask
_SRAR_MASK = _SRAR | OVER.mask | PCC.mask


def _is_srar(status: int) -> bool:
    return status & _SRAR_MASK == _SRAR


def _is_qemu_broadcast(seen: Sighting) -> bool:
    """All that QEMU fills in (target/i386/helper.c, cpu_x86_inject_mce): no hardware logs code 0 with UC and EN=0."""
    return seen.bank == 1 and seen.status == _QEMU_BROADCAST_STATUS and seen.mcg_status == RIPV.mask | MCIP.mask


NOT_AN_ERROR: tuple[Row, ...] = (
    Row(
        "QEMU broadcast",
        _is_qemu_broadcast,
        Note(
            "not hardware: QEMU puts exactly this into bank 1 of every other virtual processor when it broadcasts a "
            "machine check; the error itself is in the record of another virtual processor.",
            "QEMU target/i386/helper.c cpu_x86_inject_mce (MCE_INJECT_BROADCAST)",
        ),
    ),
    Row(
        "thermal event",
        lambda seen: seen.bank == THERMAL_BANK,
        Note(
            "A thermal event of the operating system's software bank 128, not a machine check: the status is "
            "IA32_THERM_STATUS. Check the cooling if throttling goes on.",
            "mcelog.h MCE_THERMAL_BANK; Linux arch/x86/kernel/cpu/mcheck/therm_throt.c (old kernels)",
        ),
    ),
    Row(
        "no valid error",
        lambda seen: not VAL.of(seen.status),
        Note(
            "MCi_STATUS.VAL is 0: the bank holds no error. Such records come from a race of two readers of the same "
            "bank, or from software.",
            "SDM vol. 3B 17.3.2.2; rasdaemon issue 155",
        ),
    ),
    Row(
        "spurious internal parity error",
        lambda seen: (
            seen.bank == 0
            and seen.is_model(0x3C, 0x45, 0x46, 0x3D, 0x55)
            and seen.status & 0xA0000000_FFFFFFFF == 0x80000000_000F0005
        ),
        Note(
            "A spurious corrected internal parity error: this processor logs it in bank 0 without a fault behind it. "
            "Linux discards such records.",
            "errata HSD131, HSM142, HSW131, BDM48, SKX37; Linux arch/x86/kernel/cpu/mce/intel.c intel_filter_mce",
        ),
    ),
)

NOTES: tuple[Row, ...] = (
    Row(
        "APEI",
        lambda seen: is_made_by_apei(seen.bank, seen.status),
        Note(
            "Linux made this record from a memory error that firmware reported (APEI): neither bank nor error code "
            "come from a processor. The memory error itself is real; what kind it was, the firmware's record "
            "(GHES, CPER) says.",
            "Linux arch/x86/kernel/cpu/mce/apei.c apei_mce_report_mem_error; mcelog issue 74",
        ),
    ),
    Row(
        "rendezvous timeout",
        lambda seen: seen.bank == TIMEOUT_BANK,
        Note(
            "Linux's software bank 218: other processors did not answer a machine check in time. There are no "
            "registers behind it.",
            "mcelog.h MCE_TIMEOUT_BANK",
        ),
    ),
    Row(
        "QEMU broadcast, perhaps",
        lambda seen: seen.status == _QEMU_BROADCAST_STATUS and seen.bank == 1 and not _is_qemu_broadcast(seen),
        Note(
            "QEMU puts exactly this into bank 1 of the other virtual processors when it broadcasts a machine check: "
            "the error itself is in the record of another virtual processor.",
            "QEMU target/i386/helper.c cpu_x86_inject_mce (MCE_INJECT_BROADCAST)",
        ),
    ),
    Row(
        "valid without a code",
        lambda seen: (
            bool(VAL.of(seen.status))
            and seen.code.kind is CodeKind.NO_ERROR
            and not (seen.status == _QEMU_BROADCAST_STATUS and seen.bank == 1)
            and (seen.bank is None or seen.bank < THERMAL_BANK)
        ),
        Note(
            'VAL is 1 with the error code 0 ("no error"): hardware is not known to log that; software that injects '
            "errors (mce-inject, QEMU) does.",
            "SDM vol. 3B 17.9.1",
        ),
    ),
    Row(
        "found after the fact",
        _polled_but_fatal,
        Note(
            "The error is fatal (UC and PCC) but did not come by a machine-check exception: it was found in the bank "
            "later, as after a reset, a resume or a start of the operating system. Firmware that does not clear the "
            "banks leaves such records; they may be stale.",
            "Linux arch/x86/kernel/cpu/mce/core.c machine_check_poll (MCP_UC), __mcheck_cpu_apply_quirks (bootlog)",
        ),
    ),
    Row(
        "old BIOS leftovers",
        lambda seen: _polled_but_fatal(seen) and seen.is_model(*range(14)),
        Note(
            "Firmware of Pentium M and earlier processors is known to leave rubbish in the banks over boot and resume; "
            "Linux does not log what it finds there at boot.",
            "Linux arch/x86/kernel/cpu/mce/core.c __mcheck_cpu_apply_quirks (family 6, model up to 13)",
        ),
    ),
    Row(
        "scrub error as CMCI",
        lambda seen: (
            seen.is_model(0x55)
            and seen.signature is not None
            and seen.signature.stepping >= 4
            and seen.bank is not None
            and 13 <= seen.bank <= 18
            and seen.status & (UC.mask | MISCV.mask | ADDRV.mask | 0xFFFFEFF0) == MISCV.mask | ADDRV.mask | 0x001000C0
        ),
        Note(
            "An uncorrected patrol scrub error, logged with UC=0: firmware can make Skylake and Cascade Lake servers "
            "signal it so. The memory is poisoned, though the register says corrected.",
            "Linux arch/x86/kernel/cpu/mce/severity.c (Uncorrected Patrol Scrub Error)",
        ),
    ),
    Row(
        "REP MOVS",
        lambda seen: (
            seen.is_model(0x55)
            and seen.bank == 1
            and _is_srar(seen.status)
            and seen.mcg_status is not None
            and bool(LMCE_S.of(seen.mcg_status))
        ),
        Note(
            "On Skylake, Cascade Lake and Cooper Lake servers a REP MOVS can consume poison in the cache line after "
            "the one that it copies, and report the instruction that follows it.",
            "Linux arch/x86/kernel/cpu/mce/core.c quirk_skylake_repmov",
        ),
    ),
    Row(
        "IFU recovery",
        lambda seen: (
            seen.is_model(0x2D)
            and seen.bank == 0
            and _is_srar(seen.status)
            and seen.code.value == 0x0150
            and seen.mcg_status is not None
            and not (RIPV.of(seen.mcg_status) or EIPV.of(seen.mcg_status))
        ),
        Note(
            "Sandy Bridge-EP clears RIPV and EIPV for a recoverable instruction fetch error: the context is valid "
            "although MCG_STATUS denies it.",
            "SDM vol. 3B 17.9.3.2; Linux arch/x86/kernel/cpu/mce/core.c quirk_sandybridge_ifu",
        ),
    ),
    Row(
        "core hang",
        lambda seen: (
            seen.code.kind is CodeKind.INTERNAL_TIMER and seen.bank == 4 and seen.is_model(0x3F, 0x4F, 0x56, 0x55)
        ),
        Note(
            "After an IERR of a hung core (\"3-strike\") the core's bank 3 is copied to bank 4: this is the core's "
            "time-out, not the power control unit's.",
            "SDM vol. 3B chapter 18, 06_56H, IA32_MC4_STATUS (note to MCACOD)",
        ),
    ),
)
