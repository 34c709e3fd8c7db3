"""Findings as text for people: what happened, who reported it, where, what to do, and why we say so.

A finding's text is a template (all that depends on the kind of error) filled with slots (place, time, CPU, address,
count), so that a log of a hundred thousand errors of a few kinds is laid out a few times only.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from ringfence.decode.meaning import NO_WORDS, AddressKind, Note, Wording, worded
from ringfence.diagnosis.events import Relation
from ringfence.diagnosis.finding import Event, Finding, Report
from ringfence.diagnosis.severity import Severity
from ringfence.record.evidence import Location, Origin, Record, Unrecognised
from ringfence.record.text.stamps import civil_time, is_foreign
from ringfence.views.times import iso

WIDTH = 110
"""Columns to which prose is wrapped; a line with an identifier in it may be longer."""
SHOWN_REPORTS = 5
"""Further reports of an event that are listed one by one; the rest are counted."""
_LABEL = 13

_COLOURS = {
    Severity.NONE: "\x1b[2m",
    Severity.CORRECTED: "\x1b[32m",
    Severity.DEFERRED: "\x1b[33m",
    Severity.UCNA: "\x1b[33m",
    Severity.SRAO: "\x1b[33m",
    Severity.SRAR: "\x1b[31m",
    Severity.FATAL: "\x1b[1;31m",
}
_RESET = "\x1b[0m"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")

SLOTS = (
    "refinement", "socket", "place", "when", "cpu", "reporter_socket", "where", "address", "granularity", "count",
    "threshold", "details", "notes",
)  # fmt: skip
"""What varies between findings of one kind; in a template each stands as a private-use character.

``refinement`` comes with the colon before it, ``details`` and ``notes`` as whole rows.
"""
_MARK = {name: chr(0xE000 + index) for index, name in enumerate(SLOTS)}
_SLOT = re.compile("[" + "".join(_MARK.values()) + "]")
_NAME = {mark: name for name, mark in _MARK.items()}
_WHOLE_ROWS = frozenset({_MARK["details"], _MARK["notes"]})


def printable(text: str) -> str:
    """Text from a log made safe for a terminal: control characters and direction marks are shown as escapes."""
    return _CONTROL.sub(_escaped, text).translate(_UNMARK)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


_UNMARK = {ord(mark): "\ufffd" for mark in _MARK.values()}


@dataclass(frozen=True, slots=True)
class Template:
    """A finding's text with ``%s`` where ``slots`` go, in their order."""

    text: str
    slots: tuple[str, ...]

    def fill(self, values: dict[str, str]) -> str:
        """The text with the slots filled."""
        return self.text % tuple(values[name] for name in self.slots)


def _row(label: str, text: str) -> str:
    if text in _WHOLE_ROWS:
        return text
    if _SLOT.search(text):
        return f"  {label:<{_LABEL}}{text}\n"
    lines = textwrap.wrap(text, WIDTH - _LABEL - 2, break_long_words=False, break_on_hyphens=False) or [""]
    rest = "".join(f"{'':<{_LABEL + 2}}{line}\n" for line in lines[1:])
    return f"  {label:<{_LABEL}}{lines[0]}\n{rest}"


_PLACES: tuple[tuple[str, str], ...] = (
    ("socket", "socket {}"),
    ("node", "node {}"),
    ("core", "core {}"),
    ("controller", "controller {}"),
    ("channel", "channel {}"),
    ("card", "card {}"),
    ("module", "module {}"),
    ("slot", "DIMM slot {}"),
    ("csrow", "csrow {}"),
    ("rank", "rank {}"),
    ("bank_group", "bank group {}"),
    ("bank", "bank {}"),
    ("row", "row {:#x}"),
    ("column", "column {:#x}"),
    ("device", "device {}"),
    ("dq", "DQ {}"),
    ("syndrome", "syndrome {:#x}"),
)


def place_in_machine(location: Location) -> str:
    """A location in words, empty if nothing is known."""
    parts = [form.format(value) for name, form in _PLACES if (value := getattr(location, name)) is not None]
    words = ", ".join(parts)
    if location.label:
        return f"{printable(location.label)}: {words}" if words else printable(location.label)
    return words


def _reporter(finding: Finding) -> str:
    record = finding.record
    who = _MARK["cpu"]
    if record.socket is not None:
        who += f", socket {_MARK['reporter_socket']}"
    if record.bank is not None:
        who += f", bank {record.bank}"
    who += f": {finding.reading.unit}"
    known = finding.meaning.processor
    if known is not None:
        signature = known.signature
        name = f" {known.microarchitecture}" if known.microarchitecture else ""
        who += (
            f"; {signature.vendor}{name} (family {signature.family:#x}, model {signature.model:#x}, "
            f"stepping {signature.stepping})"
        )
    return who + f"; {record.delivery}"


def _address(finding: Finding) -> str | None:
    address = finding.reading.address
    if address.value is None:
        return None if address.kind is AddressKind.NONE else address.because
    size = ""
    if address.granularity_bytes is not None:
        size = f", to {_MARK['granularity']}"
    verdict = "names a page" if address.names_a_page else "names no page"
    return f"{_MARK['address']}, {address.kind}{size}; {verdict}: {address.because}"


def _rows(finding: Finding) -> Iterator[tuple[str, str]]:
    reading, record = finding.reading, finding.record
    wording = reading.wording or NO_WORDS
    yield "reported by", _reporter(finding)
    if place_in_machine(reading.location):
        yield "where", _MARK["where"]
    if (address := _address(finding)) is not None:
        yield "address", address
    if reading.corrected_count:
        yield "count", f"corrected errors that the bank counts since it was cleared: {_MARK['count']}"
    if reading.threshold_count is not None:
        yield (
            "counter",
            f"threshold counter at {_MARK['threshold']} of 4095 (errors since it was preset, plus the preset)",
        )
    yield "detail", _MARK["details"]
    for detail in reading.details[len(wording.details) :]:
        yield "detail", printable(detail)
    yield "do", finding.advice
    for reason in finding.reasons:
        yield "because", f"{reason.because} [{reason.rule}; {reason.cite}]"
    for assumption in finding.assumptions:
        yield "assumed", printable(assumption)
    yield "note", _MARK["notes"]
    for note in reading.notes[len(wording.notes) :]:
        yield "note", note_text(note)
    for claim in record.claims:
        yield "source says", printable(claim.text)


def sentence(finding: Finding) -> Template:
    """A finding's summary, as a template of what refines the error (with the colon before it) and of the socket."""
    bare = worded(finding.reading, NO_WORDS).error
    error = bare + _MARK["refinement"] if finding.reading.wording is not None else bare
    return _template(finding.sentence(error, None if finding.reading.location.socket is None else _MARK["socket"]))


def note_text(note: Note) -> str:
    """A note with its source."""
    return f"{note.text} ({note.source})"


def word_rows(wording: Wording) -> tuple[str, str, str]:
    """How words fill the slots ``refinement``, ``details`` and ``notes``."""
    return (
        f": {printable(wording.refinement)}" if wording.refinement else "",
        "".join(_row("detail", printable(detail)) for detail in wording.details),
        "".join(_row("note", note_text(note)) for note in wording.notes),
    )


def template(finding: Finding, *, colour: bool = False) -> Template:
    """The template of a finding's text. Equal for findings that differ in the slots only."""
    on, off = (_COLOURS[finding.severity], _RESET) if colour else ("", "")
    told = sentence(finding)
    summary = printable(told.text) % tuple(_MARK[name] for name in told.slots)
    head = f"{on}{summary}{off}\n  {_MARK['place']}{_MARK['when']}\n"
    body = head + "".join(_row(label, text) for label, text in _rows(finding))
    return _template(body)


def _template(marked: str) -> Template:
    slots = tuple(_NAME[match[0]] for match in _SLOT.finditer(marked))
    return Template(_SLOT.sub("%s", marked.replace("%", "%%")), slots)


def place(origin: Origin) -> str:
    """``file:line``, or ``file@byte`` for binary evidence."""
    name = "standard input" if origin.file == "-" else printable(origin.file)
    if origin.line is not None:
        return f"{name}:{origin.line}"
    return f"{name}@{origin.offset}" if origin.offset is not None else name


def counted(number: int, thing: str) -> str:
    """A number of things: "1 event", "2 events"."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def cpu_text(cpu: int | None) -> str:
    """A logical CPU by its number."""
    return "a CPU not named" if cpu is None else f"CPU {cpu}"


def when_text(time: float | None, stamp: str | None) -> str:
    """The time of an error as far as it is known: absolute if the evidence fixes it, else the log's own stamp."""
    if (absolute := iso(time)) is not None:
        return f", {absolute}"
    if not stamp:
        return ""
    read = ""
    if is_foreign(stamp):
        civil = civil_time(stamp)
        read = f" ({civil}, the log's own zone)" if civil is not None else " (which month it names is not known)"
    return f", stamp {printable(stamp)}{read}"


def _values(finding: Finding) -> dict[str, str]:
    record, reading = finding.record, finding.reading
    refinement, details, notes = word_rows(reading.wording or NO_WORDS)
    granularity = reading.address.granularity_bytes
    return {
        "refinement": refinement,
        "socket": str(reading.location.socket),
        "reporter_socket": str(record.socket),
        "details": details,
        "notes": notes,
        "granularity": "" if granularity is None else counted(granularity, "byte"),
        "place": place(record.origin),
        "when": when_text(record.time, record.stamp),
        "cpu": cpu_text(record.cpu),
        "address": "" if reading.address.value is None else f"{reading.address.value:#x}",
        "count": str(reading.corrected_count),
        "threshold": str(reading.threshold_count),
        "where": place_in_machine(reading.location),
    }


def _report_place(record: Record) -> str:
    return f"{place(record.origin)}{when_text(record.time, record.stamp)}, {cpu_text(record.cpu)}"


def reports_text(reports: list[Report]) -> str:
    """The further reports of an event."""
    rows = [_row("again", f"{_report_place(again.record)}: {again.relation}") for again in reports[:SHOWN_REPORTS]]
    if len(reports) > SHOWN_REPORTS:
        last = reports[-1]
        more = len(reports) - SHOWN_REPORTS
        rows.append(_row("again", f"{more} more, the last at {_report_place(last.record)}"))
    return "".join(rows)


def event_text(event: Event, *, colour: bool = False) -> str:
    """An event in full."""
    if event.relation is not Relation.NEW:
        return f"Again: {printable(event.finding.summary)}\n  {_report_place(event.finding.record)}: {event.relation}\n"
    text = template(event.finding, colour=colour).fill(_values(event.finding))
    if event.count != 1:
        text += _row("stands for", f"{counted(event.count, 'error')}, as the source counts them")
    return text + reports_text(event.reports)


def unrecognised_text(item: Unrecognised, *, colour: bool = False) -> str:
    """Unreadable evidence as it stands."""
    on, off = ("\x1b[35m", _RESET) if colour else ("", "")
    lines = item.raw.decode("utf-8", "backslashreplace").splitlines() or [""]
    shown = "".join(f"    | {printable(line)[:300]}\n" for line in lines[:8])
    more = f"    | ... {counted(len(lines) - 8, 'more line')}\n" if len(lines) > 8 else ""
    return f"{on}Not readable: {printable(item.why)}{off}\n  {place(item.origin)}\n{shown}{more}"


def severity_colour(severity: Severity) -> tuple[str, str]:
    """The escape sequences that switch a severity's colour on, and off again."""
    return _COLOURS[severity], _RESET
