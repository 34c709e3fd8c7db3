"""Summary and full text of a log of many records, from the columns of ``diagnosis.table``.

The same text comes out as from ``views.summary`` and ``views.text``, event by event; a test holds the two together.
Needs numpy (the optional dependencies ``columnar``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from operator import mod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringfence.decode.meaning import NO_WORDS, worded
from ringfence.diagnosis.finding import Event, Finding, Report
from ringfence.diagnosis.kinds import Ids
from ringfence.diagnosis.numbers import address_column, granularity_column, number_column
from ringfence.diagnosis.severity import Severity
from ringfence.diagnosis.table import Batch, Facts, Part, PartReader
from ringfence.record.columns import Block, Columns
from ringfence.record.evidence import Location, Origin, Unrecognised
from ringfence.views import text
from ringfence.views.bulk_items import ItemWriter, Texts, joined, with_socket
from ringfence.views.summary import Tally
from ringfence.views.text import Template

_NUMBERS: Final = tuple(name for name in Location.__slots__ if name not in {"label", "socket"})


@dataclass(frozen=True, slots=True)
class Sentences:
    """The summaries of a batch's rows: each different one of each kind once, and which of them each row has."""

    texts: list[str]
    errors: list[str]
    of_row: NDArray[np.intp]

    @classmethod
    def of(cls, batch: Batch, rows: Columns) -> Sentences:
        """Of rows that agree in kind, refinement and socket the summary and the error are the same."""
        facts = batch.facts
        refinements = facts.of_words("refinement", lambda wording: wording.refinement)
        numbered: dict[str, int] = {}
        number = np.array([numbered.setdefault(each, len(numbered)) for each in refinements], np.int64)
        said = [f": {each}" if each else "" for each in numbered]
        forms = facts.of_kinds("sentence", lambda f: (text.sentence(f), worded(f.reading, NO_WORDS).error))
        key = (batch.kind.astype(np.int64) * len(said) + number[batch.wording]) << 32 | rows.socket.astype(np.int64)
        found, of_row = np.unique(key, return_inverse=True)
        texts, errors = [], []
        for each in found.tolist():
            kind, which = divmod(each >> 32, len(said))
            form, error = forms[kind]
            texts.append(form.fill({"refinement": said[which], "socket": str(each & 0xFFFF_FFFF)}))
            errors.append(error + said[which])
        return cls(texts, errors, of_row)


@dataclass(slots=True)
class _Met:
    """What a batch holds of one group: the line where it stands first, and what is added to the group."""

    line: int
    key: tuple[Severity, str, str]
    finding: Finding
    errors: int
    events: int
    reports: int
    first_s: float | None
    last_s: float | None


def tally(into: Tally, batch: Batch) -> Severity:
    """Count a batch; returns the worst severity in it."""
    worst = Severity.NONE
    count = batch.row_count
    for unread in _unrecognised(batch):
        into.add(unread)
    found = list(_rows_met(batch))
    for at, item in enumerate(batch.others, start=count):
        if not isinstance(item, Unrecognised):
            new = int(batch.relation[at] == 0)
            record = item.record
            key = (item.severity, item.summary, item.advice)
            line = record.origin.line or 0
            found.append(_Met(line, key, item, new * record.count, new, 1, record.time, record.time))
    for met in sorted(found, key=lambda each: each.line):
        if met.finding.severity.badness > worst.badness:
            worst = met.finding.severity
        group = into.group(met.key, met.finding.is_left_over, Origin(batch.file, met.line))
        group.errors += met.errors
        group.events += met.events
        group.reports += met.reports
        group.saw(met.first_s)
        group.saw(met.last_s)
    return worst


def _rows_met(batch: Batch) -> Iterator[_Met]:
    """The groups that a batch's rows belong to: one for each sentence of each kind."""
    rows, facts = batch.rows, batch.facts
    if rows is None or not len(rows):
        return
    sentences = Sentences.of(batch, rows)
    parts = facts.of_kinds("tally", lambda f: (f, f.severity, f.advice))
    by_group = np.argsort(sentences.of_row, kind="stable")
    ordered = sentences.of_row[by_group]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    new = np.add.reduceat((batch.relation[: len(rows)] == 0)[by_group].astype(np.int64), starts)
    time = rows.time[by_group]
    columns = (
        rows.line[by_group[starts]],
        batch.kind[by_group[starts]],
        new,
        np.diff(np.append(starts, len(rows))),
        np.minimum.reduceat(time, starts),
        np.maximum.reduceat(time, starts),
    )
    met = zip(sentences.texts, *(each.tolist() for each in columns), strict=True)
    for sentence, line, kind, events, reports, first_s, last_s in met:
        finding, severity, advice = parts[kind]
        yield _Met(line, (severity, sentence, advice), finding, events, events, reports, first_s, last_s)


def _unrecognised(batch: Batch) -> Iterator[Unrecognised]:
    return (item for item in batch.others if isinstance(item, Unrecognised))


# --- full text ------------------------------------------------------------------------------------------------------


class TextReader(PartReader):
    """A ``PartReader`` that also lays out every row's text, in the process that read it."""

    colour = False
    refinements_only = False
    range_bytes = 2 << 20
    """Smaller parts than a table's: the text of a part is several times as large, and some are held at once."""

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self._forms: list[str] = []
        self._facts = Facts(file)

    def __call__(self, blocks: Iterator[Block]) -> Part:
        """A part, and in ``extra`` the texts of its rows."""
        part = super().__call__(blocks)
        if part.rows is not None:
            kind, wording = self._facts.settle(part)
            for finding in self._facts.findings[len(self._forms) :]:
                self._forms.append("\n" + _form(text.template(finding, colour=self.colour), self.file))
            part.extra = self._texts(part.rows, kind, wording)
        return part

    def _texts(self, rows: Columns, kind: Ids, wording: Ids) -> Texts:
        forms = map(self._forms.__getitem__, kind.tolist())
        return joined(list(map(mod, forms, zip(*_slots(self._facts, rows, kind, wording), strict=True))))


class ColourTextReader(TextReader):
    """The same in colour."""

    colour = True


_ROW_SLOTS: Final = {"cpu": "CPU %s", "address": "%#x"}
"""Slots that a row fills with a number, and how it is written; the others take what they are given."""


def _form(template: Template, file: str) -> str:
    """A template that takes all slots of a row in the order of ``text.SLOTS``, those that it does not use for nothing.

    The slots stand in a finding's text in just that order.
    """
    place = text.place(Origin(file, 0)).removesuffix("0").replace("%", "%%") + "%s"
    written = {**_ROW_SLOTS, "place": place}
    pieces = template.text.split("%s")
    used = iter([*template.slots, None])
    here = next(used)
    out = [pieces[0]]
    at = 1
    for slot in text.SLOTS:
        if slot == here:
            out += (written.get(slot, "%s"), pieces[at])
            at += 1
            here = next(used)
        else:
            out.append("%.0s")
    return "".join(out)


def _slots(facts: Facts, rows: Columns, kind: Ids, wording: Ids) -> list[Iterable[Any]]:
    """What goes into the slots, for every row, in the order of ``text.SLOTS``."""
    words = facts.of_words("rows", text.word_rows)
    refinement, details, notes = (list(column) for column in zip(*words, strict=True))
    said = wording.tolist()
    return [
        map(refinement.__getitem__, said),
        rows.socket.tolist(),
        rows.line.tolist(),
        times_text(rows.time, lambda time: text.when_text(time, None)),
        rows.cpu.tolist(),
        rows.socket.tolist(),
        _where(facts, rows, kind),
        address_column(facts, rows, kind)[0].tolist(),
        _bytes(granularity_column(facts, rows, kind)[0]),
        number_column(facts, rows, kind, "corrected_count")[0].tolist(),
        number_column(facts, rows, kind, "threshold_count")[0].tolist(),
        map(details.__getitem__, said),
        map(notes.__getitem__, said),
    ]


def _bytes(granularity: NDArray[np.uint64]) -> Iterator[str]:
    """Granularities as text, each different one made once."""
    known, inverse = np.unique(granularity, return_inverse=True)
    written = [text.counted(each, "byte") for each in known.tolist()]
    return map(written.__getitem__, inverse.tolist())


def times_text(times: NDArray[np.int64], written: Callable[[float], str]) -> Iterable[str]:
    """Times as text, each different one written once."""
    known, inverse = np.unique(times, return_inverse=True)
    return map([written(float(time)) for time in known.tolist()].__getitem__, inverse.tolist())


def _where(facts: Facts, rows: Columns, kind: Ids) -> list[str]:
    """The place in the machine of every row: made once for a kind and a socket, if nothing else of it varies."""
    moves = facts.of_kinds("moves", lambda f: any(placed.name in _NUMBERS for placed in f.reading.placed))
    places, of_row = np.unique(kind.astype(np.int64) << 32 | rows.socket.astype(np.int64), return_inverse=True)
    fixed = [with_socket(facts.findings[each >> 32].reading.location, each & 0xFFFF_FFFF) for each in places.tolist()]
    out = list(map([text.place_in_machine(each) for each in fixed].__getitem__, of_row.tolist()))
    moving = np.flatnonzero(np.array(moves, np.bool_)[kind])
    if len(moving):
        columns = [number_column(facts, rows, kind, name) for name in _NUMBERS]
        values = [column[moving].tolist() for column, _ in columns]
        known = [has[moving].tolist() for _, has in columns]
        places_of = of_row[moving].tolist()
        for at, row in enumerate(moving.tolist()):
            base = fixed[places_of[at]]
            numbers = {name: values[i][at] for i, name in enumerate(_NUMBERS) if known[i][at]}
            out[row] = text.place_in_machine(Location(socket=base.socket, label=base.label, **numbers))
    return out


class TextWriter(ItemWriter):
    """Puts the texts of batches together to what ``views.text`` writes. Every text begins with an empty line."""

    opening = b"\n"

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def event(self, event: Event) -> bytes:
        """An event in full."""
        return text.event_text(event, colour=self._colour).encode("utf-8", "surrogateescape")

    def unrecognised(self, item: Unrecognised) -> bytes:
        """Unreadable evidence as it stands."""
        return text.unrecognised_text(item, colour=self._colour).encode("utf-8", "surrogateescape")

    def reports(self, reports: list[Report]) -> bytes:
        """The further reports of an event."""
        return text.reports_text(reports).encode()
