"""Findings as JSON, one object a line. The schema in docs/decode-schema.json is generated from these structs."""

from __future__ import annotations

from inspect import cleandoc

import msgspec

from ringfence.decode.meaning import Address, AddressKind
from ringfence.diagnosis.events import Relation
from ringfence.diagnosis.finding import Event, Finding, Report
from ringfence.diagnosis.severity import ErrorClass, Mode, Scope, Severity
from ringfence.record.evidence import ClaimKind, Delivery, Format, Location, Record, Registers, Unrecognised
from ringfence.record.text.stamps import civil_time
from ringfence.views.times import iso


class RegistersLine(msgspec.Struct, omit_defaults=True):
    """Registers as hexadecimal strings; absent when the evidence does not give them."""

    status: str | None = None
    addr: str | None = None
    misc: str | None = None
    synd: str | None = None
    ipid: str | None = None
    mcg_status: str | None = None
    mcg_cap: str | None = None
    tsc: str | None = None
    ppin: str | None = None
    ip: str | None = None
    cs: str | None = None
    ctl2: str | None = None
    config: str | None = None
    destat: str | None = None
    deaddr: str | None = None
    synd1: str | None = None
    synd2: str | None = None


class ReasonLine(msgspec.Struct):
    """Why the severity is what it is: the rule, its sentence, and the manual section that it rests on."""

    rule: str
    because: str
    cite: str


class AddressLine(msgspec.Struct, omit_defaults=True):
    """MCi_ADDR or the source's own address: what kind it is, and whether it names a page of host memory."""

    kind: AddressKind
    names_a_page: bool
    because: str
    value: str | None = None
    granularity_bytes: int | None = None


class LocationLine(msgspec.Struct, omit_defaults=True):
    """Where in the machine, as far as the evidence carries it; numbers as the source counts them."""

    socket: int | None = None
    node: int | None = None
    core: int | None = None
    controller: int | None = None
    channel: int | None = None
    card: int | None = None
    module: int | None = None
    slot: int | None = None
    rank: int | None = None
    bank_group: int | None = None
    bank: int | None = None
    row: int | None = None
    column: int | None = None
    device: int | None = None
    dq: int | None = None
    csrow: int | None = None
    label: str | None = None
    syndrome: str | None = None


class ClaimLine(msgspec.Struct):
    """What the source says in its own words."""

    kind: ClaimKind
    text: str


class ReportLine(msgspec.Struct, omit_defaults=True):
    """A further report of the same event: it is not counted again."""

    relation: Relation
    file: str
    line: int | None = None
    offset: int | None = None
    cpu: int | None = None
    time: str | None = None


class HypervisorLine(msgspec.Struct, omit_defaults=True):
    """What Xen says beyond the banks."""

    domain: int | None = None
    vcpu: int | None = None
    owner: int | None = None
    global_flags: int | None = None
    action_flags: int | None = None
    action_types: int | None = None
    machine_frame: str | None = None
    page_status: str | None = None


class FindingLine(msgspec.Struct, omit_defaults=True, rename={"error_class": "class"}):
    """One event. ``count`` is how many errors it stands for: 0 for a further report of an event already shown.

    ``context_lost``: whether what the processor was executing cannot be resumed; ``mode``: what was interrupted;
    ``scope``: to which processors the exception went. ``local_time``: the date and clock that the stamp gives, in the
    zone of the machine that wrote the log. Each is absent where the evidence does not say.
    """

    file: str
    format: Format
    error_class: ErrorClass
    severity: Severity
    unit: str
    error: str
    summary: str
    advice: str
    address: AddressLine
    location: LocationLine
    registers: RegistersLine
    reasons: list[ReasonLine]
    assumptions: list[str]
    notes: list[str]
    count: int
    line: int | None = None
    offset: int | None = None
    time: str | None = None
    stamp: str | None = None
    local_time: str | None = None
    cpu: int | None = None
    socket: int | None = None
    bank: int | None = None
    apicid: int | None = None
    vendor: str | None = None
    cpuid: str | None = None
    microarchitecture: str | None = None
    microcode: str | None = None
    delivery: Delivery | None = None
    context_lost: bool | None = None
    mode: Mode | None = None
    scope: Scope | None = None
    corrected_count: int | None = None
    threshold_count: int | None = None
    details: list[str] = []
    claims: list[ClaimLine] = []
    reports: list[ReportLine] = []
    hypervisor: HypervisorLine | None = None
    relation: Relation | None = None


class UnrecognisedLine(msgspec.Struct, omit_defaults=True):
    """Evidence that cannot be read: shown as it stands, with the reason."""

    file: str
    unrecognised: str
    raw: str
    line: int | None = None
    offset: int | None = None


def _hex(value: int | None) -> str | None:
    return None if value is None else f"{value:#x}"


def registers_line(registers: Registers) -> RegistersLine:
    """Registers as a line has them."""
    return RegistersLine(**{name: _hex(getattr(registers, name)) for name in Registers.__slots__})


def _address(address: Address) -> AddressLine:
    return AddressLine(
        kind=address.kind,
        names_a_page=address.names_a_page,
        because=address.because,
        value=_hex(address.value),
        granularity_bytes=address.granularity_bytes,
    )


def location_line(location: Location) -> LocationLine:
    """A place as a line has it."""
    parts = {name: getattr(location, name) for name in Location.__slots__ if name != "syndrome"}
    return LocationLine(**parts, syndrome=_hex(location.syndrome))


def _hypervisor(record: Record) -> HypervisorLine | None:
    seen = record.hypervisor
    if seen is None:
        return None
    return HypervisorLine(
        domain=seen.domain,
        vcpu=seen.vcpu,
        owner=seen.owner,
        global_flags=seen.global_flags,
        action_flags=seen.action_flags,
        action_types=seen.action_types,
        machine_frame=_hex(seen.machine_frame),
        page_status=_hex(seen.page_status),
    )


def reports(found: list[Report]) -> list[ReportLine]:
    """The further reports of an event."""
    return [
        ReportLine(
            relation=again.relation,
            file=again.record.origin.file,
            line=again.record.origin.line,
            offset=again.record.origin.offset,
            cpu=again.record.cpu,
            time=iso(again.record.time),
        )
        for again in found
    ]


def local_time(stamp: str | None) -> str | None:
    """The civil time of a log's stamp as ISO 8601 without a zone; None if it gives none (``record.text.stamps``)."""
    civil = None if stamp is None or ":" not in stamp else civil_time(stamp)
    return None if civil is None else civil.isoformat(timespec="seconds")


def line(event: Event) -> FindingLine:
    """An event as its JSON line."""
    finding: Finding = event.finding
    record = finding.record
    reading = finding.reading
    return FindingLine(
        file=record.origin.file,
        line=record.origin.line,
        offset=record.origin.offset,
        format=record.format,
        time=iso(record.time),
        stamp=record.stamp,
        local_time=local_time(record.stamp),
        cpu=record.cpu,
        socket=record.socket,
        bank=record.bank,
        apicid=record.apicid,
        vendor=finding.vendor,
        cpuid=_hex(record.cpuid),
        microarchitecture=finding.microarchitecture,
        microcode=_hex(record.microcode),
        delivery=record.delivery,
        context_lost=finding.verdict.interrupted_context_lost,
        mode=None if finding.verdict.mode is Mode.UNKNOWN else finding.verdict.mode,
        scope=None if finding.verdict.scope is Scope.UNKNOWN else finding.verdict.scope,
        registers=registers_line(record.registers),
        error_class=finding.error_class,
        severity=finding.severity,
        reasons=[ReasonLine(reason.rule, reason.because, reason.cite) for reason in finding.reasons],
        unit=reading.unit,
        error=reading.error,
        summary=finding.summary,
        advice=finding.advice,
        details=list(reading.details),
        address=_address(reading.address),
        location=location_line(reading.location),
        corrected_count=reading.corrected_count,
        threshold_count=reading.threshold_count,
        assumptions=list(finding.assumptions),
        notes=[f"{note.text} ({note.source})" for note in finding.notes],
        claims=[ClaimLine(claim.kind, claim.text) for claim in record.claims],
        hypervisor=_hypervisor(record),
        count=event.count,
        relation=None if event.relation is Relation.NEW else event.relation,
        reports=reports(event.reports),
    )


def unrecognised_line(item: Unrecognised) -> UnrecognisedLine:
    """Unreadable evidence as its JSON line; bytes that are no UTF-8 are shown as escapes."""
    return UnrecognisedLine(
        file=item.origin.file,
        line=item.origin.line,
        offset=item.origin.offset,
        unrecognised=item.why,
        raw=item.raw.decode("utf-8", "backslashreplace"),
    )


_ENCODER = msgspec.json.Encoder()


def encode(item: msgspec.Struct) -> bytes:
    """One line of JSON, without the newline."""
    return _ENCODER.encode(item)


def schema() -> dict[str, object]:
    """The JSON Schema (2020-12) of one line: a finding, or evidence that cannot be read."""
    return schema_of("One line of `ringfence decode --json`", FindingLine, UnrecognisedLine)


def schema_of(title: str, *lines: type[msgspec.Struct]) -> dict[str, object]:
    """The JSON Schema (2020-12) of a line that has one of several forms."""
    forms, components = msgspec.json.schema_components(lines, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "oneOf": list(forms),
        "$defs": {name: _dedented(component) for name, component in components.items()},
    }


def _dedented(component: dict[str, object]) -> dict[str, object]:
    """A component whose description is as Python 3.13 has docstrings: without the indentation of the source."""
    description = component.get("description")
    return component | {"description": cleandoc(description)} if isinstance(description, str) else component
