"""What a check of ``ringfence doctor`` is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from ringfence.service.doctor_facts import Facts


class Severity(StrEnum):
    """How bad a finding is; the worst first."""

    WRONG = "wrong"
    """Ringfence cannot do what it is for, or something stands open."""
    WARNING = "warning"
    """It works, and something will hurt on a bad day."""
    NOTE = "note"
    """Good to know; nothing need be done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a check found: what is so, what that means, what to do (empty: nothing), and by which evidence."""

    severity: Severity
    text: str
    means: str = ""
    advice: str = ""
    evidence: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """One question, and what answers it."""

    id: str
    question: str
    answer: Callable[[Facts], Iterable[Finding]]


@dataclass(frozen=True, slots=True)
class Checked:
    """A check with what it found."""

    check: Check
    findings: tuple[Finding, ...]


def wrong(text: str, means: str = "", advice: str = "", evidence: str = "") -> Finding:
    """A finding of this severity."""
    return Finding(severity=Severity.WRONG, text=text, means=means, advice=advice, evidence=evidence)


def warning(text: str, means: str = "", advice: str = "", evidence: str = "") -> Finding:
    """A finding of this severity."""
    return Finding(severity=Severity.WARNING, text=text, means=means, advice=advice, evidence=evidence)


def note(text: str, means: str = "", advice: str = "", evidence: str = "") -> Finding:
    """A finding of this severity."""
    return Finding(severity=Severity.NOTE, text=text, means=means, advice=advice, evidence=evidence)
