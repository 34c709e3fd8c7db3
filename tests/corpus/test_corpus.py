"""Every real log comes out as its registers and its source say, whatever carried it."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from ringfence.diagnosis.events import Relation
from ringfence.diagnosis.finding import Event, events
from ringfence.diagnosis.severity import ErrorClass, Severity
from ringfence.record.evidence import Location, Unrecognised
from ringfence.record.reader import read as read_source
from ringfence.record.sources import expand
from ringfence.record.text.lines import RawLine
from ringfence.record.text.reader import read
from tests.corpus import amd_legacy, amd_smca, boards, hypervisors, intel_clients, intel_servers
from tests.corpus.vectors import Log, Seen

LOGS = (
    *intel_servers.LOGS,
    *intel_clients.LOGS,
    *amd_smca.LOGS,
    *amd_legacy.LOGS,
    *hypervisors.LOGS,
    *boards.LOGS,
)
AS_FOUND = tuple(log for log in LOGS if log.stated is None)

every_log = pytest.mark.parametrize("log", LOGS, ids=lambda log: log.name)

_CLASS = {Severity.NONE: ErrorClass.NONE, Severity.CORRECTED: ErrorClass.CORRECTED}


def diagnosed(log: Log, lines: list[bytes]) -> list[Event | Unrecognised]:
    raw = (RawLine(number, line) for number, line in enumerate(lines, start=1))
    return list(events(read(raw, log.name), log.stated))


def lines_of(log: Log) -> list[bytes]:
    return log.text.encode().splitlines()


def known_parts(location: Location) -> dict[str, int | str]:
    return {part.name: value for part in fields(location) if (value := getattr(location, part.name)) is not None}


def seen(event: Event, expected: Seen) -> Seen:
    """What came out, in the form of what is expected: phrases that stand where they should are taken over."""
    finding, record, reading = event.finding, event.finding.record, event.finding.reading

    def said(phrase: str, *texts: str) -> str:
        return phrase if any(phrase in text for text in texts) else " / ".join(texts)

    return Seen(
        severity=finding.severity,
        unit=said(expected.unit, reading.unit),
        error=said(expected.error, reading.error),
        rule=finding.reasons[0].rule,
        cpu=record.cpu,
        socket=record.socket,
        bank=record.bank,
        time=record.time,
        model=said(expected.model, finding.microarchitecture or "") if expected.model else finding.microarchitecture,
        address=reading.address.value,
        kind=reading.address.kind,
        names_a_page=reading.address.names_a_page,
        place=known_parts(reading.location),
        counted=reading.corrected_count,
        count=event.count,
        reports=len(event.reports),
        note=said(expected.note, *(note.text for note in finding.notes), finding.reasons[0].because)
        if expected.note
        else "",
        assumed=said(expected.assumed, *finding.assumptions) if expected.assumed else "",
    )


@every_log
def test_a_log_comes_out_as_its_registers_and_its_source_say(log: Log) -> None:
    found = diagnosed(log, lines_of(log))
    happened = [item for item in found if isinstance(item, Event)]
    assert [seen(event, expected) for event, expected in zip(happened, log.events, strict=True)] == list(log.events)
    assert sum(isinstance(item, Unrecognised) for item in found) == log.unrecognised
    for event in happened:
        assert event.relation is Relation.NEW
        assert event.finding.error_class is _CLASS.get(event.finding.severity, ErrorClass.UNCORRECTED)


@every_log
def test_a_finding_points_at_the_line_that_holds_its_status(log: Log) -> None:
    lines = lines_of(log)
    for item in diagnosed(log, lines):
        if isinstance(item, Event) and (status := item.finding.record.registers.status) is not None:
            record = item.finding.record
            assert record.origin.line is not None
            assert lines[record.origin.line - 1] in record.raw.split(b"\n")
            assert f"{status:x}" in record.raw.decode().lower().replace("'", "").replace("\n", "")


# --- carriers --------------------------------------------------------------------------------------------------------

JOURNAL = b"Jan 02 03:04:05 host-1 kernel: "

CARRIERS: dict[str, Callable[[bytes], bytes]] = {
    "mail quote": lambda line: b"> " + line,
    "mail quoted twice": lambda line: b"> >" + line,
    "indent": lambda line: b"    " + line,
    "carriage return": lambda line: line + b"\r",
    "journal": lambda line: JOURNAL + line,
    "syslog priority": lambda line: b"<4>" + line,
}

WRAPPED = frozenset({"intel-kbl-boot-llc"})
"""Logs whose lines a mail program or a screen broke: no journal puts its stamp into the middle of a line."""


def facts(found: list[Event | Unrecognised]) -> list[object]:
    """All that a finding says, but for where it stands and when the carrier stamped it."""
    told: list[object] = []
    for item in found:
        if isinstance(item, Unrecognised):
            told.append(item.why)
            continue
        record = item.finding.record
        told.append((
            record.registers, record.cpu, record.socket, record.node, record.bank, record.apicid, record.cpuid,
            record.time, record.delivery, record.count, record.memory, [(c.kind, c.text) for c in record.claims],
            item.finding.reading, item.finding.verdict, item.count, [report.relation for report in item.reports],
        ))  # fmt: skip
    return told


CARRIED = [
    pytest.param(log, carrier, id=f"{log.name} behind {carrier}")
    for log in AS_FOUND
    for carrier in CARRIERS
    if not (log.name in WRAPPED and carrier in {"journal", "syslog priority"})
]


@pytest.mark.parametrize(("log", "carrier"), CARRIED)
def test_the_carrier_changes_nothing_about_a_finding(log: Log, carrier: str) -> None:
    plain = lines_of(log)
    carried = [CARRIERS[carrier](line) for line in plain]
    assert facts(diagnosed(log, carried)) == facts(diagnosed(log, plain))


@pytest.mark.parametrize("log", AS_FOUND, ids=lambda log: log.name)
def test_a_compressed_log_with_dos_line_ends_reads_as_the_plain_one(log: Log, tmp_path: Path) -> None:
    file = tmp_path / "log.gz"
    file.write_bytes(gzip.compress(log.text.replace("\n", "\r\n").encode()))
    (source,) = expand((str(file),))
    assert facts(list(events(read_source(source)))) == facts(diagnosed(log, lines_of(log)))


# --- one event, read again -------------------------------------------------------------------------------------------


def named(name: str) -> Log:
    (log,) = (log for log in LOGS if log.name == name)
    return log


def test_a_latched_bank_that_the_kernel_prints_99_times_is_one_event() -> None:
    # The source of this log: "99 copies", one each five minutes, of the one event.
    log = named("amd-zen4-umc-latched")
    (event,) = diagnosed(log, lines_of(log) * 99)
    assert isinstance(event, Event)
    assert event.count == 1
    assert [report.relation for report in event.reports] == [Relation.LATCHED] * 98


def test_a_log_read_as_dmesg_and_as_journal_in_one_file_counts_each_error_once() -> None:
    log = named("intel-clx-skx-edac-ce")
    (event,) = diagnosed(log, lines_of(log) + [JOURNAL + line for line in lines_of(log)])
    assert isinstance(event, Event)
    assert event.count == 1
    assert [report.relation for report in event.reports] == [Relation.LOGGED_TWICE]
