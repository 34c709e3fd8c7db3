"""What an operator does about a finding: one sentence per class of error, most urgent first."""

from __future__ import annotations

from ringfence.diagnosis.severity import Severity
from ringfence.record.evidence import Delivery

LEADS: dict[Severity, str] = {
    Severity.NONE: "No hardware error",
    Severity.CORRECTED: "Corrected error",
    Severity.DEFERRED: "Uncorrected error, not consumed (DEFERRED)",
    Severity.UCNA: "Uncorrected error, not consumed (UCNA)",
    Severity.SRAO: "Uncorrected error, action optional (SRAO)",
    Severity.SRAR: "Uncorrected error, action required (SRAR)",
    Severity.FATAL: "Fatal error",
}
"""How bad it is, in the words that begin a summary."""

_PAGE = {
    Severity.DEFERRED: "Take the page out of use (hard offline) before somebody reads it; find out whose page it is.",
    Severity.UCNA: "Take the page out of use (hard offline) before somebody reads it; find out whose page it is.",
    Severity.SRAO: "Take the page out of use (hard offline) now; whoever owns it loses what it held.",
    Severity.SRAR: "Stop whoever consumed the data, take the page out of use, and restart the victim from good data.",
}
_UNLOCATED = "The page cannot be named: start nothing new on this host and drain it; a consumed error may follow."
_NO_PAGE = {
    Severity.DEFERRED: _UNLOCATED,
    Severity.UCNA: _UNLOCATED,
    Severity.SRAO: _UNLOCATED,
    Severity.SRAR: "What was consumed cannot be bounded to a page: save the evidence and halt or restart the host.",
}
_ANY = {
    Severity.NONE: "Nothing: this is not a hardware error.",
    Severity.CORRECTED: (
        "Count it. Act when it repeats: many from one page, offline the page; distinct ones from one rank or DIMM, "
        "replace it before it turns uncorrected."
    ),
    Severity.FATAL: (
        "The state of the machine was not to be trusted from here on: keep this evidence, replace or test the unit "
        "named, and return the host to service only after that."
    ),
}


_PAST = (
    "It was found by polling, after the fact (often at the start after the reset that it caused): whoever was hit then "
    "cannot be helped now. Keep this evidence, and test or replace the unit named if it comes again."
)
_PAST_PAGE = f"{_PAST} Memory does not heal by a reset: keep the page out of use until it is tested."


def advice(severity: Severity, names_a_page: bool, delivery: Delivery) -> str:
    """What to do about an error of this severity, whose address names a page of memory or not, by how it came."""
    if delivery is Delivery.POLLED and severity in {Severity.SRAR, Severity.FATAL}:
        return _PAST_PAGE if names_a_page else _PAST
    if severity in _ANY:
        return _ANY[severity]
    return (_PAGE if names_a_page else _NO_PAGE)[severity]
