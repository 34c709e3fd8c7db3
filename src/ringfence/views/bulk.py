"""Summary and full text of a log of many records, from the columns of ``diagnosis.table``.

The same text comes out as from ``views.summary`` and ``views.text``, event by event; a test holds the two together.
Needs numpy (the optional dependencies ``columnar``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import mod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringfence.decode.meaning import NO_WORDS, worded
from ringfence.diagnosis.events import Relation
from ringfence.diagnosis.finding import HELD_ITEMS, Event, Finding, Report
from ringfence.diagnosis.folding import RELATIONS
from ringfence.diagnosis.kinds import Ids
from ringfence.diagnosis.numbers import address_column, granularity_column, number_column
from ringfence.diagnosis.severity import Severity
from ringfence.diagnosis.table import Batch, Facts, Part, PartReader
from ringfence.record.columns import Block, Columns
from ringfence.record.evidence import Location, Origin, Unrecognised
from ringfence.views import text
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


@dataclass(slots=True)
class _Texts:
    """The text of each row of a part, an empty line before each, end to end, and where each begins (and the end)."""

    joined: bytes
    starts: NDArray[np.int64]


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

    def _texts(self, rows: Columns, kind: Ids, wording: Ids) -> _Texts:
        forms = map(self._forms.__getitem__, kind.tolist())
        out = list(map(mod, forms, zip(*_slots(self._facts, rows, kind, wording), strict=True)))
        joined = "".join(out)
        if joined.isascii():
            whole, sizes = joined.encode(), map(len, out)
        else:
            encoded = [each.encode("utf-8", "surrogateescape") for each in out]
            whole, sizes = b"".join(encoded), map(len, encoded)
        return _Texts(whole, np.append(0, np.cumsum(np.fromiter(sizes, np.int64, len(out)))))


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
        _when(rows.time),
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


def _when(times: NDArray[np.int64]) -> list[str]:
    """Times as text, each different one made once."""
    known, inverse = np.unique(times, return_inverse=True)
    if len(known) and known[0] >= 0 and known[-1] < _LAST_SECOND:
        written = np.char.add(np.char.add(", ", np.datetime_as_string(known.astype("datetime64[s]"))), "Z").tolist()
    else:
        written = [text.when_text(float(time), None) for time in known.tolist()]
    return list(map(written.__getitem__, inverse.tolist()))


_LAST_SECOND: Final = 253_402_300_800
"""The end of the year 9999: what a calendar can show as it stands."""


def _where(facts: Facts, rows: Columns, kind: Ids) -> list[str]:
    """The place in the machine of every row: made once for a kind and a socket, if nothing else of it varies."""
    moves = facts.of_kinds("moves", lambda f: any(placed.name in _NUMBERS for placed in f.reading.placed))
    places, of_row = np.unique(kind.astype(np.int64) << 32 | rows.socket.astype(np.int64), return_inverse=True)
    fixed = [_with_socket(facts.findings[each >> 32].reading.location, each & 0xFFFF_FFFF) for each in places.tolist()]
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


def _with_socket(location: Location, socket: int) -> Location:
    return location if location.socket is None else replace(location, socket=socket)


@dataclass(slots=True)
class _Held:
    """Items that wait, one after the other: ``count`` rows of ``texts`` from ``row`` on, or one text of its own.

    ``event`` is the number of the first one's event, and new events are numbered in their order; -1: it is none.
    Every text begins with the empty line before it.
    """

    event: int
    count: int
    texts: _Texts
    row: int = 0


class TextWriter:
    """Puts the texts of batches together to what ``views.text`` writes, item by item.

    An item (an event, or something unreadable) is written when ``HELD_ITEMS`` later ones have come, as
    ``diagnosis.finding.events`` does it, so that its further reports can be written with it. Rows that nothing is
    added to are written in runs.
    """

    def __init__(self, colour: bool) -> None:
        self._colour = colour
        self._held: deque[_Held] = deque()
        self._items = 0
        self._reports: dict[int, list[Report]] = {}
        self._written_events = 0
        self.shown = False

    def write(self, batch: Batch) -> Iterator[bytes]:
        """The texts that are complete after this batch."""
        count = batch.row_count
        texts: _Texts | None = batch.extra
        order = batch.order
        special = np.flatnonzero((order >= count) | (batch.relation[order] != 0))
        at = 0
        for place in [*special.tolist(), len(order)]:
            if place > at and texts is not None:
                row = int(order[at])
                yield from self._hold(_Held(int(batch.event[row]), place - at, texts, row))
            if place < len(order):
                yield from self._other(batch, int(order[place]))
            at = place + 1

    def finish(self) -> Iterator[bytes]:
        """All that is still held."""
        yield from self._release(self._items)

    def _other(self, batch: Batch, at: int) -> Iterator[bytes]:
        event, relation = int(batch.event[at]), RELATIONS[int(batch.relation[at])]
        item = _row_finding(batch, at) if at < batch.row_count else batch.others[at - batch.row_count]
        if isinstance(item, Unrecognised):
            yield from self._hold(_single(-1, text.unrecognised_text(item, colour=self._colour)))
        elif relation is Relation.NEW:
            shown = text.event_text(Event(event, item, item.record.count), colour=self._colour)
            yield from self._hold(_single(event, shown))
        elif event >= self._written_events:
            self._reports.setdefault(event, []).append(Report(item, relation))
        else:
            late = text.event_text(Event(event, item, 0, relation), colour=self._colour)
            yield from self._hold(_single(-1, late))

    def _hold(self, held: _Held) -> Iterator[bytes]:
        self._held.append(held)
        self._items += held.count
        yield from self._release(self._items - HELD_ITEMS)

    def _release(self, items: int) -> Iterator[bytes]:
        """Write so many items, the oldest first."""
        while items > 0:
            held = self._held[0]
            some = min(items, held.count)
            yield from self._written(held, some)
            items -= some
            self._items -= some
            held.row += some
            held.count -= some
            if held.event >= 0:
                held.event += some
                self._written_events = held.event
            if not held.count:
                self._held.popleft()

    def _written(self, held: _Held, some: int) -> Iterator[bytes]:
        """The texts of the first ``some`` items of a run, further reports behind their events."""
        starts, joined = held.texts.starts, held.texts.joined
        end = held.row + some
        row = held.row
        if held.event >= 0:
            for event in sorted(each for each in self._reports if held.event <= each < held.event + some):
                behind = held.row + event - held.event + 1
                yield self._begun(joined[starts[row] : starts[behind]])
                yield text.reports_text(self._reports.pop(event)).encode()
                row = behind
        if row < end:
            yield self._begun(joined[starts[row] : starts[end]])

    def _begun(self, shown: bytes) -> bytes:
        """The text, without its empty line if nothing stands before it."""
        if self.shown:
            return shown
        self.shown = True
        return shown[1:]


def _single(event: int, shown: str) -> _Held:
    encoded = b"\n" + shown.encode("utf-8", "surrogateescape")
    return _Held(event, 1, _Texts(encoded, np.array([0, len(encoded)])))


def _row_finding(batch: Batch, row: int) -> Finding:
    """The finding of one row, as far as a further report shows it: the kind's, with the row's place, time and CPU."""
    kind = batch.findings[int(batch.kind[row])]
    rows = batch.rows
    if rows is None:
        return kind
    origin = Origin(batch.file, int(rows.line[row]))
    socket = int(rows.socket[row])
    evidence = replace(kind.record, origin=origin, cpu=int(rows.cpu[row]), time=float(rows.time[row]), socket=socket)
    reading = worded(kind.reading, batch.facts.words[int(batch.wording[row])])
    reading = replace(reading, location=_with_socket(reading.location, socket))
    return replace(kind, meaning=replace(kind.meaning, record=evidence, reading=reading))
