"""The types of the public values, as ``mypy --strict`` sees them; run, the same lines hold for real values.

An ``ignore`` here states an error: mypy complains of it when the error is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import assert_never, assert_type

import pytest

from ringfence.arch.cpuid import Processor, Vendor
from ringfence.decode.decoder import KnownProcessor, decode
from ringfence.decode.meaning import Address, AddressKind, BankReading, Meaning, Note
from ringfence.diagnosis.events import Relation
from ringfence.diagnosis.finding import Event, Finding, Report, diagnose, events
from ringfence.diagnosis.severity import ErrorClass, Reason, Severity, Verdict
from ringfence.record.evidence import (
    Claim,
    Delivery,
    Evidence,
    Format,
    HypervisorReport,
    Location,
    MemoryReport,
    Origin,
    Record,
    Registers,
    Unrecognised,
)
from ringfence.record.reader import read
from ringfence.record.sources import Source, expand
from ringfence.views import jsonl, text

TWICE = (
    "mce: [Hardware Error]: CPU 18: Machine Check Exception: 5 Bank 7: be00000001010091\n"
    "mce: [Hardware Error]: TSC ae4b410af0b8 ADDR 314d193000 MISC 200400c008002086 \n"
    "mce: [Hardware Error]: PROCESSOR 0:50657 TIME 1605843017 SOCKET 1 APIC 40 microcode 5000021\n"
) * 2  # linux-edac, November 2020


@pytest.fixture
def source(tmp_path: Path) -> Source:
    path = tmp_path / "kern.log"
    path.write_text(TWICE)
    sources = expand((str(path),))
    assert_type(sources, Iterator[Source])
    return next(sources)


@pytest.fixture
def record(source: Source) -> Record:
    found = next(read(source))
    assert isinstance(found, Record)
    return found


def kind_of(item: Evidence | Event) -> str:
    """A closed union: mypy knows when nothing is left over."""
    match item:
        case Record():
            return "record"
        case Unrecognised():
            return "unrecognised"
        case Event():
            return "event"
        case _:
            assert_never(item)


def test_a_source_gives_evidence_and_evidence_gives_events(source: Source) -> None:
    evidence = read(source)
    assert_type(evidence, Iterator[Record | Unrecognised])
    happened = events(evidence, KnownProcessor(Vendor.INTEL, 0x50657, "--cpu"))
    assert_type(happened, Iterator[Event | Unrecognised])
    assert [kind_of(item) for item in happened] == ["event"]


def test_a_record_says_what_it_has_and_none_for_the_rest(record: Record) -> None:
    assert_type(record.origin, Origin)
    assert_type(record.origin.line, int | None)
    assert_type(record.format, Format)
    assert_type(record.raw, bytes)
    assert_type(record.registers, Registers)
    assert_type(record.registers.status, int | None)
    assert_type(record.cpu, int | None)
    assert_type(record.vendor, Vendor | None)
    assert_type(record.time, float | None)
    assert_type(record.delivery, Delivery)
    assert_type(record.count, int)
    assert_type(record.memory, MemoryReport | None)
    assert_type(record.hypervisor, HypervisorReport | None)
    assert_type(record.claims, tuple[Claim, ...])
    assert_type(record.assumptions, tuple[str, ...])


def test_a_meaning_and_a_finding_have_types_of_their_own(record: Record) -> None:
    meaning = decode(record)
    assert_type(meaning, Meaning)
    assert_type(meaning.processor, Processor | None)
    assert_type(meaning.reading, BankReading)
    finding = diagnose(record)
    assert_type(finding, Finding)
    assert_type(finding.verdict, Verdict)
    assert_type(finding.severity, Severity)
    assert_type(finding.error_class, ErrorClass)
    assert_type(finding.reasons, tuple[Reason, ...])
    assert_type(finding.notes, tuple[Note, ...])
    assert_type(finding.reading.address, Address)
    assert_type(finding.reading.address.kind, AddressKind)
    assert_type(finding.reading.address.names_a_page, bool)
    assert_type(finding.reading.location, Location)
    assert_type(finding.reading.location.channel, int | None)
    assert_type(finding.summary, str)


def test_an_event_has_its_further_reports(source: Source) -> None:
    (event,) = events(read(source))
    assert isinstance(event, Event)
    assert_type(event.finding, Finding)
    assert_type(event.count, int)
    assert_type(event.reports, list[Report])
    (report,) = event.reports
    assert_type(report.record, Record)
    assert_type(report.relation, Relation)
    assert_type(text.event_text(event), str)
    assert_type(jsonl.line(event), jsonl.FindingLine)
    assert_type(jsonl.encode(jsonl.line(event)), bytes)


def test_values_cannot_be_changed(record: Record) -> None:
    with pytest.raises(AttributeError):
        record.cpu = 1  # type: ignore[misc] # a record is frozen, and mypy must say so
    with pytest.raises(AttributeError):
        record.registers.status = 0  # type: ignore[misc] # so are its registers
    with pytest.raises(AttributeError):
        diagnose(record).verdict.severity = Severity.NONE  # type: ignore[misc] # and what was judged


def test_look_alikes_are_told_apart() -> None:
    with pytest.raises(TypeError):
        Record("kern.log", Format.PRINTK, b"")  # type: ignore[arg-type, call-arg] # by keyword only
    with pytest.raises(AttributeError):
        diagnose("be00000001010091")  # type: ignore[arg-type] # a record, not a number's text
