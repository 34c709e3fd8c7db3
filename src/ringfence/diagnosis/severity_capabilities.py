"""What the processor can do about uncorrected errors: from the evidence, else from its model, else assumed not.

Each answer that does not stand in the evidence comes with a sentence that says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from ringfence.arch import mcg
from ringfence.arch.cpuid import Signature, Vendor, microarchitecture
from ringfence.arch.intel_recovery import intel_ser_p
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
    row = intel_ser_p(family, model)
    if row is None:
        return Capabilities(assumptions=(f"{missing}SER_P is assumed absent on {name}, as no table knows",))
    word = "present" if row.present else "absent"
    return Capabilities(ser_p=row.present, assumptions=(f"{missing}SER_P is {word} on {name} ({row.source})",))


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
