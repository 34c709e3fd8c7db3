"""What else the evidence says about an error, beside its class: none of these facts changes the severity."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from ringfence.arch import mci_status
from ringfence.arch.bitfield import Field
from ringfence.arch.cpuid import Vendor
from ringfence.arch.mcg import EIPV, LMCE_S, MCIP, RIPV
from ringfence.diagnosis.severity_rules import Inputs, Reason, Severity
from ringfence.record.evidence import ClaimedSeverity, Delivery


class Scope(StrEnum):
    """Which logical processors the exception was delivered to. It says nothing about how bad the error is."""

    LOCAL = "local"
    BROADCAST = "broadcast"
    NONE = "no exception"
    UNKNOWN = "unknown"


class Mode(StrEnum):
    """What was interrupted, by the privilege level in CS (a 64-bit PV guest's kernel runs in ring 3: as user)."""

    USER = "user"
    KERNEL = "kernel"
    UNKNOWN = "unknown"


_STATUS = "SDM vol. 3B 17.3.1.2"
_FIRST_BROADCASTING_MODEL = 0x0E


def _mcg(inputs: Inputs, bit: Field) -> bool | None:
    return None if inputs.mcg_status is None else bool(bit.of(inputs.mcg_status))


def _on_amd(inputs: Inputs) -> bool:
    return inputs.smca or inputs.vendor in {Vendor.AMD, Vendor.HYGON}


def _valid(inputs: Inputs) -> bool:
    return inputs.has(mci_status.VAL)


def _task_context_corrupt(inputs: Inputs) -> bool:
    return inputs.smca and inputs.has(mci_status.TCC)


def scope(inputs: Inputs) -> Scope:
    """To whom the exception went.

    Intel and Zhaoxin broadcast unless LMCE_S is set (Linux arch/x86/kernel/cpu/mce/core.c: Intel from 06_0EH on), AMD
    delivers to the processor concerned.
    """
    if inputs.delivery in {Delivery.POLLED, Delivery.CMCI}:
        return Scope.NONE
    if not inputs.by_exception:
        return Scope.UNKNOWN
    if inputs.delivery is Delivery.LOCAL_MACHINE_CHECK or _mcg(inputs, LMCE_S) or _on_amd(inputs):
        return Scope.LOCAL
    signature = inputs.signature
    if inputs.vendor is Vendor.INTEL and signature is not None:
        older = signature.family < 6 or (signature.family == 6 and signature.model < _FIRST_BROADCASTING_MODEL)
        return Scope.UNKNOWN if older else Scope.BROADCAST
    return Scope.UNKNOWN if inputs.vendor is None else Scope.BROADCAST


def mode(inputs: Inputs) -> Mode:
    """User or kernel, where CS belongs to the interrupted context: with RIPV or EIPV set.

    Linux stores CS in no other case (arch/x86/kernel/cpu/mce/core.c, mce_gather_info).
    """
    if inputs.cs is None or not inputs.by_exception:
        return Mode.UNKNOWN
    if inputs.mcg_status is not None and not inputs.mcg_status & (RIPV.mask | EIPV.mask):
        return Mode.UNKNOWN
    return Mode.USER if inputs.cs & 3 == 3 else Mode.KERNEL


def interrupted_context_lost(inputs: Inputs) -> bool | None:
    """Whether what the processor was executing cannot be resumed; None where the evidence does not say."""
    if not _valid(inputs) or inputs.not_an_error is not None:
        return None
    if inputs.has(mci_status.PCC) or _task_context_corrupt(inputs):
        return True
    if not inputs.by_exception:
        return None
    restartable = _restartable(inputs)
    return None if restartable is None else not restartable


def _restartable(inputs: Inputs) -> bool | None:
    """RIPV, where MCIP vouches for it: without MCIP the register is not the one that the exception left."""
    return _mcg(inputs, RIPV) if _mcg(inputs, MCIP) else None


Fact = Callable[[Inputs, Severity], Reason | None]
"""Looks at the inputs and the verdict; a fact is stated like a reason, or is None."""


def _left_over(inputs: Inputs, _severity: Severity) -> Reason | None:
    if not (_valid(inputs) and inputs.has(mci_status.UC) and inputs.delivery is Delivery.POLLED):
        return None
    signalled = inputs.has(mci_status.PCC) or _on_amd(inputs) or not inputs.ser_p or inputs.has(mci_status.S)
    if not signalled or not inputs.has(mci_status.EN):
        return None
    return Reason(
        "left-over",
        "such an error raises an exception, yet it was found by polling: it is left over from an earlier exception or "
        "from before a reset, and what runs now has nothing to do with it",
        "SDM vol. 3B 17.10.4.2; Linux arch/x86/kernel/cpu/mce/core.c, machine_check_poll",
    )


def _task_corrupt(inputs: Inputs, _severity: Severity) -> Reason | None:
    if not (_valid(inputs) and _task_context_corrupt(inputs)) or inputs.has(mci_status.PCC):
        return None  # TCC means something only where PCC is 0: with PCC=1 all of the processor's context is in doubt
    return Reason(
        "task-context-corrupt",
        "TCC=1: the context of the interrupted task may be corrupt; the processor and other tasks are not affected",
        "APM vol. 2 9.3.2.2; PPR 55898 (family 19h), MCA_STATUS",
    )


def _not_restartable(inputs: Inputs, _severity: Severity) -> Reason | None:
    if not inputs.by_exception or _restartable(inputs) is not False:
        return None
    return Reason("not-restartable", "RIPV=0: what was interrupted cannot be resumed at its saved instruction", _STATUS)


def _elsewhere(inputs: Inputs, severity: Severity) -> Reason | None:
    if severity is not Severity.SRAR or not inputs.by_exception:
        return None
    if not (_mcg(inputs, RIPV) is True and _mcg(inputs, EIPV) is False):
        return None
    return Reason(
        "consumer-elsewhere",
        "RIPV=1 EIPV=0: the saved instruction is not associated with the error; where banks are shared, another "
        "logical processor consumed it and this one can go on",
        "SDM vol. 3B 17.9.3.2 (table of RIPV and EIPV for SRAR); AMD family 17h to 1Ah leave EIPV clear for "
        "instruction-fetch errors though the fault is this processor's (Linux zen_ifu_quirk)",
    )


def _interrupted(inputs: Inputs, _severity: Severity) -> Reason | None:
    match mode(inputs):
        case Mode.USER:
            return Reason("user-context", "CS has privilege level 3: user mode was interrupted", _STATUS)
        case Mode.KERNEL:
            return Reason("kernel-context", "CS has a privilege level below 3: the kernel was interrupted", _STATUS)
        case Mode.UNKNOWN:
            return None


def _local(inputs: Inputs, _severity: Severity) -> Reason | None:
    if not inputs.by_exception or _mcg(inputs, LMCE_S) is not True or _on_amd(inputs):
        return None
    return Reason("local", "LMCE_S=1: the exception went to this logical processor alone", "SDM vol. 3B 17.3.1.5")


def _mcip_clear(inputs: Inputs, _severity: Severity) -> Reason | None:
    if not inputs.by_exception or _mcg(inputs, MCIP) is not False:
        return None
    return Reason(
        "mcip-clear",
        "MCIP=0 though the record comes from an exception: injected by software, or taken down after the handler",
        f"{_STATUS}; Linux arch/x86/kernel/cpu/mce/severity.c",
    )


def _not_enabled(inputs: Inputs, severity: Severity) -> Reason | None:
    if not (_valid(inputs) and inputs.has(mci_status.UC)) or inputs.has(mci_status.EN):
        return None
    if severity is Severity.UCNA and inputs.by_exception:
        return None  # then EN=0 is what decided, and the rule itself has said so
    return Reason("not-enabled", "EN=0: the error was not enabled to raise an exception", "SDM vol. 3B 17.10.4.1")


def _overflow(inputs: Inputs, _severity: Severity) -> Reason | None:
    if not (_valid(inputs) and inputs.has(mci_status.OVER)):
        return None
    return Reason(
        "overflow",
        "OVER=1: at least one more error came while this one was held, and was lost",
        "SDM vol. 3B 17.3.2.2.1; APM vol. 2 9.3.2",
    )


def _firmware_edited(inputs: Inputs, _severity: Severity) -> Reason | None:
    if inputs.delivery is not Delivery.FIRMWARE:
        return None
    return Reason(
        "by-firmware",
        "firmware reported it: how the error was signalled to the processor is not known",
        "ACPI 6.5 18.3",
    )


_CLAIMED: dict[ClaimedSeverity, frozenset[Severity]] = {
    ClaimedSeverity.CORRECTED: frozenset({Severity.CORRECTED}),
    ClaimedSeverity.DEFERRED: frozenset({Severity.DEFERRED}),
    ClaimedSeverity.RECOVERABLE: frozenset({Severity.DEFERRED, Severity.UCNA, Severity.SRAO, Severity.SRAR}),
    ClaimedSeverity.FATAL: frozenset({Severity.FATAL}),
    ClaimedSeverity.INFORMATIONAL: frozenset({Severity.NONE}),
}


def _source_disagrees(inputs: Inputs, severity: Severity) -> Reason | None:
    if inputs.claimed is None or severity in _CLAIMED[inputs.claimed]:
        return None
    return Reason(
        "source-disagrees", f"the source itself calls the error {inputs.claimed.value}", "the record's own claim"
    )


FACTS: tuple[Fact, ...] = (
    _task_corrupt,
    _not_restartable,
    _elsewhere,
    _interrupted,
    _local,
    _left_over,
    _not_enabled,
    _overflow,
    _mcip_clear,
    _firmware_edited,
    _source_disagrees,
)
"""All of them are looked at; each that holds is stated."""


def facts(inputs: Inputs, severity: Severity) -> tuple[Reason, ...]:
    """Everything that holds beside the class."""
    if inputs.not_an_error is not None:
        return ()
    return tuple(reason for fact in FACTS if (reason := fact(inputs, severity)) is not None)
