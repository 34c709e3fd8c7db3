"""One block of lines to columns: the records that are complete and plain beyond doubt, and the lines that are not.

A record is taken only if the reader of single lines must come to the same: its lines follow one another without another
line of evidence between, behind prefixes of one shape, the record before it is just as whole, the next line of evidence
starts another record, and no line of another form is near that might speak of it (EDAC, "Memory failure", ...). So
whatever is broken or interleaved is left, with a whole record on either side, to the reader of single lines.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from enum import IntEnum
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from ringfence.arch.mcg import EIPV
from ringfence.record.columns.digits import Flags, Positions, Text, Words, word
from ringfence.record.columns.printk import (
    Present,
    read_heads,
    read_processors,
    read_rip,
    read_stamps,
)
from ringfence.record.columns.shape import TAG, Shape, judged
from ringfence.record.columns.tokens import LineFilter

SHAPES_FOUND_PER_BLOCK: Final = 8
"""A block with more new shapes than this is no plain log, and is read line by line."""

ASKED_AT_LEAST: Final = 64
"""When most of so many lines with a token were evidence, the others of the block are taken for it unasked."""

REACH_LINES: Final = 40
"""How many lines apart a record and a line of another form may be for one to bear on the other: no less than what
``text.assemble`` joins (JOIN_LINES, BURST_GAP_LINES) and than any grammar's ``inside_lines``."""

_EIPV: Final = np.uint64(EIPV.mask)

NEUTRAL: Final = (b"Machine check events logged", b"Run the above through 'mcelog --ascii'")
"""What the kernel prints behind the tag that is no evidence and belongs to no record (mce/core.c, mce/dev-mcelog.c)."""


class Kind(IntEnum):
    """What a line is. OTHER may be evidence, and only the reader of single lines can tell."""

    NOISE = 0
    HEAD = 1
    RIP = 2
    STAMP = 3
    PROCESSOR = 4
    OTHER = 5


@dataclass(frozen=True, slots=True)
class Columns:
    """Plain records of Linux's printk form, one entry each, in the order of the text.

    ``head`` and ``end`` are byte offsets in the file (start of the head line, start of the line after the last),
    ``line`` the 1-based number of the head line, ``prefix_bytes`` the length of what stands before the body in each of
    the record's lines, and ``lines`` how many lines the record itself has (3, or 4 with RIP). ``present`` is a set of
    ``Present`` bits; a register that is not present is zero. ``vendor`` is Linux's
    X86_VENDOR number (``arch.cpuid.LINUX_VENDORS``), ``time`` seconds since the Unix epoch, all else as in
    ``record.evidence``.
    """

    head: NDArray[np.int64]
    end: NDArray[np.int64]
    line: NDArray[np.int64]
    prefix_bytes: NDArray[np.uint16]
    lines: NDArray[np.uint8]
    present: NDArray[np.uint8]
    cpu: NDArray[np.uint32]
    bank: NDArray[np.uint16]
    mcg_status: Words
    status: Words
    tsc: Words
    addr: Words
    misc: Words
    ppin: Words
    synd: Words
    ipid: Words
    ip: Words
    cs: NDArray[np.uint16]
    vendor: NDArray[np.uint8]
    cpuid: NDArray[np.uint32]
    time: NDArray[np.int64]
    socket: NDArray[np.int32]
    apicid: NDArray[np.uint32]
    microcode: NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.head)

    def only(self, which: Positions | Flags | slice) -> Self:
        """The records that an index of numpy picks."""
        return type(self)(*(getattr(self, field.name)[which] for field in fields(self)))

    def moved(self, offset: int, line: int) -> Self:
        """The same records in a file in which their text starts at ``offset`` and in line ``line``."""
        return replace(self, head=self.head + offset, end=self.end + offset, line=self.line + (line - 1))

    @classmethod
    def joined(cls, parts: Iterable[Self]) -> Self:
        """The records of several parts, one after the other. Raises ValueError if there is no part."""
        listed = list(parts)
        return cls(*(np.concatenate([getattr(part, field.name) for part in listed]) for field in fields(cls)))


@dataclass(frozen=True, slots=True)
class Draft:
    """A block as read without its neighbours, with line numbers that count from 0 at its start.

    ``evidence`` lists the block's lines of evidence. ``columns`` holds every record whose lines follow one another;
    ``head`` and ``stamp`` say where in ``evidence`` its head and its TSC line are (the PROCESSOR line is the next), and
    ``taken`` which of the records are plain among the block's own lines. ``first`` and ``last``: the first or the last
    taken record is also the first or the last evidence of the block, so that it is for a neighbour to confirm.
    ``closed``: the last evidence is the end of a whole record. ``others`` lists the lines of another form.
    """

    text: Text
    starts: Positions
    ends: Positions
    evidence: Positions
    columns: Columns
    head: Positions
    stamp: Positions
    taken: Flags
    others: Positions
    first: bool
    last: bool
    closed: bool
    opens_with_head: bool

    @property
    def lines(self) -> int:
        """How many lines the block has, an unfinished last one included."""
        return len(self.starts)


class Shapes:
    """The shapes of prefixes that the latest block had; the next one most probably has the same."""

    def __init__(self) -> None:
        self.latest: tuple[Shape, ...] = ()


@dataclass(slots=True)
class _Lines:
    """The lines of a block while they are told apart."""

    text: Text
    starts: Positions
    ends: Positions
    kinds: NDArray[np.uint8]
    shape: NDArray[np.int8]
    prefixes: list[int]
    stamped: Flags

    def body(self, which: Positions) -> Positions:
        """Where the bodies of some lines start, all of which have a shape."""
        if len(self.prefixes) == 1:
            return self.starts[which] + np.intp(self.prefixes[0])
        lengths: Positions = np.array(self.prefixes, np.intp)[self.shape[which]]
        return self.starts[which] + lengths


def _split(text: Text) -> _Lines:
    """Find the lines; a last line without its newline has kind OTHER, for the rest of it may be missing."""
    ends = np.flatnonzero(text.characters[: text.size] == 0x0A)
    starts = np.empty_like(ends)
    starts[:1] = 0
    starts[1:] = ends[:-1] + 1
    finished = len(ends)
    done = int(ends[-1]) + 1 if finished else 0
    if done < text.size:
        starts, ends = np.append(starts, done), np.append(ends, text.size)
    kinds = np.zeros(len(starts), np.uint8)
    kinds[finished:] = Kind.OTHER
    return _Lines(text, starts, ends, kinds, np.full(len(starts), -1, np.int8), [], ends == starts)


_BODIES: Final = ((Kind.HEAD, b"CPU "), (Kind.RIP, b"RIP "), (Kind.STAMP, b"TSC "), (Kind.PROCESSOR, b"PROCESSO"))


def _apply(lines: _Lines, shape: Shape) -> bool:
    """Tell the lines with a prefix of this shape apart; True if there are any."""
    number = len(lines.prefixes)
    lines.prefixes.append(len(shape.prefix))
    matched = shape.match(lines.text, lines.starts)
    lines.stamped |= matched.stamped
    tagged = matched.tagged & (lines.shape < 0)
    # An unfinished last line keeps its kind.
    tagged[len(tagged) - 1 :] &= lines.kinds[len(tagged) - 1 :] == Kind.NOISE
    fresh = np.flatnonzero(tagged)
    if not len(fresh):
        return False
    lines.shape[fresh] = number
    kinds = np.full(len(fresh), Kind.OTHER, np.uint8)
    body = matched.body[fresh]
    four = body & np.uint64(0xFFFF_FFFF)
    for kind, characters in _BODIES:
        kinds[(four if len(characters) == 4 else body) == word(characters)] = kind
    others = np.flatnonzero(kinds == Kind.OTHER)
    at = lines.starts[fresh[others]] + len(shape.prefix)
    for neutral in NEUTRAL:
        kinds[others[lines.text.equal(at, neutral + b"\n")]] = Kind.NOISE
    lines.kinds[fresh] = kinds
    return True


class _Shaping:
    """Finds the shapes of a block's lines: the latest block's first, then what its own lines show."""

    def __init__(self, lines: _Lines, latest: tuple[Shape, ...]) -> None:
        self.lines = lines
        self.tried = list(latest)
        self._to_find = SHAPES_FOUND_PER_BLOCK
        for shape in latest:
            _apply(lines, shape)
        if not (lines.shape >= 0).any():
            head = lines.text.buffer.find(TAG + b"CPU ", 0, lines.text.size)
            if head >= 0:
                self.learn(lines.text.buffer.rfind(b"\n", 0, head) + 1, head + len(TAG))
        self._learn_grown_stamps()

    def learn(self, start: int, end: int) -> bool:
        """Take the shape of the line between two positions, if it is plain and new."""
        shape = judged(self.lines.text.buffer[start:end]) if self._to_find else None
        if shape is None or shape in self.tried:
            return False
        self._to_find -= 1
        self.tried.append(shape)
        return _apply(self.lines, shape)

    def _learn_grown_stamps(self) -> None:
        """Seconds since boot become longer by a digit at times, into the stamp's padding or beyond it."""
        lines = self.lines
        for length in {length + more for length in lines.prefixes for more in (0, 1)}:
            unknown = np.flatnonzero(lines.shape < 0)
            tagged = unknown[lines.text.equal(np.maximum(lines.starts[unknown] + (length - 8), 0), TAG[-8:])]
            while len(tagged) and self.learn(int(lines.starts[tagged[0]]), int(lines.ends[tagged[0]])):
                tagged = tagged[lines.shape[tagged] < 0]

    def met(self) -> tuple[Shape, ...]:
        """The shapes that the block's lines have."""
        return tuple(shape for number, shape in enumerate(self.tried) if (self.lines.shape == number).any())


def _tell_apart(lines: _Lines, shapes: Shapes, wanted: LineFilter) -> None:
    """Set the kinds of all lines."""
    buffer = lines.text.buffer
    shaping = _Shaping(lines, shapes.latest)
    unknown = np.flatnonzero((lines.shape < 0) & (lines.kinds == Kind.NOISE))
    suspects = unknown[wanted.among(lines.text, lines.starts[unknown], lines.ends[unknown])]
    at = asked = confirmed = 0
    while at < len(suspects):
        start, end = int(lines.starts[suspects[at]]), int(lines.ends[suspects[at]])
        if TAG in buffer[start:end] and shaping.learn(start, end):
            suspects = suspects[lines.shape[suspects] < 0]
            continue
        if asked == ASKED_AT_LEAST and 2 * confirmed > asked:
            lines.kinds[suspects[at:]] = Kind.OTHER
            break
        asked += 1
        if wanted.confirm(buffer[start:end]):
            confirmed += 1
            lines.kinds[suspects[at]] = Kind.OTHER
        at += 1
    lines.kinds[unknown[_soft_breaks(lines, unknown)]] = Kind.OTHER
    shapes.latest = shaping.met()


_BLANKS: Final = np.frombuffer(b" \t\r", np.uint8)
_SOFT_BREAK: Final = re.compile(rb"=[ \t]*\r?\n")


def _soft_breaks(lines: _Lines, which: Positions) -> Flags:
    """Which lines end in quoted-printable's soft break, so that the next line is the rest of them."""
    characters = lines.text.characters
    ends = lines.ends[which]
    final = characters[np.maximum(ends - 1, 0)]
    found = np.asarray(final == ord("="))
    for index in np.flatnonzero(np.isin(final, _BLANKS)).tolist():
        start, end = int(lines.starts[which[index]]), int(ends[index])
        found[index] = _SOFT_BREAK.search(lines.text.buffer, start, end + 1) is not None
    return found & (ends > lines.starts[which])


def scan(text: Text, shapes: Shapes, wanted: LineFilter) -> Draft:
    """Read one block of whole lines (the last may be unfinished)."""
    lines = _split(text)
    _tell_apart(lines, shapes, wanted)
    evidence = np.flatnonzero(lines.kinds)
    kinds = np.zeros(len(evidence) + 4, np.uint8)
    kinds[: len(evidence)] = lines.kinds[evidence]
    head = np.flatnonzero(kinds == Kind.HEAD)
    with_rip = kinds[head + 1] == Kind.RIP
    stamp = head + 1 + with_rip
    in_order = (kinds[stamp] == Kind.STAMP) & (kinds[stamp + 1] == Kind.PROCESSOR)
    head, stamp, with_rip = head[in_order], stamp[in_order], with_rip[in_order]
    first, last = evidence[head], evidence[stamp + 1]
    rip = np.where(with_rip, evidence[head + 1], -1)
    columns, plain = _read(lines, first, evidence[stamp], last, rip)
    plain &= _undivided(lines, first, last)
    closing = np.zeros(len(evidence) + 4, np.bool_)
    closing[(stamp + 1)[plain]] = True
    follows = closing[head - 1] | (head == 0)
    followed = (kinds[stamp + 2] == Kind.HEAD) | (stamp + 2 == len(evidence))
    others = evidence[kinds[: len(evidence)] == Kind.OTHER]
    taken = plain & follows & followed
    if len(others):
        taken &= np.searchsorted(others, first - REACH_LINES) == np.searchsorted(others, last + REACH_LINES, "right")
    picked = np.flatnonzero(taken)
    return Draft(
        text=text,
        starts=lines.starts,
        ends=lines.ends,
        evidence=evidence,
        columns=columns,
        head=head,
        stamp=stamp,
        taken=taken,
        others=others,
        first=bool(len(picked)) and int(head[picked[0]]) == 0,
        last=bool(len(picked)) and int(stamp[picked[-1]]) + 2 == len(evidence),
        closed=bool(closing[len(evidence) - 1]),
        opens_with_head=bool(kinds[0] == Kind.HEAD),
    )


def _undivided(lines: _Lines, first: Positions, last: Positions) -> Flags:
    """Which records have no line among theirs, nor right behind, that might be the rest of a wrapped one."""
    if lines.stamped.all():
        return np.ones(len(first), np.bool_)
    unstamped = np.zeros(len(lines.stamped) + 2, np.int32)
    np.cumsum(~lines.stamped, dtype=np.int32, out=unstamped[1:-1])
    unstamped[-1] = unstamped[-2]
    undivided: Flags = unstamped[last + 2] == unstamped[first]
    return undivided


def _read(lines: _Lines, first: Positions, stamp: Positions, last: Positions, rip: Positions) -> tuple[Columns, Flags]:
    """The fields of records whose lines are known, and for which of them every line is plain."""
    text, ends = lines.text, lines.ends
    body = lines.body(first)
    heads = read_heads(text, body, ends[first])
    stamps = read_stamps(text, lines.body(stamp), ends[stamp])
    processors = read_processors(text, lines.body(last), ends[last])
    # A record whose time nobody set is not plain: the columns hold no "not known" for it.
    plain = heads.sure & stamps.sure & processors.sure & (processors.time != 0)
    shape = lines.shape[first]
    if len(lines.prefixes) > 1:
        plain &= (lines.shape[stamp] == shape) & (lines.shape[last] == shape)
    present = stamps.present | (processors.with_microcode * np.uint8(Present.MICROCODE))
    ip = np.zeros(len(first), np.uint64)
    cs = np.zeros(len(first), np.uint16)
    which = np.flatnonzero(plain & (rip >= 0))
    line = rip[which]
    places = zip(which.tolist(), lines.body(line).tolist(), ends[line].tolist(), strict=True)
    inexact = (heads.mcg_status & _EIPV) == 0
    plain[which] = lines.shape[line] == shape[which]
    for index, at, end in places:
        read = read_rip(text.buffer, at, end)
        if read is None or read[2] == bool(inexact[index]):
            plain[index] = False
        else:
            cs[index], ip[index] = read[0], read[1]
            present[index] |= Present.IP
    columns = Columns(
        head=lines.starts[first].astype(np.int64),
        end=ends[last] + 1,
        line=first + 1,
        prefix_bytes=(body - lines.starts[first]).astype(np.uint16),
        lines=np.uint8(3) + (rip >= 0).astype(np.uint8),
        present=present,
        cpu=heads.cpu,
        bank=heads.bank,
        mcg_status=heads.mcg_status,
        status=heads.status,
        tsc=stamps.tsc,
        addr=stamps.registers[Present.ADDR],
        misc=stamps.registers[Present.MISC],
        ppin=stamps.registers[Present.PPIN],
        synd=stamps.registers[Present.SYND],
        ipid=stamps.registers[Present.IPID],
        ip=ip,
        cs=cs,
        vendor=processors.vendor,
        cpuid=processors.cpuid,
        time=processors.time,
        socket=processors.socket,
        apicid=processors.apicid,
        microcode=processors.microcode,
    )
    return columns, plain
