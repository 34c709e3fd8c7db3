"""Pages of the kernel's ring buffer, as ``per_cpu/cpuN/trace_pipe_raw`` gives them.

Source: Linux include/linux/ring_buffer.h (enum ring_buffer_type), kernel/trace/ring_buffer.c (ring_buffer_read_page,
rb_update_read_stamp), ``events/header_event``. A page is a header (``trace_format.PageFormat``) and events, each with a
word before it: 5 bits type or length, 27 bits of time since the event before, in nanoseconds of the trace clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ringfence.errors import FormatError
from ringfence.service.sources.trace_format import PageFormat

PADDING: Final = 29
TIME_EXTEND: Final = 30
TIME_STAMP: Final = 31
DELTA_BITS: Final = 27

MISSED_EVENTS: Final = 1 << 31
"""Flag in the commit word: events were overwritten before those of this page."""
MISSED_STORED: Final = 1 << 30
"""How many they were stands behind the page's data, as a word of the commit field's size."""
_COMMIT_MASK: Final = (1 << DELTA_BITS) - 1
_STAMP_BITS: Final = 59
"""An absolute stamp has 27 + 32 bits; the five above come from the time before (rb_fix_abs_ts)."""


@dataclass(frozen=True, slots=True)
class Traced:
    """One event: nanoseconds of the trace clock, and its bytes (which begin with the common fields)."""

    time_ns: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """What a page holds. ``missed``: so many events at least were overwritten before it; exactly, if ``is_exact``.

    ``damage``: why the rest of the page cannot be read.
    """

    events: tuple[Traced, ...]
    missed: int = 0
    is_exact: bool = True
    damage: str | None = None


def read_page(page: bytes, form: PageFormat) -> Page:
    """The events of one page, in their order. Raises FormatError if it is shorter than its header."""
    if len(page) < form.data.offset:
        raise FormatError(f"a trace page of {len(page)} bytes has no header")
    now = int.from_bytes(page[form.timestamp.offset : form.timestamp.offset + form.timestamp.size], "little")
    commit = int.from_bytes(page[form.commit.offset : form.commit.offset + form.commit.size], "little")
    data = page[form.data.offset :]
    size = commit & _COMMIT_MASK
    missed, is_exact = _missed(commit, data, size, form.commit.size)
    if size > len(data):
        return Page((), missed, is_exact, f"the page says that it holds {size} bytes, and has {len(data)}")
    events: list[Traced] = []
    at = 0
    while at < size:
        try:
            at, now, payload = _next(data[:size], at, now)
        except FormatError as error:
            return Page(tuple(events), missed, is_exact, str(error))
        if payload is not None:
            events.append(Traced(now, payload))
    return Page(tuple(events), missed, is_exact)


def _missed(commit: int, data: bytes, size: int, word: int) -> tuple[int, bool]:
    if not commit & MISSED_EVENTS:
        return 0, True
    stored = data[size : size + word]
    if commit & MISSED_STORED and len(stored) == word:
        return int.from_bytes(stored, "little"), True
    return 1, False


def _word(data: bytes, at: int) -> int:
    if at + 4 > len(data):
        raise FormatError("a trace page ends within an event's header", offset=at)
    return int.from_bytes(data[at : at + 4], "little")


def _next(data: bytes, at: int, now: int) -> tuple[int, int, bytes | None]:
    """Where the event behind the one at ``at`` stands, the time after it, and its bytes if it is one of data."""
    head = _word(data, at)
    kind, delta = head & 31, head >> 5
    at += 4
    if kind == PADDING:
        # Without a delta: the rest of the page. With one: an event that was discarded; its time does not count
        # (rb_update_read_stamp).
        return (len(data), now, None) if not delta else (at + _aligned(_word(data, at)), now, None)
    if kind == TIME_EXTEND:
        return at + 4, now + (_word(data, at) << DELTA_BITS) + delta, None
    if kind == TIME_STAMP:
        return at + 4, _absolute((_word(data, at) << DELTA_BITS) + delta, now), None
    if kind:
        start, length = at, kind << 2
        behind = start + length
    else:
        length = _word(data, at) - 4
        start, behind = at + 4, at + _aligned(length + 4)
    if length < 0 or behind > len(data):
        raise FormatError(f"a trace event of {length} bytes does not end within its page", offset=at)
    return behind, now + delta, data[start : start + length]


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _absolute(stamp: int, before: int) -> int:
    """A stamp of 59 bits with the bits above of the time before it, carried over if that makes it earlier."""
    high = before >> _STAMP_BITS << _STAMP_BITS
    stamp |= high
    return stamp + (1 << _STAMP_BITS) if high and stamp < before else stamp
