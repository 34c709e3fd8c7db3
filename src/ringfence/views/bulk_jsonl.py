"""JSON lines of a log of many records, from the columns of ``diagnosis.table``.

The same lines come out as from ``views.jsonl``, byte for byte; a test holds the two together. A kind's line is encoded
once, by ``views.jsonl`` itself, with marks where its rows differ. Needs numpy (the optional dependencies ``columnar``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from operator import mod
from typing import Any, Final

import msgspec
import numpy as np

from ringfence.decode.meaning import NO_WORDS, Note, Wording, worded
from ringfence.diagnosis.finding import Event, Finding, Report, diagnose
from ringfence.diagnosis.kinds import Ids
from ringfence.diagnosis.numbers import address_column, granularity_column, number_column
from ringfence.diagnosis.table import Batch, Facts, Part, PartReader
from ringfence.record.columns import Block, Columns, Present, record_of
from ringfence.record.evidence import Location, Registers, Unrecognised
from ringfence.record.text.lines import RawLine, strip
from ringfence.views import jsonl
from ringfence.views.bulk import times_text
from ringfence.views.bulk_items import ItemWriter, Texts, joined, with_socket
from ringfence.views.times import iso

_CLOSED: Final = "}\n"

# Where rows of a kind differ, in the order in which a line has them, and how each is written.
_SLOTS: Final = {
    "error_refinement": "%s",
    "refinement": "%s",
    "summary_socket": "%s",
    "address": '"%#x"',
    "granularity": "%d",
    "location": "%s",
    "registers": "%s",
    "notes": "%s",
    "line": "%s",
    "cpu": "%d",
    "socket": "%d",
    "apicid": "%d",
    "microcode": "%s",
    "corrected_count": "%d",
    "threshold_count": "%d",
    "details": "%s",
}
_MARK: Final = {name: chr(0xE000 + at) for at, name in enumerate(_SLOTS)}
_WORDS: Final = Wording(_MARK["refinement"], (_MARK["details"],), (Note(_MARK["notes"], ""),))


def template(finding: Finding) -> tuple[str, bool, bool]:
    """A kind's line as a form of all slots, without its end; whether details, and notes, of its own follow the words.

    It begins with the end of the line before.
    """
    reading = finding.reading
    own = reading.wording or NO_WORDS
    marked = worded(reading, _WORDS)
    refined = reading.wording is not None
    event = Event(0, replace(finding, meaning=replace(finding.meaning, reading=marked)), 1)
    line: dict[str, Any] = msgspec.to_builtins(jsonl.line(event))
    bare = worded(reading, NO_WORDS).error
    line["error"] = bare + _MARK["error_refinement"] * refined
    line["summary"] = finding.sentence(
        bare + _MARK["refinement"] * refined,
        None if reading.location.socket is None else _MARK["summary_socket"],
    )
    for name in ("value", "granularity_bytes"):
        if name in line["address"]:
            line["address"][name] = _MARK["address" if name == "value" else "granularity"]
    for name in ("location", "registers", "line", "cpu", "socket", "apicid", "corrected_count", "threshold_count"):
        if name in line:
            line[name] = _MARK[name]
    for name in ("time", "stamp", "local_time", "microcode"):
        line.pop(name, None)
    whole = msgspec.json.encode(line).decode("utf-8")
    whole = whole.replace('"delivery":', _MARK["microcode"] + '"delivery":', 1)
    details, notes = len(reading.details) > len(own.details), len(reading.notes) > len(own.notes)
    for written, slot in (
        (f'"{_MARK["details"]}",' if details else f',"details":["{_MARK["details"]}"]', "details"),
        (f'"{_MARK["notes"]} ()"' + "," * notes, "notes"),
        *((f'"{mark}"', name) for name, mark in _MARK.items()),
    ):
        whole = whole.replace(written, _MARK[slot])
    return _form(_CLOSED + whole[:-1]), details, notes


def _form(marked: str) -> str:
    """A form that takes all slots in their order, those that it does not use for nothing."""
    out: list[str] = []
    rest = marked.replace("%", "%%")
    for name, written in _SLOTS.items():
        before, mark, behind = rest.partition(_MARK[name])
        if mark:
            out += (before, written)
            rest = behind
        else:
            out.append("%.0s")
    return "".join((*out, rest))


@dataclass(slots=True)
class _Lines(Texts):
    """The lines of a part's rows, and their stamps."""

    stamps: list[str | None]


class JsonReader(PartReader):
    """A ``PartReader`` that also writes every row's line, in the process that read it."""

    refinements_only = False
    range_bytes = 2 << 20

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self._facts = Facts(file)
        self._stamps: list[str | None] = []

    def saw(self, block: Block) -> None:
        """Keep the stamps that stand before a block's records."""
        columns = block.records
        for start, length in zip(columns.head.tolist(), columns.prefix_bytes.tolist(), strict=True):
            prefix = block.text(start, start + length)
            where = _stamp_in(prefix.translate(_ZEROS))
            self._stamps.append(None if where is None else prefix[where].decode("ascii", "replace"))

    def __call__(self, blocks: Iterator[Block]) -> Part:
        """A part, and in ``extra`` the lines of its rows."""
        self._stamps = []
        part = super().__call__(blocks)
        if part.rows is not None:
            kind, wording = self._facts.settle(part)
            forms = self._facts.of_kinds("form", template)
            slots = _slots(self._facts, part.rows, kind, wording, self._stamps)
            texts = joined(list(map(mod, [forms[each][0] for each in kind.tolist()], zip(*slots, strict=True))))
            part.extra = _Lines(texts.joined, texts.starts, self._stamps)
        return part


_ZEROS: Final = bytes.maketrans(b"123456789", b"000000000")


@lru_cache(maxsize=1024)
def _stamp_in(prefix: bytes) -> slice | None:
    """Where the stamp is in a prefix whose digits are all zeros."""
    stamp = strip(RawLine(1, prefix)).stamp
    if stamp is None:
        return None
    start = prefix.rindex(stamp.encode())
    return slice(start, start + len(stamp))


def _stamped(stamp: str | None) -> str:
    if stamp is None:
        return ""
    local = jsonl.local_time(stamp)
    return f',"stamp":"{stamp}"' if local is None else f',"stamp":"{stamp}","local_time":"{local}"'


def _slots(facts: Facts, rows: Columns, kind: Ids, wording: Ids, stamps: list[str | None]) -> list[Iterable[Any]]:
    """What goes into the slots, for every row, in the order of ``_SLOTS``."""
    said = wording.tolist()
    words = facts.of_words("json", _word_texts)
    refinement = [words[each].refinement for each in said]
    forms = facts.of_kinds("form", template)
    alone = [(details, notes) for _, details, notes in forms]
    of_kind = kind.tolist()
    has_microcode = ((rows.present & np.uint8(Present.MICROCODE)) != 0).tolist()
    microcode = zip(rows.microcode.tolist(), has_microcode, strict=True)
    when = times_text(rows.time, lambda time: "" if (found := iso(time)) is None else f',"time":"{found}"')
    stamped = map(_stamped, stamps)
    return [
        refinement,
        refinement,
        rows.socket.tolist(),
        address_column(facts, rows, kind)[0].tolist(),
        granularity_column(facts, rows, kind)[0].tolist(),
        _locations(facts, rows, kind),
        _registers(rows),
        [words[each].notes[alone[at][1]] for each, at in zip(said, of_kind, strict=True)],
        [f"{line}{time}{stamp}" for line, time, stamp in zip(rows.line.tolist(), when, stamped, strict=True)],
        rows.cpu.tolist(),
        rows.socket.tolist(),
        rows.apicid.tolist(),
        [f'"microcode":"{value:#x}",' if has else "" for value, has in microcode],
        number_column(facts, rows, kind, "corrected_count")[0].tolist(),
        number_column(facts, rows, kind, "threshold_count")[0].tolist(),
        [words[each].details[alone[at][0]] for each, at in zip(said, of_kind, strict=True)],
    ]


@dataclass(frozen=True, slots=True)
class _WordTexts:
    """How words fill their slots: ``details`` and ``notes`` without others of the kind behind them, then with some."""

    refinement: str
    details: tuple[str, str]
    notes: tuple[str, str]


def _word_texts(wording: Wording) -> _WordTexts:
    details = msgspec.json.encode(wording.details).decode()[1:-1]
    notes = msgspec.json.encode([f"{note.text} ({note.source})" for note in wording.notes]).decode()[1:-1]
    refinement = msgspec.json.encode(wording.refinement).decode()[1:-1]
    return _WordTexts(
        f": {refinement}" if refinement else "",
        (f',"details":[{details}]' if details else "", f"{details}," if details else ""),
        (notes, f"{notes}," if notes else ""),
    )


_NUMBERS: Final = tuple(name for name in jsonl.LocationLine.__struct_fields__ if name != "label")
_MOVING: Final = frozenset(_NUMBERS) - {"socket"}


def _locations(facts: Facts, rows: Columns, kind: Ids) -> list[str]:
    """The place of every row as JSON; made once for a kind and a socket, if nothing else of it varies."""
    moves = facts.of_kinds("moves", lambda f: any(placed.name in _MOVING for placed in f.reading.placed))
    places, of_row = np.unique(kind.astype(np.int64) << 32 | rows.socket.astype(np.int64), return_inverse=True)
    made = [
        _place(with_socket(facts.findings[each >> 32].reading.location, each & 0xFFFF_FFFF)) for each in places.tolist()
    ]
    out = list(map(made.__getitem__, of_row.tolist()))
    moving = np.flatnonzero(np.array(moves, np.bool_)[kind])
    if len(moving):
        forms = facts.of_kinds("location", _location_form)
        columns = [number_column(facts, rows, kind, name)[0][moving].tolist() for name in _NUMBERS]
        written = map(mod, [forms[each] for each in kind[moving].tolist()], zip(*columns, strict=True))
        for row, place in zip(moving.tolist(), written, strict=True):
            out[row] = place
    return out


def _place(location: Location) -> str:
    return jsonl.encode(jsonl.location_line(location)).decode()


def _location_form(finding: Finding) -> str:
    """A kind's place with a slot for each number that it has; the others take theirs for nothing."""
    location = finding.reading.location
    out = ""
    comma = ""
    for name in jsonl.LocationLine.__struct_fields__:
        if getattr(location, name) is None:
            out += "" if name == "label" else "%.0s"
            continue
        label = msgspec.json.encode(location.label).decode().replace("%", "%%")
        number = '"%#x"' if name == "syndrome" else "%d"
        out += f'{comma}"{name}":{label if name == "label" else number}'
        comma = ","
    return f"{{{out}}}"


_REGISTERS: Final = {
    "addr": Present.ADDR, "misc": Present.MISC, "synd": Present.SYND, "ipid": Present.IPID, "ppin": Present.PPIN,
    "ip": Present.IP, "cs": Present.IP,
}  # fmt: skip
_ROW_REGISTERS: Final = tuple(
    name for name in Registers.__slots__ if name in {"status", "mcg_status", "tsc", *_REGISTERS}
)


@lru_cache(maxsize=256)
def _registers_form(present: int) -> str:
    """The registers of a row as JSON, with a slot for each; those that are not there take theirs for nothing."""
    shown = {name: 1 for name in _ROW_REGISTERS if name not in _REGISTERS or present & _REGISTERS[name]}
    line = jsonl.encode(jsonl.registers_line(Registers(**shown))).decode()
    rest = line
    out: list[str] = []
    for name in _ROW_REGISTERS:
        before, found, behind = rest.partition(f'"{name}":"0x1"')
        if found:
            out += (before, f'"{name}":"%#x"')
            rest = behind
        else:
            out.append("%.0s")
    return "".join((*out, rest))


def _registers(rows: Columns) -> list[str]:
    forms = map(_registers_form, rows.present.tolist())
    return list(map(mod, forms, zip(*(getattr(rows, name).tolist() for name in _ROW_REGISTERS), strict=True)))


class JsonWriter(ItemWriter):
    """Puts the lines of batches together to what ``views.jsonl`` writes. Every text begins with the end of a line."""

    opening = _CLOSED.encode()
    closing = opening

    def row_finding(self, batch: Batch, row: int) -> Finding:
        """The whole finding of one row."""
        if batch.rows is None or batch.extra is None:
            return super().row_finding(batch, row)
        return diagnose(replace(record_of(batch.rows, row, batch.file), stamp=batch.extra.stamps[row]))

    def event(self, event: Event) -> bytes:
        """An event's line without its end."""
        return jsonl.encode(jsonl.line(event))[:-1]

    def unrecognised(self, item: Unrecognised) -> bytes:
        """The line of unreadable evidence without its end."""
        return jsonl.encode(jsonl.unrecognised_line(item))[:-1]

    def reports(self, reports: list[Report]) -> bytes:
        """The further reports of an event, as its line has them at its end."""
        return b',"reports":' + msgspec.json.encode(jsonl.reports(reports))
