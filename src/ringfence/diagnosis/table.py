"""A log of many records as a table: each kind of record is diagnosed once, and numbers stay in columns.

The records that the columnar reader is sure of are grouped into kinds (``decode.significance``); one record of a kind
is read and diagnosed as any other, and stands for the rest, from which it differs in numbers and some words only. All
other evidence comes out as objects, from the reader of single lines. Both are folded into events by the same rules.

Needs numpy (the optional dependencies ``columnar``).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from ringfence.arch.cpuid import LINUX_VENDORS, Vendor
from ringfence.decode.decoder import KnownProcessor
from ringfence.decode.dimm import KnownDimms, with_dimm
from ringfence.decode.meaning import NO_WORDS, Wording
from ringfence.diagnosis.finding import Finding, ProcessorMemory, diagnose, judged
from ringfence.diagnosis.folding import Folding, other_reports, row_reports
from ringfence.diagnosis.kinds import Ids, Kinds, Vocabulary
from ringfence.record.columns import Block, Columns, every_grammar, map_ranges, record_of
from ringfence.record.columns.ranges import RANGE_BYTES
from ringfence.record.evidence import Evidence, Record, Unrecognised
from ringfence.record.reader import raw_lines
from ringfence.record.sources import Block as TextBlock
from ringfence.record.text.lines import WHOLE_RECORD, RawLine
from ringfence.record.text.reader import read as read_lines


def _other_lines(block: Block) -> Iterator[RawLine]:
    """The lines that no column has, with a mark for the columns' record behind each run of them."""
    heads = block.records.line
    for span, following in zip(block.rest, np.searchsorted(heads, [s.line for s in block.rest]).tolist(), strict=True):
        yield from raw_lines(TextBlock(block.text(span.start, span.end), span.line, span.start))
        if following < len(heads):
            yield RawLine(int(heads[following]), WHOLE_RECORD)


@dataclass(slots=True)
class Part:
    """What one process made of a part of a file.

    ``kind`` and ``wording`` are that process's indices (``Kinds``, ``Vocabulary``). ``keys`` are the kinds that it had
    not met before, each first met in the row that ``first`` tells; ``words`` those that it had not met.
    """

    process: int
    rows: Columns | None
    evidence: list[Evidence]
    kind: Ids = field(default_factory=lambda: NO_IDS)
    keys: list[tuple[int, ...]] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    wording: Ids = field(default_factory=lambda: NO_IDS)
    words: list[Wording] = field(default_factory=list)
    extra: Any = None


NO_IDS: Final[Ids] = np.empty(0, np.int32)


class PartReader:
    """Reads parts of one file; a process has one, which remembers the kinds that it has met."""

    range_bytes = RANGE_BYTES
    """How much of the file is one part."""
    refinements_only = True
    """Whether of the words only those that refine the error are wanted, not the details."""

    def __init__(self, file: str) -> None:
        self.file = file
        self._kinds = Kinds()
        self._vocabulary = Vocabulary(self.refinements_only)
        self._spoken = 0

    def __call__(self, blocks: Iterator[Block]) -> Part:
        """A part: its plain records as columns, with their kinds and words, and all its other evidence."""
        found: list[Columns] = []

        def lines() -> Iterator[RawLine]:
            for block in blocks:
                if len(block.records):
                    self.saw(block)
                    found.append(block.records)
                yield from _other_lines(block)

        evidence = list(read_lines(lines(), self.file))
        if not found:
            return Part(os.getpid(), None, evidence)
        rows = Columns.joined(found)
        met = len(self._kinds.keys)
        kind, first = self._kinds.of(rows)
        wording = self._vocabulary.of(rows)
        words = self._vocabulary.words[self._spoken :]
        self._spoken += len(words)
        return Part(os.getpid(), rows, evidence, kind, self._kinds.keys[met:], first, wording, words)

    def saw(self, block: Block) -> None:
        """A block with plain records has been read; its text is gone when the part is made."""


_Value = TypeVar("_Value")


class Facts:
    """The findings of kinds, the words, and what the views take from them: each once, and more with every part."""

    def __init__(self, file: str) -> None:
        self.findings: list[Finding] = []
        self.words: list[Wording] = []
        self._file = file
        self._by_key: dict[tuple[int, ...], int] = {}
        self._by_wording: dict[Wording, int] = {}
        self._kinds: dict[int, list[int]] = {}
        self._words: dict[int, list[int]] = {}
        self._of_kinds: dict[Hashable, list[Any]] = {}
        self._of_words: dict[Hashable, list[Any]] = {}

    def settle(self, part: Part) -> tuple[Ids, Ids]:
        """The kind and the words of each of a part's rows, as indices in ``findings`` and ``words``."""
        if part.rows is None:
            return NO_IDS, NO_IDS
        kinds = self._kinds.setdefault(part.process, [])
        kinds += [self._kind(key, part.rows, row) for key, row in zip(part.keys, part.first, strict=True)]
        words = self._words.setdefault(part.process, [])
        words += [self._wording(wording) for wording in part.words]
        kind = np.array(kinds, np.int32)[part.kind]
        own = np.array(self.of_kinds("own words", self._own), np.int32)[kind]
        worded = np.array(self.of_kinds("worded", lambda f: f.reading.wording is not None), np.bool_)[kind]
        chosen = np.array(words, np.int32)[part.wording]
        return kind, np.where(worded & (part.wording >= 0), chosen, own)

    def _own(self, finding: Finding) -> int:
        return self._wording(finding.reading.wording or NO_WORDS)

    def _kind(self, key: tuple[int, ...], rows: Columns, row: int) -> int:
        found = self._by_key.get(key)
        if found is None:
            found = self._by_key[key] = len(self.findings)
            self.findings.append(diagnose(record_of(rows, row, self._file)))
        return found

    def _wording(self, wording: Wording) -> int:
        found = self._by_wording.get(wording)
        if found is None:
            found = self._by_wording[wording] = len(self.words)
            self.words.append(wording)
        return found

    def of_kinds(self, name: Hashable, value: Callable[[Finding], _Value]) -> list[_Value]:
        """A value of each kind; ``name`` stands for ``value`` from call to call."""
        known = self._of_kinds.setdefault(name, [])
        known.extend(map(value, self.findings[len(known) :]))
        return known

    def of_words(self, name: Hashable, value: Callable[[Wording], _Value]) -> list[_Value]:
        """The same of each of the words."""
        known = self._of_words.setdefault(name, [])
        known.extend(map(value, self.words[len(known) :]))
        return known


@dataclass(slots=True)
class Batch:
    """Some of a log's evidence, in its order.

    ``rows``: the plain records; ``kind`` their index in the findings of ``facts``, ``wording`` in its words, which
    stand in the place of the finding's own (``decode.meaning.worded``). ``others``: all other evidence as findings or
    unrecognised. For each, rows first, then others: ``event`` the number of the event that it belongs to (-1 for what
    is unrecognised), ``relation`` an index into ``RELATIONS``. ``order`` sorts both together by line. ``extra`` is what
    a view's worker added.
    """

    file: str
    rows: Columns | None
    kind: Ids
    wording: Ids
    facts: Facts
    others: list[Finding | Unrecognised]
    event: NDArray[np.int64]
    relation: NDArray[np.int8]
    order: NDArray[np.intp]
    extra: Any = None

    @property
    def row_count(self) -> int:
        """How many of the batch's pieces of evidence are rows."""
        return 0 if self.rows is None else len(self.rows)

    @property
    def findings(self) -> list[Finding]:
        """One finding of each kind met so far."""
        return self.facts.findings


OBJECTS_PER_BATCH: Final = 4096
"""Evidence that comes as objects is batched in such numbers, to bound the memory."""


class TableReader:
    """Reads one or more files into batches; numbering of events and known processors go on from file to file."""

    def __init__(self, stated: KnownProcessor | None = None, dimms: KnownDimms | None = None) -> None:
        self._folding = Folding()
        self._stated = stated
        self._dimms = dimms
        self._wanted = every_grammar()

    def read(self, descriptor: int, file: str, work: type[PartReader] = PartReader) -> Iterator[Batch]:
        """The batches of a regular file that is a text log. Raises OSError."""
        processors = _Processors(self._stated)
        facts = Facts(file)
        for part in map_ranges(descriptor, work(file), self._wanted, range_bytes=work.range_bytes):
            yield self._batch(part, file, facts, processors)

    def take(self, evidence: Iterable[Evidence], file: str) -> Iterator[Batch]:
        """The batches of evidence that comes as objects: of a compressed or binary source, or from a pipe."""
        processors = _Processors(self._stated)
        stream = iter(evidence)
        facts = Facts(file)
        while some := list(islice(stream, OBJECTS_PER_BATCH)):
            yield self._batch(Part(os.getpid(), None, some), file, facts, processors)

    def _batch(self, part: Part, file: str, facts: Facts, processors: _Processors) -> Batch:
        others: list[Finding | Unrecognised] = []
        records: list[Record | None] = []
        for item in part.evidence:
            if isinstance(item, Unrecognised):
                others.append(item)
                records.append(None)
                continue
            complete = with_dimm(processors.complete(item, part.rows), self._dimms)
            found = judged(complete)
            others.append(found)
            records.append(None if isinstance(found, Unrecognised) else complete)
        processors.passed(part.rows)
        reports, folds = other_reports(records)
        line = np.array([item.origin.line or 0 for item in part.evidence], np.int64)
        counted = np.array([each is not None for each in records], np.bool_)
        if part.rows is not None:
            count = len(part.rows)
            reports = row_reports(part.rows).then(reports)
            folds = np.append(np.ones(count, np.bool_), folds)
            line = np.append(part.rows.line, line)
            counted = np.append(np.ones(count, np.bool_), counted)
        kind, wording = facts.settle(part)
        order = np.argsort(line, kind="stable")
        event = np.full(len(line), -1, np.int64)
        relation = np.zeros(len(line), np.int8)
        placed = order[counted[order]]
        event[placed], relation[placed] = self._folding.place(reports.only(placed), folds[placed])
        return Batch(file, part.rows, kind, wording, facts, others, event, relation, order, part.extra)


class _Processors:
    """Names the processor of single records by what stands before them in the file, in rows or in other records."""

    def __init__(self, stated: KnownProcessor | None) -> None:
        self._memory = ProcessorMemory(stated)
        self._stated = stated is not None
        self._row: tuple[int, int, int] | None = None

    def complete(self, record: Record, rows: Columns | None) -> Record:
        """The record, with its processor named if a row or a record before it named one."""
        if not self._stated and record.origin.line is not None:
            row = self._last_row(rows, record.origin.line)
            if row is not None:
                self._memory.saw(record.origin.file, *row)
        return self._memory.complete(record)

    def _last_row(self, rows: Columns | None, line: int) -> tuple[int, Vendor, int] | None:
        at = -1 if rows is None else int(np.searchsorted(rows.line, line)) - 1
        if rows is not None and at >= 0:
            found = (int(rows.line[at]), int(rows.vendor[at]), int(rows.cpuid[at]))
        elif self._row is not None:
            found = self._row
        else:
            return None
        vendor = LINUX_VENDORS.get(found[1])
        return None if vendor is None else (found[0], vendor, found[2])

    def passed(self, rows: Columns | None) -> None:
        """All records of a batch have been named; remember its last row."""
        if rows is not None and len(rows):
            self._row = (int(rows.line[-1]), int(rows.vendor[-1]), int(rows.cpuid[-1]))
