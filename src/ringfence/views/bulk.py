"""Summary and full text of a log of many records, from the columns of ``diagnosis.table``.

The same text comes out as from ``views.summary`` and ``views.text``, event by event; a test holds the two together.
Needs numpy (the optional dependencies ``columnar``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ringfence.decode.meaning import AddressKind, canonical
from ringfence.diagnosis.events import Relation
from ringfence.diagnosis.finding import HELD_ITEMS, Event, Finding, Report
from ringfence.diagnosis.severity import Severity
from ringfence.diagnosis.table import RELATIONS, Batch, Part, PartReader, address_column, number_column
from ringfence.record.columns import Block, Columns
from ringfence.record.evidence import Location, Origin, Unrecognised
from ringfence.views import text
from ringfence.views.summary import Tally
from ringfence.views.text import Template

_NUMBERS: Final = tuple(name for name in Location.__slots__ if name != "label")


def tally(into: Tally, batch: Batch) -> Severity:
    """Count a batch; returns the worst severity in it."""
    worst = Severity.NONE
    count = batch.row_count
    rows, kind = batch.rows, batch.kind
    for unread in _unrecognised(batch):
        into.add(unread)
    found: list[tuple[int, Finding, int, int, float | None, float | None, int]] = []
    if rows is not None and count:
        by_kind = np.argsort(kind, kind="stable")
        ordered = kind[by_kind]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
        new = np.add.reduceat((batch.relation[:count] == 0)[by_kind].astype(np.int64), starts).tolist()
        first = np.minimum.reduceat(rows.time[by_kind], starts).tolist()
        last = np.maximum.reduceat(rows.time[by_kind], starts).tolist()
        sizes = np.diff(np.append(starts, count)).tolist()
        lines = rows.line[by_kind[starts]].tolist()
        for at, which in enumerate(ordered[starts].tolist()):
            found.append((lines[at], batch.findings[which], new[at], sizes[at], first[at], last[at], new[at]))
    for at, item in enumerate(batch.others, start=count):
        if isinstance(item, Unrecognised):
            continue
        is_new = int(batch.relation[at] == 0)
        evidence = item.record
        found.append(
            (evidence.origin.line or 0, item, is_new * evidence.count, 1, evidence.time, evidence.time, is_new)
        )
    for line, finding, errors, reports, first_s, last_s, events in sorted(found, key=lambda each: each[0]):
        if finding.severity.badness > worst.badness:
            worst = finding.severity
        group = into.group(finding.severity, finding.summary, finding.advice, text.place(Origin(batch.file, line)))
        group.errors += errors
        group.events += events
        group.reports += reports
        group.saw(first_s)
        group.saw(last_s)
    return worst


def _unrecognised(batch: Batch) -> Iterator[Unrecognised]:
    return (item for item in batch.others if isinstance(item, Unrecognised))


# --- full text ------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Texts:
    """The text of each row of a part, end to end, and where each begins (with the end of the last)."""

    joined: bytes
    starts: NDArray[np.int64]


class TextReader(PartReader):
    """A ``PartReader`` that also lays out every row's text, in the process that read it."""

    colour = False

    def __init__(self, file: str) -> None:
        super().__init__(file)
        self._templates: list[Template] = []
        self._clock = _Clock()

    def __call__(self, blocks: Iterator[Block]) -> Part:
        """A part, and in ``extra`` the texts of its rows."""
        part = super().__call__(blocks)
        if part.rows is not None:
            for finding in self.kinds.findings[len(self._templates) :]:
                self._templates.append(text.template(finding, colour=self.colour))
            part.extra = self._texts(part, part.rows)
        return part

    def _texts(self, part: Part, rows: Columns) -> _Texts:
        whole = Batch(
            self.file,
            rows,
            part.kind,
            self.kinds.findings,
            [],
            *(np.empty(0),) * 3,  # type: ignore[arg-type] # only rows are asked for
        )
        slots = _slots(whole, self._clock)
        out: list[str] = [""] * len(rows)
        by_kind = np.argsort(part.kind, kind="stable")
        ordered = part.kind[by_kind]
        starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])).tolist()
        for begin, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            template = self._templates[int(ordered[begin])]
            which = by_kind[begin:end].tolist()
            columns = [slots[name] for name in template.slots]
            form = template.text
            for row in which:
                out[row] = form % tuple([column[row] for column in columns])
        encoded = [each.encode("utf-8", "surrogateescape") for each in out]
        sizes = np.fromiter(map(len, encoded), np.int64, len(encoded))
        return _Texts(b"".join(encoded), np.append(0, np.cumsum(sizes)))


class ColourTextReader(TextReader):
    """The same in colour."""

    colour = True


class _Clock:
    """Times as text, a day's date and each second once."""

    def __init__(self) -> None:
        self._known: dict[int, str] = {}

    def __call__(self, times: list[int]) -> list[str]:
        known = self._known
        if len(known) > 1 << 18:
            known.clear()
        for time in set(times):
            if time not in known:
                known[time] = text.when_text(float(time), None)
        return [known[time] for time in times]


def _slots(batch: Batch, clock: _Clock) -> dict[str, list[str]]:
    """What goes into the templates' slots, for every row."""
    rows = batch.rows
    if rows is None:
        return {}
    prefix = text.place(Origin(batch.file, 0)).removesuffix("0")
    address, _ = address_column(batch)
    linear = np.array([f.reading.address.kind is AddressKind.LINEAR for f in batch.findings], np.bool_)[batch.kind]
    shown = address.tolist()
    for row in np.flatnonzero(linear).tolist():
        shown[row] = canonical(shown[row])
    count, _ = number_column(batch, "corrected_count")
    threshold, _ = number_column(batch, "threshold_count")
    return {
        "place": [f"{prefix}{line}" for line in rows.line.tolist()],
        "when": clock(rows.time.tolist()),
        "cpu": [f"CPU {cpu}" for cpu in rows.cpu.tolist()],
        "address": [f"{value:#x}" for value in shown],
        "count": [str(value) for value in count.tolist()],
        "threshold": [str(value) for value in threshold.tolist()],
        "where": _where(batch),
    }


def _where(batch: Batch) -> list[str]:
    """The place in the machine of every row: made once for a kind whose place has no declared numbers."""
    fixed = [text.place_in_machine(finding.reading.location) for finding in batch.findings]
    out = [fixed[kind] for kind in batch.kind.tolist()]
    moving = np.array(
        [any(placed.name in _NUMBERS for placed in finding.reading.placed) for finding in batch.findings], np.bool_
    )
    rows = np.flatnonzero(moving[batch.kind]).tolist()
    if rows:
        columns = {name: number_column(batch, name) for name in _NUMBERS}
        values = {name: column[rows].tolist() for name, (column, _) in columns.items()}
        has = {name: known[rows].tolist() for name, (_, known) in columns.items()}
        for at, row in enumerate(rows):
            label = batch.findings[int(batch.kind[row])].reading.location.label
            numbers = {name: values[name][at] for name in _NUMBERS if has[name][at]}
            out[row] = text.place_in_machine(Location(label=label, **numbers))
    return out


class TextWriter:
    """Puts the texts of batches together to what ``views.text`` writes, item by item."""

    def __init__(self, colour: bool) -> None:
        self._colour = colour
        self._held: deque[tuple[int, bytes, list[Report]]] = deque()
        self._reports: dict[int, list[Report]] = {}
        self.shown = False

    def write(self, batch: Batch) -> Iterator[bytes]:
        """The texts that are complete after this batch."""
        count = batch.row_count
        texts: _Texts | None = batch.extra
        events, relations = batch.event.tolist(), batch.relation.tolist()
        starts = texts.starts.tolist() if texts is not None else []
        for at in batch.order.tolist():
            if at < count and texts is not None:
                if relations[at] == 0:
                    self._new(events[at], texts.joined[starts[at] : starts[at + 1]])
                else:
                    self._again(events[at], _row_finding(batch, at), RELATIONS[relations[at]])
            else:
                item = batch.others[at - count]
                if isinstance(item, Unrecognised):
                    self._held.append((-1, text.unrecognised_text(item, colour=self._colour).encode(), []))
                elif relations[at] == 0:
                    event = Event(events[at], item, item.record.count)
                    self._new(events[at], text.event_text(event, colour=self._colour).encode())
                else:
                    self._again(events[at], item, RELATIONS[relations[at]])
            if len(self._held) > HELD_ITEMS:
                yield self._pop()

    def finish(self) -> Iterator[bytes]:
        """All that is still held."""
        while self._held:
            yield self._pop()

    def _new(self, event: int, shown: bytes) -> None:
        reports: list[Report] = []
        self._reports[event] = reports
        self._held.append((event, shown, reports))

    def _again(self, event: int, finding: Finding, relation: Relation) -> None:
        reports = self._reports.get(event)
        if reports is not None:
            reports.append(Report(finding, relation))
        else:
            late = Event(event, finding, 0, relation)
            self._held.append((-1, text.event_text(late, colour=self._colour).encode(), []))

    def _pop(self) -> bytes:
        event, shown, reports = self._held.popleft()
        self._reports.pop(event, None)
        if reports:
            shown += text.reports_text(reports).encode()
        if self.shown:
            shown = b"\n" + shown
        self.shown = True
        return shown


def _row_finding(batch: Batch, row: int) -> Finding:
    """The finding of one row, as far as a further report shows it: the kind's, with the row's place, time and CPU."""
    kind = batch.findings[int(batch.kind[row])]
    rows = batch.rows
    if rows is None:
        return kind
    origin = Origin(batch.file, int(rows.line[row]))
    evidence = replace(kind.record, origin=origin, cpu=int(rows.cpu[row]), time=float(rows.time[row]))
    return replace(kind, meaning=replace(kind.meaning, record=evidence))
