"""A large file read by several processes, each a part of it.

Threads do not help here: a block's arrays are small enough to stay in the cache, so that numpy takes the interpreter's
lock back every few microseconds. Processes share nothing but the file; what each makes of its part is sent as a pickle.
"""

from __future__ import annotations

import mmap
import os
import pickle
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, Final, Generic, TypeVar

import numpy as np

from ringfence.record.columns.blocks import (
    BLOCK_BYTES,
    END,
    SEAM_BYTES,
    Block,
    Seam,
    drafts,
    settled,
    text_of,
)
from ringfence.record.columns.scan import REACH_LINES, Shapes, scan
from ringfence.record.columns.tokens import LineFilter

RANGE_BYTES: Final = 8 << 20
"""A part of a file for one process at a time: what is made of it must fit in memory a few times."""

PROCESSES: Final = min(2, os.cpu_count() or 1)

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True)
class _Cut:
    """A place at which a file can be cut so that no evidence bears on the other side.

    ``offset`` is the start of a line. ``between``: it is the head line of a plain record, right behind another one;
    else no evidence is near at all.
    """

    offset: int
    between: bool


def _safe_cut(descriptor: int, nominal: int, end: int, wanted: LineFilter) -> _Cut:
    """The first safe cut that is found at or behind an offset, or the end."""
    at = nominal
    while at < end:
        window = text_of(descriptor, at, min(at + SEAM_BYTES, end))
        line = window.buffer.find(b"\n", 0, window.size) + 1
        if (cut := _cut_within(descriptor, at + line, at + window.size, wanted)) is not None:
            return cut
        at += window.size
    return _Cut(end, between=True)


def _cut_within(descriptor: int, start: int, end: int, wanted: LineFilter) -> _Cut | None:
    draft = scan(text_of(descriptor, start, end), Shapes(), wanted)
    first, last = draft.evidence[draft.head[draft.taken]], draft.evidence[draft.stamp[draft.taken] + 1]
    whole = np.zeros(draft.lines, np.bool_)
    unsafe = np.zeros(draft.lines, np.bool_)
    unsafe[:REACH_LINES] = unsafe[max(0, draft.lines - REACH_LINES) :] = True
    for head, end_line in zip(first.tolist(), last.tolist(), strict=True):
        whole[head : end_line + 1] = True
        unsafe[head + 1 : end_line + 1] = True
    for line in draft.evidence[~whole[draft.evidence]].tolist():
        unsafe[max(0, line - REACH_LINES) : line + REACH_LINES + 1] = True
    safe = np.flatnonzero(~unsafe)
    between = safe[np.isin(safe, first[1:])]
    if len(between):
        return _Cut(start + int(draft.starts[between[0]]), between=True)
    if len(safe) and not len(draft.evidence):
        return _Cut(start + int(draft.starts[safe[0]]), between=False)
    return None


@dataclass(frozen=True, slots=True)
class _Part(Generic[_Result]):
    """How one process reads its parts of a file."""

    descriptor: int
    size: int
    work: Callable[[Iterator[Block]], _Result]
    wanted: LineFilter
    range_bytes: int
    processes: int

    def cut(self, number: int) -> _Cut:
        if number == 0:
            return _Cut(0, between=True)
        return _safe_cut(self.descriptor, number * self.range_bytes, self.size, self.wanted)

    def results(self, turn: int) -> Iterator[_Result]:
        """What the parts number ``turn``, ``turn + processes``, ... are worth, in their order."""
        counted = Seam()
        for number in range(turn, -(-self.size // self.range_bytes), self.processes):
            start, end = self.cut(number), self.cut(number + 1)
            lines = _lines(self.descriptor, counted.offset, start.offset)
            seam = replace(counted, offset=start.offset, line=counted.line + lines, closed=start.between, evidence=True)
            behind = END if end.offset >= self.size else replace(END, head=end.between)
            found = drafts(self.descriptor, start.offset, end.offset, self.wanted)
            yield self.work(settled(found, self.wanted, seam, behind))
            counted = Seam(seam.offset, seam.line)


def _lines(descriptor: int, start: int, end: int) -> int:
    """How many lines end between two offsets."""
    lines = 0
    while start < end:
        base = start - start % mmap.ALLOCATIONGRANULARITY
        length = min(end, start + BLOCK_BYTES) - base
        with mmap.mmap(descriptor, length, prot=mmap.PROT_READ, offset=base) as view:
            lines += int(np.count_nonzero(np.frombuffer(view[start - base :], np.uint8) == 0x0A))
        start = base + length
    return lines


def _even(size: int, processes: int, range_bytes: int) -> int:
    """A range at most as large as asked for, and such that every process gets as many, if each gets one at all."""
    rounds = -(-size // (processes * range_bytes))
    return -(-size // (processes * rounds)) if rounds > 1 else range_bytes


def map_ranges(
    descriptor: int,
    work: Callable[[Iterator[Block]], _Result],
    wanted: LineFilter,
    *,
    processes: int = PROCESSES,
    range_bytes: int = RANGE_BYTES,
) -> Iterator[_Result]:
    """What ``work`` makes of each part of a regular file, in the file's order.

    ``work`` is handed the blocks of one part; no evidence on either side of a cut bears on the other. It runs in this
    process and in forked ones, so its result must be picklable, and what it changes elsewhere is lost. ``work`` must
    consume all its blocks. With other threads running, or where a process cannot fork, it runs in this process alone.
    Raises OSError, and whatever ``work`` raises.
    """
    size = os.fstat(descriptor).st_size
    if threading.active_count() > 1 or not hasattr(os, "fork"):
        processes = 1
    range_bytes = _even(size, processes, range_bytes)
    parts = -(-size // range_bytes)
    part = _Part(descriptor, size, work, wanted, range_bytes, processes)
    own = part.results(0)
    helpers = [_Helper(part, turn) for turn in range(1, min(processes, parts))]
    try:
        for number in range(parts):
            turn = number % processes
            yield next(own) if turn == 0 else helpers[turn - 1].result()
    finally:
        for helper in helpers:
            helper.close()


class _Helper(Generic[_Result]):
    """A forked process that reads its share of a file's parts."""

    def __init__(self, part: _Part[_Result], turn: int) -> None:
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            # Only this thread runs Python; numpy's idle threads hold nothing that the child will use.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            os.close(reading)
            _serve(part, turn, writing)
        os.close(writing)
        self._answers: BinaryIO = os.fdopen(reading, "rb")

    def result(self) -> _Result:
        """The next result. Raises what the process raised, or OSError if it has died."""
        try:
            error, answer = pickle.load(self._answers)  # noqa: S301 (written by our own child)
        except EOFError:
            raise OSError("the process that read a part of the file has died") from None
        if error is not None:
            raise error
        result: _Result = answer
        return result

    def close(self) -> None:
        """Let the process end, and wait for it."""
        self._answers.close()
        os.waitpid(self._pid, 0)


def _serve(part: _Part[_Result], turn: int, writing: int) -> None:
    """Run in the forked process, and never return."""
    status = 1
    try:
        with os.fdopen(writing, "wb") as answers:
            try:
                for result in part.results(turn):
                    pickle.dump((None, result), answers, protocol=pickle.HIGHEST_PROTOCOL)
                    answers.flush()
            except Exception as error:
                pickle.dump((error, None), answers, protocol=pickle.HIGHEST_PROTOCOL)
        status = 0
    finally:
        os._exit(status)
