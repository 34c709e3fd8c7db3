"""What a grammar of one textual format is: it reads one line's body and says which part of a record it is.

A log mixes formats, interleaves CPUs and loses lines. So a grammar never keeps state: it turns the body of a line (all
prefixes taken off, see ``lines``) into a ``Fragment``, and ``assemble`` puts fragments together to records.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypedDict

from ringfence.arch.cpuid import Vendor
from ringfence.record.evidence import ClaimKind, Delivery, Format, HypervisorReport, MemoryReport


class Values(TypedDict, total=False):
    """The scalar attributes of a ``Record`` that a line can carry (absent: the line does not say)."""

    bank: int
    cpu: int
    socket: int
    node: int
    apicid: int
    vendor: Vendor
    cpuid: int
    microcode: int
    time: float
    delivery: Delivery
    count: int


class RegisterValues(TypedDict, total=False):
    """The registers that a line can carry (absent: the line does not say)."""

    status: int
    addr: int
    misc: int
    synd: int
    ipid: int
    mcg_status: int
    mcg_cap: int
    tsc: int
    ppin: int
    ip: int
    cs: int
    ctl2: int
    config: int
    destat: int
    deaddr: int
    synd1: int
    synd2: int


@dataclass(frozen=True, slots=True)
class Unless:
    """What holds unless some line of the record says otherwise, and how to say that it was assumed (empty: do not)."""

    values: Values
    assumption: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """The record that a line speaks of, by bits of MCi_STATUS: those that are set in it, and those that are clear."""

    set: int
    clear: int = 0

    def fits(self, status: int) -> bool:
        """Whether a record with this MCi_STATUS can be meant."""
        return status & (self.set | self.clear) == self.set


@dataclass(frozen=True, slots=True)
class Fragment:
    """What one line says.

    ``part`` names which part of a record of this format it is ("head", "tsc", "processor", ...): a record takes each
    part once, except parts in ``repeatable``-style formats, which use ``claims`` only. ``opens``: this line starts a
    record. ``closes``: nothing of the same record follows (so the record can be finished). A fragment that neither
    opens nor carries anything is a known line without content ("Run the above through 'mcelog --ascii'"): it is not
    evidence, and not unrecognised either: its part is "known".

    ``may_open``: the line begins a record only when no open record takes it (its record lost the lines before).
    ``repeats``: the part can come any number of times in a record (claims). ``needs``: the line means what the fragment
    says only if the open record has this part (a hex dump, after the line that says what is dumped); without it the
    line is known and without content. ``unless``: what holds where no other line of the record says otherwise.
    ``subject``: the line speaks of such a record only, the latest within reach, not simply of the open one; without one
    it stands alone. The part "boundary" ends the open record; what it carries waits for the next. A ``count`` of 0 is
    the source's word that there was no error: what carries it is no evidence.
    """

    format: Format
    part: str
    opens: bool = False
    closes: bool = False
    values: Values = field(default_factory=Values)
    registers: RegisterValues = field(default_factory=RegisterValues)
    claims: tuple[tuple[ClaimKind, str], ...] = ()
    memory: MemoryReport | None = None
    hypervisor: HypervisorReport | None = None
    assumptions: tuple[str, ...] = ()
    may_open: bool = False
    repeats: bool = False
    needs: str | None = None
    unless: tuple[Unless, ...] = ()
    subject: Subject | None = None


@dataclass(frozen=True, slots=True)
class Grammar:
    """A format's reader of lines.

    ``tokens``: plain ASCII substrings; every line that this grammar can read outside of an open record contains at
    least one (a cheap filter before any regular expression runs). ``evidence_tokens``: the subset that promises
    machine-check evidence, so that a line with one of them which nothing can read is counted as unrecognised.
    ``read(body, inside)``: the fragment, or None if the line is not of this format. ``inside`` says whether a record
    of this format is open, for formats whose later lines cannot be told without it (mcelog's). ``inside_lines``: for
    such formats, how many lines after the last matching one a record stays open for lines without a token.
    """

    format: Format
    tokens: tuple[str, ...]
    read: Callable[[str, bool], Fragment | None]
    evidence_tokens: tuple[str, ...] = ()
    inside_lines: int = 0
