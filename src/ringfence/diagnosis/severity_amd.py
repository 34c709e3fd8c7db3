"""Severity tables of AMD: before Scalable MCA (K7 to family 16h) and with it (family 17h and later, Hygon).

The order is that of Linux's mce_severity_amd (arch/x86/kernel/cpu/mce/severity.c), written after the PPRs' section
"Machine Check Error Handling": PCC, deferred, corrected, overflow, containment. Linux also panics in kernel context:
that is a fact beside the class here. EN does not change the class: no manual of AMD's that we know gives it that power,
and QEMU has injected consumed errors into AMD guests with EN=0 (qemu-devel, August 2023, W. Roche and J. Allen).
"""

from __future__ import annotations

from ringfence.arch import mci_status
from ringfence.arch.mci_status import DEFERRED, OVER, POISON, UC
from ringfence.diagnosis.severity_rules import (
    CORRECTED,
    NOT_AN_ERROR,
    NOT_VALID,
    PCC,
    PCC_WITHOUT_UC,
    Condition,
    Inputs,
    Rule,
    Severity,
    Table,
)

_PPR = "PPR 55898 (family 19h), MCA_STATUS"
_LINUX = "Linux arch/x86/kernel/cpu/mce/severity.c"


def _has_deferred_bit(inputs: Inputs) -> bool:
    if inputs.signature is None:
        # Bit 44 is reserved before family 15h: if it is set, the processor is a later one.
        return True
    layout = mci_status.layout(inputs.vendor, inputs.signature, inputs.smca, bank=inputs.bank)
    return DEFERRED in layout.fields


def _destat_holds_deferred(inputs: Inputs) -> bool:
    wanted = mci_status.VAL.mask | DEFERRED.mask
    return inputs.destat is not None and inputs.destat & wanted == wanted


HAS_DEFERRED_BIT = Condition("bit 44 is Deferred (family 15h and later)", _has_deferred_bit)
DESTAT_HOLDS_DEFERRED = Condition("MCA_DESTAT holds a deferred error", _destat_holds_deferred)
NO_OVERFLOW_RECOVERY = Condition("no MCA overflow recovery", lambda inputs: not inputs.overflow_recovery)
NO_SUCCOR = Condition("no SUCCOR (containment and recovery)", lambda inputs: not inputs.succor)

_DEFERRED = Rule(
    name="deferred",
    severity=Severity.DEFERRED,
    because="Deferred=1: the hardware found bad data and marked it as poison; nobody has consumed it yet",
    cite=f"APM vol. 2 9.3.2; {_PPR}",
    set=(DEFERRED,),
)

_NOT_CONTAINED: Table = (
    Rule(
        name="uc-overflow",
        severity=Severity.FATAL,
        because="UC=1 OVER=1 on a processor without MCA overflow recovery: another error was lost, and which of the "
        "two the registers describe is not known",
        cite=f"APM vol. 2 9.2 and CPUID Fn8000_0007_EBX[0]; {_LINUX}",
        set=(UC, OVER),
        when=(NO_OVERFLOW_RECOVERY,),
    ),
    Rule(
        name="uc-without-succor",
        severity=Severity.FATAL,
        because="UC=1 on a processor without SUCCOR: it does not poison and contain, so nothing says how far the error "
        "reaches",
        cite=f"APM vol. 2 9.2 and CPUID Fn8000_0007_EBX[1]; {_LINUX}",
        set=(UC,),
        when=(NO_SUCCOR,),
    ),
)

LEGACY: Table = (
    NOT_AN_ERROR,
    NOT_VALID,
    PCC_WITHOUT_UC,
    PCC,
    Rule(
        name=_DEFERRED.name,
        severity=_DEFERRED.severity,
        because=_DEFERRED.because,
        cite="BKDG 42301 (family 15h) and 48751 (family 16h), MCi_STATUS",
        set=(DEFERRED,),
        when=(HAS_DEFERRED_BIT,),
    ),
    CORRECTED,
    *_NOT_CONTAINED,
    Rule(
        name="uc-contained",
        severity=Severity.SRAR,
        because="UC=1 PCC=0 on a processor with SUCCOR: bad data was consumed, and the processor itself is intact",
        cite=f"APM vol. 2 9.2; {_LINUX}",
        set=(UC,),
    ),
)
"""AMD K7 to family 16h."""

SMCA: Table = (
    NOT_AN_ERROR,
    Rule(
        name="deferred-in-destat",
        severity=Severity.DEFERRED,
        because="MCA_STATUS holds nothing, but MCA_DESTAT holds a deferred error: bad data was marked as poison",
        cite="PPR 55898 (family 19h), MCA_DESTAT",
        clear=(mci_status.VAL,),
        when=(DESTAT_HOLDS_DEFERRED,),
    ),
    NOT_VALID,
    PCC_WITHOUT_UC,
    PCC,
    _DEFERRED,
    CORRECTED,
    *_NOT_CONTAINED,
    Rule(
        name="poison-consumed",
        severity=Severity.SRAR,
        because="UC=1 Poison=1: data that was known to be bad has been consumed; PCC=0: the processor itself is intact",
        cite=_PPR,
        set=(UC, POISON),
    ),
    Rule(
        name="uc-contained",
        severity=Severity.SRAR,
        because="UC=1 PCC=0 on a processor with SUCCOR: bad data was consumed, and the processor itself is intact",
        cite=f"APM vol. 2 9.2; {_LINUX}",
        set=(UC,),
    ),
)
"""AMD family 17h and later, and Hygon."""
