"""Records while their lines are being collected, and the burst of lines that they are collected from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ringfence.arch.mcg import LMCE_S, MCIP
from ringfence.record.evidence import (
    Claim,
    Delivery,
    Evidence,
    Format,
    HypervisorReport,
    MemoryReport,
    Origin,
    Record,
    Registers,
    Unrecognised,
)
from ringfence.record.text.grammar import Fragment, RegisterValues, Unless, Values
from ringfence.record.text.lines import Line

JOIN_LINES = 32
"""An EDAC, memory-failure, panic or summary line speaks of a record at most this many lines before it."""

NO_STATUS = "part of a machine-check record whose MCi_STATUS is missing"


@dataclass(slots=True)
class Draft:
    """A record while its lines are being collected."""

    format: Format
    lines: list[Line] = field(default_factory=list)
    parts: set[str] = field(default_factory=set)
    values: Values = field(default_factory=Values)
    registers: RegisterValues = field(default_factory=RegisterValues)
    claims: list[Claim] = field(default_factory=list)
    memory: MemoryReport | None = None
    hypervisor: HypervisorReport | None = None
    assumptions: list[str] = field(default_factory=list)
    unless: list[Unless] = field(default_factory=list)
    closed: bool = False
    head: Line | None = None
    last: int = 0
    """The order of the record's last line."""

    def takes(self, fragment: Fragment) -> bool:
        """Whether the fragment adds to this record without contradicting or repeating it."""
        return (
            not self.closed
            and (fragment.repeats or fragment.part not in self.parts)
            and not (self.registers.keys() & fragment.registers.keys())
            and not any(key in self.values and self.values[key] != value for key, value in fragment.values.items())  # type: ignore[literal-required] # keys of one TypedDict
            and (self.memory is None or fragment.memory is None or self.memory.agrees(fragment.memory))
        )

    def add(self, line: Line, fragment: Fragment, file: str) -> None:
        """Take a line and what it says; what is already known is never overwritten."""
        self.last = max(self.last, line.order) if self.lines else line.order
        self.lines.append(line)
        if fragment.opens and self.head is None:
            self.head = line
        self.parts.add(fragment.part)
        for key, value in fragment.values.items():
            self.values.setdefault(key, value)  # type: ignore[misc] # keys of one TypedDict
        for name, register in fragment.registers.items():
            self.registers.setdefault(name, register)  # type: ignore[misc] # keys of one TypedDict
        for kind, text in fragment.claims:
            self.claims.append(Claim(kind, text, Origin(file, line.number)))
        if fragment.memory is not None:
            self.memory = fragment.memory if self.memory is None else self.memory.merged(fragment.memory)
        self.hypervisor = self.hypervisor or fragment.hypervisor
        for assumption in fragment.assumptions:
            self.assume(assumption)
        self.unless.extend(fragment.unless)
        self.closed = self.closed or fragment.closes

    def assume(self, assumption: str) -> None:
        """List an assumption, once."""
        if assumption not in self.assumptions:
            self.assumptions.append(assumption)

    def settle(self) -> None:
        """Take what no line has contradicted."""
        for unsaid in self.unless:
            if any(key in self.values for key in unsaid.values):
                continue
            self.values |= unsaid.values
            if unsaid.assumption:
                self.assume(unsaid.assumption)

    def is_meant(self, line: Line, fragment: Fragment, current: Draft | None) -> bool:
        """Whether a line that speaks of one sort of record (its ``subject``) can speak of this one."""
        status = self.registers.get("status")
        near = 0 <= line.order - self.last <= JOIN_LINES
        if fragment.subject is None or not near or not self.takes(fragment):
            return False
        # Words without a bank are what the source says of one error, line by line.
        return self is current if status is None else fragment.subject.fits(status)

    @property
    def first(self) -> Line:
        """The line that the record begins with: its head, if it has one."""
        return self.head or self.lines[0]

    def finish(self, file: str) -> Evidence:
        """The record, or what there is of one as unrecognised evidence."""
        self.settle()
        lines = sorted(self.lines, key=lambda line: line.number)
        raw = b"\n".join(line.raw for line in lines)
        origin = Origin(file, self.first.number)
        if "status" not in self.registers and (self.memory is None or self.memory.severity is None):
            return Unrecognised(origin, raw, "; ".join((NO_STATUS, *self.assumptions)))
        stamped = self.head if self.head is not None and self.head.stamp is not None else None
        stamped = stamped or next((line for line in lines if line.stamp is not None), None)
        values = dict(self.values)
        if "time" not in values and stamped is not None and stamped.time is not None:
            values["time"] = stamped.time
        mcg_status = self.registers.get("mcg_status", 0)
        if mcg_status & MCIP.mask and values.get("delivery", Delivery.UNKNOWN) is not Delivery.FIRMWARE:
            local = mcg_status & LMCE_S.mask
            values["delivery"] = Delivery.LOCAL_MACHINE_CHECK if local else Delivery.MACHINE_CHECK
        return Record(
            origin=origin,
            format=self.format,
            raw=raw,
            registers=Registers(**self.registers),
            memory=self.memory,
            hypervisor=self.hypervisor,
            claims=tuple(self.claims),
            assumptions=tuple(self.assumptions),
            stamp=stamped.stamp if stamped is not None else None,
            **values,  # type: ignore[arg-type] # Values declares these attributes of Record
        )


class Burst:
    """One burst of pieces on its way to records."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.drafts: list[Draft] = []
        self.orphans: list[Unrecognised] = []

    def new(self, format_: Format) -> Draft:
        """A new record of this format."""
        draft = Draft(format_)
        self.drafts.append(draft)
        return draft

    def orphan(self, lines: Sequence[Line], why: str) -> None:
        """Show lines that belong to no record."""
        raw = b"\n".join(line.raw for line in lines)
        self.orphans.append(Unrecognised(Origin(self.file, lines[0].number), raw, why))

    def latest(self, before: Line, formats: frozenset[Format]) -> Draft | None:
        """The record of one of these formats that ended last before a line, within reach."""
        reach = [d for d in self.drafts if before.order - d.last <= JOIN_LINES
                 and d.first.order <= before.order and d.format in formats]  # fmt: skip
        return max(reach, key=lambda draft: draft.first.order, default=None)
