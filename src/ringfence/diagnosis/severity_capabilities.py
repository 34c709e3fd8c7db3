"""What the processor can do about uncorrected errors: from the evidence, else from its model, else assumed not.

Each answer that does not stand in the evidence comes with a sentence that says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ringfence.arch import mcg
from ringfence.arch.cpuid import Signature, Vendor, microarchitecture
from ringfence.record.evidence import Record

CACHED_MODELS = 256
"""How many models' capabilities are remembered: a log names few, a fleet's archive some dozens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """Recovery capabilities, and what had to be assumed for them."""

    ser_p: bool = False
    succor: bool = False
    overflow_recovery: bool = False
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SerP:
    """Whether Intel processors of a model have MCG_CAP.SER_P, and how that is known."""

    family: int
    model: int
    present: bool
    source: str


INTEL_SER_P: tuple[SerP, ...] = (
    SerP(6, 0x1A, False, "SDM vol. 3B 17.6: 06_2EH was the first"),
    SerP(6, 0x1E, False, "MCG_CAP 1c09h in public logs"),
    SerP(6, 0x1F, False, "as 06_1EH"),
    SerP(6, 0x25, False, "as 06_2CH"),
    SerP(6, 0x2C, False, "MCG_CAP 1c09h in public logs"),
    SerP(6, 0x2A, False, "MCG_CAP c09h in public logs"),
    SerP(6, 0x2E, True, "SDM vol. 3B 17.6: the first with error recovery"),
    SerP(6, 0x2F, True, "MCG_CAP 1000c18h in public logs"),
    SerP(6, 0x2D, True, "MCG_CAP 1000c14h in public logs"),
    SerP(6, 0x3E, True, "as 06_2DH and 06_4FH, between which it stands"),
    SerP(6, 0x3F, True, "as 06_2DH and 06_4FH, between which it stands"),
    SerP(6, 0x4F, True, "MCG_CAP 7000c16h in public logs"),
    SerP(6, 0x56, True, "MCG_CAP 1000c16h in public logs"),
    # Some lesser SKUs lack it: 6000c14h stands in one log of a Skylake server (mcelog issue 35).
    SerP(6, 0x55, True, "MCG_CAP f000814h and f000c14h in public logs; lesser models of it may lack SER_P"),
    SerP(6, 0x6A, True, "MCG_CAP f000c1ch in public logs"),
    SerP(6, 0x6C, True, "as 06_6AH"),
    SerP(6, 0x8F, True, "MCG_CAP f000c15h in public logs"),
    SerP(6, 0xCF, True, "as 06_8FH"),
    SerP(6, 0xAD, True, "recoverable errors in public logs"),
    SerP(6, 0xAE, True, "as 06_ADH"),
    SerP(6, 0xAF, True, "as 06_ADH"),
    SerP(6, 0xDD, True, "recoverable errors in public logs"),
    SerP(19, 0x01, True, "as 06_ADH, which it follows"),
)

_FIRST_GENERATION_WITH_MCA_RECOVERY = 0x1A
_NETBURST = 15
_FIRST_WITH_RAS_CPUID = 0x15
_BULLDOZER_LAST_MODEL = 0x0F

# Linux says what it found in CPUID when it panics (arch/x86/kernel/cpu/mce/severity.c). A hypervisor may hide SUCCOR
# from its guest, so that the guest's kernel knows better than the model number.
_NO_RECOVERY_SAID = "without MCA Recovery"
_NO_OVERFLOW_RECOVERY_SAID = "without MCA Overflow Recovery"


def capabilities(record: Record, vendor: Vendor | None, signature: Signature | None, *, smca: bool) -> Capabilities:
    """The recovery capabilities of the processor behind a record."""
    match vendor:
        case Vendor.INTEL:
            if record.registers.mcg_cap is not None:
                return _SER_P if mcg.SER_P.of(record.registers.mcg_cap) else _NOTHING
            return _intel(signature)
        case Vendor.ZHAOXIN | Vendor.CENTAUR:
            if record.registers.mcg_cap is not None:
                return _SER_P if mcg.SER_P.of(record.registers.mcg_cap) else _NOTHING
            return Capabilities(assumptions=("MCG_CAP is not in the evidence: SER_P is assumed absent",))
        case Vendor.AMD | Vendor.HYGON:
            return _heed_the_kernel(record, _amd(signature, smca=smca or vendor is Vendor.HYGON))
        case None:
            if smca:
                return _heed_the_kernel(record, _amd(None, smca=True))
            return Capabilities(assumptions=("the processor's maker is not known: no recovery is assumed",))


_SER_P = Capabilities(ser_p=True)
_NOTHING = Capabilities()


@lru_cache(maxsize=CACHED_MODELS)
def _intel(signature: Signature | None) -> Capabilities:
    missing = "MCG_CAP is not in the evidence: "
    if signature is None:
        return Capabilities(assumptions=(f"{missing}SER_P is assumed absent, as the model is not known either",))
    family, model = signature.family, signature.model
    name = microarchitecture(signature) or f"family {family} model {model:#x}"
    for row in INTEL_SER_P:
        if (row.family, row.model) == (family, model):
            word = "present" if row.present else "absent"
            return Capabilities(ser_p=row.present, assumptions=(f"{missing}SER_P is {word} on {name} ({row.source})",))
    if family < 6 or family == _NETBURST or (family == 6 and model < _FIRST_GENERATION_WITH_MCA_RECOVERY):
        return Capabilities(
            assumptions=(f"{missing}SER_P is absent on {name} (SDM vol. 3B 17.6: 06_2EH was the first)",)
        )
    return Capabilities(assumptions=(f"{missing}SER_P is assumed absent on {name}, as no table knows",))


@lru_cache(maxsize=CACHED_MODELS)
def _amd(signature: Signature | None, *, smca: bool) -> Capabilities:
    missing = "CPUID Fn8000_0007_EBX is not in the evidence: "
    if smca:
        return Capabilities(
            succor=True,
            overflow_recovery=True,
            assumptions=(
                f"{missing}SUCCOR and MCA overflow recovery are present on family 17h and later (PPR 54945, 55898; "
                "Hygon likewise), unless a hypervisor hides them",
            ),
        )
    if signature is None:
        return Capabilities(
            assumptions=(f"{missing}the family is not known: SUCCOR and overflow recovery are assumed absent",)
        )
    if signature.family < _FIRST_WITH_RAS_CPUID:
        return Capabilities(
            assumptions=(f"{missing}SUCCOR and overflow recovery are absent before family 15h (older than the bits)",)
        )
    overflow_recovery = signature.family == _FIRST_WITH_RAS_CPUID and signature.model <= _BULLDOZER_LAST_MODEL
    word = "present (Linux arch/x86/kernel/cpu/mce/core.c)" if overflow_recovery else "assumed absent"
    return Capabilities(
        overflow_recovery=overflow_recovery,
        assumptions=(
            f"{missing}on family {signature.family:x}h model {signature.model:#x} SUCCOR is assumed absent, and "
            f"overflow recovery is {word}",
        ),
    )


def _heed_the_kernel(record: Record, found: Capabilities) -> Capabilities:
    if not record.claims:
        return found
    said = " ".join(claim.text for claim in record.claims)
    succor = found.succor and _NO_RECOVERY_SAID not in said
    overflow_recovery = found.overflow_recovery and _NO_OVERFLOW_RECOVERY_SAID not in said
    if (succor, overflow_recovery) == (found.succor, found.overflow_recovery):
        return found
    absent = "SUCCOR" if found.succor and not succor else "MCA overflow recovery"
    return Capabilities(
        succor=succor,
        overflow_recovery=overflow_recovery,
        assumptions=(
            *found.assumptions,
            f"the kernel's own message says that {absent} is absent, and is believed (a hypervisor may hide it)",
        ),
    )
