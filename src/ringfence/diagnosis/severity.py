"""How bad an error is: ordered rule tables, one per maker and capability; the first rule that matches decides.

``judge`` takes a record, ``judge_inputs`` the bare facts; ``TABLES`` holds the rules themselves, for docs and tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from ringfence.arch import mci_status
from ringfence.arch.cpuid import Signature, Vendor, is_smca
from ringfence.arch.mcg import LMCE_S, MCIP
from ringfence.decode.intel.known_issues import is_made_by_apei
from ringfence.decode.meaning import Note
from ringfence.diagnosis import severity_amd, severity_claims, severity_intel
from ringfence.diagnosis.severity_capabilities import Capabilities, capabilities
from ringfence.diagnosis.severity_context import Mode, Scope, facts, interrupted_context_lost, mode, scope
from ringfence.diagnosis.severity_rules import (
    NOT_AN_ERROR,
    Code,
    Condition,
    ErrorClass,
    Inputs,
    Reason,
    Rule,
    Severity,
    Table,
)
from ringfence.errors import DeclarationError
from ringfence.quick import quick
from ringfence.record.evidence import ClaimedSeverity, Delivery, Record

__all__ = [
    "TABLES",
    "Code",
    "Condition",
    "ErrorClass",
    "Inputs",
    "Mode",
    "Reason",
    "Rule",
    "Scope",
    "Severity",
    "Table",
    "Verdict",
    "inputs_of",
    "is_judgeable",
    "judge",
    "judge_inputs",
    "table_name",
]

TABLES: Mapping[str, Table] = {
    "intel-ser-p": severity_intel.SER_P,
    "intel-no-ser-p": severity_intel.NO_SER_P,
    "amd-legacy": severity_amd.LEGACY,
    "amd-smca": severity_amd.SMCA,
    "zhaoxin-ser-p": severity_intel.ZHAOXIN_SER_P,
    "zhaoxin-no-ser-p": severity_intel.ZHAOXIN_NO_SER_P,
    "unknown-vendor": severity_claims.UNKNOWN_VENDOR,
    "claims": severity_claims.CLAIMS,
}
"""Every rule of every table, in order. Each table is total over the inputs that ``table_name`` sends to it."""


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How bad an error is, and why.

    ``reasons`` begins with the rule that decided, the others are facts beside it, which do not change the class;
    ``assumptions`` are sentences on what the evidence lacks and the class depends on. ``interrupted_context_lost`` is
    None where the evidence does not say. ``table`` is the key in ``TABLES``. ``delivery`` is how the error came, as the
    source says, or else as MCG_STATUS tells.
    """

    severity: Severity
    table: str
    reasons: tuple[Reason, ...]
    assumptions: tuple[str, ...] = ()
    interrupted_context_lost: bool | None = None
    scope: Scope = Scope.UNKNOWN
    mode: Mode = Mode.UNKNOWN
    delivery: Delivery = Delivery.UNKNOWN

    @property
    def error_class(self) -> ErrorClass:
        """Corrected, uncorrected or none: an uncorrected error is everything but ``CORRECTED`` and ``NONE``."""
        return ErrorClass.of(self.severity)


def judge(
    record: Record, vendor: Vendor | None, signature: Signature | None, not_an_error: Note | None = None
) -> Verdict:
    """How bad the error in a record is.

    Raises ValueError if the record has neither MCi_STATUS nor a deferred-error status nor any claim of severity: there
    is nothing to judge then, and silence must not pass for a corrected error.
    """
    inputs, found = inputs_of(record, vendor, signature, not_an_error)
    verdict = judge_inputs(inputs)
    assumptions = _relevant_assumptions(inputs, found, verdict)
    return replace(verdict, assumptions=assumptions) if assumptions else verdict


def is_judgeable(record: Record) -> bool:
    """Whether a record says how bad its error is: by MCi_STATUS, or by its source's own word for an error of memory."""
    if record.registers.status is not None:
        return True
    return record.memory is not None and (
        record.memory.severity is not None or severity_claims.claimed_in_words(record.claims) is not None
    )


def judge_inputs(inputs: Inputs) -> Verdict:
    """How bad an error with these properties is; pure and total but for records that say nothing (ValueError)."""
    name = table_name(inputs)
    for rule in TABLES[name]:
        if rule.matches(inputs):
            return Verdict(
                severity=rule.severity,
                table=name,
                reasons=(_reason(rule, inputs), *facts(inputs, rule.severity)),
                interrupted_context_lost=interrupted_context_lost(inputs),
                scope=scope(inputs),
                mode=mode(inputs),
                delivery=inputs.delivery,
            )
    raise DeclarationError(f"no rule of the table {name} matches {inputs}")


def table_name(inputs: Inputs) -> str:
    """Which table judges these inputs. Raises ValueError if they say nothing."""
    if _judged_by_claim(inputs):
        if inputs.claimed is None and inputs.not_an_error is None:
            raise ValueError("neither MCi_STATUS nor a claim of severity: there is nothing to judge")
        return "claims"
    match inputs.vendor:
        case Vendor.INTEL:
            return "intel-ser-p" if inputs.ser_p else "intel-no-ser-p"
        case Vendor.ZHAOXIN | Vendor.CENTAUR:
            return "zhaoxin-ser-p" if inputs.ser_p else "zhaoxin-no-ser-p"
        case Vendor.AMD | Vendor.HYGON:
            return "amd-smca" if inputs.smca else "amd-legacy"
        case None:
            return "amd-smca" if inputs.smca else "unknown-vendor"


def inputs_of(
    record: Record, vendor: Vendor | None, signature: Signature | None, not_an_error: Note | None = None
) -> tuple[Inputs, Capabilities]:
    """The properties of a record on which its severity depends, and the capabilities with their assumptions."""
    registers = record.registers
    smca = (
        (signature is not None and is_smca(signature))
        or vendor is Vendor.HYGON
        or (vendor in {None, Vendor.AMD} and bool(registers.ipid))
    )
    found = capabilities(record, vendor, signature, smca=smca)
    claimed = record.memory.severity if record.memory is not None else None
    if claimed is None and registers.status is None and registers.destat is None:
        claimed = severity_claims.claimed_in_words(record.claims)
    status = registers.status
    if status is not None and is_made_by_apei(record.bank, status):
        claimed, status = _severity_of_firmware(status), None
    inputs = Inputs(
        vendor=vendor,
        signature=signature,
        smca=smca,
        status=status,
        mcg_status=registers.mcg_status,
        delivery=_delivery(record),
        ser_p=found.ser_p,
        succor=found.succor,
        overflow_recovery=found.overflow_recovery,
        bank=record.bank,
        cs=registers.cs,
        destat=registers.destat,
        claimed=claimed,
        claimed_consumed=severity_claims.consumed_in_words(record.claims),
        not_an_error=not_an_error,
    )
    return inputs, found


def _severity_of_firmware(status: int) -> ClaimedSeverity:
    """What firmware said of an error that Linux put into a bank's dress: UC and PCC there stand for its severity.

    Source: Linux arch/x86/kernel/cpu/mce/apei.c, apei_mce_report_mem_error (UC from GHES_SEV_RECOVERABLE on, PCC from
    GHES_SEV_PANIC on).
    """
    if status & mci_status.PCC.mask:
        return ClaimedSeverity.FATAL
    return ClaimedSeverity.RECOVERABLE if status & mci_status.UC.mask else ClaimedSeverity.CORRECTED


def _judged_by_claim(inputs: Inputs) -> bool:
    """Whether only the source's word counts: no status at all, or an invalid one beside a source that knows more."""
    if inputs.smca and severity_amd.DESTAT_HOLDS_DEFERRED.holds(inputs):
        return False
    if inputs.status is None:
        return True
    return not inputs.has(mci_status.VAL) and inputs.claimed not in {None, ClaimedSeverity.INFORMATIONAL}


def _delivery(record: Record) -> Delivery:
    """How the error came; where the source does not say, MCG_STATUS does: MCIP is set in the handler only."""
    mcg_status = record.registers.mcg_status
    if record.delivery is not Delivery.UNKNOWN or mcg_status is None:
        return record.delivery
    if not MCIP.of(mcg_status):
        return Delivery.POLLED
    return Delivery.LOCAL_MACHINE_CHECK if LMCE_S.of(mcg_status) else Delivery.MACHINE_CHECK


def _reason(rule: Rule, inputs: Inputs) -> Reason:
    if rule is NOT_AN_ERROR and inputs.not_an_error is not None:
        return Reason(rule.name, inputs.not_an_error.text, inputs.not_an_error.source)
    return rule.reason


_INDEPENDENT_OF_CAPABILITIES = frozenset({"not-an-error", "not-valid", "pcc-without-uc", "pcc", "corrected"})
"""Rules whose outcome no capability could have changed: an assumption behind them would be noise."""


def _relevant_assumptions(inputs: Inputs, found: Capabilities, verdict: Verdict) -> tuple[str, ...]:
    if verdict.table == "claims" or verdict.reasons[0].rule in _INDEPENDENT_OF_CAPABILITIES:
        return ()
    if verdict.severity is Severity.DEFERRED:
        if inputs.signature is None and not inputs.smca:
            return ("the AMD family is not known: bit 44 is read as Deferred, which it is from family 15h on",)
        return ()
    if inputs.delivery not in {Delivery.UNKNOWN, Delivery.FIRMWARE}:
        return found.assumptions
    if verdict.table in {"amd-legacy", "amd-smca"} and verdict.severity is Severity.SRAR:
        return (*found.assumptions, "the evidence does not say how the error was signalled: it is taken as consumed")
    if inputs.ser_p and not inputs.has(mci_status.EN):
        return (*found.assumptions, "the evidence does not say how the error was signalled: EN=0 is given no weight")
    return found.assumptions
