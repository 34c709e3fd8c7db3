"""A finding: a record, what its bits mean, how bad it is and why. An event: a finding and its further reports."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from ringfence.arch.cpuid import Vendor
from ringfence.decode.decoder import KnownProcessor, decode, with_processor
from ringfence.decode.dimm import KnownDimms, with_dimm
from ringfence.decode.meaning import Address, AddressKind, BankReading, Meaning, Note, canonical, located
from ringfence.decode.significance import standing_address, standing_misc
from ringfence.diagnosis.advice import LEADS, Consumer, Situation, advice, page_state
from ringfence.diagnosis.events import Folder, Relation
from ringfence.diagnosis.severity import ErrorClass, Mode, Reason, Severity, Verdict, is_judgeable, judge
from ringfence.quick import changed
from ringfence.record.evidence import (
    Claim,
    ClaimKind,
    Evidence,
    Format,
    Location,
    Lull,
    Origin,
    Record,
    Registers,
    Unrecognised,
)

HELD_ITEMS = 1_000
"""An event waits for its further reports while so many later items are held; reports after that are shown alone."""

UNJUDGED = "it reports an error and does not say how bad it was: no MCi_STATUS, and no severity that is defined"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one record means and how bad it is."""

    meaning: Meaning
    verdict: Verdict

    @property
    def record(self) -> Record:
        """The evidence."""
        return self.meaning.record

    @property
    def reading(self) -> BankReading:
        """What the bits mean."""
        return self.meaning.reading

    @property
    def vendor(self) -> Vendor | None:
        """The processor's vendor, named or assumed (see ``assumptions``)."""
        return self.meaning.vendor

    @property
    def microarchitecture(self) -> str | None:
        """The microarchitecture's name, None if the model is unknown."""
        return self.meaning.processor.microarchitecture if self.meaning.processor is not None else None

    @property
    def severity(self) -> Severity:
        """How bad it is."""
        return self.verdict.severity

    @property
    def error_class(self) -> ErrorClass:
        """Corrected, uncorrected, or no error."""
        return ErrorClass.of(self.verdict.severity)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why the severity is what it is."""
        return self.verdict.reasons

    @property
    def assumptions(self) -> tuple[str, ...]:
        """All that had to be assumed on the way, each once."""
        return tuple(dict.fromkeys((*self.reading.assumptions, *self.verdict.assumptions)))

    @property
    def notes(self) -> tuple[Note, ...]:
        """What a reader should know besides (why a record is no error stands in ``reasons``)."""
        return self.reading.notes

    @property
    def is_left_over(self) -> bool:
        """Whether the error is one of an earlier exception or of the time before a reset, read now."""
        return any(reason.rule == "left-over" for reason in self.reasons)

    @property
    def summary(self) -> str:
        """What happened and how bad, in one sentence."""
        socket = self.reading.location.socket
        return self.sentence(self.reading.error, None if socket is None else str(socket))

    def sentence(self, error: str, socket: str | None) -> str:
        """The ``summary`` with these words for the error and the socket."""
        reading = self.reading
        if reading.not_an_error is not None:
            return f"{LEADS[Severity.NONE]}: {error} (see why)"
        place = reading.unit
        if reading.location.label:
            place += f", {reading.location.label}"
        elif socket is not None:
            place += f", socket {socket}"
        error = "the error code is 0 (no error): injected or incomplete?" if reading.names_no_error else error
        lead = LEADS[self.severity]
        if self.is_left_over:
            lead = f"Left over from before: {lead[0].lower()}{lead[1:]}"
        return f"{lead}: {error}; reported by {place}"

    @property
    def advice(self) -> str:
        """What to do about it."""
        return advice(
            Situation(
                severity=self.severity,
                unit=self.reading.unit_kind,
                names_a_page=self.reading.address.names_a_page,
                delivery=self.verdict.delivery,
                consumer=self._consumer,
                past_threshold=self.reading.past_threshold,
                names_no_error=self.reading.names_no_error,
                page=page_state(self.record.claims),
            )
        )

    @property
    def _consumer(self) -> Consumer:
        if any(reason.rule == "consumer-elsewhere" for reason in self.reasons):
            return Consumer.UNKNOWN
        if self.verdict.mode is Mode.KERNEL:
            return Consumer.KERNEL
        return Consumer.LOST if self.verdict.interrupted_context_lost else Consumer.UNKNOWN


def diagnose(record: Record) -> Finding:
    """The finding of a record; a pure function of it.

    Records that differ only in who reported them, when, where they stand and in registers that say nothing but where
    the error is, are read and judged once.
    """
    known = _latest.get(id(record))
    if known is not None and known.record is record:
        return known
    found = _latest[id(record)] = _diagnosis(record)
    if len(_latest) > LATEST_FINDINGS:
        with suppress(KeyError, RuntimeError):  # another thread was here
            del _latest[next(iter(_latest))]
    return found


LATEST_FINDINGS: Final = 64
"""The very same record is asked about by the seat that treats it and by the one that writes it down."""
_latest: Final[dict[int, Finding]] = {}
"""By the identity of their records, which they keep alive."""


def _diagnosis(record: Record) -> Finding:
    registers = record.registers
    addr, misc = _standing(record)
    alike = _diagnosed(
        _OF_RECORD(record),
        # The kernel's decoder is taken at its word now and then (``decode.amd.errata``).
        record.raw if record.format is Format.AMD_DECODED else b"",
        _OF_REGISTERS(registers),
        addr,
        misc,
        # When it was says nothing; that no time stamp was taken does (``decode.amd.errata``).
        1 if registers.tsc else registers.tsc,
        tuple([(claim.kind, claim.text) for claim in record.claims]) if record.claims else (),
    )
    reading = alike.reading
    if addr != registers.addr or misc != registers.misc or record.assumptions:
        reading = changed(
            reading,
            address=_with_value(reading.address, registers) if addr != registers.addr else reading.address,
            location=_with_numbers(reading, registers) if misc != registers.misc else reading.location,
            assumptions=(*record.assumptions, *reading.assumptions),
        )
    meaning = Meaning(record=record, vendor=alike.vendor, processor=alike.meaning.processor, reading=reading)
    return Finding(meaning, alike.verdict)


def _standing(record: Record) -> tuple[int | None, int | None]:
    """MCi_ADDR and MCi_MISC by which a record is read, as so many lie elsewhere and say the same
    (``decode.significance``).
    """
    held = record.registers
    if (
        held.addr is None or held.status is None or record.vendor is None or record.cpuid is None
        or record.bank is None or record.memory is not None or record.format is Format.AMD_DECODED
    ):  # fmt: skip
        return held.addr, held.misc
    bank = record.vendor, record.cpuid, record.bank, held.status
    misc = None if held.misc is None else standing_misc(*bank, held.misc)
    return standing_address(*bank, held.addr), misc


def _with_numbers(reading: BankReading, registers: Registers) -> Location:
    """The location in these registers, where another MCi_MISC stood for theirs."""
    placed = tuple(each for each in reading.placed if each.register == "misc")
    return located(reading.location, placed, registers.misc or 0)


def _with_value(address: Address, registers: Registers) -> Address:
    """The address of these registers, where another one stood for it."""
    if address.value is None or registers.addr is None:
        return address
    value = registers.addr & address.mask
    if address.lsb is not None:
        lsb = address.lsb.of(getattr(registers, address.lsb.register))
        value = value >> lsb << lsb
    return changed(address, value=canonical(value) if address.kind is AddressKind.LINEAR else value)


REMEMBERED_FINDINGS = 4096
"""A latched bank is read again and again, and a log may have a line many times; each takes some 4 kB."""
_ANYWHERE = Origin("")

_KEPT: Final = tuple(
    each.name
    for each in fields(Record)
    if each.name
    not in {
        "origin", "raw", "cpu", "apicid", "time", "stamp", "registers", "claims", "assumptions",
        # Whose page it is and who ran says whom it hits (``containment``), not what it is.
        "hypervisor",
    }
)  # fmt: skip
_OF_RECORD: Final = attrgetter(*_KEPT)
"""What of a record may decide what it means and how bad it is, but for what ``_diagnosed`` is given beside it."""
_KEPT_REGISTERS: Final = tuple(each.name for each in fields(Registers) if each.name not in {"addr", "misc", "tsc"})
_OF_REGISTERS: Final = attrgetter(*_KEPT_REGISTERS)

_Values = tuple[Any, ...]


@lru_cache(maxsize=REMEMBERED_FINDINGS)
def _diagnosed(  # noqa: PLR0913, PLR0917 (what tells records apart)
    kept: _Values,
    raw: bytes,
    registers: _Values,
    addr: int | None,
    misc: int | None,
    tsc: int | None,
    claims: tuple[tuple[ClaimKind, str], ...],
) -> Finding:
    record = Record(
        origin=_ANYWHERE,
        raw=raw,
        registers=Registers(addr=addr, misc=misc, tsc=tsc, **dict(zip(_KEPT_REGISTERS, registers, strict=True))),
        claims=tuple(Claim(kind, text, _ANYWHERE) for kind, text in claims),
        **dict(zip(_KEPT, kept, strict=True)),
    )
    meaning = decode(record)
    signature = meaning.processor.signature if meaning.processor is not None else None
    return Finding(meaning, judge(record, meaning.vendor, signature, meaning.reading.not_an_error))


def judged(record: Record) -> Finding | Unrecognised:
    """The finding of a record; ``Unrecognised`` if it does not say how bad it was: silence is no corrected error."""
    return diagnose(record) if is_judgeable(record) else Unrecognised(record.origin, record.raw, UNJUDGED)


@dataclass(frozen=True, slots=True)
class Report:
    """A further report of an event: its own finding, and how it relates to the report before."""

    finding: Finding
    relation: Relation

    @property
    def record(self) -> Record:
        """The evidence."""
        return self.finding.record


@dataclass(slots=True)
class Event:
    """One hardware event: its first report as a finding, and every further report of it that came in time.

    ``count`` is how many errors it stands for: what the source itself counted, once, however often it was reported; 0
    for a further report that came after its event had been handed out (``relation`` then says how it belongs).
    """

    number: int
    finding: Finding
    count: int
    relation: Relation = Relation.NEW
    reports: list[Report] = field(default_factory=list)


class ProcessorMemory:
    """Names the processor of a record by what the same file said before, or by what the user said."""

    def __init__(self, stated: KnownProcessor | None = None) -> None:
        self._stated = stated
        self._seen: KnownProcessor | None = None
        self._file: str | None = None
        self._line = 0

    def saw(self, file: str, line: int, vendor: Vendor, cpuid: int) -> None:
        """A record in this line of the file named its processor; an earlier line than the last one seen is ignored."""
        if file == self._file and line < self._line:
            return
        self._file, self._line = file, line
        self._seen = KnownProcessor(vendor, cpuid, f"line {line} of the same log")

    def complete(self, record: Record) -> Record:
        """The record, with its processor named if anybody named it before; the assumption is listed in it."""
        if record.origin.file != self._file:
            self._file, self._line, self._seen = record.origin.file, 0, None
        done = with_processor(record, self._stated or self._seen)
        if done is record and record.vendor is not None and record.cpuid is not None:
            self._line = record.origin.line or 0
            at = f"line {record.origin.line}" if record.origin.line is not None else f"byte {record.origin.offset}"
            self._seen = KnownProcessor(record.vendor, record.cpuid, f"{at} of the same log")
        return done


def events(
    evidence: Iterable[Evidence | Lull], stated: KnownProcessor | None = None, dimms: KnownDimms | None = None
) -> Iterator[Event | Unrecognised]:
    """Findings of a stream of evidence, reports of one event gathered, in the order of first report.

    Memory is bounded by ``HELD_ITEMS`` and the folder's window; at a lull, all that is held is handed out.
    """
    folder = Folder()
    memory = ProcessorMemory(stated)
    held: deque[Event | Unrecognised] = deque()
    by_number: dict[int, Event] = {}
    for item in evidence:
        if isinstance(item, Lull):
            yield from held
            held.clear()
            by_number.clear()
        elif isinstance(item, Unrecognised):
            held.append(item)
        elif isinstance(finding := judged(with_dimm(memory.complete(item), dimms)), Unrecognised):
            held.append(finding)
        else:
            number, relation = folder.place(finding.record)
            if relation is Relation.NEW:
                by_number[number] = event = Event(number, finding, finding.record.count)
                held.append(event)
            elif (known := by_number.get(number)) is not None:
                known.reports.append(Report(finding, relation))
            else:
                held.append(Event(number, finding, 0, relation))
        if len(held) > HELD_ITEMS:
            done = held.popleft()
            if isinstance(done, Event):
                by_number.pop(done.number, None)
            yield done
    yield from held
