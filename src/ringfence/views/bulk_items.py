"""Items (events, and what is unreadable) written one after the other from the texts of a table's rows, in any view.

Needs numpy (the optional dependencies ``columnar``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ringfence.decode.meaning import worded
from ringfence.diagnosis.events import Relation
from ringfence.diagnosis.finding import HELD_ITEMS, Event, Finding, Report
from ringfence.diagnosis.folding import RELATIONS
from ringfence.diagnosis.table import Batch
from ringfence.record.columns import record_of
from ringfence.record.evidence import Location, Unrecognised


@dataclass(slots=True)
class Texts:
    """The text of each row of a part, end to end, and where each begins (and the end)."""

    joined: bytes
    starts: NDArray[np.int64]


def joined(out: list[str]) -> Texts:
    """Texts from one string for each row."""
    whole = "".join(out)
    if whole.isascii():
        encoded, sizes = whole.encode(), map(len, out)
    else:
        pieces = [each.encode("utf-8", "surrogateescape") for each in out]
        encoded, sizes = b"".join(pieces), map(len, pieces)
    return Texts(encoded, np.append(0, np.cumsum(np.fromiter(sizes, np.int64, len(out)))))


def with_socket(location: Location, socket: int) -> Location:
    """The location with another socket, if it has one."""
    return location if location.socket is None else replace(location, socket=socket)


@dataclass(slots=True)
class _Held:
    """Items that wait, one after the other: ``count`` rows of ``texts`` from ``row`` on, or one text of its own.

    ``event`` is the number of the first one's event, and new events are numbered in their order; -1: it is none.
    """

    event: int
    count: int
    texts: Texts
    row: int = 0


class ItemWriter:
    """Puts the texts of batches together, item by item.

    An item (an event, or something unreadable) is written when ``HELD_ITEMS`` later ones have come, as
    ``diagnosis.finding.events`` does it, so that its further reports can be written with it. Rows that nothing is
    added to are written in runs. Every text begins with ``opening``, which the first is written without, and is the
    end of the text before.
    """

    opening = b""
    closing = b""
    """What ends the last text."""

    def __init__(self) -> None:
        self._held: deque[_Held] = deque()
        self._items = 0
        self._reports: dict[int, list[Report]] = {}
        self._written_events = 0
        self.shown = False

    def event(self, event: Event) -> bytes:
        """The text of an event, without ``opening``."""
        raise NotImplementedError

    def unrecognised(self, item: Unrecognised) -> bytes:
        """The text of unreadable evidence, without ``opening``."""
        raise NotImplementedError

    def reports(self, reports: list[Report]) -> bytes:
        """What further reports add to the text of an event."""
        raise NotImplementedError

    def row_finding(self, batch: Batch, row: int) -> Finding:
        """The finding of one row, as far as the view shows it for a further report of an event."""
        return row_finding(batch, row)

    def write(self, batch: Batch) -> Iterator[bytes]:
        """The texts that are complete after this batch."""
        count = batch.row_count
        texts: Texts | None = batch.extra
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
        if self.shown:
            yield self.closing

    def _other(self, batch: Batch, at: int) -> Iterator[bytes]:
        event, relation = int(batch.event[at]), RELATIONS[int(batch.relation[at])]
        item = self.row_finding(batch, at) if at < batch.row_count else batch.others[at - batch.row_count]
        if isinstance(item, Unrecognised):
            yield from self._hold(self._single(-1, self.unrecognised(item)))
        elif relation is Relation.NEW:
            yield from self._hold(self._single(event, self.event(Event(event, item, item.record.count))))
        elif event >= self._written_events:
            self._reports.setdefault(event, []).append(Report(item, relation))
        else:
            yield from self._hold(self._single(-1, self.event(Event(event, item, 0, relation))))

    def _single(self, event: int, shown: bytes) -> _Held:
        whole = self.opening + shown
        return _Held(event, 1, Texts(whole, np.array([0, len(whole)])))

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
        starts, whole = held.texts.starts, held.texts.joined
        end = held.row + some
        row = held.row
        if held.event >= 0:
            for event in sorted(each for each in self._reports if held.event <= each < held.event + some):
                behind = held.row + event - held.event + 1
                yield self._begun(whole[starts[row] : starts[behind]])
                yield self.reports(self._reports.pop(event))
                row = behind
        if row < end:
            yield self._begun(whole[starts[row] : starts[end]])

    def _begun(self, shown: bytes) -> bytes:
        """The text, without its opening if nothing stands before it."""
        if self.shown:
            return shown
        self.shown = True
        return shown[len(self.opening) :]


def row_finding(batch: Batch, row: int) -> Finding:
    """The finding of one row, its numbers apart: the kind's, with the row's own record, words and socket."""
    kind = batch.findings[int(batch.kind[row])]
    if batch.rows is None:
        return kind
    evidence = record_of(batch.rows, row, batch.file)
    reading = worded(kind.reading, batch.facts.words[int(batch.wording[row])])
    reading = replace(reading, location=with_socket(reading.location, evidence.socket or 0))
    return replace(kind, meaning=replace(kind.meaning, record=evidence, reading=reading))
