"""Severity where no register tells: an unknown maker's bits, and records that carry only their source's word."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ringfence.arch.mci_status import UC
from ringfence.diagnosis.severity_rules import (
    CORRECTED,
    NOT_AN_ERROR,
    NOT_VALID,
    PCC,
    PCC_WITHOUT_UC,
    Condition,
    Rule,
    Severity,
    Table,
)
from ringfence.record.evidence import Claim, ClaimedSeverity, ClaimKind

UNKNOWN_VENDOR: Table = (
    NOT_AN_ERROR,
    NOT_VALID,
    PCC_WITHOUT_UC,
    PCC,
    CORRECTED,
    Rule(
        name="uc-unknown-vendor",
        severity=Severity.FATAL,
        because="UC=1, and without the processor's maker nothing says whether it contains errors",
        cite="SDM vol. 3B 17.10.4.1; APM vol. 2 9.2",
        set=(UC,),
    ),
)
"""Registers whose processor is not known: only the bits that all makers share."""


def _claims(severity: ClaimedSeverity) -> Condition:
    return Condition(f"the source says {severity.value}", lambda inputs: inputs.claimed is severity)


CLAIMED_CONSUMED = Condition("the source says that bad data was consumed", lambda inputs: inputs.claimed_consumed)

_CPER = "UEFI 2.10 N.2.1 (Error Severity)"

CLAIMS: Table = (
    NOT_AN_ERROR,
    Rule(
        name="claimed-fatal",
        severity=Severity.FATAL,
        because="the source calls the error fatal, and there are no registers to check that with",
        cite=_CPER,
        when=(_claims(ClaimedSeverity.FATAL),),
    ),
    Rule(
        name="claimed-consumed",
        severity=Severity.SRAR,
        because="the source calls the error uncorrected and says that it was consumed and action is required",
        cite="sigaction(2), BUS_MCEERR_AR; Linux mm/memory-failure.c and arch/x86/kernel/cpu/mce/core.c "
        "(kill_me_maybe, kill_me_never); QEMU target/i386/kvm/kvm.c",
        when=(_claims(ClaimedSeverity.RECOVERABLE), CLAIMED_CONSUMED),
    ),
    Rule(
        name="claimed-recoverable",
        severity=Severity.SRAO,
        because="the source calls the error uncorrected and not fatal, and does not say that its data was consumed",
        cite=f"{_CPER}; Linux drivers/acpi/apei/ghes.c takes it as action optional unless it was synchronous",
        when=(_claims(ClaimedSeverity.RECOVERABLE),),
    ),
    Rule(
        name="claimed-deferred",
        severity=Severity.DEFERRED,
        because="the source calls the error deferred, and there are no registers to check that with",
        cite="Linux include/linux/edac.h, HW_EVENT_ERR_DEFERRED",
        when=(_claims(ClaimedSeverity.DEFERRED),),
    ),
    Rule(
        name="claimed-corrected",
        severity=Severity.CORRECTED,
        because="the source calls the error corrected, and there are no registers to check that with",
        cite=_CPER,
        when=(_claims(ClaimedSeverity.CORRECTED),),
    ),
    Rule(
        name="claimed-informational",
        severity=Severity.NONE,
        because="the source reports it for information, not as an error",
        cite=_CPER,
        when=(_claims(ClaimedSeverity.INFORMATIONAL),),
    ),
)
"""Records without registers (EDAC, firmware's memory sections, mcelog's client): total over what can be claimed."""

# Worst first. "uncorrected" holds "corrected", so whole words only.
_WORDS: tuple[tuple[re.Pattern[str], ClaimedSeverity], ...] = (
    (re.compile(r"\b(fatal|panic|context corrupt)\b", re.IGNORECASE), ClaimedSeverity.FATAL),
    (
        re.compile(r"\b(uncorrected|uncorrectable|recoverable|unrecovered|UE)\b", re.IGNORECASE),
        ClaimedSeverity.RECOVERABLE,
    ),
    (re.compile(r"\bdeferred\b", re.IGNORECASE), ClaimedSeverity.DEFERRED),
    (re.compile(r"\b(corrected|correctable|CE)\b", re.IGNORECASE), ClaimedSeverity.CORRECTED),
    (re.compile(r"\b(informational|info)\b", re.IGNORECASE), ClaimedSeverity.INFORMATIONAL),
)
_NEGATED_FATAL = re.compile(r"\bnon-?\s?fatal\b", re.IGNORECASE)


_CONSUMED = (
    "BUS_MCEERR_AR",  # Linux's SIGBUS code for it, as QEMU prints it
    "hardware memory error in user-access",  # Linux runs kill_me_maybe for a load or fetch that took bad data in
    "Kernel accessed poison in user space",  # and kill_me_never for one of the kernel's own, from user memory
)


def consumed_in_words(claims: Iterable[Claim]) -> bool:
    """Whether a claim says that bad data was consumed."""
    return any(words in claim.text for claim in claims for words in _CONSUMED)


def claimed_in_words(claims: Iterable[Claim]) -> ClaimedSeverity | None:
    """The worst severity that the claims state in words, None if none does.

    A panic is a claim of fatality, a memory-failure line one of an uncorrected error (mm/memory-failure.c runs for
    those only; what is offlined for its corrected errors says "soft offline").
    """
    found: list[ClaimedSeverity] = []
    for claim in claims:
        match claim.kind:
            case ClaimKind.PANIC:
                found.append(ClaimedSeverity.FATAL)
            case ClaimKind.MEMORY_FAILURE:
                found.append(ClaimedSeverity.RECOVERABLE)
            case ClaimKind.SEVERITY:
                text, negated = _NEGATED_FATAL.subn("", claim.text)
                if negated:
                    found.append(ClaimedSeverity.RECOVERABLE)
                found += [severity for pattern, severity in _WORDS if pattern.search(text)]
            case (
                ClaimKind.ERROR
                | ClaimKind.EDAC
                | ClaimKind.OWNER
                | ClaimKind.INJECTION
                | ClaimKind.HYPERVISOR
                | ClaimKind.FIRMWARE
                | ClaimKind.OTHER
            ):
                pass
    ranks = [severity for _, severity in _WORDS]
    return min(found, key=ranks.index, default=None)
