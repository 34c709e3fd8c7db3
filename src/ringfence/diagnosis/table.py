"""A log of many records as a table: each kind of record is diagnosed once, and numbers stay in columns.

The records that the columnar reader is sure of are grouped into kinds (``decode.significance``); one record of a kind
is read and diagnosed as any other, and stands for the rest, from which it differs in numbers only. All other evidence
comes out as objects, from the reader of single lines. Both are folded into events by the same rules.

Needs numpy (the optional dependencies ``columnar``).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ringfence.arch.cpuid import LINUX_VENDORS, Vendor
from ringfence.arch.mci_status import DEFERRED, PCC, UC
from ringfence.decode.decoder import KnownProcessor
from ringfence.decode.dimm import KnownDimms, with_dimm
from ringfence.decode.meaning import AddressKind, Placed, canonical
from ringfence.decode.significance import address_class, significance, significant_misc, status_class
from ringfence.diagnosis.events import RULES, WINDOW_REPORTS, Relation, Report, identity
from ringfence.diagnosis.events import report as report_of
from ringfence.diagnosis.finding import Finding, ProcessorMemory, diagnose, judged
from ringfence.record.columns import Block, Columns, Present, every_grammar, map_ranges
from ringfence.record.columns.objects import record
from ringfence.record.columns.ranges import RANGE_BYTES
from ringfence.record.evidence import Evidence, Record, Unrecognised
from ringfence.record.reader import raw_lines
from ringfence.record.sources import Block as TextBlock
from ringfence.record.text.lines import WHOLE_RECORD, RawLine
from ringfence.record.text.reader import read as read_lines

Words = NDArray[np.uint64]
Ids = NDArray[np.int32]

RELATIONS: Final = (Relation.NEW, *(relation for relation, _ in RULES))
"""What the numbers in ``Batch.relation`` stand for."""

_SHOWN_PRESENCE: Final = np.uint8(Present.ADDR | Present.MISC | Present.SYND | Present.IPID)
_SHOWN: Final = (Present.ADDR, Present.MISC, Present.SYND, Present.IPID)
_KEYED_PRESENCE: Final = _SHOWN_PRESENCE | np.uint8(Present.IP)
_PRIVILEGE: Final = np.uint16(3)
_UNCORRECTED: Final = np.uint64(UC.mask | PCC.mask | DEFERRED.mask)
_MIX: Final = np.uint64(0x9E37_79B9_7F4A_7C15)
_SHIFT: Final = np.uint64(29)
_AMD_NUMBERS: Final = tuple(n for n, vendor in LINUX_VENDORS.items() if vendor in {Vendor.AMD, Vendor.HYGON})


def _hash(columns: list[Words]) -> Words:
    """A 64-bit mix of each row."""
    with np.errstate(over="ignore"):
        mixed = columns[0] * _MIX
        for column in columns[1:]:
            mixed ^= mixed >> _SHIFT
            mixed ^= column
            mixed *= _MIX
    return mixed ^ (mixed >> _SHIFT)


def _banks(rows: Columns) -> tuple[Words, Words, Words, Words, NDArray[np.bool_]]:
    """Which bank of which processor each row is about, and the masks of the bits that matter there."""
    bank = (rows.vendor.astype(np.uint64) << np.uint64(48)) | (rows.cpuid.astype(np.uint64) << np.uint64(16))
    bank |= rows.bank.astype(np.uint64)
    found, first, inverse = np.unique(bank, return_index=True, return_inverse=True)
    status, misc, synd = (np.empty(len(found), np.uint64) for _ in range(3))
    amd = np.empty(len(found), np.bool_)
    for at, row in enumerate(first.tolist()):
        vendor = LINUX_VENDORS.get(int(rows.vendor[row]), Vendor.INTEL)
        matters = significance(vendor, int(rows.cpuid[row]), int(rows.bank[row]))
        status[at], misc[at], synd[at], amd[at] = matters.status, matters.misc, matters.synd, matters.amd
    return bank, status[inverse], misc[inverse], synd[inverse], amd[inverse]


def _key_columns(rows: Columns) -> list[Words]:
    """All that the words of a finding depend on, one array each."""
    bank, status_mask, misc_mask, synd_mask, amd = _banks(rows)
    small = (rows.present & _KEYED_PRESENCE).astype(np.uint64)
    # No time stamp tells a record that was left from before the start, which matters for uncorrected errors only.
    small |= ((rows.tsc == 0) & ((rows.status & _UNCORRECTED) != 0)).astype(np.uint64) << np.uint64(9)
    small |= status_class(rows.status).astype(np.uint64) << np.uint64(10)
    small |= (rows.cs & _PRIVILEGE).astype(np.uint64) << np.uint64(16)
    small |= rows.socket.astype(np.uint64) << np.uint64(32)
    return [
        bank,
        small,
        rows.mcg_status,
        rows.status & status_mask,
        significant_misc(rows.status, rows.misc, misc_mask, amd),
        rows.synd & synd_mask,
        rows.ipid,
        address_class(rows.addr).astype(np.uint64),
    ]


@dataclass(slots=True)
class Kinds:
    """The kinds of record met so far, each with the finding of its first record."""

    findings: list[Finding] = field(default_factory=list)
    _by_key: dict[tuple[int, ...], int] = field(default_factory=dict)

    def of(self, block: Block, file: str) -> Ids:
        """The kind of each of a block's records."""
        rows = block.records
        if not len(rows):
            return np.empty(0, np.int32)
        columns = _key_columns(rows)
        _, first, inverse = np.unique(_hash(columns), return_index=True, return_inverse=True)
        keys = np.stack([column[first] for column in columns], axis=1)
        if not all(np.array_equal(keys[inverse, at], column) for at, column in enumerate(columns)):
            keys, first, inverse = _unique_rows(columns)
        ids = np.empty(len(first), np.int32)
        for at, (key, row) in enumerate(zip(map(tuple, keys.tolist()), first.tolist(), strict=True)):
            known = self._by_key.get(key)
            if known is None:
                known = self._by_key[key] = len(self.findings)
                self.findings.append(diagnose(record(block, row, file)))
            ids[at] = known
        return ids[inverse]


def _unique_rows(columns: list[Words]) -> tuple[Any, Any, Any]:
    """Without hashing: for the block in which two kinds share a hash."""
    return np.unique(np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True)


def _other_lines(block: Block) -> Iterator[RawLine]:
    """The lines that no column has, with a mark for the columns' record behind each run of them."""
    heads = block.records.line
    for span, following in zip(block.rest, np.searchsorted(heads, [s.line for s in block.rest]).tolist(), strict=True):
        yield from raw_lines(TextBlock(block.text(span.start, span.end), span.line, span.start))
        if following < len(heads):
            yield RawLine(int(heads[following]), WHOLE_RECORD)


@dataclass(slots=True)
class Part:
    """What one process made of a part of a file. ``findings`` are of the kinds that it had not met before."""

    process: int
    rows: Columns | None
    kind: Ids
    findings: list[Finding]
    evidence: list[Evidence]
    extra: Any = None


class PartReader:
    """Reads parts of one file; a process has one, which remembers the kinds that it has met."""

    range_bytes = RANGE_BYTES
    """How much of the file is one part."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.kinds = Kinds()

    def __call__(self, blocks: Iterator[Block]) -> Part:
        """A part: its plain records as columns, with their kinds, and all its other evidence."""
        met = len(self.kinds.findings)
        rows: list[Columns] = []
        kinds: list[Ids] = []

        def lines() -> Iterator[RawLine]:
            for block in blocks:
                if len(block.records):
                    rows.append(block.records)
                    kinds.append(self.kinds.of(block, self.file))
                yield from _other_lines(block)

        evidence = list(read_lines(lines(), self.file))
        return Part(
            os.getpid(),
            Columns.joined(rows) if rows else None,
            np.concatenate(kinds) if kinds else np.empty(0, np.int32),
            self.kinds.findings[met:],
            evidence,
        )


@dataclass(slots=True)
class Batch:
    """Some of a log's evidence, in its order.

    ``rows``: the plain records; ``kind`` their index in ``findings``. ``others``: all other evidence as findings or
    unrecognised. For each, rows first, then others: ``event`` the number of the event that it belongs to (-1 for what
    is unrecognised), ``relation`` an index into ``RELATIONS``. ``order`` sorts both together by line. ``extra`` is what
    a view's worker added.
    """

    file: str
    rows: Columns | None
    kind: Ids
    findings: list[Finding]
    others: list[Finding | Unrecognised]
    event: NDArray[np.int64]
    relation: NDArray[np.int8]
    order: NDArray[np.intp]
    extra: Any = None

    @property
    def row_count(self) -> int:
        """How many of the batch's pieces of evidence are rows."""
        return 0 if self.rows is None else len(self.rows)


@dataclass(slots=True)
class _Reports:
    """Reports in columns, in the order of the log."""

    shown: Words
    cpu: NDArray[np.int64]
    apicid: NDArray[np.int64]
    tsc: Words
    time: NDArray[np.float64]
    corrected: NDArray[np.bool_]
    located: NDArray[np.bool_]
    event: NDArray[np.int64]
    position: NDArray[np.int64]

    def only(self, which: Any) -> _Reports:
        return _Reports(*(getattr(self, name)[which] for name in _Reports.__slots__))

    def then(self, other: _Reports) -> _Reports:
        return _Reports(*(np.concatenate((getattr(self, name), getattr(other, name))) for name in _Reports.__slots__))

    @property
    def values(self) -> Report:
        return Report(self.cpu, self.apicid, self.tsc, self.time, self.corrected, self.located)


def _row_reports(rows: Columns) -> _Reports:
    amd = np.isin(rows.vendor, _AMD_NUMBERS) | ((rows.present & Present.IPID) != 0)
    held = np.where(amd, np.uint64(UC.mask | PCC.mask | DEFERRED.mask), np.uint64(UC.mask | PCC.mask))
    place = rows.socket.astype(np.uint32).astype(np.uint64)
    place |= (rows.present & _SHOWN_PRESENCE).astype(np.uint64) << np.uint64(32)
    place |= rows.bank.astype(np.uint64) << np.uint64(40)
    shown = _hash([rows.status, rows.addr, rows.misc, rows.synd, rows.ipid, place])
    count = len(rows)
    return _Reports(
        shown=shown,
        cpu=rows.cpu.astype(np.int64),
        apicid=rows.apicid.astype(np.int64),
        tsc=rows.tsc,
        time=rows.time.astype(np.float64),
        corrected=(rows.status & held) == 0,
        located=(rows.present & np.uint8(Present.ADDR | Present.MISC)) != 0,
        event=np.full(count, -1, np.int64),
        position=np.zeros(count, np.int64),
    )


def _other_reports(records: list[Record | None]) -> tuple[_Reports, NDArray[np.bool_]]:
    """The same of records that are objects, and which of them can be folded (None: unrecognised)."""
    count = len(records)
    columns: dict[str, Any] = {
        "cpu": np.full(count, -1, np.int64),
        "apicid": np.full(count, -1, np.int64),
        "tsc": np.zeros(count, np.uint64),
        "time": np.full(count, np.nan),
        "corrected": np.ones(count, np.bool_),
        "located": np.zeros(count, np.bool_),
    }
    shown = np.zeros((count, 6), np.uint64)
    folds = np.zeros(count, np.bool_)
    for at, each in enumerate(records):
        if each is None or (held := identity(each)) is None:
            continue
        folds[at] = True
        here = report_of(each)
        for name, column in columns.items():
            column[at] = getattr(here, name)
        present = 0
        for flag, value in zip(_SHOWN, (held.addr, held.misc, held.synd, held.ipid), strict=True):
            present |= 0 if value is None else flag
        bank = 0xFFFF if held.bank is None else held.bank & 0xFFFF
        socket = (-1 if held.socket is None else held.socket) & 0xFFFF_FFFF
        shown[at] = (
            held.status, held.addr or 0, held.misc or 0, held.synd or 0, held.ipid or 0,
            bank << 40 | present << 32 | socket,
        )  # fmt: skip
    return (
        _Reports(
            shown=_hash([shown[:, at].copy() for at in range(6)]),
            event=np.full(count, -1, np.int64),
            position=np.zeros(count, np.int64),
            **columns,
        ),
        folds,
    )


class Folding:
    """Numbers the events of a stream of batches, by the rules of ``diagnosis.events``."""

    def __init__(self) -> None:
        self.events = 0
        self._position = 0
        self._recent: _Reports | None = None

    def place(self, here: _Reports, folds: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """The event and the relation of each report; those that do not fold are events of their own."""
        count = len(folds)
        here.position = np.arange(self._position, self._position + count)
        self._position += count
        chosen = np.flatnonzero(folds)
        both = here.only(chosen)
        start = 0
        if self._recent is not None:
            start = len(self._recent.shown)
            both = self._recent.then(both)
        relation = np.zeros(count, np.int8)
        before, after, kinds = _related(both, start)
        relation[chosen[after - start]] = kinds
        new = relation == 0
        numbers = self.events + np.cumsum(new) - 1
        self.events += int(np.count_nonzero(new))
        event = np.where(new, numbers, -1)
        both.event[start:] = event[chosen]
        for last, row in zip(before.tolist(), after.tolist(), strict=True):
            both.event[row] = both.event[last]
        event[chosen] = both.event[start:]
        self._recent = both.only(both.position >= self._position - WINDOW_REPORTS - 1)
        return event, relation


def _related(reports: _Reports, start: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int8]]:
    """Pairs of reports (the last that showed the same, the new one at or behind ``start``) that are one event."""
    nothing = np.empty(0, np.intp)
    ordered = np.sort(reports.shown)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if not len(repeated):
        return nothing, nothing, np.empty(0, np.int8)
    repeated = np.unique(repeated)
    at = np.searchsorted(repeated, reports.shown)
    at[at == len(repeated)] = 0
    members = np.flatnonzero(repeated[at] == reports.shown)
    members = members[np.argsort(reports.shown[members], kind="stable")]
    last, new = members[:-1], members[1:]
    pairs = (reports.shown[last] == reports.shown[new]) & (new >= start)
    pairs &= reports.position[new] - reports.position[last] <= WINDOW_REPORTS
    last, new = last[pairs], new[pairs]
    held, seen = reports.only(last).values, reports.only(new).values
    kinds = np.zeros(len(new), np.int8)
    with np.errstate(invalid="ignore", over="ignore"):
        for number, (_, holds) in reversed(list(enumerate(RULES, start=1))):
            kinds[holds(held, seen)] = number
    one = kinds != 0
    by_position = np.argsort(new[one], kind="stable")
    return last[one][by_position], new[one][by_position], kinds[one][by_position]


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
        kinds: dict[int, list[Finding]] = {}
        merged = _Merged()
        for part in map_ranges(descriptor, work(file), self._wanted, range_bytes=work.range_bytes):
            known = kinds.setdefault(part.process, [])
            known.extend(part.findings)
            yield self._batch(part, file, merged.ids(part.process, known)[part.kind], merged.findings, processors)

    def take(self, evidence: Iterable[Evidence], file: str) -> Iterator[Batch]:
        """The batches of evidence that comes as objects: of a compressed or binary source, or from a pipe."""
        processors = _Processors(self._stated)
        stream = iter(evidence)
        while some := list(islice(stream, OBJECTS_PER_BATCH)):
            part = Part(os.getpid(), None, np.empty(0, np.int32), [], some)
            yield self._batch(part, file, part.kind, [], processors)

    def _batch(self, part: Part, file: str, kind: Ids, findings: list[Finding], processors: _Processors) -> Batch:
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
        reports, folds = _other_reports(records)
        line = np.array([item.origin.line or 0 for item in part.evidence], np.int64)
        counted = np.array([each is not None for each in records], np.bool_)
        if part.rows is not None:
            count = len(part.rows)
            reports = _row_reports(part.rows).then(reports)
            folds = np.append(np.ones(count, np.bool_), folds)
            line = np.append(part.rows.line, line)
            counted = np.append(np.ones(count, np.bool_), counted)
        order = np.argsort(line, kind="stable")
        event = np.full(len(line), -1, np.int64)
        relation = np.zeros(len(line), np.int8)
        placed = order[counted[order]]
        event[placed], relation[placed] = self._folding.place(reports.only(placed), folds[placed])
        return Batch(file, part.rows, kind, findings, others, event, relation, order, part.extra)


class _Merged:
    """The kinds of all processes in one list: the same kind that two processes met stands twice, which does no harm."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []
        self._ids: dict[int, list[int]] = {}

    def ids(self, process: int, known: list[Finding]) -> Ids:
        """The indexes in ``findings`` of one process's kinds."""
        ids = self._ids.setdefault(process, [])
        for finding in known[len(ids) :]:
            ids.append(len(self.findings))
            self.findings.append(finding)
        return np.array(ids, np.int32)


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


def number_column(batch: Batch, name: str) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """A number of every row (``corrected_count``, ``row``, ``syndrome``, ...), and which rows have it.

    ``name`` is an attribute of Location, or ``corrected_count`` or ``threshold_count``.
    """
    rows = batch.rows
    if rows is None:
        return np.empty(0, np.uint64), np.empty(0, np.bool_)
    constants = [_constant(finding, name) for finding in batch.findings]
    value = np.array([constant or 0 for constant in constants], np.uint64)[batch.kind]
    has = np.array([constant is not None for constant in constants], np.bool_)[batch.kind]
    declared: dict[Placed, list[int]] = {}
    for kind, finding in enumerate(batch.findings):
        for placed in finding.reading.placed:
            if placed.name == name:
                declared.setdefault(placed, []).append(kind)
    for placed, kinds in declared.items():
        chosen = np.zeros(len(batch.findings), np.bool_)
        chosen[kinds] = True
        which = chosen[batch.kind]
        value[which] = _of(placed, getattr(rows, placed.register)[which])
    return value, has


def _constant(finding: Finding, name: str) -> int | None:
    owner = finding.reading if name in {"corrected_count", "threshold_count"} else finding.reading.location
    value = getattr(owner, name)
    return None if value is None else int(value)


def _of(placed: Placed, register: Words) -> Words:
    total = np.zeros(len(register), np.uint64)
    for high, low, shift in placed.pieces:
        bits = (register >> np.uint64(low)) & np.uint64((1 << (high - low + 1)) - 1)
        total += bits << np.uint64(shift)
    return total


def address_column(batch: Batch) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The address of every row (a linear one canonical), and which rows have one."""
    rows = batch.rows
    if rows is None:
        return np.empty(0, np.uint64), np.empty(0, np.bool_)
    mask = np.array([finding.reading.address.mask for finding in batch.findings], np.uint64)[batch.kind]
    has = np.array([finding.reading.address.value is not None for finding in batch.findings], np.bool_)[batch.kind]
    linear = np.array([f.reading.address.kind is AddressKind.LINEAR for f in batch.findings], np.bool_)[batch.kind]
    value = rows.addr & mask
    for row in np.flatnonzero(linear).tolist():
        value[row] = canonical(int(value[row]))
    return value, has
