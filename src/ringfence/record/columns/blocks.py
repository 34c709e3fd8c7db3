"""A log of any size, block by block: cutting it, and settling what stands at the seams."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from ringfence.record.columns.digits import PAD_BYTES, Flags, Positions, Text
from ringfence.record.columns.scan import REACH_LINES, Columns, Draft, Shapes, scan
from ringfence.record.columns.shape import TAG
from ringfence.record.columns.tokens import LineFilter

BLOCK_BYTES: Final = 1 << 20
"""About 10,000 lines: enough to make numpy's cost per call small, while all arrays of a block fit a core's cache."""

SEAM_BYTES: Final = 64 << 10
"""How far behind a block's nominal end a head line is looked for, so that records do not straddle a seam."""

_HEAD: Final = TAG + b"CPU "


@dataclass(frozen=True, slots=True)
class Span:
    """Whole lines for the reader of single lines: byte offsets in the file, and the first line's 1-based number."""

    start: int
    end: int
    line: int
    lines: int


@dataclass(frozen=True, slots=True)
class Block:
    """Some lines of a log: its plain records, and the spans of lines that are for the reader of single lines.

    Every line is either one of a plain record's, or in a span, or holds no evidence. ``offset`` is the block's first
    byte in the file, ``line`` its first line's 1-based number, ``lines`` how many lines there are.
    """

    offset: int
    line: int
    lines: int
    size: int
    records: Columns
    rest: tuple[Span, ...]
    buffer: bytes

    def text(self, start: int, end: int) -> bytes:
        """The bytes between two offsets of the file, both within this block."""
        return self.buffer[start - self.offset : end - self.offset]


@dataclass(slots=True)
class Seam:
    """What is known where a block begins, from all that stands before it.

    ``offset`` and ``line`` are the block's. ``closed``: the latest evidence is the end of a whole record, or there was
    none since the start of the log. ``since_other``: how many lines ago the latest line of another form stood (1: right
    before). ``since_rest``: the same for the latest line that went to the reader of single lines.
    """

    offset: int = 0
    line: int = 1
    closed: bool = True
    evidence: bool = False
    since_other: int = 1 << 62
    since_rest: int = 1 << 62

    def moved_on(self, draft: Draft, rest: Positions) -> None:
        """Move behind a block, of which ``rest`` went to the reader of single lines."""
        self.offset += draft.text.size
        self.line += draft.lines
        self.closed = draft.closed if len(draft.evidence) else self.closed and not self.evidence
        self.evidence |= bool(len(draft.evidence))
        others = draft.others
        self.since_other = draft.lines - int(others[-1]) if len(others) else self.since_other + draft.lines
        self.since_rest = draft.lines - int(rest[-1]) if len(rest) else self.since_rest + draft.lines


@dataclass(frozen=True, slots=True)
class Next:
    """What is known where a block ends, from what stands behind it.

    ``head``: a head line is the next evidence. ``at_once``: that is the very next line. ``until_other``: how many lines
    behind the block's end a line of another form stands, at least. ``until_evidence``: the same for any evidence.
    """

    head: bool
    at_once: bool
    until_other: int
    until_evidence: int

    @classmethod
    def of(cls, draft: Draft) -> Next:
        """What a block means for the one before it."""
        others, evidence = draft.others, draft.evidence
        first = int(evidence[0]) if len(evidence) else draft.lines
        return cls(draft.opens_with_head, first == 0, int(others[0]) if len(others) else draft.lines, first)


END: Final = Next(head=True, at_once=True, until_other=1 << 62, until_evidence=1 << 62)
"""Behind the end of a log there is nothing that could speak against its last record."""


def _single_lines(draft: Draft, taken: Flags) -> Positions:
    """The lines of evidence that no taken record has."""
    single = np.ones(len(draft.evidence), np.bool_)
    head, stamp = draft.head[taken], draft.stamp[taken]
    for place in (head, stamp - 1, stamp, stamp + 1):
        single[place] = False
    return draft.evidence[single]


def _with_context(draft: Draft, single: Positions, seam: Seam, behind: Next, context_lines: int) -> Positions:
    """These lines and those near them that hold no evidence; near what went before and what comes behind, too."""
    near = np.zeros(draft.lines, np.bool_)
    for step in range(-context_lines, context_lines + 1):
        shifted = single + step
        near[shifted[(shifted >= 0) & (shifted < draft.lines)]] = True
    near[: max(0, context_lines + 1 - seam.since_rest)] = True
    near[max(0, draft.lines - max(0, context_lines - behind.until_evidence)) :] = True
    near[draft.evidence] = False
    near[single] = True
    return np.flatnonzero(near)


def _spans(draft: Draft, rest: Positions, seam: Seam) -> tuple[Span, ...]:
    """Runs of neighbouring lines as spans."""
    if not len(rest):
        return ()
    breaks = np.flatnonzero(np.diff(rest) != 1) + 1
    first, last = rest[np.append(0, breaks)], rest[np.append(breaks, len(rest)) - 1]
    ends = np.minimum(draft.ends[last] + 1, draft.text.size)
    return tuple(
        Span(start + seam.offset, end + seam.offset, begin + seam.line, stop - begin + 1)
        for start, end, begin, stop in zip(
            draft.starts[first].tolist(), ends.tolist(), first.tolist(), last.tolist(), strict=True
        )
    )


def _refused(draft: Draft, seam: Seam, behind: Next) -> Flags:
    """The records at the block's edges that its neighbours speak against."""
    first, last = draft.evidence[draft.head], draft.evidence[draft.stamp + 1]
    refused = np.asarray(first + seam.since_other <= REACH_LINES)
    refused |= draft.lines - last + behind.until_other <= REACH_LINES
    picked = np.flatnonzero(draft.taken)
    if draft.first and not seam.closed:
        refused[picked[0]] = True
    # Right behind its last line a record needs a line that is no rest of a wrapped one: a head line is none.
    if draft.last and not (behind.head and (behind.at_once or int(last[picked[-1]]) < draft.lines - 1)):
        refused[picked[-1]] = True
    return refused


def _settle(draft: Draft, behind: Next, seam: Seam, context_lines: int) -> Block:
    """Decide the records at the block's edges, now that both neighbours are known, and move the seam on."""
    taken = draft.taken & ~_refused(draft, seam, behind)
    single = _single_lines(draft, taken)
    rest = _with_context(draft, single, seam, behind, context_lines) if context_lines else single
    records = draft.columns.only(slice(None) if taken.all() else taken).moved(seam.offset, seam.line)
    spans = _spans(draft, rest, seam)
    block = Block(seam.offset, seam.line, draft.lines, draft.text.size, records, spans, draft.text.buffer)
    seam.moved_on(draft, single)
    return block


def settled(
    drafts: Iterable[Draft], wanted: LineFilter, seam: Seam | None = None, behind: Next = END
) -> Iterator[Block]:
    """The blocks, each as soon as the one behind it has been read; ``behind`` is what stands behind the last."""
    seam = seam or Seam()
    waiting: Draft | None = None
    for draft in drafts:
        if waiting is not None:
            yield _settle(waiting, Next.of(draft), seam, wanted.context_lines)
        waiting = draft
    if waiting is not None:
        yield _settle(waiting, behind, seam, wanted.context_lines)


def scan_text(text: bytes, wanted: LineFilter) -> Block:
    """Read a whole log that is in memory, as one block."""
    (block,) = settled([scan(Text(text + bytes(PAD_BYTES), len(text)), Shapes(), wanted)], wanted)
    return block


def scan_stream(read: Callable[[int], bytes], wanted: LineFilter, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Read a log from a pipe or a decompressor, block by block; ``read`` is that of a binary file."""
    shapes = Shapes()
    return settled((scan(text, shapes, wanted) for text in _texts(read, block_bytes)), wanted)


def _texts(read: Callable[[int], bytes], block_bytes: int) -> Iterator[Text]:
    """Cut a stream before head lines, or, where there are none, between lines."""
    kept: list[bytes] = []
    while piece := read(block_bytes):
        cut = _last_cut(piece)
        if cut:
            text = b"".join((*kept, memoryview(piece)[:cut], bytes(PAD_BYTES)))
            kept.clear()
            yield Text(text, len(text) - PAD_BYTES)
        kept.append(piece[cut:])
    text = b"".join((*kept, bytes(PAD_BYTES)))
    if len(text) > PAD_BYTES:
        yield Text(text, len(text) - PAD_BYTES)


def _last_cut(piece: bytes) -> int:
    """Where to cut a piece of a stream: near its end, 0 if nowhere."""
    head = piece.rfind(_HEAD, max(0, len(piece) - SEAM_BYTES))
    cut = piece.rfind(b"\n", 0, head) + 1 if head >= 0 else 0
    return cut or piece.rfind(b"\n") + 1


def scan_file(descriptor: int, wanted: LineFilter, block_bytes: int = BLOCK_BYTES) -> Iterator[Block]:
    """Read a regular file from its start, block by block, at its present size. Raises OSError."""
    size = os.fstat(descriptor).st_size
    return settled(drafts(descriptor, 0, size, wanted, block_bytes), wanted)


def drafts(
    descriptor: int, start: int, end: int, wanted: LineFilter, block_bytes: int = BLOCK_BYTES
) -> Iterator[Draft]:
    """Read a part of a file that starts and ends with whole lines, block by block."""
    shapes = Shapes()
    while start < end:
        cut = _cut_behind(descriptor, start + block_bytes, end)
        yield scan(text_of(descriptor, start, cut), shapes, wanted)
        start = cut


def text_of(descriptor: int, start: int, end: int) -> Text:
    """The bytes of a file between two offsets; fewer if the file has become shorter."""
    buffer = os.pread(descriptor, end - start + PAD_BYTES, start)
    missing = end - start + PAD_BYTES - len(buffer)
    if missing > 0:
        return Text(buffer + bytes(missing + PAD_BYTES), min(end - start, len(buffer)))
    return Text(buffer, end - start)


def _cut_behind(descriptor: int, nominal: int, end: int) -> int:
    """The first good place for a cut at or behind an offset: before a head line, or else between lines."""
    at = nominal
    while at < end:
        window = os.pread(descriptor, SEAM_BYTES, at)
        if not window:
            return end
        line = window.find(b"\n") + 1
        if line:
            head = window.find(_HEAD, line)
            cut = window.rfind(b"\n", 0, head) + 1 if head >= 0 else line
            return min(at + cut, end)
        at += len(window)
    return end
