"""Lines as they come, to evidence, whole bursts at a time, and after which line nothing is still open.

The assembler of ``record.text`` is a generator over all lines. A source that must say how far it got needs more: which
lines stand behind what was handed over. So lines are held until the burst that they are of is complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import Final

from ringfence.record.evidence import Evidence, Lull
from ringfence.record.sources import MAX_PARTIAL_LINE_BYTES
from ringfence.record.text import reader
from ringfence.record.text.assemble import Piece, assemble, bursts
from ringfence.record.text.lines import RawLine

MAX_HELD_LINES: Final = 16_384
"""More lines than these are never held: the assembler cuts a burst at 4096 fragments, between which up to 40 lines of
other things may stand, but hardly ever do. Beyond it what there is is taken for complete."""

_STEP_LINES: Final = 512
"""In an endless burst the held lines are read again when so many new ones have come: each line at most some times."""

_TOKENS = re.compile(b"|".join(re.escape(token) for token in reader.TOKENS))


@dataclass(frozen=True, slots=True)
class Marked:
    """A line, and where to resume once it is dealt with (a sequence number, a byte offset: the source's own count)."""

    line: RawLine
    after: int


class TextAssembly:
    """The lines of one source, from which evidence is taken as soon as it is complete.

    Line numbers must ascend; lines that directly follow each other have numbers that do.
    """

    def __init__(self, file: str, start: int) -> None:
        self._file = file
        self._held: list[Marked] = []
        self._new = 0
        self._last_token = -1 << 62
        self._has_come = False
        self._came_at_s = 0.0
        self._settled = self._seen = start

    @property
    def settled(self) -> int:
        """Where to resume: everything before it has been handed over, or is no evidence."""
        return self._settled

    @property
    def is_open(self) -> bool:
        """Whether lines are held that may be evidence."""
        return bool(self._held)

    def feed(self, marked: Marked) -> None:
        """Take one line. Lines that no evidence can be near are passed over at once."""
        self._seen = marked.after
        if _TOKENS.search(marked.line.text) is not None:
            self._last_token = marked.line.number
            self._has_come = True
        elif marked.line.number - self._last_token > max(reader.MAX_INSIDE_LINES, 1):
            self.pass_over(marked.after)
            return
        self._held.append(marked)
        self._new += 1

    def pass_over(self, after: int) -> None:
        """Something that is no evidence stands up to ``after``."""
        self._seen = after
        if not self._held:
            self._settled = after

    def skip(self, after: int) -> list[Evidence]:
        """Lines are missing up to ``after``: what is held ends there."""
        evidence = self.silent()
        self._seen = self._settled = after
        return evidence

    def completes_in_s(self, now_s: float, lull_s: float) -> float | None:
        """In how many seconds what is held is complete, if no more lines come that may be evidence; None: none is held.

        ``now_s`` is of any clock that does not step. Lines of other things do not put it off: a log is never silent.
        """
        if self._has_come:
            self._has_come, self._came_at_s = False, now_s
        return max(0.0, self._came_at_s + lull_s - now_s) if self._held else None

    def ready(self) -> list[Evidence]:
        """The evidence of bursts that are complete though the source goes on."""
        if len(self._held) > MAX_HELD_LINES:
            return self.silent()
        if self._new < _STEP_LINES:
            return []
        self._new = 0
        found = list(bursts(reader.pieces(item.line for item in self._held)))
        if not found:
            self._drop(len(self._held))
            return []
        first_open = found[-1][0].line.number
        keep = sum(1 for _ in takewhile(lambda item: item.line.number < first_open, self._held))
        evidence = [item for burst in found[:-1] for item in _evidence(burst, self._file)]
        self._drop(keep)
        return evidence

    def silent(self) -> list[Evidence]:
        """The evidence of everything held: the source has been silent, or ends."""
        found = bursts(reader.pieces(item.line for item in self._held))
        evidence = [item for burst in found for item in _evidence(burst, self._file)]
        self._drop(len(self._held))
        return evidence

    def _drop(self, count: int) -> None:
        if count:
            self._settled = self._held[count - 1].after
            del self._held[:count]
        if not self._held:
            self._settled, self._new = self._seen, 0


def _evidence(burst: list[Piece], file: str) -> Iterator[Evidence]:
    return (item for item in assemble(burst, file) if not isinstance(item, Lull))


def feed_lines(text: TextAssembly, data: bytes, end: int, number: Iterator[int]) -> bytes:
    """Hand on the whole lines of ``data``, which ends at byte ``end``; returns the beginning of a line."""
    start = end - len(data)
    at = 0
    while (stop := data.find(b"\n", at)) >= 0:
        text.feed(Marked(RawLine(next(number), data[at:stop].removesuffix(b"\r")), start + stop + 1))
        at = stop + 1
    rest = data[at:]
    if len(rest) > MAX_PARTIAL_LINE_BYTES:
        text.feed(Marked(RawLine(next(number), rest), end))
        return b""
    return rest
